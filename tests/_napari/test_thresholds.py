"""Thresholds through the window: sliders moved by keys and mouse, what a person did stays, moving back restores."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

PATIENCE = 120_000
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def segmented(open_dock, qtbot, errors):
    """A real image, segmented with the bundled Mask R-CNN, in a window that is shown."""
    dock = open_dock(show=True)
    viewer = dock._viewer
    viewer.window.resize(1200, 850)
    viewer.open_sample("napari-segloop", "large-nuclei")
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert errors == []
    return dock


def press(qtbot, slider, key, times=1):
    for _ in range(times):
        qtbot.keyClick(slider, key)


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.threshold_step._settled.isActive(), timeout=PATIENCE)


@pytest.mark.gui
def test_sliders_act_at_once_and_back(segmented, qtbot, errors):
    dock = segmented
    layer = dock.correct_step.labels
    first, table = layer.data.copy(), layer.features.copy()
    panel = dock.thresholds
    assert panel.isVisible() and panel.score.isEnabled()
    drawn = []
    dock.session.redrawn.connect(lambda where, blocks: drawn.append((where, blocks)))

    press(qtbot, panel.score, Qt.Key.Key_Home)
    more = layer.data.copy()
    assert len(np.unique(more)) > len(np.unique(first))
    # where objects were, they still are, under their numbers
    assert (more[first > 0] == first[first > 0]).mean() > 0.99
    settle(qtbot, dock)
    areas = np.bincount(layer.data.ravel())
    rows = layer.features.set_index("index")
    assert dict(rows["area"]) == {n: a for n, a in enumerate(areas) if n and a}
    assert set(rows["origin"]) == {"model"} and rows["score"].min() < table["score"].min()
    ((where, blocks),) = drawn
    assert where is layer
    again = first.copy()
    for block in blocks:
        assert np.array_equal(again[block.box], block.before)
        again[block.box] = block.after
    assert np.array_equal(again, layer.data)
    # a new run may replace it: nobody edited it
    assert dock.session.origins[layer].provenance["thresholds"]["score"] < 0.1
    assert not layer._undo_history

    qtbot.mouseClick(panel.reset, LEFT)
    assert np.array_equal(layer.data, first)
    settle(qtbot, dock)
    assert layer.features.equals(table[layer.features.columns].astype(layer.features.dtypes.to_dict()))
    assert errors == []


@pytest.mark.gui
def test_dragging_the_slider_with_the_mouse(segmented, qtbot):
    dock = segmented
    layer, slider = dock.correct_step.labels, dock.thresholds.score
    before = len(np.unique(layer.data))
    place = slider.style().sliderPositionFromValue(slider.minimum(), slider.maximum(), slider.value(), slider.width())
    qtbot.mousePress(slider, LEFT, pos=QPoint(place, slider.height() // 2))
    for step in range(1, 6):
        qtbot.mouseMove(slider, QPoint(place + (slider.width() - place) * step // 5, slider.height() // 2))
        qtbot.wait(10)
    qtbot.mouseRelease(slider, LEFT, pos=QPoint(slider.width() - 1, slider.height() // 2))
    assert slider.value() > 80
    assert len(np.unique(layer.data)) < before


@pytest.mark.gui
def test_what_a_person_did_stays_and_can_be_undone(segmented, qtbot, errors):
    dock = segmented
    layer, panel = dock.correct_step.labels, dock.thresholds
    first = layer.data.copy()
    label = int(layer.features.sort_values("score")["index"].iloc[0])
    rows, columns = np.nonzero(layer.data == label)
    # half of the least sure object is erased, a new one is painted in the corner
    half = rows < np.median(rows)
    layer.data_setitem((rows[half], columns[half]), 0)
    new = int(layer.data.max()) + 1
    corner = np.nonzero(first[:12, :12] == 0)
    layer.data_setitem(corner, new)
    edited = layer.data.copy()

    press(qtbot, panel.score, Qt.Key.Key_End)
    assert set(np.unique(layer.data)) == {0, label, new}
    for number in (label, new):
        assert np.array_equal(layer.data == number, edited == number)
    settle(qtbot, dock)
    table = layer.features.set_index("index")
    assert set(table.index) == {label, new} and "model" not in set(table["origin"])

    press(qtbot, panel.score, Qt.Key.Key_Home)
    assert len(np.unique(layer.data)) > len(np.unique(first))
    for number in (label, new):
        assert np.array_equal(layer.data == number, edited == number)
    qtbot.mouseClick(panel.reset, LEFT)
    assert np.array_equal(layer.data, edited)
    # undo knows of the person's edits only, and finds everything as it was
    layer.undo()
    layer.undo()
    assert np.array_equal(layer.data, first)
    layer.redo()
    assert (layer.data == label).sum() == (~half).sum()
    assert errors == []


@pytest.mark.gui
def test_reviewed_layers_stay_as_they_are(segmented, qtbot, errors):
    dock = segmented
    layer = dock.correct_step.labels
    first = layer.data.copy()
    dock.tabs.setCurrentIndex(1)
    qtbot.mouseClick(dock.correct.whole, LEFT, pos=QPoint(8, dock.correct.whole.height() // 2))
    assert layer in dock.session.wholly_reviewed
    dock.tabs.setCurrentIndex(0)
    for key in (Qt.Key.Key_Home, Qt.Key.Key_End):
        press(qtbot, dock.thresholds.score, key)
        assert np.array_equal(layer.data, first)
    assert errors == []


@pytest.mark.gui
def test_sliders_follow_the_layer_and_leave_with_it(segmented, qtbot):
    dock = segmented
    viewer, layer = dock._viewer, dock.correct_step.labels
    viewer.add_labels(np.zeros((20, 20), np.uint8), name="own")
    assert dock.threshold_step.live.layer is layer
    viewer.layers.remove(layer)
    assert dock.threshold_step.live is None and dock.thresholds.isHidden()


@pytest.mark.gui
def test_a_new_run_replaces_what_only_thresholds_changed(segmented, qtbot, errors):
    dock = segmented
    layer = dock.correct_step.labels
    first = layer.data.copy()
    press(qtbot, dock.thresholds.score, Qt.Key.Key_Home)
    settle(qtbot, dock)
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert dock.correct_step.labels is layer and np.array_equal(layer.data, first)
    assert dock.thresholds.score.value() == round(100 * dock.threshold_step.live.start.score)
    assert errors == []


@pytest.mark.gui
def test_deleted_objects_are_not_counted_as_shown(segmented, qtbot, errors):
    dock = segmented
    layer, text = dock.correct_step.labels, dock.thresholds.count.text
    first = text()
    count = int(first.split()[0])
    layer.selected_label = int(layer.features["index"].iloc[0])
    dock.correct_step.tools.delete_object()
    fewer = first.replace(str(count), str(count - 1), 1)
    qtbot.waitUntil(lambda: text() == fewer, timeout=PATIENCE)
    press(qtbot, dock.thresholds.overlap, Qt.Key.Key_Right)
    qtbot.mouseClick(dock.thresholds.reset, LEFT)
    assert text() == fewer
    layer.undo()
    qtbot.waitUntil(lambda: text() == first, timeout=PATIENCE)
    assert errors == []


@pytest.mark.gui
def test_what_the_brush_takes_away_is_counted_at_once(segmented, qtbot, errors):
    dock = segmented
    layer, text = dock.correct_step.labels, dock.thresholds.count.text
    first = text()
    count = int(first.split()[0])
    number = int(layer.features["index"].iloc[0])
    rows, columns = np.nonzero(layer.data == number)
    layer.brush_size = 2 * int(max(np.ptp(rows), np.ptp(columns))) + 3
    layer.paint((int(rows.mean()), int(columns.mean())), 0)
    left = len(np.unique(layer.data)) - 1
    assert left < count and number not in layer.data
    qtbot.waitUntil(lambda: text() == first.replace(str(count), str(left), 1), timeout=PATIENCE)
    layer.undo()
    qtbot.waitUntil(lambda: text() == first, timeout=PATIENCE)
    assert errors == []


@pytest.mark.gui
def test_nothing_is_packed_away_between_two_moves(segmented, qtbot):
    step, panel = segmented.threshold_step, segmented.thresholds
    press(qtbot, panel.score, Qt.Key.Key_Right)
    settle(qtbot, segmented)
    assert step._rested.isActive()
    press(qtbot, panel.score, Qt.Key.Key_Right)
    assert step._settled.isActive() and not step._rested.isActive()
    settle(qtbot, segmented)
    assert step._rested.isActive()


@pytest.mark.gui
def test_edits_after_the_dock_was_closed(segmented, qtbot, errors):
    viewer, layer = segmented._viewer, segmented.correct_step.labels
    first = layer.data.copy()
    layer.paint((5, 5), 1)
    layer.undo()
    segmented.review_step.add_region()
    regions = segmented.session.region_layer(layer)
    regions.events.data.connect(segmented.restore_step._on_regions)
    with qtbot.waitSignal(segmented.destroyed):
        segmented.parentWidget().destroyOnClose()
    # at once: what was not collected yet is not to hear of it
    layer.fill((0, 0), 300)
    assert layer.data[0, 0] == 300
    layer.undo()
    layer.features = layer.features.copy()
    regions.add_rectangles(np.array([[0, 0], [9, 9]]))
    assert np.array_equal(layer.data, first)
    assert layer in viewer.layers and errors == []


@pytest.mark.gui
def test_sliders_say_whose_they_are(segmented, qtbot):
    layer = segmented.correct_step.labels
    assert segmented.thresholds.heading.text() == f"What is shown of “{layer.name}”"
    layer.name = "mine"
    assert segmented.thresholds.heading.text() == "What is shown of “mine”"


@pytest.mark.gui
def test_a_dock_that_is_opened_again_knows_the_results(segmented, qtbot, errors):
    viewer, layer = segmented._viewer, segmented.correct_step.labels
    press(qtbot, segmented.thresholds.score, Qt.Key.Key_Right, 10)
    settle(qtbot, segmented)
    shown, places = segmented.thresholds.count.text(), segmented.thresholds.values()
    segmented.review_step.vouch((), slice(0, 20), slice(0, 20))
    share, regions = segmented.correct.share.value(), segmented.session.region_layer(layer)
    kept = int(layer.features["index"].iloc[-1])
    with qtbot.waitSignal(segmented.destroyed):
        segmented.parentWidget().destroyOnClose()
    # while there is no dock
    rows, columns = np.nonzero(layer.data == kept)
    layer.data_setitem((rows[:3], columns[:3]), 0)
    edited = layer.data == kept

    _, again = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    qtbot.waitUntil(lambda: again.segment.form is not None, timeout=PATIENCE)
    assert again.correct_step.labels is layer and again.correct_step.origin.classes == ("nucleus",)
    assert not again.thresholds.isHidden() and again.without_thresholds.isHidden()
    assert again.thresholds.values() == places and again.thresholds.count.text() == shown
    assert again.candidate_tools.pick.isEnabled() and again.candidate_tools.overlaps.isEnabled()
    assert again.session.region_layer(layer) is regions
    press(qtbot, again.thresholds.score, Qt.Key.Key_Home)
    settle(qtbot, again)
    assert again.thresholds.count.text() != shown and np.array_equal(layer.data == kept, edited)
    press(qtbot, again.thresholds.score, Qt.Key.Key_End)
    settle(qtbot, again)
    # all are hidden but the one that a person edited, and those in the region
    assert np.array_equal(layer.data == kept, edited)
    regions.add_rectangles(np.array([[0, 0], [99, 99]]))
    qtbot.waitUntil(lambda: again.correct.share.value() != share, timeout=PATIENCE)
    qtbot.mouseClick(again.segment.run, LEFT)
    qtbot.waitUntil(lambda: again.segment_step.job is None, timeout=PATIENCE)
    assert not layer.visible and len(again.session.live) == 2 and errors == []


@pytest.mark.gui
def test_tools_that_need_candidates_say_why_they_cannot_be_used(segmented):
    viewer, tools = segmented._viewer, segmented.candidate_tools
    assert "outlined" in tools.pick.toolTip()
    viewer.add_labels(np.zeros((512, 512), np.uint8), name="elsewhere")
    assert not tools.pick.isEnabled() and not tools.overlaps.isEnabled()
    assert "not known" in tools.pick.toolTip() and "not known" in tools.overlaps.toolTip()
    viewer.layers.selection.active = next(iter(segmented.session.live))
    assert "outlined" in tools.pick.toolTip()
