"""Review next: through the real window, by keys on the canvas; and the pace."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.layers import Shapes
from qtpy.QtCore import Qt

from segloop._napari.pace import LONGEST, Pace
from segloop._napari.tour import Tour
from segloop.events import drain
from segloop.route import route_events

PATIENCE = 60_000

spec = importlib.util.spec_from_file_location("pointer", Path(__file__).with_name("pointer.py"))
pointer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pointer)


@pytest.fixture
def grid_labels():
    """Objects of 10 × 10 pixels, 40 apart; 7 has a hole, 12 is in pieces."""
    labels = np.zeros((200, 240), np.uint16)
    for number in range(20):
        row, column = divmod(number, 5)
        labels[15 + 45 * row : 25 + 45 * row, 15 + 45 * column : 25 + 45 * column] = number + 1
    labels[62:68, 62:68] = 0
    labels[108:111, 60:70] = 0
    return labels


@pytest.fixture
def touring(dock, grid_labels, errors):
    viewer = dock._viewer
    viewer.add_image(grid_labels > 0, name="cells", scale=(0.5, 0.5))
    viewer.add_labels(grid_labels.copy(), name="draft", scale=(0.5, 0.5))
    assert dock.correct.tour.next.isEnabled()
    assert not dock.correct.tour.right.isEnabled()
    return dock


@pytest.fixture
def press(qtbot, touring):
    """Press a key on the canvas, and wait until what it starts is done."""
    viewer = touring._viewer
    viewer.window.show()
    canvas = viewer.window._qt_viewer.canvas.native

    def do(key: Qt.Key) -> None:
        qtbot.keyClick(canvas, key)
        qtbot.waitUntil(lambda: touring.tour_step.job is None, timeout=PATIENCE)

    return do


def shown(dock):
    """What is on screen: first row, first column, end row, end column, in pixels of the labels."""
    camera, size = dock._viewer.scene.camera, np.asarray(dock._viewer.canvas.size)
    center, half = np.asarray(camera.center[-2:]) / 0.5, size / camera.zoom / 2 / 0.5
    return (*(center - half), *(center + half))


def test_a_key_goes_where_most_is_probably_wrong_and_says_why(press, touring, errors):
    press(Qt.Key.Key_J)
    panel, tour, layer = touring.correct.tour, touring.tour_step.tour, touring.tour_step.labels
    # of object 12 three rows of seven lie apart; of object 7, 36 pixels of 100 are a hole
    assert "Object 12: in pieces (43% lies apart)" in panel.why.text()
    assert touring._viewer.canvas.overlays.text.text.startswith("Object 12: in pieces")
    assert layer.selected_label == 12
    assert touring._viewer.layers.selection.active is layer
    region = tour.region
    assert region.rows.start <= 105 and region.rows.stop >= 115
    top, left, bottom, right = shown(touring)
    assert top < region.rows.start and bottom > region.rows.stop
    assert left < region.columns.start and right > region.columns.stop
    assert bottom - top < 200
    assert panel.bar.text() == f"0 of {tour.regions[1]} regions · 0 of 20 objects"

    press(Qt.Key.Key_J)
    assert "Object 7: holes (36% of it)" in panel.why.text()
    assert layer.selected_label == 7
    assert errors == []


def test_the_canvas_tells_of_it_only_while_its_panel_is_seen(press, touring, qtbot):
    press(Qt.Key.Key_J)
    overlay = touring._viewer.canvas.overlays.text
    # the key works wherever the layer is selected, and shows what it did
    assert touring.tabs.currentIndex() == 1 and overlay.visible
    layers = len(touring._viewer.layers)
    for other in (0, 2, 3):
        touring.tabs.setCurrentIndex(other)
        assert not overlay.visible and not overlay.text
        touring.tabs.setCurrentIndex(1)
        assert overlay.visible and overlay.text.startswith("Object 12")
    assert len(touring._viewer.layers) == layers


def test_objects_in_reviewed_regions_are_reviewed_in_the_table_and_edits_follow(press, touring, qtbot):
    layer = touring.tour_step.labels
    reviewed = lambda: set(layer.features["index"][layer.features["reviewed"].astype(bool)])  # noqa: E731
    press(Qt.Key.Key_J)
    press(Qt.Key.Key_K)
    qtbot.waitUntil(lambda: reviewed() == {12}, timeout=PATIENCE)
    mask = touring.review_step.reviewed()
    layer.brush_size = 1
    layer.paint(tuple(np.argwhere(mask & (layer.data == 0))[0]), 77)
    layer.paint(tuple(np.argwhere(~mask & (layer.data == 0))[0]), 78)
    qtbot.waitUntil(lambda: 78 in set(layer.features["index"]), timeout=PATIENCE)
    assert reviewed() == {12, 77}
    touring.correct.whole.click()
    assert reviewed() == set(layer.features["index"])
    touring.correct.whole.click()
    assert reviewed() == {12, 77}
    layer.undo()
    layer.undo()
    qtbot.waitUntil(lambda: 77 not in set(layer.features["index"]), timeout=PATIENCE)
    assert reviewed() == {12}
    qtbot.mouseClick(touring.correct.clear, Qt.MouseButton.LeftButton)
    assert reviewed() == set()


def test_region_is_right_marks_it_reviewed_and_goes_on(press, touring, qtbot, errors):
    press(Qt.Key.Key_J)
    region, before = touring.tour_step.tour.region, touring.tour_step.tour.current
    press(Qt.Key.Key_K)
    (shapes,) = [layer for layer in touring._viewer.layers if isinstance(layer, Shapes)]
    mask = touring.review_step.reviewed()
    expected = np.zeros((200, 240), bool)
    expected[region.rows, region.columns] = True
    np.testing.assert_array_equal(mask, expected)
    assert len(shapes.data) == 1
    assert touring.tour_step.tour.current != before
    assert touring.tour_step.tour.regions[0] == 1
    assert "Object 7" in touring.correct.tour.why.text()
    assert touring._viewer.layers.selection.active is touring.tour_step.labels
    qtbot.waitUntil(lambda: touring.correct.share.value() > 0, timeout=PATIENCE)


def test_to_the_end(press, touring, qtbot):
    press(Qt.Key.Key_J)
    count = touring.tour_step.tour.regions[1]
    for _ in range(count):
        press(Qt.Key.Key_K)
    panel = touring.correct.tour
    assert panel.why.text() == "Everything has been looked at."
    assert touring.review_step.reviewed().all()
    assert panel.bar.text() == f"{count} of {count} regions · 20 of 20 objects"
    assert not panel.right.isEnabled()
    assert not touring._viewer.canvas.overlays.text.visible
    qtbot.mouseClick(touring.correct.clear, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel.bar.value() == 0, timeout=PATIENCE)


def test_buttons_do_the_same(touring, qtbot):
    panel = touring.correct.tour
    qtbot.mouseClick(panel.next, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel.right.isEnabled(), timeout=PATIENCE)
    qtbot.mouseClick(panel.right, Qt.MouseButton.LeftButton)
    assert panel.bar.value() == 1
    assert panel.bar.maximum() > 5
    for _ in range(2):
        qtbot.mouseClick(panel.right, Qt.MouseButton.LeftButton)
    assert "left" in panel.bar.text()


def test_regions_drawn_by_hand_count(press, touring, qtbot):
    press(Qt.Key.Key_J)
    touring.correct.whole.click()
    assert touring.correct.tour.bar.value() == touring.correct.tour.bar.maximum()
    press(Qt.Key.Key_J)
    assert touring.correct.tour.why.text() == "Everything has been looked at."


def test_what_a_person_did_is_left_out_and_what_is_gone_too(press, touring):
    layer = touring.tour_step.labels
    layer.features = pd.DataFrame(
        {"index": [7, 12], "label": [7, 12], "class": "cell", "score": 0.9, "area": [64, 70], "origin": "edited"}
    )
    press(Qt.Key.Key_J)
    text = touring.correct.tour.why.text()
    assert "Object 12: in pieces" not in text and "Object 7: holes" not in text


def test_nothing_that_is_out_of_sight_stays_selected(press, touring, errors):
    layer, tools = touring.tour_step.labels, touring.correct_step.tools
    press(Qt.Key.Key_J)
    assert tools.numbers == [12]
    tools._more[3] = (0, 0)
    press(Qt.Key.Key_J)
    assert tools.numbers == [7]
    # regions of which everything was removed: a number that is free
    first = layer.data.copy()
    for _ in range(2):
        press(Qt.Key.Key_D)
        press(Qt.Key.Key_J)
    while touring.tour_step.tour.region.things and touring.tour_step.tour.gone(layer.data) == set():
        press(Qt.Key.Key_J)
    assert tools.numbers == [int(first.max()) + 1]
    before = layer.data.copy()
    press(Qt.Key.Key_D)
    assert np.array_equal(layer.data, before) and len(errors) == 1 and "no object 21" in errors[0]


@pytest.mark.gui
def test_what_was_rejected_is_not_asked_about_again(open_dock, qtbot, errors):
    dock = open_dock(show=True)
    dock._viewer.window.resize(1250, 900)
    dock._viewer.open_sample("napari-segloop", "large-nuclei")
    qtbot.mouseClick(dock.segment.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=5 * PATIENCE)
    dock.tabs.setCurrentIndex(1)
    layer, hand = dock.correct_step.labels, pointer.Hand(dock._viewer, qtbot)
    best = int(layer.features.sort_values("score")["index"].iloc[-1])
    inside = layer.data == best
    qtbot.mouseClick(dock.candidate_tools.pick, Qt.MouseButton.LeftButton)
    hand.click(layer, *np.argwhere(inside).mean(axis=0).round())
    assert not (layer.data == best).any() and f"Object {best}" in dock.status.text()

    def missing():
        qtbot.waitUntil(lambda: dock.tour_step.job is None and dock.tour_step.tour is not None, timeout=PATIENCE)
        doubts = dock.tour_step.tour.route.doubts
        boxes = doubts.boxes[doubts.labels == 0].tolist()
        return [inside[top:bottom, left:right].mean() for top, left, bottom, right in boxes]

    hand.key(Qt.Key.Key_J)
    assert all(share < 0.5 for share in missing())
    # taken back, it is a question again
    layer.undo()
    layer.data = np.where(inside, 0, layer.data)
    hand.key(Qt.Key.Key_J)
    assert any(share > 0.5 for share in missing()) and errors == []


def test_other_data_begin_anew(press, touring, grid_labels):
    press(Qt.Key.Key_J)
    press(Qt.Key.Key_K)
    touring.tour_step.labels.data = np.where(grid_labels == 12, 0, grid_labels)
    press(Qt.Key.Key_J)
    assert "Object 7" in touring.correct.tour.why.text()


def test_a_stack_is_scrolled_to_the_slice(dock, grid_labels, qtbot):
    viewer = dock._viewer
    stack = np.stack([np.where(grid_labels == 12, 0, grid_labels)] * 3 + [grid_labels])
    stack[:3][stack[:3] == 7] = 0
    viewer.add_image((stack > 0).astype(np.uint8), scale=(2, 1, 1))
    viewer.add_labels(stack, scale=(2, 1, 1))
    qtbot.mouseClick(dock.correct.tour.next, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.correct.tour.right.isEnabled(), timeout=PATIENCE)
    assert viewer.dims.current_step[0] == 3
    dock.tabs.setCurrentIndex(1)
    overlay = viewer.canvas.overlays.text
    assert overlay.visible and overlay.text.startswith("Object")
    viewer.dims.set_current_step(0, 1)
    assert not overlay.visible
    viewer.dims.set_current_step(0, 3)
    assert overlay.visible and overlay.text.startswith("Object")
    qtbot.mouseClick(dock.correct.tour.right, Qt.MouseButton.LeftButton)
    mask = dock.review_step.reviewed()
    assert mask[3].any() and not mask[:3].any()


def test_the_layer_is_removed_on_the_way(press, touring):
    press(Qt.Key.Key_J)
    touring._viewer.layers.clear()
    assert not touring.correct.tour.next.isEnabled()
    assert touring.correct.tour.bar.isHidden()
    assert not touring._viewer.canvas.overlays.text.visible


def test_what_somebody_else_wrote_on_the_canvas_stays(press, touring):
    overlay = touring._viewer.canvas.overlays.text
    overlay.text, overlay.visible = "mine", True
    press(Qt.Key.Key_J)
    assert overlay.text == "mine"


def test_things_that_are_gone(grid_labels):
    from napari.layers import Labels

    layer = Labels(grid_labels)
    tour = Tour(layer, drain(route_events(layer.data, None)))
    tour.advance()
    (worst, *_) = tour.region.things
    assert tour.gone(layer.data) == set()
    layer.data_setitem(np.nonzero(layer.data == 12), 0)
    assert tour.gone(layer.data) == {worst}
    assert "Object 12" not in tour.route.why(tour.region, tour.gone(layer.data))


def test_pace_is_the_median_and_forgives_coffee():
    now = [0.0]
    pace = Pace(lambda: now[0])
    for seconds in (4, 2, 10 * LONGEST):
        assert pace.left(5) == ""
        pace.start()
        now[0] += seconds
        pace.stop()
    assert pace.left(10) == "40 s"
    assert pace.left(0) == ""


def test_keys_are_free_in_napari(touring):
    from app_model.types import KeyBinding
    from napari.layers import Labels

    from segloop._napari.steps.tour import KEYS

    viewer, layer = touring._viewer, touring.tour_step.labels
    for key in KEYS:
        binding = KeyBinding.from_str(key)
        assert binding in layer.keymap
        assert not any(binding in keymap for keymap in (Labels.class_keymap, type(viewer).class_keymap, viewer.keymap))


def test_a_semantic_result_is_looked_at_where_the_model_hesitates(dock, blobs, qtbot, untrained, errors):
    dock.session.reload_models()
    dock._viewer.add_image(np.pad(blobs, 64))
    dock.session.choose_model(untrained)
    dock.segment_step.run()
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    layer = dock.tour_step.labels
    uncertain = 1 - dock.session.scores[layer].scores[0].max(axis=0) / 255
    qtbot.mouseClick(dock.correct.tour.next, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.correct.tour.right.isEnabled(), timeout=PATIENCE)
    tour = dock.tour_step.tour
    means = [uncertain[region.rows, region.columns].mean() for region in tour.route.regions]
    assert len(means) > 4
    np.testing.assert_allclose([region.expected for region in tour.route.regions], means, atol=1e-6)
    assert means == sorted(means, reverse=True)
    assert dock.correct.tour.why.text() == f"The model is not sure of the class of {means[0]:.0%} of these pixels"
    assert errors == []


def test_the_text_goes_when_the_person_looks_elsewhere(press, touring):
    press(Qt.Key.Key_J)
    camera, overlay = touring._viewer.scene.camera, touring._viewer.canvas.overlays.text
    assert overlay.visible
    camera.zoom = camera.zoom * 0.8
    assert overlay.visible
    touring._viewer.reset_view()
    camera.zoom = camera.zoom / 2
    assert not overlay.visible
    press(Qt.Key.Key_J)
    assert overlay.visible and overlay.text.startswith("Object 7")
    camera.center = (0, 1000, 1000)
    assert not overlay.visible
