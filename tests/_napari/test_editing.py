"""Tools on layers: one undo step each, exactly the pixels they should, on arrays in memory and in files."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from segloop._napari import editing, slices, splits
from segloop._napari.history import undo_items
from segloop._napari.ledger import Ledger
from segloop.editing import shapes
from segloop.errors import LabelsError

RING = np.zeros((9, 9), np.uint16)
RING[1:8, 1:8] = 1
RING[3:6, 3:6] = 0
RING[4, 4] = 2
RING[8, 8] = 3

BARS = np.zeros((12, 30), np.uint16)
BARS[2:10, 1:28] = 5
BARS[0, 0] = 9

STACK = np.zeros((7, 30, 30), np.uint8)
STACK[1, 10:15, 10:15] = 4
STACK[5, 8:17, 8:17] = 4
STACK[3, 8:17, 12] = 6

ACTIONS = {
    "delete": (RING, lambda ledger: editing.delete_objects(ledger, [1])),
    "merge": (RING, lambda ledger: editing.merge_objects(ledger, 1, [3, 2])),
    "grow": (RING, lambda ledger: editing.reshape(ledger, [1], shapes.grow)),
    "shrink": (RING, lambda ledger: editing.reshape(ledger, [1], shapes.shrink)),
    "smooth": (BARS, lambda ledger: editing.reshape(ledger, [5], shapes.smooth)),
    "fill": (RING, lambda ledger: editing.reshape(ledger, [1], shapes.fill_holes)),
    "border": (RING, lambda ledger: editing.delete_at_border(ledger)),
    "cut": (BARS, lambda ledger: splits.split_by_line(ledger, np.array([[0.0, 9.0], [11.0, 9.0]]), ())),
    "split": (BARS, lambda ledger: seeded(ledger, (5, 4), (5, 14), (5, 25))),
    "interpolate": (STACK, lambda ledger: slices.interpolate(ledger, [4], 0)),
    "copy": (STACK, lambda ledger: slices.copy_to_slice(ledger, [4], (1,), 0, 1)),
    "class": (RING, lambda ledger: ledger.change_rows([1], **{"class": "round"})),
}
"""Each with labels on which it does something."""


def seeded(ledger: Ledger, *seeds: tuple[int, ...]) -> list[int]:
    split = splits.SeededSplit.begin(ledger, 5, seeds[0], (1.0, 1.0), None)
    return [split.add(seed) for seed in seeds[1:]][-1]


def in_memory(data):
    return data.copy()


def in_zarr(data):
    zarr = pytest.importorskip("zarr")
    return zarr.array(data, chunks=tuple(min(n, 8) for n in data.shape))


def in_dask(data):
    import dask.array as da

    return da.from_array(data.copy(), chunks=tuple(min(n, 8) for n in data.shape))


@pytest.fixture
def ring() -> Ledger:
    return follow(RING.copy())


LAYERS: list[Labels] = []


def follow(data, **keywords) -> Ledger:
    """A ledger keeps no layer alive."""
    LAYERS.append(Labels(data))
    ledger = Ledger(LAYERS[-1], **keywords)
    ledger.finish()
    return ledger


@pytest.fixture(autouse=True)
def _let_go():
    yield
    LAYERS.clear()


def pixels(ledger: Ledger) -> np.ndarray:
    return np.array(ledger.layer.data)


@pytest.mark.parametrize("stored", [in_memory, in_zarr, in_dask])
@pytest.mark.parametrize("name", ACTIONS)
def test_each_action_is_one_undo_step_and_the_ledger_stays_true(name, stored):
    before, act = ACTIONS[name]
    ledger = follow(stored(before))
    table = ledger.layer.features.copy()
    act(ledger)
    ledger.flush()
    after, table_after = pixels(ledger), ledger.layer.features.copy()
    assert len(undo_items(ledger.layer)) == 1
    assert (after != before).any() or not table_after.equals(table)
    check(ledger)
    ledger.layer.undo()
    ledger.flush()
    np.testing.assert_array_equal(pixels(ledger), before)
    assert ledger.layer.features.equals(table)
    check(ledger)
    ledger.layer.redo()
    ledger.flush()
    np.testing.assert_array_equal(pixels(ledger), after)
    assert ledger.layer.features.equals(table_after)
    check(ledger)


def check(ledger: Ledger) -> None:
    """The table and the index say what the slow way of knowing says."""
    data, table = pixels(ledger), ledger.layer.features
    numbers, counts = np.unique(data[data > 0], return_counts=True)
    assert table["index"].tolist() == numbers.tolist() == ledger.index.numbers
    assert table["area"].tolist() == counts.tolist()
    for number in numbers:
        box = ledger.index.box(int(number))
        inside = np.zeros(data.shape, bool)
        inside[box] = True
        assert not ((data == number) & ~inside).any()


def test_delete_takes_the_object_alone(ring):
    assert editing.delete_objects(ring, [1]) == 40
    np.testing.assert_array_equal(pixels(ring), np.where(RING == 1, 0, RING))


def test_merging_several(ring):
    editing.merge_objects(ring, 1, [2, 3])
    np.testing.assert_array_equal(pixels(ring), np.where(RING > 0, 1, 0))
    with pytest.raises(LabelsError, match="itself"):
        editing.merge_objects(ring, 1, [1])
    with pytest.raises(LabelsError, match="no object 2"):
        editing.merge_objects(ring, 1, [2])


def test_objects_at_the_border_go(ring):
    assert editing.delete_at_border(ring) == 1
    np.testing.assert_array_equal(pixels(ring), np.where(RING == 3, 0, RING))
    assert editing.delete_at_border(ring) == 0


def test_many_objects_at_the_border_and_large_ones():
    random = np.random.default_rng(0)
    data = np.kron(random.permutation(400).reshape(20, 20), np.ones((5, 5), int)).astype(np.uint16)
    data[:, 50:52] = 1000
    ledger = follow(data.copy())
    edge = set(np.unique(np.concatenate([data[0], data[-1], data[:, 0], data[:, -1]])).tolist()) - {0}
    assert editing.delete_at_border(ledger) == len(edge)
    np.testing.assert_array_equal(pixels(ledger), np.where(np.isin(data, list(edge)), 0, data))
    ledger.flush()
    check(ledger)
    ledger.layer.undo()
    np.testing.assert_array_equal(pixels(ledger), data)


def test_preserving_labels_is_for_the_brush(ring):
    ring.layer.preserve_labels = True
    editing.merge_objects(ring, 1, [3])
    editing.delete_objects(ring, [2])
    assert set(np.unique(pixels(ring))) == {0, 1}
    assert ring.layer.preserve_labels


def test_what_would_leave_nothing_is_refused(ring):
    with pytest.raises(LabelsError, match="nothing would be left of object 2"):
        editing.reshape(ring, [2], shapes.shrink)
    np.testing.assert_array_equal(pixels(ring), RING)
    assert not undo_items(ring.layer)


@pytest.mark.parametrize("number, message", [(0, "no object is selected"), (77, "no object 77")])
def test_what_is_not_there_is_refused(ring, number, message):
    for act in (
        lambda: editing.delete_objects(ring, [number]),
        lambda: editing.reshape(ring, [number], shapes.grow),
        lambda: slices.copy_to_slice(follow(STACK.copy()), [number], (1,), 0, 1),
    ):
        with pytest.raises(LabelsError, match=message):
            act()
    np.testing.assert_array_equal(pixels(ring), RING)


def test_one_slice_of_a_stack():
    ledger = follow(np.stack([np.zeros_like(RING), RING, RING]))
    plane = editing.plane_box((1,), ledger.layer.data.shape)
    editing.reshape(ledger, [1], shapes.fill_holes, plane)
    assert [np.count_nonzero(p == 1) for p in pixels(ledger)] == [0, 48, 40]
    editing.reshape(ledger, [1], shapes.fill_holes)
    assert [np.count_nonzero(p == 1) for p in pixels(ledger)] == [0, 48, 48]
    editing.delete_at_border(ledger, plane)
    assert [np.count_nonzero(p == 3) for p in pixels(ledger)] == [0, 0, 1]
    with pytest.raises(LabelsError, match="not on this slice"):
        editing.delete_objects(ledger, [1], editing.plane_box((0,), ledger.layer.data.shape))


def test_a_cut_gives_the_new_part_a_free_number():
    ledger = follow(BARS.copy())
    assert splits.split_by_line(ledger, np.array([[0.0, 9.0], [11.0, 9.0]]), ()) == [5, 10]
    assert pixels(ledger)[5, 4] == 10 and pixels(ledger)[5, 20] == 5 and pixels(ledger)[0, 0] == 9
    with pytest.raises(LabelsError, match="on no object"):
        splits.split_by_line(ledger, np.array([[11.0, 0.0], [11.0, 29.0]]), ())
    with pytest.raises(LabelsError, match="outside"):
        splits.split_by_line(ledger, np.array([[-5.0, 0.0], [-5.0, 29.0]]), ())


def test_a_cut_beside_everything_parts_no_pieces_far_away():
    labels = np.zeros((60, 400), np.uint16)
    labels[0:20, 150:160] = labels[40:60, 150:160] = 5
    labels[25:35, 200:204] = 6
    ledger = follow(labels.copy())
    with pytest.raises(LabelsError, match="between no pieces of one"):
        splits.split_by_line(ledger, np.array([[30.0, 20.0], [30.0, 110.0]]), ())
    np.testing.assert_array_equal(pixels(ledger), labels)
    # the same line, drawn where the pieces are
    assert splits.split_by_line(ledger, np.array([[30.0, 152.0], [30.0, 156.0]]), ()) == [5, 7]


def test_pieces_are_parted_on_the_plane_where_the_line_is():
    labels = np.zeros((3, 30, 30), np.uint16)
    labels[:, 2:8, 5:15] = 5
    labels[1:, 20:26, 5:15] = 5
    labels[0, 12:14, 0:2] = labels[0, 18:20, 28:30] = 6
    labels[2, 10:12, 10:12] = 7
    ledger = follow(labels)
    line, plane = np.array([[14.0, 3.0], [14.0, 17.0]]), (1,)
    parts = splits.split_by_line(ledger, line, plane, editing.plane_box(plane, labels.shape))
    assert parts == [5, 8]
    after = pixels(ledger)
    assert (after[1, 20:26, 5:15] == 8).sum() + (after[1, 2:8, 5:15] == 8).sum() == 60
    assert not (after[[0, 2]] == 8).any()


def test_a_cut_beside_thousands_of_objects_reads_few_of_them(monkeypatch):
    labels = np.zeros((300, 300), np.uint16)
    labels[2::6, 2::6] = np.arange(1, 2501).reshape(50, 50)
    ledger, read = follow(labels), []
    reading = ledger.index.read
    monkeypatch.setattr(ledger.index, "read", lambda *args, **how: read.append(args) or reading(*args, **how))
    with pytest.raises(LabelsError, match="between no pieces of one"):
        splits.split_by_line(ledger, np.array([[0.0, 0.0], [0.0, 299.0]]), ())
    assert len(read) == 0


def test_each_further_click_splits_anew_in_the_same_step():
    ledger = follow(BARS.copy())
    split = splits.SeededSplit.begin(ledger, 5, (5, 4), (1.0, 1.0), None)
    assert split.add((5, 25)) == [5, 10]
    assert split.continues(10) and not split.continues(9)
    assert split.add((5, 14)) == [5, 10, 11]
    assert [pixels(ledger)[5, x] for x in (4, 14, 25)] == [5, 11, 10]
    assert split.add((5, 14)) == [5, 10, 11]
    editing.delete_objects(ledger, [9])
    assert not split.continues(10)
    ledger.layer.undo()
    assert split.continues(10)
    ledger.layer.undo()
    np.testing.assert_array_equal(pixels(ledger), BARS)


def test_parts_keep_the_class_of_the_whole():
    ledger = follow(BARS.copy(), classes=("cell", "worm"))
    ledger.change_rows([5], **{"class": "worm"})
    numbers = splits.split_by_line(ledger, np.array([[0.0, 9.0], [11.0, 9.0]]), ())
    assert [(ledger.row(n)["class"], ledger.row(n)["origin"]) for n in numbers] == [("worm", "edited")] * 2


def test_filling_between_slices_goes_around_other_objects():
    ledger = follow(STACK.copy())
    assert slices.interpolate(ledger, [4], 0) == [2, 3, 4]
    data = pixels(ledger)
    assert [np.count_nonzero(p == 4) for p in data] == [0, 25, 25, 49 - 7, 49, 81, 0]
    np.testing.assert_array_equal(data[3] == 6, STACK[3] == 6)
    with pytest.raises(LabelsError, match="has no gap"):
        slices.interpolate(ledger, [4], 0)


def test_what_was_drawn_on_each_slice_becomes_one_object():
    drawn = STACK.copy()
    drawn[5][drawn[5] == 4] = 9
    ledger, same = follow(drawn.copy()), follow(STACK.copy())
    slices.interpolate(same, [4], 0)
    assert slices.interpolate(ledger, [4, 9], 0) == [2, 3, 4]
    np.testing.assert_array_equal(pixels(ledger), pixels(same))
    assert 9 not in ledger.index and ledger.row(4)["area"] == np.count_nonzero(pixels(ledger) == 4)
    ledger.layer.undo()
    np.testing.assert_array_equal(pixels(ledger), drawn)


def test_filling_between_frames_of_one_position():
    stack = np.stack([np.zeros_like(STACK), STACK])
    ledger = follow(stack)
    within = (slice(1, 2), *(slice(0, n) for n in STACK.shape))
    slices.interpolate(ledger, [4], 1, within)
    assert not pixels(ledger)[0].any()
    assert (pixels(ledger)[1, 1:6] == 4).any(axis=(1, 2)).all()


def test_copying_to_the_next_slice():
    ledger = follow(STACK.copy())
    assert slices.copy_to_slice(ledger, [4], (1,), 0, 1) == 25
    np.testing.assert_array_equal(pixels(ledger)[2] == 4, STACK[1] == 4)
    assert slices.copy_to_slice(ledger, [4], (5,), 0, 1) == 81
    with pytest.raises(LabelsError, match="no slice after"):
        slices.copy_to_slice(ledger, [4], (6,), 0, 1)
    with pytest.raises(LabelsError, match="not on this slice"):
        slices.copy_to_slice(ledger, [6], (1,), 0, 1)


@pytest.mark.parametrize(
    "dtype, wider", [(np.uint8, np.uint16), (np.uint16, np.uint32), (np.int8, np.int16), (np.int16, np.int32)]
)
def test_a_layer_in_memory_is_widened_and_can_still_be_undone(dtype, wider):
    largest = np.iinfo(dtype).max
    data = np.zeros((6, 6), dtype)
    data[0, 0], data[5, 5] = largest, 1
    ledger = follow(data.copy())
    editing.delete_objects(ledger, [1])
    number = editing.next_free_label(ledger)
    assert number == largest + 1 and ledger.layer.data.dtype == wider
    ledger.layer.selected_label = number
    ledger.layer.paint((3, 3), number)
    assert pixels(ledger)[3, 3] == largest + 1
    ledger.flush()
    check(ledger)
    ledger.layer.undo()
    ledger.layer.undo()
    np.testing.assert_array_equal(pixels(ledger), data)
    ledger.layer.redo()
    ledger.layer.redo()
    ledger.flush()
    check(ledger)


def test_a_layer_in_a_file_takes_numbers_that_are_free_or_says_why_not():
    ledger = follow(in_zarr(np.array([[255, 0, 3, 1, 2]], np.uint8)))
    assert editing.next_free_label(ledger) == 4
    full = follow(in_zarr(np.arange(256, dtype=np.uint8)[None]))
    with pytest.raises(LabelsError, match=r"up to 255.*256 is needed.*uint32"):
        editing.next_free_label(full)


def test_parts_beyond_the_largest_number():
    data = np.where(BARS == 9, 255, BARS).astype(np.uint8)
    ledger = follow(data)
    assert splits.split_by_line(ledger, np.array([[0.0, 9.0], [11.0, 9.0]]), ()) == [5, 256]
    ledger.flush()
    check(ledger)


def test_what_can_only_be_read_is_said(ring):
    data = RING.copy()
    data.setflags(write=False)
    ledger = follow(data)
    with pytest.raises(LabelsError, match=r"can only be read.*duplicate"):
        editing.delete_objects(ledger, [1])
    assert not undo_items(ledger.layer)


def test_a_file_that_cannot_be_written_leaves_no_half_step():
    class Full:
        """An array on a disk without room."""

        def __init__(self, data):
            self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
            self.room = 10

        def __getitem__(self, index):
            return self.data[index].copy()

        def __setitem__(self, index, values):
            self.room -= 1
            if self.room < 0:
                raise OSError("no space left on device")
            self.data[index] = values

        def __array__(self, dtype=None, copy=None):
            return self.data

    stored = Full(RING.copy())
    ledger = follow(stored)
    stored.room = 1
    with pytest.raises(OSError, match="no space"):
        editing.delete_objects(ledger, [3, 1])
    stored.room = 10
    # what was written could not be taken back either: it can be undone once there is room
    assert 3 not in stored.data and (stored.data == 1).any()
    assert len(undo_items(ledger.layer)) == 1
    ledger.layer.undo()
    np.testing.assert_array_equal(stored.data, RING)
    ledger.flush()
    check(ledger)
    editing.delete_objects(ledger, [2])
    assert len(undo_items(ledger.layer)[0]) == 1


def test_an_error_halfway_is_taken_back(ring, monkeypatch):
    original, calls = Labels._paint_region_with_mask, []

    def failing(self, *args, **keywords):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("halfway")
        original(self, *args, **keywords)

    monkeypatch.setattr(Labels, "_paint_region_with_mask", failing)
    with pytest.raises(RuntimeError, match="halfway"):
        editing.delete_objects(ring, [3, 1])
    np.testing.assert_array_equal(pixels(ring), RING)
    assert not undo_items(ring.layer)
    editing.delete_objects(ring, [2])
    assert len(undo_items(ring.layer)[0]) == 1
    ring.flush()
    check(ring)
