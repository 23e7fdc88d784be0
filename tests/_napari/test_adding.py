"""Adding and removing objects on the canvas: candidates under the pointer, boxes and clicks that the model fills."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from segloop._napari.outlines import outline_segments
from segloop.catalog import Area, Mask

PATIENCE = 300_000
LEFT = Qt.MouseButton.LeftButton
NONE = Qt.MouseButton.NoButton


class Hand:
    """Points, clicks and drags on the canvas, at pixels of the image."""

    def __init__(self, qtbot, dock) -> None:
        self.qtbot, self.viewer = qtbot, dock._viewer
        self.canvas = self.viewer.window._qt_viewer.canvas.native

    def point(self, place) -> None:
        self._send(QEvent.Type.MouseMove, self._at(place), NONE)

    def click(self, place) -> None:
        self.drag(place, place)

    def drag(self, start, end) -> None:
        begin, stop = self._at(start), self._at(end)
        self._send(QEvent.Type.MouseMove, begin, NONE)
        self._send(QEvent.Type.MouseButtonPress, begin, LEFT)
        if begin != stop:
            for part in (0.3, 0.6, 1):
                self._send(QEvent.Type.MouseMove, begin + (stop - begin) * part, LEFT)
        self._send(QEvent.Type.MouseButtonRelease, stop, NONE)

    def _send(self, kind, at, held) -> None:
        button = NONE if kind == QEvent.Type.MouseMove else LEFT
        place, screen = QPointF(at), QPointF(self.canvas.mapToGlobal(at))
        QApplication.sendEvent(
            self.canvas, QMouseEvent(kind, place, screen, button, held, Qt.KeyboardModifier.NoModifier)
        )
        self.qtbot.wait(20)

    def _at(self, place) -> QPoint:
        _, center_y, center_x = self.viewer.scene.camera.center
        zoom = self.viewer.scene.camera.zoom / self.canvas.devicePixelRatioF()
        middle = self.canvas.rect().center()
        return QPoint(
            middle.x() + round((place[1] - center_x) * zoom), middle.y() + round((place[0] - center_y) * zoom)
        )


@pytest.fixture
def segmented(open_dock, qtbot, errors):
    """A real image, segmented with the bundled Mask R-CNN, and the Correct tab on top."""
    dock = open_dock(show=True)
    viewer = dock._viewer
    viewer.window.resize(1250, 900)
    viewer.open_sample("napari-segloop", "large-nuclei")
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    dock.tabs.setCurrentIndex(1)
    qtbot.wait(100)
    assert errors == []
    return dock


def inside(mask: Mask) -> tuple[int, int]:
    """A pixel well inside a mask."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask.inside, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row + mask.area.rows.start), int(column + mask.area.columns.start)


def raise_score(qtbot, dock) -> None:
    qtbot.keyClick(dock.thresholds.score, Qt.Key.Key_End)
    qtbot.waitUntil(lambda: not dock.threshold_step._settled.isActive(), timeout=PATIENCE)


@pytest.mark.gui
def test_what_is_pointed_at_is_outlined_and_a_click_adds_it(segmented, qtbot, errors):
    dock, hand = segmented, Hand(qtbot, segmented)
    layer, live = dock.correct_step.labels, dock.threshold_step.live
    first = layer.data.copy()
    raise_score(qtbot, dock)
    assert not layer.data.any()
    qtbot.mouseClick(dock.candidate_tools.pick, LEFT)
    assert dock.adding_step._picking.active

    number = int(np.argmax(live.live.candidates.scores))
    mask = live.live.catalog.mask(number)
    spot = inside(mask)
    hand.point(spot)
    assert dock.adding_step._outlines.shown
    assert "Click to add" in dock.status.text()
    hand.click(spot)
    label = int(layer.data[spot])
    assert label and np.array_equal(live.read(mask.area) == label, mask.inside)
    qtbot.waitUntil(lambda: label in set(layer.features["index"]), timeout=PATIENCE)
    row = layer.features.set_index("index").loc[label]
    assert row["origin"] == "confirmed" and row["score"] == pytest.approx(live.live.catalog.score(number))
    assert row["class"] == "nucleus" and row["area"] == mask.inside.sum()

    # sliders leave it alone, and it has the number that it had
    qtbot.mouseClick(dock.thresholds.reset, LEFT)
    assert (layer.data == label).sum() == mask.inside.sum()
    assert int(first[spot]) == label
    raise_score(qtbot, dock)
    assert np.array_equal(np.unique(layer.data), [0, label])
    # one step of undo
    layer.undo()
    assert not layer.data.any()
    layer.redo()
    assert (layer.data == label).sum() == mask.inside.sum()
    assert errors == []


