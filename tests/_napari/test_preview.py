"""While a run goes on: what is seen comes first, is shown as it comes, and is kept on cancelling; nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from napari.layers import Labels
from qtpy.QtCore import Qt, QThreadPool

from segloop import segmentation
from segloop._napari import layers, work
from segloop._napari.preview import _as_shown
from segloop.events import LabelsDone, TileDone

PATIENCE = 60_000


@pytest.fixture
def large(blobs) -> np.ndarray:
    """An image of 12 × 9 times the blobs."""
    return np.tile(blobs, (12, 9))


@pytest.fixture
def dock(untrained, dock, errors):
    """The dock, with an own model and small tiles."""
    dock.session.choose_model(untrained)
    dock.segment.form.fields["tile"].editor.setValue(64)
    return dock


class Gate:
    """Holds a run after some tiles until it is let go on; records what happened."""

    def __init__(self, monkeypatch) -> None:
        import threading

        self.hold_after = 3
        self.events: list = []
        self.arguments: dict = {}
        self.reached = threading.Event()
        self.go_on = threading.Event()
        real = segmentation.segment_events

        def held(*args, **keywords):
            self.arguments = keywords
            work = real(*args, **keywords)
            while True:
                try:
                    event = next(work)
                except StopIteration as end:
                    return end.value
                self.events.append(event)
                yield event
                if isinstance(event, TileDone) and event.done == self.hold_after:
                    self.reached.set()
                    assert self.go_on.wait(60)

        monkeypatch.setattr(segmentation, "segment_events", held)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.go_on.set()


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def start(qtbot, dock, gate):
    """Press Run, and wait until the first labels are drawn."""
    press(qtbot, dock.segment.run)
    qtbot.waitUntil(gate.reached.is_set, timeout=PATIENCE)
    qtbot.waitUntil(lambda: dock.segment_step._done == gate.hold_after, timeout=PATIENCE)
    qtbot.wait(300)


def wait(qtbot, dock, gate):
    gate.go_on.set()
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)


def results(dock) -> list[Labels]:
    return [layer for layer in dock._viewer.layers if isinstance(layer, Labels)]


def test_what_is_seen_is_done_first_and_shown_while_the_rest_comes(qtbot, dock, gate, large):
    viewer = dock._viewer
    viewer.window._qt_window.show()
    image = viewer.add_image(large, scale=(0.5, 0.25), units=("um", "um"), translate=(3, 4))
    viewer.scene.camera.center = image.data_to_world((1000, 900))
    viewer.scene.camera.zoom *= 12
    qtbot.waitUntil(lambda: bool(image.corner_pixels.any()), timeout=PATIENCE)
    qtbot.wait(200)
    start(qtbot, dock, gate)
    rows, columns = gate.arguments["first"]
    assert rows.start < 1000 < rows.stop and columns.start < 900 < columns.stop
    assert rows.stop - rows.start < large.shape[0] / 2 and columns.stop - columns.start < large.shape[1] / 2
    first = next(event for event in gate.events if isinstance(event, LabelsDone))
    assert first.rows.start < rows.stop and rows.start < first.rows.stop
    assert first.columns.start < columns.stop and columns.start < first.columns.stop

    (layer,) = results(dock)
    assert layer.name == "coming: large – fresh"
    assert not layer.editable
    assert "can be edited when all is done" in dock.status.text()
    np.testing.assert_array_equal(layer.scale, image.scale)
    np.testing.assert_array_equal(layer.translate, image.translate)
    assert layer.units == image.units
    for event in gate.events:
        if isinstance(event, LabelsDone):
            np.testing.assert_array_equal(layer.data[event.rows, event.columns], event.labels)
    # what a person works on stays selected, and nobody corrects or exports what is not done
    assert viewer.layers.selection.active is image
    assert dock.correct.labels.current() is None and dock.export.labels.current() is None
    viewer.layers.selection.active = layer
    assert dock.correct.labels.current() is None

    wait(qtbot, dock, gate)
    assert results(dock) == [layer]
    assert layer.name == "large – fresh" and layer.editable
    assert dock.correct.labels.current() is layer and dock.export.labels.current() is layer
    assert len(layer.features) and layer.metadata["segloop"]["model"]["name"] == "fresh"
    assert "complete" not in layer.metadata["segloop"]


def test_cancelling_keeps_what_is_done(qtbot, dock, gate, large):
    viewer = dock._viewer
    viewer.add_image(large)
    start(qtbot, dock, gate)
    (layer,) = results(dock)
    press(qtbot, dock.segment.progress.button)
    assert not dock.segment.progress.button.isEnabled()
    wait(qtbot, dock, gate)
    last = [event for event in gate.events if isinstance(event, TileDone)][-1]
    assert results(dock) == [layer]
    assert layer.name == "part: large – fresh" and layer.editable
    # those that were under way when the button was pressed are done too
    assert 3 <= last.done <= 3 + torch.get_num_threads() + 1
    assert f"topped after {last.done} of {last.tiles} tiles" in dock.status.text()
    assert dock.status.property("role") == "warning"
    assert layer.metadata["segloop"]["complete"] is False
    done = np.zeros(large.shape, bool)
    for event in gate.events:
        if isinstance(event, LabelsDone):
            done[event.rows, event.columns] = True
    assert not layer.data[~done].any()

    # a whole result takes the place of the part
    press(qtbot, dock.segment.run)
    wait(qtbot, dock, gate)
    assert results(dock) == [layer] and layer.name == "large – fresh"


def test_a_part_never_replaces_a_whole_result(qtbot, dock, gate, large):
    dock._viewer.add_image(large)
    gate.go_on.set()
    press(qtbot, dock.segment.run)
    wait(qtbot, dock, gate)
    (whole,) = results(dock)
    before = whole.data.copy()
    gate.reached.clear()
    gate.go_on.clear()
    start(qtbot, dock, gate)
    assert not whole.visible
    press(qtbot, dock.segment.progress.button)
    wait(qtbot, dock, gate)
    assert [layer.name for layer in results(dock)] == ["large – fresh", "part: large – fresh"]
    np.testing.assert_array_equal(whole.data, before)
    assert "is kept: large – fresh (hidden)" in dock.status.text()


def test_cancelling_before_the_first_tile_leaves_nothing(qtbot, dock, monkeypatch, blobs):
    dock._viewer.add_image(blobs)
    press(qtbot, dock.segment.run)
    press(qtbot, dock.segment.progress.button)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    assert results(dock) == []
    assert "nothing was changed" in dock.status.text()


def test_results_beside_each_other_differ_where_the_layer_list_shows_it(qtbot, dock, gate, blobs):
    dock._viewer.add_image(blobs)
    gate.go_on.set()
    for _ in range(3):
        press(qtbot, dock.segment.run)
        wait(qtbot, dock, gate)
        newest = next(layer for layer in results(dock) if layer.visible)
        newest.data_setitem((np.array([0]), np.array([0])), 5)
    assert [layer.name for layer in results(dock)] == ["blobs – fresh", "(2) blobs – fresh", "(3) blobs – fresh"]


def test_a_run_that_ends_while_its_layer_is_being_made_leaves_a_whole_one(qtbot, dock, gate, monkeypatch, blobs):
    plain = dock._viewer.add_labels(np.zeros(blobs.shape, np.uint16))
    seen = {name: overlay.visible for name, overlay in plain._overlays.items()}
    dock._viewer.add_image(blobs)
    dock._viewer.layers.remove(plain)
    # the layer is added, and nothing more by the time that the result comes
    monkeypatch.setattr("segloop._napari.turns.BETWEEN", 5_000)
    monkeypatch.setattr(work, "LONGEST_WAIT", 0.01)
    gate.go_on.set()
    press(qtbot, dock.segment.run)
    wait(qtbot, dock, gate)
    (layer,) = results(dock)
    assert layer.visible and layer.editable and layer.name == "blobs – fresh"
    assert {name: overlay.visible for name, overlay in layer._overlays.items()} == seen


def test_what_is_selected_stays_selected_while_the_layer_is_made(qtbot, dock, gate, large):
    viewer = dock._viewer
    image = viewer.add_image(large)
    active: list = []
    viewer.layers.selection.events.active.connect(lambda event: active.append(event.value))
    start(qtbot, dock, gate)
    assert results(dock)[0].visible and viewer.layers.selection.active is image and not active
    wait(qtbot, dock, gate)
    viewer.add_labels(np.zeros((4, 4), np.uint8), name="later")
    assert viewer.layers.selection.active is viewer.layers["later"]


def test_an_error_on_the_way_leaves_things_as_they_were(qtbot, dock, gate, errors, large, monkeypatch, caplog):
    dock._viewer.add_image(large)
    gate.go_on.set()
    press(qtbot, dock.segment.run)
    wait(qtbot, dock, gate)
    (whole,) = results(dock)

    def broken(model, image, settings, source, seen, stop, drawn):
        yield work.Canvas(np.zeros(image.label_shape, np.uint16), ())
        yield LabelsDone(0, slice(0, 64), slice(0, 64), np.ones((64, 64), np.uint32))
        raise RuntimeError("broken")

    monkeypatch.setattr(work, "segment_image", broken)
    press(qtbot, dock.segment.run)
    wait(qtbot, dock, gate)
    assert results(dock) == [whole] and whole.visible
    assert dock.status.property("role") == "error" and len(errors) == 1


def test_the_preview_removed_by_the_person(qtbot, dock, gate, large):
    viewer = dock._viewer
    viewer.add_image(large)
    start(qtbot, dock, gate)
    viewer.layers.remove(results(dock)[0])
    wait(qtbot, dock, gate)
    (layer,) = results(dock)
    assert layer.name == "large – fresh" and layer.editable and len(layer.features)


def test_another_plane_is_looked_at_meanwhile(qtbot, dock, gate, blobs):
    viewer = dock._viewer
    viewer.add_image(np.stack([blobs, 255 - blobs, blobs, blobs]), axis_labels=("t", "y", "x"))
    viewer.dims.set_current_step(0, 2)
    gate.hold_after = 1
    start(qtbot, dock, gate)
    assert gate.arguments["first_plane"] == 2
    assert {event.plane for event in gate.events if isinstance(event, LabelsDone)} == {2}
    (layer,) = results(dock)
    viewer.dims.set_current_step(0, 0)
    viewer.dims.ndisplay = 3
    wait(qtbot, dock, gate)
    viewer.dims.ndisplay = 2
    last = {}
    for event in gate.events:
        if isinstance(event, LabelsDone):
            last[event.plane] = event
    assert set(last) == {0, 1, 2, 3}
    np.testing.assert_array_equal(layer.data[0], layer.data[3])


@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closed_on_the_way(qtbot, dock, gate, large, closed):
    viewer = dock._viewer
    viewer.add_image(large)
    start(qtbot, dock, gate)
    if closed == "dock":
        viewer.window.remove_dock_widget(dock)
    else:
        viewer.close()
    qtbot.wait(50)
    gate.go_on.set()
    assert QThreadPool.globalInstance().waitForDone(PATIENCE)
    qtbot.wait(50)
    if closed == "dock":
        # nothing remains that can neither be edited nor be finished
        assert [layer.name for layer in viewer.layers] == ["large"]


def test_the_part_on_screen_in_pixels_of_the_level_that_is_segmented(make_napari_viewer, qtbot, monkeypatch):
    monkeypatch.setattr(layers, "MOST_PIXELS", 300_000)
    viewer = make_napari_viewer(show=True)
    levels = [np.zeros((1024 >> n, 2048 >> n), np.uint8) for n in range(3)]
    image = viewer.add_image(levels, multiscale=True)
    viewer.scene.camera.center = (512, 1024)
    viewer.scene.camera.zoom = 8
    qtbot.waitUntil(lambda: bool(image.corner_pixels.any()), timeout=PATIENCE)
    qtbot.wait(200)
    assert layers.choose_level(image) == 2
    (rows, columns), plane = layers.visible_part(viewer, image, "YX")
    assert plane == 0
    assert abs((rows.start + rows.stop) / 2 - 128) < 4 and abs((columns.start + columns.stop) / 2 - 256) < 4
    assert rows.stop - rows.start < 100

    viewer.dims.ndisplay = 3
    assert layers.visible_part(viewer, image, "YX") == (None, 0)


def test_numbers_beyond_16_bits_begin_again():
    labels = np.array([[0, 1, 65535, 65536, 131070, 131071]], np.uint32)
    np.testing.assert_array_equal(_as_shown(labels), [[0, 1, 65535, 1, 65535, 1]])
    assert _as_shown(labels).dtype == np.uint16


def test_results_have_room_for_more_numbers():
    assert work._editable(np.array([[3]], np.uint8)).dtype == np.uint16
    assert work._editable(np.array([[40000]], np.uint16)).dtype == np.uint32
    frozen = np.array([[7]], np.uint16)
    frozen.flags.writeable = False
    assert work._editable(frozen).flags.writeable
