"""The class threshold through the window: moved by keys, what a person did stays, moving back restores."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from segloop.samples import load_sample

PATIENCE = 120_000
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def segmented(open_dock, qtbot, errors):
    """Some nuclei, segmented with the bundled U-Net, in a window that is shown."""
    dock = open_dock(show=True)
    dock.session.choose_model("nuclei-unet")
    dock._viewer.add_image(np.asarray(load_sample("fluorescence").data)[:96, :128], name="nuclei")
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert errors == []
    return dock


def press(qtbot, dock, key):
    qtbot.keyClick(dock.class_threshold.threshold, key)


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.class_threshold_step._settled.isActive(), timeout=PATIENCE)


@pytest.mark.gui
def test_the_slider_acts_at_once_and_back(segmented, qtbot, errors):
    dock = segmented
    layer = dock.correct_step.labels
    first = layer.data.copy()
    assert dock.class_threshold.isVisible() and not dock.thresholds.isVisible()
    drawn = []
    dock.session.redrawn.connect(lambda where, blocks: drawn.append((where, blocks)))
    press(qtbot, dock, Qt.Key.Key_Home)
    assert ((layer.data > 0) > (first > 0)).any() and (layer.data[first > 0] == first[first > 0]).all()
    assert dock.class_threshold.count.text().startswith(f"{(layer.data > 0).mean():.1%}")
    settle(qtbot, dock)
    ((where, (block,)),) = drawn
    assert where is layer
    again = first.copy()
    assert np.array_equal(again[block.box], block.before)
    again[block.box] = block.after
    assert np.array_equal(again, layer.data)
    assert layer.features["area"].tolist() == np.bincount(layer.data.ravel(), minlength=3)[1:].tolist()
    assert dock.session.origins[layer].provenance["thresholds"]["class"] < 0.1
    assert not layer._undo_history

    press(qtbot, dock, Qt.Key.Key_End)
    assert np.count_nonzero(layer.data) < np.count_nonzero(first)
    qtbot.mouseClick(dock.class_threshold.reset, LEFT)
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
    qtbot.mouseClick(dock.class_threshold.reset, LEFT)
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
