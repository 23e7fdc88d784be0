"""Segment: one click from image to labels; nothing a person did is lost; nothing leaves the dock dead."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt, QThreadPool, QTimer

from segloop import store
from segloop._napari import work
from segloop.events import SegmentStarted, TileDone

PATIENCE = 60_000


@pytest.fixture
def dock(untrained, dock, errors):
    """The dock, with an own model to run."""
    assert dock.session.find_model(untrained) is not None
    dock.session.choose_model(untrained)
    return dock


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def run(qtbot, dock):
    press(qtbot, dock.segment.run)
    assert dock.segment_step.job is not None
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)


def results(dock) -> list[Labels]:
    return [layer for layer in dock._viewer.layers if isinstance(layer, Labels)]


def test_without_an_image_run_waits_and_says_why(dock):
    assert not dock.segment.run.isEnabled()
    assert "Open an image" in dock.segment.run.toolTip()
    assert "Open Sample" in dock.status.text()


def test_one_click_from_image_to_labels(qtbot, dock, blobs):
    viewer = dock._viewer
    layer = viewer.add_image(blobs, scale=(0.5, 0.25), units=("um", "um"), translate=(3, 4), axis_labels=("y", "x"))
    assert dock.segment_step.image is layer
    assert dock.segment.axes.text() == "YX"
    assert dock.segment.size_text.text() == "96 rows · 128 columns"
    run(qtbot, dock)
    (result,) = results(dock)
    assert result.name == "blobs – fresh"
    assert result.data.shape == blobs.shape
    assert result.data.dtype.itemsize >= 2
    assert result.editable
    np.testing.assert_array_equal(result.scale, layer.scale)
    np.testing.assert_array_equal(result.translate, layer.translate)
    assert result.units == layer.units
    assert result.axis_labels == layer.axis_labels
    assert {"index", "label", "class", "score", "area", "origin"} <= set(result.features)
    areas = dict(zip(result.features["label"], result.features["area"]))
    assert areas.get(1, 0) == np.count_nonzero(result.data == 1)
    assert "foreground" in dock.status.text() and " in " in dock.status.text()
    assert viewer.layers.selection.active is result
    assert dock.segment_step.image is layer
    assert result.metadata["segloop"]["model"]["name"] == "fresh"


def test_the_image_chosen_stays_chosen_whichever_layer_is_active(qtbot, dock, blobs):
    viewer = dock._viewer
    cells = viewer.add_image(blobs, name="cells")
    other = viewer.add_image(blobs, name="other")
    dapi = viewer.add_image(blobs, name="dapi")
    assert dock.segment_step.image is dapi
    dock.segment.image.setCurrentIndex(dock.segment.image.items().index(cells))
    dock.segment.image.activated.emit(dock.segment.image.currentIndex())
    assert dock.segment_step.image is cells and viewer.layers.selection.active is dapi
    run(qtbot, dock)
    (result,) = results(dock)
    assert result.name == "cells – fresh" and dock.segment_step.image is cells
    dapi.name = "renamed"
    assert dock.segment_step.image is cells
    # napari selects a neighbour then
    viewer.layers.selection.active = dapi
    viewer.layers.selection.active = result
    dock.segment.image.setCurrentIndex(dock.segment.image.items().index(cells))
    dock.segment.image.activated.emit(dock.segment.image.currentIndex())
    viewer.layers.selection.active = result
    viewer.layers.remove_selected()
    assert viewer.layers.selection.active is dapi
    assert dock.segment_step.image is cells
    # a person does
    qtbot.wait(50)
    viewer.layers.selection.active = other
    assert dock.segment_step.image is other
    viewer.layers.remove(other)
    assert dock.segment_step.image in (cells, dapi)


def test_the_same_run_replaces_its_own_result_but_never_an_edit(qtbot, dock, blobs):
    dock._viewer.add_image(blobs)
    run(qtbot, dock)
    (first,) = results(dock)
    before = first.data.copy()
    run(qtbot, dock)
    assert results(dock) == [first]
    np.testing.assert_array_equal(first.data, before)

    first.data_setitem((np.array([0]), np.array([0])), 5)
    edited = first.data.copy()
    run(qtbot, dock)
    first_again, second = results(dock)
    assert first_again is first
    np.testing.assert_array_equal(first.data, edited)
    assert not first.visible and second.visible
    np.testing.assert_array_equal(second.data, before)
    assert "is kept" in dock.status.text()

    # edits past napari's own events count as well
    second.data[3, 3] = 7
    run(qtbot, dock)
    assert len(results(dock)) == 3
    assert second.data[3, 3] == 7


def test_a_reviewed_result_is_kept_as_it_is(qtbot, dock, blobs):
    dock._viewer.add_image(blobs)
    run(qtbot, dock)
    dock.correct.whole.click()
    (first,) = results(dock)
    run(qtbot, dock)
    assert len(results(dock)) == 2 and not first.visible
    assert dock.correct.share.value() == 0


def test_an_edit_that_was_taken_back_is_none(qtbot, dock, blobs):
    dock._viewer.add_image(blobs)
    run(qtbot, dock)
    (first,) = results(dock)
    first.data_setitem((np.array([0]), np.array([0])), 5)
    first.undo()
    run(qtbot, dock)
    assert results(dock) == [first]


@pytest.mark.parametrize("text, reason", [("YQ", "unknown axis"), ("ZYX", "one letter per dimension"), ("YY", "twice")])
def test_wrong_axes_are_marked_with_the_reason(qtbot, dock, blobs, text, reason):
    dock._viewer.add_image(blobs)
    dock.segment.axes.selectAll()
    qtbot.keyClicks(dock.segment.axes, text)
    assert reason in dock.segment.axes_field.reason
    assert dock.segment.axes.property("invalid") == "true"
    assert not dock.segment.run.isEnabled()
    assert dock.segment.run.toolTip() == dock.segment.axes_field.reason
    dock.segment.axes.selectAll()
    qtbot.keyClicks(dock.segment.axes, "yx")
    assert dock.segment.axes_field.reason == ""
    assert dock.segment.run.isEnabled()


def test_axes_are_remembered_per_image(qtbot, dock, blobs):
    viewer = dock._viewer
    stack = viewer.add_image(np.stack([blobs] * 5), name="stack")
    assert dock.segment.axes.text() == "ZYX"
    dock.segment.axes.selectAll()
    qtbot.keyClicks(dock.segment.axes, "TYX")
    viewer.add_image(blobs, name="plane")
    assert dock.segment.axes.text() == "YX"
    viewer.layers.selection.active = stack
    assert dock.segment.axes.text() == "TYX"


def test_one_channel_of_many(qtbot, dock, blobs):
    dock._viewer.add_image(np.stack([blobs, 255 - blobs]), axis_labels=("c", "y", "x"))
    assert dock.segment.axes.text() == "CYX"
    assert not dock.segment.channel_field.isHidden()
    # a channel that the model can see is chosen, and said
    assert dock.segment.channel.currentText() == "Channel 0"
    assert "The model sees one channel: now channel 0." in dock.segment.size_text.text()
    dock.segment.channel.setCurrentIndex(0)
    dock.segment.channel.activated.emit(0)
    assert "The model sees one channel" not in dock.segment.size_text.text()
    run(qtbot, dock)
    assert results(dock) == []
    assert "2 channels" in dock.status.text()
    assert "2 channels" in dock.segment.channel_field.reason
    assert dock.segment.run.isEnabled()
    dock.segment.channel.setCurrentIndex(2)
    dock.segment.channel.activated.emit(2)
    run(qtbot, dock)
    (result,) = results(dock)
    assert result.data.shape == blobs.shape
    assert dock.session.origins[result].channel == 1


def test_a_hyperstack_keeps_its_dimensions(qtbot, dock, blobs):
    image = np.stack([np.stack([blobs, blobs])] * 3)
    layer = dock._viewer.add_image(image, axis_labels=("z", "c", "y", "x"), scale=(2, 1, 0.5, 0.5))
    dock.segment.channel.setCurrentIndex(1)
    dock.segment.channel.activated.emit(1)
    run(qtbot, dock)
    (result,) = results(dock)
    assert result.data.shape == (3, 1, 96, 128)
    assert dock._viewer.dims.range[1] == (0, 1, 1)
    np.testing.assert_array_equal(result.scale[[0, 2, 3]], layer.scale[[0, 2, 3]])


def test_a_damaged_model_is_an_error_beside_the_model(qtbot, dock, errors, blobs):
    dock._viewer.add_image(blobs)
    (store.home() / "models" / "fresh" / "1" / "weights.safetensors").write_bytes(b"damaged")
    run(qtbot, dock)
    assert "sha256" in dock.segment.model_field.reason
    assert dock.status.property("role") == "error"
    assert len(errors) == 1 and errors[0] == dock.status.text()
    assert dock.segment.run.isEnabled() and dock.segment.run.isVisibleTo(dock.segment)


def test_progress_knows_of_tiles_at_seams_and_finishes_once(qtbot, dock, errors, blobs, monkeypatch):
    dock._viewer.add_image(blobs)
    shown, advance = [], dock.segment.progress.advance

    def spy(done, total, text):
        shown.append((done, total, text))
        advance(done, total, text)

    def work_of_seven(*_):
        yield SegmentStarted(3, (64, 64), "cpu")
        yield TileDone(1, 3, expected=2)
        yield TileDone(2, 3, expected=3)
        yield TileDone(3, 7)
        for done in range(4, 8):
            yield TileDone(done, 7, at_seams=True)
        raise RuntimeError("enough")

    monkeypatch.setattr(dock.segment.progress, "advance", spy)
    monkeypatch.setattr(work, "segment_image", work_of_seven)
    run(qtbot, dock)
    assert [(done, total) for done, total, _ in shown] == [
        (0, 3),
        (1, 5),
        (2, 6),
        (3, 7),
        (4, 7),
        (5, 7),
        (6, 7),
        (7, 7),
    ]
    words = [text for *_, text in shown]
    assert words[1].startswith("1 of about 5") and words[2].startswith("2 of about 6") and words[3].startswith("3 of 7")
    assert ["objects at seams" in text for text in words] == [False] * 4 + [True] * 3 + [False]
    assert [text for text in words if "finishing" in text] == [words[-1]]
    assert len(errors) == 1


def test_a_runtime_error_is_told_and_the_dock_lives_on(qtbot, dock, errors, blobs, monkeypatch, caplog):
    dock._viewer.add_image(blobs)

    def broken(*_):
        yield TileDone(1, 2)
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")

    with monkeypatch.context() as patched:
        patched.setattr(work, "segment_image", broken)
        run(qtbot, dock)
    assert errors == ["Unexpected error (RuntimeError): The size of tensor a (3) must match the size of tensor b (4)"]
    assert "unexpected error" in caplog.text
    run(qtbot, dock)
    assert len(results(dock)) == 1


@pytest.fixture
def large(blobs) -> np.ndarray:
    """An image that takes a while with small tiles."""
    return np.tile(blobs, (12, 9))


def start_slow(qtbot, dock):
    dock.segment.form.fields["tile"].editor.setValue(64)
    press(qtbot, dock.segment.run)
    with qtbot.waitSignal(dock.segment_step.job.happened, timeout=PATIENCE):
        pass


def test_cancel_is_immediate_and_changes_nothing(qtbot, dock, large):
    dock._viewer.add_image(large)
    start_slow(qtbot, dock)
    assert dock.segment.progress.isVisibleTo(dock.segment) and not dock.segment.run.isVisibleTo(dock.segment)
    begun = time.monotonic()
    press(qtbot, dock.segment.progress.button)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert time.monotonic() - begun < 3
    assert results(dock) == []
    assert "Cancelled" in dock.status.text()
    qtbot.mouseClick(dock.tabs, Qt.MouseButton.LeftButton, pos=dock.tabs.tabRect(1).center())
    assert dock.tabs.currentIndex() == 1 and dock.status.text() == ""
    assert dock.segment.run.isEnabled()


def test_single_objects_are_offered_beside_models_that_can_part_them(dock):
    panel, offered = dock.segment, dock.segment.single_objects
    dock.session.choose_model("nuclei-unet")
    assert offered.isVisibleTo(panel) and not panel.advanced.isAncestorOf(offered)
    offered.editor.setChecked(True)
    assert panel.settings(channel=0).instances
    dock.session.choose_model("nuclei-maskrcnn")
    assert not offered.isVisibleTo(panel) and not panel.settings(channel=0).instances
    dock.session.choose_model("nuclei-unet")
    assert offered.isVisibleTo(panel) and panel.settings(channel=0).instances


def test_an_image_removed_while_it_is_segmented(qtbot, dock, blobs):
    viewer = dock._viewer
    layer = viewer.add_image(np.tile(blobs, (2, 2)))
    start_slow(qtbot, dock)
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert len(results(dock)) == 1
    assert "removed meanwhile" in dock.status.text()
    assert not dock.segment.run.isEnabled()


def test_an_image_renamed_while_it_is_segmented(qtbot, dock, blobs):
    layer = dock._viewer.add_image(np.tile(blobs, (2, 2)))
    start_slow(qtbot, dock)
    layer.name = "other"
    assert dock.segment.image.currentText() == "other"
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert len(results(dock)) == 1


def test_closing_the_viewer_stops_the_work_quietly(qtbot, dock, large):
    viewer = dock._viewer
    viewer.add_image(large)
    start_slow(qtbot, dock)
    begun = time.monotonic()
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(PATIENCE)
    qtbot.wait(50)
    assert time.monotonic() - begun < 10


def test_removing_the_dock_stops_the_work_and_lets_go_of_the_viewer(qtbot, dock, large):
    viewer = dock._viewer
    viewer.add_image(large)
    start_slow(qtbot, dock)
    begun = time.monotonic()
    viewer.window.remove_dock_widget(dock)
    qtbot.wait(50)
    assert QThreadPool.globalInstance().waitForDone(PATIENCE)
    qtbot.wait(50)
    assert time.monotonic() - begun < 10
    viewer.add_image(large, name="after")
    viewer.layers.clear()


def test_the_window_stays_alive_during_a_run(qtbot, dock, large):
    viewer = dock._viewer
    viewer.add_image(large)
    # what napari imports and compiles for the first Labels layer of a process
    viewer.layers.remove(viewer.add_labels(np.zeros((8, 8), np.uint16)))
    # of the processor, and by the clock: that depends on what else the computer is doing, but sees waiting too
    beats: list[tuple[float, float]] = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append((time.thread_time(), time.perf_counter())))
    timer.start(10)
    press(qtbot, dock.segment.run)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    qtbot.wait(50)
    timer.stop()
    assert len(results(dock)) == 1 and len(beats) > 20
    longest = np.diff(beats, axis=0).max(axis=0)
    assert longest[0] < 0.15 and longest[1] < 2.0


def test_models_made_elsewhere_appear_when_the_list_is_opened(qtbot, dock, untrained):
    store.save_model(store.load_model(untrained), "elsewhere")
    assert dock.session.find_model("elsewhere") is None
    dock.segment.model.showPopup()
    dock.segment.model.hidePopup()
    assert "elsewhere" in dock.segment.model.items() and dock.segment.model.current() == untrained


def test_models_that_vanish(qtbot, dock):
    shutil.rmtree(store.home() / "models")
    dock.session.reload_models()
    assert dock.session.find_model("fresh") is None
