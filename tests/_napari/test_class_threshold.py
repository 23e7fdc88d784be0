"""The class threshold through the window: moved by keys, what a person did stays, moving back restores."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from segloop._napari.live_strip_layer import LiveStripLayer
from segloop.samples import load_sample

PATIENCE = 120_000
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(params=["at once", "strip by strip"])
def segmented(request, open_dock, qtbot, errors, monkeypatch):
    """Some nuclei, segmented with the bundled U-Net, in a window that is shown; as small, and as large images are."""
    if request.param == "strip by strip":
        monkeypatch.setattr("segloop._napari.work.AT_ONCE", 0)
        monkeypatch.setattr("segloop.candidates.STRIP", 5 * 128)
        monkeypatch.setattr("segloop._napari.steps.classes.AT_ONCE", 0)
        monkeypatch.setattr("segloop._napari.steps.classes.A_WHILE", 0)
    dock = open_dock(show=True)
    dock.session.choose_model("nuclei-unet")
    dock._viewer.add_image(np.asarray(load_sample("fluorescence").data)[:96, :128], name="nuclei")
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert errors == []
    return dock


def press(qtbot, dock, key):
    qtbot.keyClick(dock.class_threshold.threshold, key)
    drawn(qtbot, dock)


def drawn(qtbot, dock):
    """Wait until the threshold acts on the whole layer."""
    live = dock.class_threshold_step.live
    qtbot.waitUntil(lambda: not (isinstance(live, LiveStripLayer) and live.live.is_due), timeout=PATIENCE)


def settle(qtbot, dock):
    step = dock.class_threshold_step
    qtbot.waitUntil(lambda: not step._settled.isActive() and step._rest_of_it is None, timeout=PATIENCE)


def put_back(qtbot, dock):
    qtbot.mouseClick(dock.class_threshold.reset, LEFT)
    drawn(qtbot, dock)


@pytest.mark.gui
def test_the_slider_acts_at_once_and_back(segmented, qtbot, errors):
    dock = segmented
    layer = dock.correct_step.labels
    first = layer.data.copy()
    assert dock.class_threshold.isVisible() and not dock.thresholds.isVisible()
    told = []
    dock.session.redrawn.connect(lambda where, blocks: told.extend((where, block) for block in blocks))
    press(qtbot, dock, Qt.Key.Key_Home)
    assert ((layer.data > 0) > (first > 0)).any() and (layer.data[first > 0] == first[first > 0]).all()
    assert dock.class_threshold.count.text().startswith(f"{(layer.data > 0).mean():.1%}")
    settle(qtbot, dock)
    again = first.copy()
    for where, block in told:
        assert where is layer and np.array_equal(again[block.box], block.before)
        again[block.box] = block.after
    assert told and np.array_equal(again, layer.data)
    assert layer.features["area"].tolist() == np.bincount(layer.data.ravel(), minlength=3)[1:].tolist()
    assert dock.session.origins[layer].provenance["thresholds"]["class"] < 0.1
    assert not layer._undo_history

    press(qtbot, dock, Qt.Key.Key_End)
    assert np.count_nonzero(layer.data) < np.count_nonzero(first)
    put_back(qtbot, dock)
    assert np.array_equal(layer.data, first)
    settle(qtbot, dock)
    assert dock.class_threshold.threshold.value() == 50
    # nobody edited it: a new run takes its place
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert dock.correct_step.labels is layer and np.array_equal(layer.data, first)
    assert errors == []


@pytest.mark.gui
def test_what_a_person_painted_stays_and_can_be_undone(segmented, qtbot, errors):
    dock = segmented
    layer = dock.correct_step.labels
    first = layer.data.copy()
    # as the model has it, or not: both were said by a person
    ours = np.zeros(first.shape, bool)
    ours[10:30, 10:40] = ours[50:70, 10:40] = True
    layer.data_setitem(np.nonzero(np.where(ours, np.arange(96)[:, None] < 40, False)), 1)
    layer.data_setitem(np.nonzero(np.where(ours, np.arange(96)[:, None] > 40, False)), 0)
    edited = layer.data.copy()
    said = ours & (edited != first)
    for key in (Qt.Key.Key_End, Qt.Key.Key_Home):
        press(qtbot, dock, key)
        assert np.array_equal(layer.data[said], edited[said])
        assert not np.array_equal(layer.data, edited)
    settle(qtbot, dock)
    assert layer.features["area"].tolist() == np.bincount(layer.data.ravel(), minlength=3)[1:].tolist()
    everywhere = layer.data.copy()
    put_back(qtbot, dock)
    assert np.array_equal(layer.data, edited)
    settle(qtbot, dock)
    layer.undo()
    layer.undo()
    assert np.array_equal(layer.data, first)
    # what was undone is the model's again
    press(qtbot, dock, Qt.Key.Key_Home)
    assert np.array_equal(layer.data[~ours], everywhere[~ours])
    assert np.array_equal(layer.data[first > 0], first[first > 0])
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
        press(qtbot, dock, key)
        assert np.array_equal(layer.data, first)
    assert errors == []


@pytest.mark.gui
def test_one_kind_of_sliders_at_a_time(segmented, qtbot, errors):
    dock = segmented
    classes = dock.correct_step.labels
    dock.session.choose_model("nuclei-maskrcnn")
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    layers = dock._viewer.layers
    objects = next(layer for layer in layers if layer in dock.session.live)
    for active, seen in ((objects, objects), (classes, classes), (layers["nuclei"], classes), (objects, objects)):
        layers.selection.active = active
        assert dock.thresholds.isVisible() == (seen is objects)
        assert dock.class_threshold.isVisible() == (seen is classes)
    assert errors == []


@pytest.fixture
def time_lapse(open_dock, qtbot, errors, monkeypatch):
    """Four times of the same nuclei, moved, whose scores are kept in a file; the third time is on screen."""
    monkeypatch.setattr("segloop._napari.work.AT_ONCE", 0)
    monkeypatch.setattr("segloop.candidates.STRIP", 20 * 128)
    monkeypatch.setattr("segloop.canvas.LARGE", 100_000)
    monkeypatch.setattr("segloop._napari.steps.classes.AT_ONCE", 0)
    dock = open_dock(show=True)
    dock.session.choose_model("nuclei-unet")
    image = np.asarray(load_sample("fluorescence").data)[:96, :128]
    times = np.stack([np.roll(image, 9 * n, 0) for n in range(4)])
    dock._viewer.add_image(times, name="times", axis_labels=("t", "y", "x"))
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert errors == []
    dock._viewer.dims.set_point(0, 2)
    return dock


@pytest.mark.gui
def test_what_is_on_screen_follows_first(time_lapse, qtbot, errors):
    dock = time_lapse
    layer = dock.correct_step.labels
    live = dock.session.live_classes[layer]
    assert isinstance(live, LiveStripLayer) and not dock.session.scores[layer].in_memory
    first = layer.data.copy()
    sent = []
    layer.events.labels_update.connect(lambda event: sent.append(event.offset))
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_Home)
    # one strip at least was drawn before the key was done, of the time on screen
    changed = (layer.data != first).any(axis=(1, 2))
    assert changed.tolist() == [False, False, True, False] and sent
    assert "% done" in dock.class_threshold.count.text()
    # a person paints what was not drawn yet
    spot = (np.zeros(5, int), np.arange(5), np.arange(5))
    layer.data_setitem(spot, 2)
    drawn(qtbot, dock)
    settle(qtbot, dock)
    assert (layer.data != first).any(axis=(1, 2)).all() and (layer.data[spot] == 2).all()
    assert len(sent) < 10 and np.array_equal(layer._slice.image.raw, layer.data[2])
    assert layer.features["area"].tolist() == np.bincount(layer.data.ravel(), minlength=3)[1:].tolist()
    assert f"{(layer.data > 0).mean():.1%}" in dock.class_threshold.count.text()
    assert dock.session.origins[layer].provenance["thresholds"]["class"] < 0.1
    put_back(qtbot, dock)
    settle(qtbot, dock)
    layer.undo()
    assert np.array_equal(layer.data, first) and errors == []


@pytest.mark.gui
def test_another_layer_does_not_leave_it_half_done(time_lapse, qtbot, errors):
    dock = time_lapse
    layer = dock.correct_step.labels
    first = layer.data.copy()
    press(qtbot, dock, Qt.Key.Key_Home)
    settle(qtbot, dock)
    whole = layer.data.copy()
    put_back(qtbot, dock)
    settle(qtbot, dock)
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_Home)
    assert not np.array_equal(layer.data, whole)
    dock._viewer.layers.remove(layer)
    assert np.array_equal(layer.data, whole) and not np.array_equal(first, whole) and errors == []
