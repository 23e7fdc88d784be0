"""What is there already is not added again: boxes and clicks around objects, and rims that would be left of masks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt

from segloop._napari.additions import plan_addition
from segloop._napari.layers import Placement
from segloop._napari.ledger import Ledger
from segloop.catalog import Area, Mask

PATIENCE = 300_000
LEFT = Qt.MouseButton.LeftButton

spec = importlib.util.spec_from_file_location("pointer", Path(__file__).with_name("pointer.py"))
pointer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pointer)


@pytest.fixture
def boxing(open_dock, qtbot, errors):
    """A real image, segmented with the bundled Mask R-CNN, and the box tool at work."""
    dock = open_dock(show=True)
    dock._viewer.window.resize(1250, 900)
    dock._viewer.open_sample("napari-segloop", "large-nuclei")
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    dock.tabs.setCurrentIndex(1)
    begin(qtbot, dock)
    assert errors == []
    return dock


def begin(qtbot, dock):
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    qtbot.waitUntil(lambda: dock.adding_step.job is None, timeout=PATIENCE)
    assert dock.adding_step._boxing.active


def best(layer) -> tuple[int, np.ndarray]:
    """The object of which the model is surest, away from the border, and first and last pixel of its box."""
    for number in layer.features.sort_values("score", ascending=False)["index"].astype(int):
        places = np.argwhere(layer.data == number)
        low, high = places.min(axis=0), places.max(axis=0)
        if low.min() > 3 and (high < np.array(layer.data.shape) - 4).all():
            return number, np.array([low, high])
    raise AssertionError("no object lies inside of the image")


def table(layer):
    return layer.features.set_index("index")


@pytest.mark.gui
def test_a_box_around_an_object_of_the_model_draws_it_anew(boxing, qtbot, errors):
    dock, layer = boxing, boxing.correct_step.labels
    hand, first = pointer.Hand(dock._viewer, qtbot), layer.data.copy()
    number, corners = best(layer)
    hand.drag(layer, *(corners + np.array([[-1, -1], [1, 1]])))
    drawn, before = layer.data == number, first == number
    assert not np.array_equal(drawn, before) and (drawn & before).sum() > 0.7 * before.sum()
    assert set(np.unique(layer.data)) == set(np.unique(first)) and "drawn anew" in dock.status.text()
    qtbot.waitUntil(lambda: table(layer).loc[number, "origin"] == "edited", timeout=PATIENCE)
    assert table(layer).loc[number, "area"] == drawn.sum() and np.isnan(table(layer).loc[number, "score"])
    assert "score" not in dock.correct.object_text.text() and "edited" in dock.correct.object_text.text()
    # one step of undo, with what was known of it
    layer.undo()
    assert np.array_equal(layer.data, first)
    qtbot.waitUntil(lambda: table(layer).loc[number, "origin"] == "model", timeout=PATIENCE)
    assert table(layer).loc[number, "score"] > 0.5 and errors == []


@pytest.mark.gui
def test_a_click_on_an_object_says_that_it_is_here(boxing, qtbot, errors):
    dock, layer = boxing, boxing.correct_step.labels
    hand, first = pointer.Hand(dock._viewer, qtbot), layer.data.copy()
    number, corners = best(layer)
    hand.click(layer, *corners.mean(axis=0))
    assert np.array_equal(layer.data, first) and layer.selected_label == number
    assert f"Object {number} is here already." in dock.status.text() and "smallest area" not in dock.status.text()
    # what is said of one object does not hold for another
    others = [n for n in table(layer).index if n != number]
    spot = np.argwhere(first == others[0]).mean(axis=0)
    hand.click(layer, *spot)
    assert np.array_equal(layer.data, first)
    # clicked once more, it is meant
    hand.click(layer, *spot)
    assert set(np.unique(layer.data)) == set(np.unique(first)) and "drawn anew" in dock.status.text()
    assert not np.array_equal(layer.data == others[0], first == others[0]) and errors == []


@pytest.mark.gui
def test_no_rim_is_added_around_what_a_person_confirmed(boxing, qtbot, errors):
    dock, layer = boxing, boxing.correct_step.labels
    hand = pointer.Hand(dock._viewer, qtbot)
    number, corners = best(layer)
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    hand.click(layer, *corners.mean(axis=0))
    assert layer.selected_label == number
    # smaller than the model has it, and confirmed so
    for _ in range(3):
        qtbot.mouseClick(dock.correct.tools.buttons["shrink"], LEFT)
    qtbot.mouseClick(dock.correct.tools.buttons["confirm_object"], LEFT)
    first = layer.data.copy()
    begin(qtbot, dock)
    for _ in range(2):
        hand.drag(layer, *corners)
        assert np.array_equal(layer.data, first) and layer.selected_label == number
        assert "stays, since you confirmed it" in dock.status.text()
    assert errors == []


@pytest.mark.gui
def test_a_box_around_an_object_in_a_reviewed_region_leaves_it(boxing, qtbot, errors):
    dock, layer = boxing, boxing.correct_step.labels
    hand, first = pointer.Hand(dock._viewer, qtbot), layer.data.copy()
    number, corners = best(layer)
    # no slider was moved: nobody told the candidates
    dock.review_step.vouch((), *(slice(0, size) for size in layer.data.shape))
    qtbot.waitUntil(lambda: bool(table(layer).loc[number, "reviewed"]), timeout=PATIENCE)
    if not dock.adding_step._boxing.active:
        begin(qtbot, dock)
    for _ in range(2):
        hand.drag(layer, *(corners + np.array([[-1, -1], [1, 1]])))
        assert np.array_equal(layer.data, first) and not layer._undo_history
        assert "stays, since it lies in a region that you reviewed" in dock.status.text()
    assert errors == []


@pytest.mark.gui
def test_a_click_removes_nothing_in_a_reviewed_region(boxing, qtbot, errors):
    dock, layer = boxing, boxing.correct_step.labels
    hand, first = pointer.Hand(dock._viewer, qtbot), layer.data.copy()
    number, _ = best(layer)
    dock.review_step.vouch((), *(slice(0, size) for size in layer.data.shape))
    qtbot.waitUntil(lambda: bool(table(layer).loc[number, "reviewed"]), timeout=PATIENCE)
    qtbot.mouseClick(dock.candidate_tools.pick, LEFT)
    assert dock.adding_step._picking.active
    spots = np.argwhere(layer.data == number)
    hand.click(layer, *spots[len(spots) // 2])
    assert np.array_equal(layer.data, first) and "no click removes it" in dock.status.text() and errors == []


@pytest.mark.gui
def test_boxes_work_without_candidates_as_with_them(boxing, qtbot, errors):
    """As after a restart: the layer's table is there, and what the model found is not."""
    dock, layer = boxing, boxing.correct_step.labels
    hand, first, model = pointer.Hand(dock._viewer, qtbot), layer.data.copy(), dock.adding_step.looking.model
    number, corners = best(layer)
    dock.session.live.pop(layer).close()
    other = next(info.name for info in dock.session.models if info.task == "instance" and info != model)
    dock.session.choose_model(other)
    assert dock.adding_step.looking.model == model
    hand.drag(layer, *(corners + np.array([[-1, -1], [1, 1]])))
    qtbot.waitUntil(lambda: dock.adding_step.job is None and "drawn anew" in dock.status.text(), timeout=PATIENCE)
    drawn, before = layer.data == number, first == number
    assert not np.array_equal(drawn, before) and (drawn & before).sum() > 0.7 * before.sum() and errors == []


