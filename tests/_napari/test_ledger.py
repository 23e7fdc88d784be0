"""The ledger: the table of objects is true after whatever was done, by whatever tool."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from segloop._napari import editing
from segloop._napari.ledger import Ledger
from segloop.editing.changes import Change


@pytest.fixture
def layer() -> Labels:
    data = np.zeros((60, 60), np.uint16)
    data[5:15, 5:15], data[30:40, 30:40], data[30:40, 40:50] = 1, 2, 3
    table = {"index": [1, 2, 3], "label": [1, 2, 3], "class": "cell", "score": [0.9, 0.8, 0.7]}
    return Labels(data, features=pd.DataFrame({**table, "area": 100, "origin": "model", "reviewed": False}))


@pytest.fixture
def ledger(layer) -> Ledger:
    made = Ledger(layer, ("cell",))
    made.finish()
    return made


def origins(layer: Labels) -> dict[int, str]:
    return layer.features.set_index("index")["origin"].to_dict()


def areas(layer: Labels) -> dict[int, int]:
    return layer.features.set_index("index")["area"].to_dict()


def test_nothing_is_written_where_nothing_is_wrong(layer):
    table = layer.features
    Ledger(layer, ("cell",)).finish()
    assert layer.features is table


def test_the_brush(layer, ledger):
    layer.selected_label = 2
    layer.brush_size = 6
    layer.paint((35, 40), 2)
    ledger.flush()
    assert origins(layer) == {1: "model", 2: "edited", 3: "edited"}
    assert sum(areas(layer).values()) == 300 and areas(layer)[2] > 100


def test_an_edit_that_keeps_the_area_is_one(layer, ledger):
    with layer.block_history():
        layer.data_setitem((np.array([5]), np.array([5])), 0)
        layer.data_setitem((np.array([20]), np.array([20])), 1)
    ledger.flush()
    assert areas(layer)[1] == 100
    assert origins(layer)[1] == "edited"


def test_what_is_undone_was_never_edited(layer, ledger):
    layer.paint((35, 40), 2)
    layer.paint((50, 10), 8)
    ledger.flush()
    assert origins(layer)[8] == "added"
    layer.undo()
    layer.undo()
    ledger.flush()
    assert origins(layer) == {1: "model", 2: "model", 3: "model"}
    layer.redo()
    ledger.flush()
    assert origins(layer)[2] == "edited"


def test_an_object_that_was_deleted_comes_back_with_all_that_was_known(layer, ledger):
    before = layer.features.copy()
    editing.delete_objects(ledger, [2])
    ledger.flush()
    assert list(origins(layer)) == [1, 3]
    layer.undo()
    ledger.flush()
    pd.testing.assert_frame_equal(layer.features, before)


def test_a_number_that_is_used_again_is_a_new_object(layer, ledger):
    editing.delete_objects(ledger, [2])
    layer.paint((50, 10), 2)
    ledger.flush()
    row = layer.features.set_index("index").loc[2]
    assert row["origin"] == "added" and np.isnan(row["score"])


def test_fill_polygon_and_single_pixels(layer, ledger):
    layer.fill((35, 35), 7)
    layer.paint_polygon([[50, 50], [50, 58], [58, 58]], 9)
    layer.data_setitem((np.array([0, 59]), np.array([0, 59])), [4, 5])
    ledger.flush()
    numbers, counts = np.unique(layer.data[layer.data > 0], return_counts=True)
    assert areas(layer) == dict(zip(numbers.tolist(), counts.tolist()))
    assert origins(layer) == {1: "model", 3: "model", 4: "added", 5: "added", 7: "added", 9: "added"}


def test_many_edits_undone_and_done_again_at_random(layer, ledger):
    random = np.random.default_rng(0)
    for step in range(300):
        choice = random.random()
        if choice < 0.5:
            with layer.block_history():
                for _ in range(3):
                    layer.paint(tuple(random.integers(0, 60, 2)), int(random.integers(0, 9)))
        elif choice < 0.6 and ledger.index.numbers:
            editing.delete_objects(ledger, [int(random.choice(ledger.index.numbers))])
        elif choice < 0.85:
            layer.undo()
        else:
            layer.redo()
        if step % 20 == 0:
            ledger.flush()
            numbers, counts = np.unique(layer.data[layer.data > 0], return_counts=True)
            assert areas(layer) == dict(zip(numbers.tolist(), counts.tolist()))


def test_more_edits_than_napari_can_undo(layer, ledger):
    for step in range(130):
        layer.paint((50, 3 + step % 50), 4 + step % 2)
    for _ in range(200):
        layer.undo()
    ledger.flush()
    numbers, counts = np.unique(layer.data[layer.data > 0], return_counts=True)
    assert areas(layer) == dict(zip(numbers.tolist(), counts.tolist()))
    assert len(ledger._records) <= 100


def test_undoing_while_the_layer_is_hidden(layer, ledger):
    layer.paint((35, 40), 2)
    layer.visible = False
    layer.undo()
    ledger.flush()
    assert origins(layer)[2] == "model"


def test_confirmed_until_it_is_edited(layer, ledger):
    ledger.change_rows([1], origin="confirmed")
    ledger.flush()
    assert origins(layer)[1] == "confirmed"
    layer.paint((5, 5), 0)
    ledger.flush()
    assert origins(layer)[1] == "edited"
    layer.undo()
    ledger.flush()
    assert origins(layer)[1] == "confirmed"
    layer.undo()
    ledger.flush()
    assert origins(layer)[1] == "model"


def test_labels_from_elsewhere_get_a_table_and_keep_their_own_columns():
    data = np.zeros((20, 20), np.int64)
    data[2:6, 2:6], data[10:14, 10:15] = 3, 2**40
    layer = Labels(data)
    ledger = Ledger(layer)
    ledger.finish()
    assert origins(layer) == {3: "draft", 2**40: "draft"}
    assert areas(layer) == {3: 16, 2**40: 20}
    assert editing.next_free_label(ledger) == 2**40 + 1

    rows = pd.DataFrame({"Circ.": [0.0, 0.1, 0.2, 0.3]})
    foreign = Labels((data == 3).astype(np.uint8) * 3, features=rows)
    ledger = Ledger(foreign)
    ledger.finish()
    (row,) = foreign.features.to_dict("records")
    assert (row["index"], row["Circ."], row["area"]) == (3, 0.3, 16)


def test_classes_keep_their_rows():
    data = np.zeros((20, 20), np.uint8)
    data[:5] = 1
    layer = Labels(data)
    ledger = Ledger(layer, ("background", "cell", "border"), semantic=True)
    ledger.finish()
    assert areas(layer) == {1: 100, 2: 0}
    layer.data_setitem((np.arange(5), np.zeros(5, int)), 2)
    ledger.flush()
    assert areas(layer) == {1: 95, 2: 5}
    assert layer.features["class"].tolist() == ["cell", "border"]
    layer.undo()
    ledger.flush()
    assert areas(layer) == {1: 100, 2: 0}


def test_other_data_begin_anew(layer, ledger):
    layer.paint((35, 40), 2)
    layer.data = np.eye(60, dtype=np.uint8) * 5
    ledger.finish()
    assert areas(layer) == {5: 60}
    assert ledger.index.numbers == [5]


def test_what_is_drawn_past_the_history(layer, ledger):
    box = (slice(5, 15), slice(5, 15))
    layer.data[box] = 0
    ledger.follow(Change.in_box(box, None, np.ones(100, int), 0))
    assert ledger.index.numbers == [2, 3]


def test_what_is_written_behind_napari_s_back_is_found_when_it_is_seen(layer, ledger):
    layer.data[50:55, 50:55] = 9
    ledger.notice(1, (7, 7))
    assert 9 not in ledger.index
    ledger.notice(9, (52, 52))
    assert editing.delete_objects(ledger, [9]) == 25
    ledger.flush()
    layer.data[50:55, 50:55] = 1
    ledger.notice(1, (52, 52))
    ledger.finish()
    ledger.flush()
    assert areas(layer) == {1: 125, 2: 100, 3: 100}


def test_edits_during_the_scan(layer):
    ledger = Ledger(layer, ("cell",))
    layer.paint((50, 10), 8)
    layer.paint((5, 5), 0)
    ledger.flush()
    ledger.finish()
    ledger.flush()
    numbers, counts = np.unique(layer.data[layer.data > 0], return_counts=True)
    assert areas(layer) == dict(zip(numbers.tolist(), counts.tolist()))
    assert origins(layer) == {1: "edited", 2: "model", 3: "model", 8: "added"}


def test_it_keeps_no_layer_alive(layer):
    import gc
    import weakref

    own = Labels(np.zeros((5, 5), np.uint8))
    ledger = Ledger(own)
    gone = weakref.ref(own)
    del own
    gc.collect()
    assert gone() is None
    with pytest.raises(ReferenceError):
        _ = ledger.layer


def reviewed(layer: Labels) -> set[int]:
    table = layer.features
    return set(table["index"][table["reviewed"]])


def test_numbers_of_any_size_are_vouched_for():
    data = np.zeros((60, 60), np.int64)
    data[5:15, 5:15], data[30:40, 30:40], data[45:55, 45:55] = 10**15, 2, -7
    layer = Labels(data)
    ledger = Ledger(layer, ("cell",))
    ledger.finish()
    mask = np.zeros(data.shape, bool)
    mask[:20, :20] = True
    ledger.vouch(mask)
    assert reviewed(layer) == {10**15}


def test_all_is_vouched_for_without_a_look_at_the_pixels(layer, ledger, monkeypatch):
    mask = np.zeros((60, 60), bool)
    mask[:20, :20] = True
    ledger.vouch(mask)
    assert reviewed(layer) == {1}
    with monkeypatch.context() as patched:
        # a large result has no array: each look draws it
        patched.setattr(Labels, "data", property(lambda _: pytest.fail("the pixels were looked at")))
        ledger.vouch_for_all()
    assert reviewed(layer) == {1, 2, 3}
    # what is drawn then belongs to what was looked through
    layer.selected_label = 9
    layer.paint((20, 50), 9)
    ledger.flush()
    assert reviewed(layer) == {1, 2, 3, 9}
    ledger.vouch(mask)
    assert reviewed(layer) == {1}
    ledger.vouch_for_all()
    ledger.vouch(None)
    assert reviewed(layer) == set()