@pytest.mark.gui
def test_a_click_on_an_object_of_the_model_removes_it_for_good(segmented, qtbot, errors):
    dock, hand = segmented, Hand(qtbot, segmented)
    layer, live = dock.correct_step.labels, dock.threshold_step.live
    first = layer.data.copy()
    qtbot.mouseClick(dock.candidate_tools.pick, LEFT)
    label = int(layer.features.sort_values("area")["index"].iloc[-1])
    spot = inside(Mask(Area(0, slice(0, 360), slice(0, 360)), layer.data == label))
    hand.point(spot)
    assert "Click to remove" in dock.status.text()
    hand.click(spot)
    assert not (layer.data == label).any()
    assert np.array_equal(layer.data[first != label], first[first != label])
    for key in (Qt.Key.Key_Home, Qt.Key.Key_End):
        qtbot.keyClick(dock.thresholds.score, key)
        assert not (layer.data == label).any()
    qtbot.mouseClick(dock.thresholds.reset, LEFT)
    layer.undo()
    assert np.array_equal(layer.data, first)
    # its score decides again
    raise_score(qtbot, dock)
    assert not layer.data.any()
    assert live.live.object_of(label) is not None and errors == []


@pytest.mark.gui
def test_own_objects_are_not_removed_by_a_click(segmented, qtbot, errors):
    dock, hand = segmented, Hand(qtbot, segmented)
    layer = dock.correct_step.labels
    new = int(layer.data.max()) + 1
    layer.data_setitem(np.nonzero(np.ones((30, 30))), new)
    qtbot.mouseClick(dock.candidate_tools.pick, LEFT)
    hand.click((15, 15))
    assert (layer.data == new).sum() == 900
    # another tool takes the mouse
    qtbot.keyClick(dock.correct.tools.buttons["toggle_merging"], Qt.Key.Key_Space)
    assert not dock.adding_step._picking.active and not dock.candidate_tools.pick.isChecked()
    assert errors == []


@pytest.mark.gui
def test_a_box_is_filled_by_the_model(segmented, qtbot, errors):
    dock, hand = segmented, Hand(qtbot, segmented)
    layer, live = dock.correct_step.labels, dock.threshold_step.live
    raise_score(qtbot, dock)
    number = int(np.argmax(live.live.candidates.scores))
    mask = live.live.catalog.mask(number)
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    qtbot.waitUntil(lambda: dock.adding_step.job is None, timeout=PATIENCE)
    assert "Draw a box" in dock.status.text()
    rows, columns = mask.area.rows, mask.area.columns
    hand.drag((rows.start, columns.start), (rows.stop - 1, columns.stop - 1))
    label = int(layer.data[inside(mask)])
    drawn = live.read(mask.area) == label
    assert label and (drawn & mask.inside).sum() / (drawn | mask.inside).sum() > 0.8
    qtbot.waitUntil(lambda: label in set(layer.features["index"]), timeout=PATIENCE)
    assert layer.features.set_index("index").loc[label, "origin"] == "added"
    layer.undo()
    assert not layer.data.any()

    # a click does as well
    hand.click(inside(mask))
    label = int(layer.data[inside(mask)])
    drawn = live.read(mask.area) == label
    assert label and (drawn & mask.inside).sum() / (drawn | mask.inside).sum() > 0.8
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    assert layer.mouse_pan and not dock.adding_step._boxing.active
    assert errors == []