def planned(labels: np.ndarray, inside: np.ndarray, origins: dict[int, str] | None = None, **keywords):
    layer, image = Labels(labels), Image(labels)
    if origins:
        layer.features = pd.DataFrame({"index": list(origins), "label": list(origins), "origin": origins.values()})
    ledger = Ledger(layer)
    mask = Mask(Area(0, slice(0, labels.shape[0]), slice(0, labels.shape[1])), inside)
    return plan_addition(ledger, None, Placement.of(image, "YX"), mask, **keywords)


def disk(center: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.mgrid[:60, :80]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def test_a_rim_is_nothing_to_add_however_small_the_object_in_it():
    for radius in (5, 8, 12, 14):
        addition = planned(np.where(disk((30, 30), radius), 7, 0), disk((30, 30), 15))
        assert not addition.mask.inside.any() and addition.same == (7,) and not addition.paints


def test_what_lies_beside_an_object_is_added_without_what_they_share():
    labels = np.where(disk((30, 20), 12), 7, 0)
    addition = planned(labels, disk((30, 36), 12))
    assert np.array_equal(addition.mask.inside, disk((30, 36), 12) & (labels == 0)) and addition.others == (7,)
    assert addition.same == ()


def test_objects_in_whose_place_it_comes_go_as_a_whole():
    labels = np.where(disk((30, 30), 12), 7, 0)
    addition = planned(labels, disk((30, 38), 15), instead=(7,))
    (paint,) = addition.paints
    gone = np.zeros(labels.shape, bool)
    gone[paint.box] = paint.mask
    assert paint.number == 0 and np.array_equal(gone, labels == 7)
    assert np.array_equal(addition.mask.inside, disk((30, 38), 15))


def test_a_mask_between_objects_that_are_something_else_has_no_room():
    labels = np.zeros((60, 80), int)
    labels[:, :38], labels[:, 42:] = 3, 5
    addition = planned(labels, disk((30, 40), 15))
    assert not addition.mask.inside.any() and addition.same == () and set(addition.others) == {3, 5}


def test_of_objects_that_cross_those_stay_that_reach_out_of_the_box():
    labels = np.zeros((60, 80), int)
    labels[26:34, 10:50] = 3
    labels[5:58, 24:30] = 5
    mask = (labels > 0) & (np.mgrid[:60, :80][0] < 45) & (np.mgrid[:60, :80][0] > 9)
    origins = {3: "model", 5: "model"}
    around = Area(0, slice(24, 36), slice(8, 52))
    addition = planned(labels, mask, origins, accepted=True, drawn=around)
    assert addition.replaced == (3,) and addition.others == (5,) and not (addition.mask.inside & (labels == 5)).any()
    # a box around both is for both, such as the pieces of what the model took apart
    both = planned(labels, mask, origins, accepted=True, drawn=Area(0, slice(4, 59), slice(8, 52)))
    assert set(both.replaced) == {3, 5} and np.array_equal(both.mask.inside, mask)
    # alone it is what is meant, also if it is larger than the box
    alone = planned(np.where(labels == 5, 5, 0), mask & (labels == 5), origins, accepted=True, drawn=around)
    assert alone.replaced == (5,)
