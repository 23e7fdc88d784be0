"""The class threshold through the window: moved by keys, what a person did stays, moving back restores."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QEvent, QObject, QPoint, Qt
from qtpy.QtWidgets import QApplication

from segloop._napari import features
from segloop._napari.live_strip_layer import LiveStripLayer
from segloop._napari.writers import write_labels
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


def move_and_stop(dock, qtbot, monkeypatch):
    """Move the slider; the layer, half of which followed, and its data before and when all is drawn."""
    layer = dock.correct_step.labels
    first = layer.data.copy()
    press(qtbot, dock, Qt.Key.Key_Home)
    settle(qtbot, dock)
    whole = layer.data.copy()
    put_back(qtbot, dock)
    settle(qtbot, dock)
    assert np.array_equal(layer.data, first)
    monkeypatch.setattr("segloop._napari.steps.classes.A_WHILE", 0)
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_Home)
    assert not np.array_equal(layer.data, whole) and not np.array_equal(layer.data, first)
    return layer, first, whole


@pytest.mark.gui
def test_it_goes_on_while_another_layer_is_looked_at(time_lapse, qtbot, errors, monkeypatch):
    dock = time_lapse
    layer, _first, whole = move_and_stop(dock, qtbot, monkeypatch)
    # as for a layer that has sliders of another kind
    dock.class_threshold_step._use(None)
    # nobody waits for the rest
    assert not np.array_equal(layer.data, whole)
    settle(qtbot, dock)
    assert np.array_equal(layer.data, whole) and errors == []
    assert dock.session.origins[layer].provenance["thresholds"]["class"] < 0.1


@pytest.mark.gui
def test_a_layer_that_is_removed_is_let_go_until_it_is_back(time_lapse, qtbot, errors, monkeypatch):
    dock = time_lapse
    layer, _first, whole = move_and_stop(dock, qtbot, monkeypatch)
    dock._viewer.layers.remove(layer)
    settle(qtbot, dock)
    assert not np.array_equal(layer.data, whole) and not dock.class_threshold_step._moving
    dock._viewer.add_layer(layer)
    settle(qtbot, dock)
    assert np.array_equal(layer.data, whole) and errors == []


@pytest.mark.gui
def test_a_stroke_that_is_going_on_is_not_drawn_over(time_lapse, qtbot, errors, monkeypatch):
    dock = time_lapse
    layer, first, whole = move_and_stop(dock, qtbot, monkeypatch)
    spot = tuple(np.argwhere((layer.data == first) & (first != whole))[::97].T)
    with layer.block_history():
        # as napari paints while the mouse is down
        layer.data_setitem(spot, 2)
        at = layer.data.copy()
        qtbot.wait(400)
        assert np.array_equal(layer.data, at)
    settle(qtbot, dock)
    assert len(spot[0]) > 5 and (layer.data[spot] == 2).all()
    layer.undo()
    assert np.array_equal(layer.data[spot], first[spot])
    with layer.block_history():
        layer.data_setitem(spot, 2)
        # by the keys, while the mouse is down
        dock.class_threshold_step.reset()
        dock.session.bring_up_to_date(layer)
        assert (layer.data[spot] == 2).all()
    assert errors == []


@pytest.mark.gui
@pytest.mark.parametrize("how", ["whole", "region"])
def test_what_is_confirmed_does_not_change_afterwards(time_lapse, qtbot, errors, monkeypatch, how):
    dock = time_lapse
    layer, _first, whole = move_and_stop(dock, qtbot, monkeypatch)
    if how == "whole":
        dock.correct.whole_toggled.emit(True)
        assert layer in dock.session.wholly_reviewed
    else:
        dock.review_step.add_plane()
    assert np.array_equal(layer.data, whole)
    settle(qtbot, dock)
    assert np.array_equal(layer.data, whole) and errors == []


@pytest.mark.gui
@pytest.mark.parametrize("how", ["export", "save", "training set"])
def test_files_hold_all_of_it_and_the_threshold(time_lapse, qtbot, errors, monkeypatch, tmp_path, how):
    dock = time_lapse
    layer, _first, whole = move_and_stop(dock, qtbot, monkeypatch)
    path = tmp_path / "labels.tif"
    if how == "export":
        dock.export.path.setText(str(path))
        dock.export.path_edited.emit(str(path))
        dock.export_step.export()
        qtbot.waitUntil(lambda: dock.export_step.job is None, timeout=PATIENCE)
    elif how == "save":
        write_labels(str(path), *layer.as_layer_data_tuple()[:2])
    else:
        dock.session.wholly_reviewed.add(layer)
        image = dock.session.origins[layer].image()
        assert np.array_equal(dock.review_step.correction(layer, image).labels.reshape(whole.shape), whole)
        return
    assert np.array_equal(np.squeeze(tifffile.imread(path)), whole)
    (provenance,) = (json.loads(file.read_text()) for file in tmp_path.glob("*.json"))
    assert provenance["thresholds"]["class"] < 0.1 and errors == []


@pytest.mark.gui
def test_closing_the_dock_leaves_nothing_half_done(time_lapse, qtbot, errors, monkeypatch):
    dock = time_lapse
    layer, first, whole = move_and_stop(dock, qtbot, monkeypatch)
    viewer, told = dock._viewer, []
    dock.session.redrawn.connect(lambda where, blocks: told.extend(block.box for block in blocks))
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    qtbot.waitUntil(lambda: np.array_equal(layer.data, whole), timeout=PATIENCE)
    changed = np.zeros(whole.shape, bool)
    for box in told:
        changed[box] = True
    assert changed[first != whole].all() and layer.metadata["segloop"]["thresholds"]["class"] < 0.1
    assert layer.features["area"].tolist() == np.bincount(whole.ravel(), minlength=3)[1:].tolist() and errors == []


@pytest.mark.gui
def test_an_error_is_told_once_and_hangs_nothing(time_lapse, qtbot, errors, monkeypatch, tmp_path):
    dock = time_lapse
    layer, first, _whole = move_and_stop(dock, qtbot, monkeypatch)
    step = dock.class_threshold_step

    def fail(*_):
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(step.live.live, "update", fail)
        qtbot.waitUntil(lambda: bool(errors), timeout=PATIENCE)
        qtbot.wait(100)
        assert len(errors) == 1 and "the disk is gone" in errors[0]
        assert step._rest_of_it is None and not step._moving and "then stopped" in dock.class_threshold.count.text()
        # half of it is nothing to be written
        path = tmp_path / "labels.tif"
        dock.export.path.setText(str(path))
        dock.export.path_edited.emit(str(path))
        dock.export_step.export()
        assert dock.export_step.job is None and len(errors) == 2 and not path.exists()
        dock._viewer.layers.selection.active = dock._viewer.add_labels(np.zeros(first.shape, np.uint8))
    # what is confirmed meanwhile is looked at when it goes on
    at = layer.data.copy()
    dock.session.wholly_reviewed.add(layer)
    dock.session.bring_up_to_date(layer)
    assert np.array_equal(layer.data, at) and step.live is not None and step.live.is_done


@pytest.mark.gui
def test_a_small_layer_is_exported_with_its_threshold(segmented, qtbot, errors, tmp_path):
    dock = segmented
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_Home)
    layer = dock.correct_step.labels
    dock.session.bring_up_to_date(layer)
    assert dock.session.origins[layer].provenance["thresholds"]["class"] < 0.1 and errors == []


@pytest.mark.gui
def test_what_a_person_painted_meanwhile_is_told_from_what_the_threshold_drew(time_lapse, qtbot, errors, monkeypatch):
    dock = time_lapse
    layer, first, _whole = move_and_stop(dock, qtbot, monkeypatch)
    untouched = lambda: dock.session.origins[layer].untouched  # noqa: E731
    settle(qtbot, dock)
    assert untouched() == features.checksum(layer.data)
    put_back(qtbot, dock)
    settle(qtbot, dock)
    assert untouched() == features.checksum(first) == features.checksum(layer.data)
    # in a strip that was drawn and not told yet
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_Home)
    assert dock.class_threshold_step.live._drawn
    spot = tuple(np.argwhere((layer.data[2] == 1) & (first[2] == 0))[:5].T)
    layer.data_setitem((np.full(len(spot[0]), 2), *spot), 2)
    settle(qtbot, dock)
    assert len(spot[0]) and untouched() != features.checksum(layer.data)
    layer.undo()
    put_back(qtbot, dock)
    settle(qtbot, dock)
    assert np.array_equal(layer.data, first) and untouched() == features.checksum(first) and errors == []


@pytest.mark.gui
def test_no_second_copy_of_the_layer_is_kept(time_lapse, qtbot, errors, monkeypatch):
    dock = time_lapse
    layer, first, whole = move_and_stop(dock, qtbot, monkeypatch)
    live, kept, told = dock.class_threshold_step.live, [], np.zeros(whole.shape, bool)
    most = 2 * 20 * 128 * layer.data.itemsize
    monkeypatch.setattr("segloop._napari.live_strip_layer.MOST_UNTOLD", most)

    def note(where, blocks):
        kept.append(sum(strip.nbytes for strip in live._drawn.values()))
        for block in blocks:
            told[block.box] = True

    dock.session.redrawn.connect(note)
    settle(qtbot, dock)
    for key in (Qt.Key.Key_End, Qt.Key.Key_Home):
        # moved on before all was told
        qtbot.keyClick(dock.class_threshold.threshold, key)
    settle(qtbot, dock)
    assert np.array_equal(layer.data, whole) and told[first != whole].all()
    assert max(kept) <= most < first.nbytes / 2 and errors == []


@pytest.mark.gui
def test_a_person_who_waits_sees_what_for(time_lapse, qtbot, errors, monkeypatch):
    dock = time_lapse
    layer, _first, whole = move_and_stop(dock, qtbot, monkeypatch)
    monkeypatch.setattr("segloop._napari.steps.classes.TELLING", 0)
    painted = []

    class Watch(QObject):
        def eventFilter(self, label, event):
            if event.type() == QEvent.Type.Paint:
                painted.append((label.text(), QApplication.overrideCursor() is not None))
            return False

    watch = Watch()
    dock.status.installEventFilter(watch)
    dock.session.bring_up_to_date(layer)
    assert np.array_equal(layer.data, whole) and QApplication.overrideCursor() is None
    assert any("The threshold is drawn to its end first: " in text and busy for text, busy in painted)
    assert "drawn to its end" not in dock.status.text() and errors == []


@pytest.mark.gui
def test_what_a_person_paints_right_after_a_move_is_kept(segmented, qtbot, errors):
    dock, where = segmented, (np.full(40, 2), np.arange(40))
    layer, step = dock.correct_step.labels, dock.class_threshold_step
    first = layer.data.copy()
    area = lambda: dict(zip(layer.features["index"], layer.features["area"]))  # noqa: E731
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_End)
    layer.data_setitem(where, 2)
    # and moves on at once
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_Home)
    settle(qtbot, dock)
    assert (layer.data[where] == 2).all()
    put_back(qtbot, dock)
    settle(qtbot, dock)
    assert (layer.data[where] == 2).all() and np.array_equal(layer.data[4:], first[4:])
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert dock.correct_step.labels is not layer and (layer.data[where] == 2).all() and errors == []

    # undone as quickly, nothing of it counts
    dock._viewer.layers.selection.active = layer
    qtbot.waitUntil(lambda: step.live is not None and step.live.layer is layer)
    qtbot.keyClick(dock.class_threshold.threshold, Qt.Key.Key_End)
    layer.undo()
    put_back(qtbot, dock)
    settle(qtbot, dock)
    dock.session.ledgers[layer].flush()
    assert np.array_equal(layer.data, first)
    assert dock.session.origins[layer].untouched == features.checksum(first)
    assert [area()[n] for n in (1, 2)] == np.bincount(first.ravel(), minlength=3)[1:].tolist() and errors == []