@pytest.mark.gui
def test_boxes_are_filled_in_labels_from_elsewhere_too(open_dock, qtbot, errors):
    dock = open_dock(show=True)
    viewer = dock._viewer
    viewer.window.resize(1250, 900)
    (image,) = viewer.open_sample("napari-segloop", "large-nuclei")
    image.scale = (0.5, 0.5)
    layer = viewer.add_labels(np.zeros(image.data.shape, np.uint8), name="own", scale=(0.5, 0.5))
    viewer.reset_view()
    dock.tabs.setCurrentIndex(1)
    qtbot.wait(50)
    assert not dock.candidate_tools.pick.isEnabled()
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    qtbot.waitUntil(lambda: dock.adding_step.job is None, timeout=PATIENCE)
    from segloop.samples import load_reference

    reference = load_reference("large-nuclei").data
    label = int(np.bincount(reference.ravel())[1:].argmax()) + 1
    rows, columns = np.nonzero(reference == label)
    Hand(qtbot, dock).drag((rows.min() / 2, columns.min() / 2), (rows.max() / 2, columns.max() / 2))
    overlap = ((layer.data == 1) & (reference == label)).sum()
    assert overlap / ((layer.data == 1) | (reference == label)).sum() > 0.7
    assert errors == []
    # where there is nothing, it is said, and what to do instead
    from scipy import ndimage

    away = ndimage.distance_transform_edt(np.pad(reference == 0, 1))[1:-1, 1:-1]
    far = np.argwhere(away > away.max() / 2)
    for row, column in np.random.default_rng(0).permutation(far)[:20].tolist():
        before = layer.data.copy()
        Hand(qtbot, dock).click((row / 2, column / 2))
        if errors:
            break
    (said,) = errors
    assert np.array_equal(layer.data, before)
    assert said.startswith("nuclei-maskrcnn sees no object there; draw a box around it, or")
    assert "objects-maskrcnn" in said and not said.endswith("run it")


@pytest.mark.gui
def test_tools_that_cannot_start_say_why_and_are_not_left_on(segmented, qtbot, errors):
    dock = segmented
    dock._viewer.dims.ndisplay = 3
    for tool in (dock.candidate_tools.pick, dock.candidate_tools.prompt):
        qtbot.mouseClick(tool, LEFT)
        assert not tool.isChecked()
    assert len(errors) == 2 and all("2D view" in error for error in errors)
    assert not dock.adding_step._picking.active and not dock.adding_step._boxing.active


@pytest.mark.gui
def test_keys_begin_and_end_the_tools(segmented, qtbot, errors):
    dock = segmented
    step, canvas = dock.adding_step, dock._viewer.window._qt_viewer.canvas.native
    dock._viewer.layers.selection.active = dock.correct_step.labels

    def press(key):
        canvas.setFocus()
        qtbot.keyClick(canvas, key)

    press(Qt.Key.Key_Q)
    assert step._picking.active and dock.candidate_tools.pick.isChecked()
    press(Qt.Key.Key_Q)
    assert not step._picking.active and not dock.candidate_tools.pick.isChecked()
    press(Qt.Key.Key_R)
    qtbot.waitUntil(lambda: step.job is None, timeout=PATIENCE)
    assert step._boxing.active and dock.candidate_tools.prompt.isChecked()
    # one tool at a time has the mouse
    press(Qt.Key.Key_Q)
    assert step._picking.active and not step._boxing.active
    press(Qt.Key.Key_A)
    assert not step._picking.active and dock.correct.tools.buttons["toggle_outlining"].isChecked()
    press(Qt.Key.Key_R)
    assert step._boxing.active and not dock.correct.tools.buttons["toggle_outlining"].isChecked()
    press(Qt.Key.Key_R)
    assert not step._boxing.active and errors == []


@pytest.mark.gui
def test_overlaps_are_outlined_on_demand(segmented, qtbot, errors):
    dock = segmented
    qtbot.mouseClick(dock.candidate_tools.overlaps, LEFT)
    parts = dock.threshold_step.live.overlaps()
    assert dock.overlap_step._under.shown == bool(parts)
    assert "overlap" in dock.status.text() or "under others" in dock.status.text()
    qtbot.mouseClick(dock.candidate_tools.overlaps, LEFT)
    assert not dock.overlap_step._under.shown and errors == []


@pytest.mark.gui
def test_overlapping_objects_are_exported_whole(segmented, qtbot, tmp_path, errors):
    dock = segmented
    live = dock.threshold_step.live
    qtbot.keyClick(dock.thresholds.overlap, Qt.Key.Key_End)
    qtbot.keyClick(dock.thresholds.score, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: not dock.threshold_step._settled.isActive(), timeout=PATIENCE)
    parts = {part.label: part.mask for part in live.overlaps()}
    assert parts
    path = tmp_path / "nuclei.json"
    dock.tabs.setCurrentIndex(3)
    dock.export.path.selectAll()
    qtbot.keyClicks(dock.export.path, str(path))
    qtbot.mouseClick(dock.export.export, LEFT)
    qtbot.waitUntil(lambda: dock.export_step.job is None and path.is_file(), timeout=PATIENCE)
    notes = {note["label"]: note for note in json.loads(path.read_text())["annotations"]}
    assert {label for label, note in notes.items() if "hidden" in note} == set(parts)
    for label, mask in parts.items():
        whole = live.live.catalog.mask(live.live.object_of(label))
        drawn = coco.decode(notes[label]["segmentation"]).astype(bool)[whole.area.rows, whole.area.columns]
        assert np.array_equal(drawn, whole.inside) and notes[label]["hidden"] == mask.inside.sum()
    assert errors == []


