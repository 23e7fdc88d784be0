"""Objects parted from a U-Net's classes, parted anew in the window: by keys, what a person did stays, back restores."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from segloop.samples import load_sample

PATIENCE = 120_000
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def parted(open_dock, qtbot, errors):
    """Some nuclei, segmented into objects with the bundled U-Net, in a window that is shown."""
    dock = open_dock(show=True)
    dock.session.choose_model("nuclei-unet")
    dock._viewer.add_image(np.asarray(load_sample("fluorescence").data)[:192, :256], name="nuclei")
    dock.segment.form.fields["instances"].editor.setChecked(True)
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert errors == []
    return dock


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.part_threshold_step._settled.isActive(), timeout=PATIENCE)


def table_is_true(layer):
    areas = np.bincount(layer.data.ravel())
    known = dict(zip(layer.features["index"], layer.features["area"]))
    return known == {number: int(areas[number]) for number in np.unique(layer.data).tolist() if number}


@pytest.mark.gui
def test_sliders_act_at_once_and_back(parted, qtbot, errors):
    dock = parted
    layer, panel = dock.correct_step.labels, dock.part_thresholds
    first = layer.data.copy()
    assert dock.session.origins[layer].classes == ("nucleus",) == tuple(layer.features["class"].unique())
    assert dock.correct.tools.classes.currentText() == "nucleus"
    assert panel.isVisible() and not dock.thresholds.isVisible() and not dock.class_threshold.isVisible()
    assert panel.values() == (0.5, pytest.approx(0.75, abs=0.005), dock.session.live_parts[layer].start.min_area)
    drawn = []
    dock.session.redrawn.connect(lambda where, blocks: drawn.append((where, blocks)))
    qtbot.keyClick(panel.foreground, Qt.Key.Key_Home)
    assert np.count_nonzero(layer.data) > np.count_nonzero(first)
    settle(qtbot, dock)
    ((where, (block,)),) = drawn
    again = first.copy()
    assert where is layer and np.array_equal(again[block.box], block.before)
    again[block.box] = block.after
    assert np.array_equal(again, layer.data) and table_is_true(layer)
    assert dock.session.origins[layer].provenance["thresholds"]["foreground"] == 0.05
    assert not layer._undo_history

    counts = {}
    qtbot.keyClick(panel.foreground, Qt.Key.Key_End)
    qtbot.mouseClick(panel.reset, LEFT)
    assert np.array_equal(layer.data, first)
    for key in (Qt.Key.Key_Home, Qt.Key.Key_End):
        qtbot.keyClick(panel.seeds, key)
        counts[key] = len(np.unique(layer.data)) - 1
        assert panel.count.text() == f"{counts[key]} objects of the model"
    assert counts[Qt.Key.Key_Home] < counts[Qt.Key.Key_End]
    qtbot.mouseClick(panel.reset, LEFT)
    assert np.array_equal(layer.data, first)
    settle(qtbot, dock)
    assert table_is_true(layer) and (layer.features["origin"] == "model").all()
    # nobody edited it: a new run takes its place
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert dock.correct_step.labels is layer and np.array_equal(layer.data, first)
    assert errors == []


@pytest.mark.gui
def test_what_a_person_did_stays(parted, qtbot, errors):
    dock = parted
    layer, panel = dock.correct_step.labels, dock.part_thresholds
    dock.tabs.setCurrentIndex(1)
    numbers = np.flatnonzero(np.bincount(layer.data.ravel())[1:] > 60)[:4] + 1
    confirmed, deleted, grown, other = numbers.tolist()
    for number, tool in ((confirmed, "confirm_object"), (deleted, "delete_object"), (grown, "grow")):
        layer.selected_label = number
        qtbot.mouseClick(dock.correct.tools.buttons[tool], LEFT)
    edited = layer.data.copy()
    assert not (edited == deleted).any()
    dock.tabs.setCurrentIndex(0)
    for slider in (panel.foreground, panel.seeds):
        for key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            qtbot.keyClick(slider, key)
            for number in (confirmed, grown):
                assert np.array_equal(layer.data == number, edited == number)
            assert not (layer.data == deleted).any()
            assert slider is panel.seeds or not np.array_equal(layer.data, edited)
        qtbot.mouseClick(panel.reset, LEFT)
        assert np.array_equal(layer.data, edited)
    settle(qtbot, dock)
    assert table_is_true(layer)
    origins = dict(zip(layer.features["index"], layer.features["origin"]))
    assert origins[confirmed] == "confirmed" and origins[grown] == "edited" and origins[other] == "model"
    assert errors == []


@pytest.mark.gui
def test_what_a_person_paints_right_after_a_move_is_kept(parted, qtbot, errors):
    dock, where = parted, (np.full(40, 2), np.arange(40))
    layer = dock.correct_step.labels
    qtbot.keyClick(dock.part_thresholds.foreground, Qt.Key.Key_Home)
    layer.data_setitem(where, 999)
    dock.session.ledgers[layer].flush()
    settle(qtbot, dock)
    assert table_is_true(layer) and layer.features.set_index("index").loc[999, "origin"] == "added"
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert dock.correct_step.labels is not layer and (layer.data[where] == 999).all() and errors == []
