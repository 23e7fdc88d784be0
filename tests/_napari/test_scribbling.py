"""Scribbling: strokes of a real pointer, and what is predicted from them, on the screen."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt

from segloop import store
from segloop._napari import scribble_work
from segloop.corrections import TrainingSet
from segloop.errors import FileError
from segloop.events import LabelsDone
from segloop.image import Image
from segloop.metrics import class_scores
from segloop.samples import load_reference

spec = importlib.util.spec_from_file_location("pointer", Path(__file__).with_name("pointer.py"))
pointer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pointer)

PATIENCE = 120_000
LEFT = Qt.MouseButton.LeftButton
SLICE = 3


@pytest.fixture
def scribbling(open_dock, qtbot, errors):
    """A stack of electron micrographs, one slice on screen, looked at; two classes with names of their own."""
    dock = open_dock(show=True)
    viewer = dock._viewer
    viewer.window.resize(1250, 900)
    viewer.open_sample("napari-segloop", "chloroplasts")
    viewer.dims.set_current_step(0, SLICE)
    qtbot.wait(200)
    viewer.reset_view()
    dock.tabs.setCurrentIndex(2)
    dock.scribble_fold.expand(animate=False)
    qtbot.waitUntil(dock.scribble.start.isEnabled, timeout=PATIENCE)
    for (_, editor), name in zip(dock.scribble.classes.rows, ("cytoplasm", "chloroplast")):
        editor.selectAll()
        qtbot.keyClicks(editor, name)
    qtbot.mouseClick(dock.scribble.start, LEFT)
    rest(qtbot, dock, 0)
    assert errors == []
    return dock


def rest(qtbot, dock, refreshes):
    """Wait until more than so many refreshes are done, and nothing is under way."""
    step = dock.scribble_step
    qtbot.waitUntil(
        lambda: (
            step.refreshes > refreshes
            and step.job is None
            and not step._after_stroke.isActive()
            and not step._after_move.isActive()
        ),
        timeout=PATIENCE,
    )


def stroke(qtbot, dock, hand, number, *corners):
    """Choose a class, draw, and wait for the prediction."""
    qtbot.mouseClick(dock.scribble.classes.rows[number][0], LEFT)
    before = dock.scribble_step.refreshes
    hand.drag(dock.scribble_step.layer, *corners)
    rest(qtbot, dock, before)


def dice(dock) -> float:
    wanted = (np.asarray(load_reference("chloroplasts").data)[SLICE] > 0).astype(np.uint8)
    shown = dock.scribble_step.prediction.layer.data[SLICE]
    return float(class_scores(wanted, np.where(shown > 0, shown - (shown > 0), 0).astype(np.uint8), 2).mean_dice)


def run_of(wanted, row, name):
    """The longest run of a class in a row: where a stroke of it can go."""
    from scipy import ndimage

    pieces, _ = ndimage.label(wanted[row] == name)
    longest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    columns = np.flatnonzero(pieces == longest)
    return (row, columns[0] + 6), (row, columns[-1] - 6)


def rows_of(wanted):
    """Rows with long runs of both classes, apart from each other."""
    rows = [row for row in range(10, 180, 8) if {0, 1} <= set(wanted[row].tolist())]
    return [
        row for row in rows if all(end[1] - start[1] > 8 for start, end in (run_of(wanted, row, n) for n in (0, 1)))
    ]


@pytest.mark.gui
def test_from_a_stroke_to_a_prediction(scribbling, qtbot, errors):
    dock, hand = scribbling, pointer.Hand(scribbling._viewer, qtbot)
    step = dock.scribble_step
    image, prediction, scribbles = dock._viewer.layers
    assert scribbles is step.layer and prediction is step.prediction.layer
    assert dock._viewer.layers.selection.active is scribbles and scribbles.mode == "paint"
    assert not prediction.editable and prediction.opacity < 0.5
    assert dock.scribble.state.text() == "Ready. Paint a stroke of two classes."
    # neither is a result: nobody offers to correct or export them
    assert dock.correct.labels.items() == [] and dock.export.labels.items() == []

    wanted = (np.asarray(load_reference("chloroplasts").data)[SLICE] > 0).astype(np.uint8)
    rows = rows_of(wanted)
    stroke(qtbot, dock, hand, 0, *run_of(wanted, rows[0], 0))
    assert not prediction.data.any()
    assert "a second class" in dock.scribble.state.text()
    stroke(qtbot, dock, hand, 1, *run_of(wanted, rows[0], 1))
    first = dice(dock)
    view = step._view()
    assert set(np.unique(prediction.data[SLICE, view.rows, view.columns])) == {1, 2}
    assert not prediction.data[SLICE - 1].any()
    assert dock.scribble.state.text().startswith("Predicted in ")
    for row in rows[1::2]:
        for name in (0, 1):
            stroke(qtbot, dock, hand, name, *run_of(wanted, row, name))
    assert dice(dock) > max(first, 0.6)

    # another slice, by the slider: predicted from the same strokes
    before = step.refreshes
    dock._viewer.dims.set_current_step(0, SLICE + 1)
    rest(qtbot, dock, before)
    assert set(np.unique(prediction.data[SLICE + 1, view.rows, view.columns])) == {1, 2}
    dock._viewer.dims.set_current_step(0, SLICE)
    rest(qtbot, dock, before + 1)

    # undo takes the last stroke away, and its prediction
    shown, painted, before = prediction.data[SLICE].copy(), int((scribbles.data > 0).sum()), step.refreshes
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    rest(qtbot, dock, before)
    assert (scribbles.data > 0).sum() < painted and (prediction.data[SLICE] != shown).any()

    # stop: the prediction goes, the strokes stay, and are taken up again
    kept = scribbles.data.copy()
    qtbot.mouseClick(dock.scribble.stop, LEFT)
    assert list(dock._viewer.layers) == [image, scribbles]
    np.testing.assert_array_equal(scribbles.data, kept)
    before = step.refreshes
    qtbot.mouseClick(dock.scribble.start, LEFT)
    rest(qtbot, dock, before)
    assert step.layer is scribbles and step.prediction.layer.data[SLICE].any()
    assert errors == []


@pytest.mark.gui
def test_the_newest_stroke_wins(scribbling, qtbot, errors, monkeypatch):
    dock, hand = scribbling, pointer.Hand(scribbling._viewer, qtbot)
    step = dock.scribble_step
    wanted = (np.asarray(load_reference("chloroplasts").data)[SLICE] > 0).astype(np.uint8)
    row = rows_of(wanted)[0]
    stroke(qtbot, dock, hand, 0, *run_of(wanted, row, 0))
    asked = []
    real = step._live.refresh_events

    def counted(points, view):
        asked.append(len(points))
        return real(points, view)

    monkeypatch.setattr(step._live, "refresh_events", counted)
    before = step.refreshes
    for other in rows_of(wanted)[:4]:
        qtbot.mouseClick(dock.scribble.classes.rows[1][0], LEFT)
        hand.drag(step.layer, *run_of(wanted, other, 1))
    rest(qtbot, dock, before)
    # what was asked for last holds all strokes, and no stroke was waited for
    assert asked[-1] == np.count_nonzero(step.layer.data)
    assert step.refreshes - before <= len(asked) <= 4
    assert errors == []


@pytest.mark.gui
def test_classes_are_added_named_and_removed(scribbling, qtbot, errors):
    dock, hand = scribbling, pointer.Hand(scribbling._viewer, qtbot)
    step, panel = dock.scribble_step, dock.scribble
    qtbot.mouseClick(panel.add, LEFT)
    assert panel.classes.names() == ("cytoplasm", "chloroplast", "class 3")
    assert step.layer.selected_label == 3
    qtbot.keyClicks(panel.classes.rows[2][1], "cytoplasm")
    panel.classes.rows[2][1].setText("cytoplasm")
    panel.classes.renamed.emit()
    assert "same name" in panel.reason.text()
    qtbot.keyClicks(panel.classes.rows[2][1], "2")
    assert panel.reason.text() == ""
    for number in range(3):
        stroke(qtbot, dock, hand, number, (20 + 30 * number, 40), (20 + 30 * number, 80))
    assert set(np.unique(step.prediction.layer.data[SLICE])) <= {1, 2, 3}
    # remove the middle one: the third takes its number
    qtbot.mouseClick(panel.classes.rows[1][0], LEFT)
    third = np.count_nonzero(step.layer.data == 3)
    # what was painted does not go by one click
    qtbot.mouseClick(panel.remove, LEFT)
    assert "gone for good" in dock.status.text()
    assert len(panel.classes.names()) == 3 and (step.layer.data == 2).any()
    before = step.refreshes
    qtbot.mouseClick(panel.remove, LEFT)
    rest(qtbot, dock, before)
    assert panel.classes.names() == ("cytoplasm", "cytoplasm2")
    assert np.count_nonzero(step.layer.data == 2) == third and not (step.layer.data == 3).any()
    assert errors == []


@pytest.mark.gui
def test_scribbles_become_a_training(scribbling, qtbot, errors):
    dock, hand = scribbling, pointer.Hand(scribbling._viewer, qtbot)
    wanted = (np.asarray(load_reference("chloroplasts").data)[SLICE] > 0).astype(np.uint8)
    for row in rows_of(wanted)[:3]:
        for name in (0, 1):
            stroke(qtbot, dock, hand, name, *run_of(wanted, row, name))
    for name, value in (("epochs", 1), ("crop", 64), ("batch", 2)):
        dock.finetune.form.fields[name].editor.setValue(value)
    assert dock.scribble.finetune.isEnabled()
    qtbot.mouseClick(dock.scribble.finetune, LEFT)
    qtbot.waitUntil(lambda: dock.finetune_step.job is not None, timeout=PATIENCE)
    qtbot.waitUntil(lambda: dock.finetune_step.job is None, timeout=PATIENCE)
    assert errors == []
    training_set = TrainingSet(dock.session.training_folder("semantic"))
    assert training_set.classes == ("cytoplasm", "chloroplast")
    (entry,) = training_set.entries
    _, labels, reviewed = training_set.read(entry)
    painted = dock.scribble_step.layer.data
    np.testing.assert_array_equal(reviewed, painted > 0)
    np.testing.assert_array_equal(labels[reviewed], painted[reviewed] - 1)
    saved = [info for info in store.list_models() if not info.bundled]
    assert [info.classes for info in saved] == [("cytoplasm", "chloroplast")]


@pytest.mark.gui
def test_removing_the_image_ends_it(scribbling, qtbot, errors):
    dock = scribbling
    step = dock.scribble_step
    image = step._image()
    dock._viewer.layers.remove(image)
    assert not step.is_active and step.prediction is None
    assert [layer.name for layer in dock._viewer.layers] == ["chloroplasts – scribbles"]
    assert not dock.scribble.start.isEnabled() and errors == []


@pytest.mark.gui
def test_an_error_is_told_and_the_next_stroke_goes_on(scribbling, qtbot, errors, monkeypatch):
    dock, hand = scribbling, pointer.Hand(scribbling._viewer, qtbot)
    step = dock.scribble_step

    def broken(points, view):
        yield LabelsDone(0, slice(0, 1), slice(0, 1), np.ones((1, 1), np.uint8))
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(step._live, "refresh_events", broken)
        qtbot.mouseClick(dock.scribble.classes.rows[0][0], LEFT)
        hand.drag(step.layer, (20, 40), (20, 80))
        qtbot.waitUntil(lambda: len(errors) == 1 and step.job is None, timeout=PATIENCE)
    assert "not enough memory" in errors[0]
    stroke(qtbot, dock, hand, 1, (60, 40), (60, 80))
    assert len(errors) == 1 and step.prediction.layer.data.any()


@pytest.mark.gui
def test_closing_the_dock_takes_the_prediction_away(scribbling, qtbot, errors):
    dock = scribbling
    viewer, scribbles = dock._viewer, dock.scribble_step.layer
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=PATIENCE)
    assert list(viewer.layers)[1] is scribbles
    # nobody listens any more
    viewer.dims.set_current_step(0, 0)
    viewer.scene.camera.zoom *= 2
    scribbles.paint((0, 10, 10), 1)
    qtbot.wait(400)
    assert errors == []


@pytest.mark.gui
def test_classes_of_another_training_set_get_one_of_their_own(scribbling, qtbot):
    session, classes = scribbling.session, scribbling.scribble_step.classes
    usual = session.training_folder("semantic")
    assert session.training_folder("semantic", classes) == usual
    image = np.zeros((32, 32), np.uint8)
    TrainingSet(usual, task="semantic", classes=("background", "nucleus")).add(Image(image, "YX"), image)
    assert session.training_folder("semantic", classes).name == "my-corrections-cytoplasm-chloroplast"


def halves():
    """A grey image of 160 × 200 pixels, its right half brighter; and noise of the same size, which tells nothing."""
    rng = np.random.default_rng(0)
    image, noise = rng.normal(70, 8, (160, 200)), rng.normal(110, 8, (160, 200))
    image[:, 100:] += 80
    return image.astype(np.uint8), noise.astype(np.uint8)


def open_halves(viewer, kind):
    """Add the image as a layer of some kind, and put it on the screen; returns where its plane lies in labels of it."""
    image, noise = halves()
    match kind:
        case "channels":
            viewer.add_image(np.stack([noise, image]), axis_labels=("c", "y", "x"))
            return ()
        case "stack of channels":
            planes = np.stack([np.stack([noise, noise]), np.stack([noise, image])])
            viewer.add_image(planes, axis_labels=("t", "c", "y", "x"))
            viewer.dims.set_current_step(0, 1)
            return (1, 0)
        case "rgb":
            viewer.add_image(np.stack([image, image // 2, image // 3], axis=-1), rgb=True)
            return ()
        case "multiscale":
            viewer.add_image([np.kron(image, np.ones((2, 2), np.uint8)), image], multiscale=True, scale=(0.5, 0.5))
            return ()


@pytest.mark.gui
@pytest.mark.parametrize("kind", ["channels", "stack of channels", "rgb", "multiscale"])
def test_images_of_all_kinds(open_dock, qtbot, errors, monkeypatch, kind):
    # of the multiscale image, the second level is the finest that fits
    monkeypatch.setattr("segloop._napari.layers.MOST_PIXELS", 40_000 if kind == "multiscale" else 1 << 28)
    dock = open_dock(show=True)
    viewer = dock._viewer
    viewer.window.resize(1250, 900)
    place = open_halves(viewer, kind)
    qtbot.wait(200)
    viewer.reset_view()
    dock.tabs.setCurrentIndex(2)
    dock.scribble_fold.expand(animate=False)
    qtbot.waitUntil(dock.scribble.start.isEnabled, timeout=PATIENCE)
    has_channels = "channels" in kind
    assert dock.scribble.channel_field.isVisibleTo(dock.scribble) == has_channels
    if has_channels:
        dock.scribble.channel.setCurrentIndex(1)
    qtbot.mouseClick(dock.scribble.start, LEFT)
    rest(qtbot, dock, 0)
    hand = pointer.Hand(viewer, qtbot)
    stroke(qtbot, dock, hand, 0, (40, 30), (120, 70))
    stroke(qtbot, dock, hand, 1, (40, 130), (120, 170))
    layers = dock.scribble_step.layer, dock.scribble_step.prediction.layer
    painted, predicted = (np.asarray(layer.data[place]) for layer in layers)
    assert painted.shape == predicted.shape == (160, 200)
    assert set(np.unique(painted[:, :100])) == {0, 1} and set(np.unique(painted[:, 100:])) == {0, 2}
    # the step between the halves is like neither of them
    assert (predicted[:, :84] == 1).mean() > 0.98 and (predicted[:, 116:] == 2).mean() > 0.98
    # they lie on the image, whatever its levels and channels
    low, high = (np.asarray(corner)[-2:] for corner in layers[1].extent.world)
    image = viewer.layers[0]
    np.testing.assert_allclose([low, high], np.asarray(image.extent.world)[:, -2:], atol=0.51 * image.scale[-1])
    assert errors == []


@pytest.mark.gui
def test_removing_the_prediction_ends_it(scribbling, errors):
    step, viewer = scribbling.scribble_step, scribbling._viewer
    viewer.layers.remove(step.prediction.layer)
    assert not step.is_active and scribbling.scribble.start.isVisibleTo(scribbling.scribble)
    assert [layer.name for layer in viewer.layers] == ["chloroplasts", "chloroplasts – scribbles"]
    assert errors == []


@pytest.mark.gui
def test_scribbles_that_could_not_be_saved_can_be_saved_later(scribbling, qtbot, errors, monkeypatch):
    dock, hand = scribbling, pointer.Hand(scribbling._viewer, qtbot)
    stroke(qtbot, dock, hand, 0, (20, 40), (20, 80))
    stroke(qtbot, dock, hand, 1, (60, 40), (60, 80))

    def full(*_):
        raise FileError("the disk is full")
        yield

    monkeypatch.setattr(scribble_work, "save_scribbles", full)
    qtbot.mouseClick(dock.scribble.finetune, LEFT)
    qtbot.waitUntil(lambda: errors == ["the disk is full"], timeout=PATIENCE)
    assert dock.scribble.finetune.isEnabled() and dock.scribble.reason.text() == "the disk is full"