def test_outlines_run_along_the_borders_of_pixels():
    mask = Mask(Area(0, slice(2, 4), slice(5, 6)), np.array([[True], [True]]))
    segments = {tuple(sorted(map(tuple, line))) for line in outline_segments(mask).tolist()}
    assert segments == {
        ((1.5, 4.5), (1.5, 5.5)),
        ((3.5, 4.5), (3.5, 5.5)),
        ((1.5, 4.5), (2.5, 4.5)),
        ((2.5, 4.5), (3.5, 4.5)),
        ((1.5, 5.5), (2.5, 5.5)),
        ((2.5, 5.5), (3.5, 5.5)),
    }


@pytest.mark.gui
def test_a_second_box_on_the_same_thing_draws_it_anew(segmented, qtbot, errors):
    dock, hand = segmented, Hand(qtbot, segmented)
    layer, live = dock.correct_step.labels, dock.threshold_step.live
    raise_score(qtbot, dock)
    mask = live.live.catalog.mask(int(np.argmax(live.live.candidates.scores)))
    (top, bottom), (left, right) = ((side.start, side.stop) for side in (mask.area.rows, mask.area.columns))
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    qtbot.waitUntil(lambda: dock.adding_step.job is None, timeout=PATIENCE)
    hand.drag((top + 3, left + 3), (bottom - 5, right - 5))
    label, first = int(layer.data[inside(mask)]), layer.data.copy()
    hand.drag((top, left), (bottom - 1, right - 1))
    assert np.unique(layer.data).tolist() == [0, label] and not np.array_equal(layer.data, first)
    drawn = live.read(mask.area) == label
    assert (drawn & mask.inside).sum() / (drawn | mask.inside).sum() > 0.8
    assert "anew" in dock.status.text()
    # one step of undo, and what was changed by hand since stays
    layer.undo()
    assert np.array_equal(layer.data, first)
    layer.data_setitem(tuple(np.array(inside(mask))[:, None]), 0)
    hand.drag((top, left), (bottom - 1, right - 1))
    assert (layer.data == label).sum() == (first == label).sum() - 1 and errors == []


@pytest.mark.gui
def test_an_object_of_too_few_pixels_is_not_added(segmented, qtbot, errors):
    dock, hand = segmented, Hand(qtbot, segmented)
    layer, live = dock.correct_step.labels, dock.threshold_step.live
    raise_score(qtbot, dock)
    mask = live.live.catalog.mask(int(np.argmax(live.live.candidates.scores)))
    dock.thresholds.min_area.setValue(dock.thresholds.min_area.maximum())
    least = live.live.thresholds.min_area
    assert least > mask.inside.sum() / 4
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    qtbot.waitUntil(lambda: dock.adding_step.job is None, timeout=PATIENCE)
    row, column = inside(mask)
    hand.drag((row - 4, column - 4), (row + 4, column + 4))
    assert not layer.data.any() and f"smallest area of {least}" in errors[0]


@pytest.mark.gui
def test_what_was_drawn_while_the_model_looked_goes_with_the_tool(segmented, qtbot, errors):
    dock, hand = segmented, Hand(qtbot, segmented)
    layer, live = dock.correct_step.labels, dock.threshold_step.live
    raise_score(qtbot, dock)
    mask = live.live.catalog.mask(int(np.argmax(live.live.candidates.scores)))
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    dock.adding_step._on_box(np.array([inside(mask)] * 2, float))
    assert dock.adding_step.job is not None and dock.adding_step.looking.is_waited_for
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    assert not dock.adding_step._boxing.active
    qtbot.waitUntil(lambda: dock.adding_step.job is None, timeout=PATIENCE)
    assert not layer.data.any() and errors == []
    # what the model saw is kept
    qtbot.mouseClick(dock.candidate_tools.prompt, LEFT)
    hand.click(inside(mask))
    assert layer.data[inside(mask)] and errors == []
