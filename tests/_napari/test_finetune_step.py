"""Fine-tune: real training for a moment; saved and chosen if better, asked about if not."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from qtpy.QtCore import Qt

from segloop import store, trainings
from segloop._napari import training_work
from segloop._napari.dock import WIDTH
from segloop._napari.panels import pictures
from segloop.corrections import TrainingSet
from segloop.errors import ModelError, TrainingError
from segloop.events import FoundRegion
from segloop.image import Image
from segloop.trainings import LearningCurve, LearningPoint, open_trainings

PATIENCE = 180_000


@pytest.fixture
def ready(qtbot, untrained, dock, errors, blobs):
    """The dock with a fresh U-Net chosen and a training set of two images for it."""
    dock.session.choose_model(untrained)
    folder = dock.session.training_folder("semantic")
    training_set = TrainingSet(folder, task="semantic", classes=("background", "foreground"))
    for image in (blobs, blobs[::-1]):
        training_set.add(Image(image, "YX"), (image > 100).astype(np.uint8))
    dock.session.training_set_changed.emit()
    qtbot.waitUntil(dock.finetune.start.isEnabled, timeout=PATIENCE)
    dock.finetune.form.fields["epochs"].editor.setValue(2)
    dock.finetune.form.fields["crop"].editor.setValue(64)
    return dock


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def finetune(qtbot, dock):
    press(qtbot, dock.finetune.start)
    assert dock.finetune_step.job is not None
    qtbot.waitUntil(lambda: dock.finetune_step.job is None, timeout=PATIENCE)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Where a finished training of ``ready`` is kept: what is asked of its end needs no process each time."""
    return tmp_path_factory.mktemp("finished") / "training"


def decide(monkeypatch, before: float, after: float, finished: Path | None = None) -> None:
    """Let the held-out scores be these, whatever the few steps of a test make of the model.

    Where ``finished`` is given, the training is that one, done by the first test that asks for it.
    """
    real = trainings.follow

    def judged(folder, *given):
        if finished is not None and finished.is_dir():
            shutil.copytree(finished, folder.path, dirs_exist_ok=True)
        result = yield from real(folder, *given)
        if finished is not None and not finished.is_dir():
            shutil.copytree(folder.path, finished, ignore=shutil.ignore_patterns("order.json"))
        return dataclasses.replace(result, before=before, after=after)

    monkeypatch.setattr(trainings, "follow", judged)


def test_without_corrections_it_says_what_to_do(qtbot, untrained, dock):
    dock.session.choose_model(untrained)
    assert not dock.finetune.start.isEnabled()
    assert "nothing to learn from" in dock.finetune.uses.text()


def test_it_says_what_it_will_use(ready):
    assert ready.finetune.uses.text() == (
        "2 images. What is reviewed is cut into 2 blocks: 1 to learn from, 1 kept out to score the model. "
        "Classes: background, foreground. "
        "Trains for at most 42 s; how long all takes is known after the first time here."
    )
    assert "One block only is held out" in ready.finetune.missing.text()
    assert ready.finetune.base.current() == "fresh"


def test_the_name_of_the_base_model_is_read_beside_the_button_of_versions(qtbot, open_dock):
    dock = open_dock(show=True)
    dock.parentWidget().setFixedWidth(WIDTH)
    dock.tabs.setCurrentIndex(2)
    dock.session.choose_model("nuclei-unet")
    qtbot.wait(100)
    base = dock.finetune.base
    # the arrow takes about thirty pixels
    assert base.isVisible() and base.width() >= base.fontMetrics().horizontalAdvance("nuclei-unet") + 30
    assert dock.finetune.versions.isVisible()


def test_a_better_model_is_saved_and_chosen(qtbot, ready, monkeypatch, finished):
    decide(monkeypatch, 0.5, 0.75, finished)
    ready.finetune.name.setText("better")
    finetune(qtbot, ready)
    assert ready.session.model == "better"
    info = ready.session.find_model("better")
    assert info.version == 1 and info.parent.startswith("fresh")
    assert ready.finetune.result.text() == "Better: held-out score 0.50 → 0.75."
    assert "0.500 before, 0.750 after" in ready.finetune.details.text()
    assert ready.finetune.details_fold.isVisibleTo(ready.finetune) and not ready.finetune.details_fold.isExpanded()
    assert ready.segment.model.current() == "better"
    assert ready.finetune.base.current() == "better"
    assert ready.finetune.name.text() == "better"
    curves = ready.finetune.curves
    assert len(curves.loss_curve.getData()[0]) == 2
    assert list(curves.loss_curve.getData()[0]) == [1, 2]
    assert not ready.finetune.keep.isVisibleTo(ready.finetune)
    # and it segments
    ready._viewer.add_image(np.zeros((64, 64), np.uint8))
    press(qtbot, ready.segment.run)
    qtbot.waitUntil(lambda: ready.segment_step.job is None, timeout=PATIENCE)
    assert ready._viewer.layers[-1].metadata["segloop"]["model"]["name"] == "better"


@pytest.mark.parametrize(("before", "uncorrected"), [(1.0, True), (0.9, False)])
def test_a_score_that_cannot_grow_is_explained(qtbot, ready, monkeypatch, finished, before, uncorrected):
    decide(monkeypatch, before, before, finished)
    finetune(qtbot, ready)
    text = ready.finetune.details.text()
    assert f"held-out score {before:.3f} → {before:.3f}. fresh stays in use" in ready.finetune.result.text()
    assert ("its own labels were reviewed uncorrected" in text) == uncorrected
    assert ("More reviewed objects usually help." in text) != uncorrected


@pytest.mark.parametrize("insist", [True, False])
def test_a_worse_model_is_only_kept_if_the_person_insists(qtbot, ready, monkeypatch, finished, insist):
    decide(monkeypatch, 0.75, 0.5, finished)
    ready.finetune.name.setText("worse")
    finetune(qtbot, ready)
    assert ready.session.model == "fresh"
    assert ready.session.find_model("worse") is None
    assert "Not better" in ready.finetune.result.text()
    assert ready.finetune.keep.isVisibleTo(ready.finetune)
    press(qtbot, ready.finetune.keep if insist else ready.finetune.discard)
    if insist:
        qtbot.waitUntil(lambda: ready.session.model == "worse", timeout=PATIENCE)
        # the question is answered
        assert ready.finetune.result.text() == "Taken although it is not better: held-out score 0.75 → 0.50."
    else:
        assert ready.session.model == "fresh" and ready.finetune.result.text() == ""
        assert not ready.finetune.details_fold.isVisibleTo(ready.finetune)
        assert not (store.home() / "models" / "worse").exists()
    assert not ready.finetune.keep.isVisibleTo(ready.finetune)


def test_a_model_that_could_not_be_saved_can_be_kept_later(qtbot, ready, monkeypatch, finished, errors):
    decide(monkeypatch, 0.75, 0.5, finished)
    ready.finetune.name.setText("worse")
    finetune(qtbot, ready)

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as full:
        full.setattr("segloop.versions.save_result", fail)
        press(qtbot, ready.finetune.keep)
        assert not ready.finetune.keep.isVisibleTo(ready.finetune)
        qtbot.waitUntil(lambda: bool(errors), timeout=PATIENCE)
    assert "no space left" in errors[0] and ready.finetune_step.verdict.is_open
    assert ready.finetune.discard.isVisibleTo(ready.finetune)
    press(qtbot, ready.finetune.keep)
    qtbot.waitUntil(lambda: ready.session.model == "worse", timeout=PATIENCE)
    assert not ready.finetune.keep.isVisibleTo(ready.finetune) and len(errors) == 1


def test_what_was_foreseen_of_the_material_is_told(dock, errors):
    dock.finetune_step.material.fail(ModelError("no model learns from it"))
    assert errors == ["no model learns from it"] and dock.status.text()


def test_stop_keeps_what_is_trained(qtbot, ready, monkeypatch):
    decide(monkeypatch, 0.5, 0.75)
    ready.finetune.form.fields["epochs"].editor.setValue(5000)
    ready.finetune.name.setText("stopped")
    press(qtbot, ready.finetune.start)
    qtbot.waitUntil(lambda: ready.finetune.curves is not None, timeout=PATIENCE)
    qtbot.waitUntil(lambda: "Epoch 1 " in ready.finetune.progress.bar.format(), timeout=PATIENCE)
    press(qtbot, ready.finetune.progress.button)
    qtbot.waitUntil(lambda: ready.finetune_step.job is None, timeout=PATIENCE)
    assert ready.session.model == "stopped"


@pytest.mark.parametrize("name, reason", [("a b", "cannot name a model"), ("", "cannot name"), ("../x", "cannot name")])
def test_names_that_cannot_be_are_marked(qtbot, ready, name, reason):
    ready.finetune.name.selectAll()
    ready.finetune.name.clear()
    qtbot.keyClicks(ready.finetune.name, name)
    ready.finetune.name.textEdited.emit(name)
    assert reason in ready.finetune.name_field.reason
    assert not ready.finetune.start.isEnabled()


def test_a_bundled_name_is_not_taken(qtbot, ready):
    bundled = next(info.name for info in ready.session.models if info.bundled)
    ready.finetune.name.setText(bundled)
    ready.finetune.name.textEdited.emit(bundled)
    assert "bundled" in ready.finetune.name_field.reason


def test_an_error_in_training_is_told_and_the_panel_lives_on(qtbot, ready, errors, monkeypatch):
    def broken(*_):
        raise TrainingError("the loss is not finite; use a smaller learning rate")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(training_work, "finetune_model", broken)
        finetune(qtbot, ready)
    assert errors == ["the loss is not finite; use a smaller learning rate"]
    assert ready.finetune.reason.text() == errors[0]
    qtbot.waitUntil(ready.finetune.start.isEnabled, timeout=PATIENCE)
    assert ready.finetune.start.isEnabled() and ready.finetune.start.isVisibleTo(ready.finetune)


def epoch_shown(dock) -> int:
    words = dock.finetune.progress.bar.format().split()
    return int(words[1]) if words and words[0] == "Epoch" else -1


def test_a_training_that_is_killed_leaves_the_window_and_goes_on(qtbot, ready, errors, monkeypatch):
    decide(monkeypatch, 0.5, 0.75)
    ready.finetune.form.fields["epochs"].editor.setValue(3000)
    ready.finetune.name.setText("killed")
    press(qtbot, ready.finetune.start)
    qtbot.waitUntil(lambda: epoch_shown(ready) >= 1, timeout=PATIENCE)
    psutil.Process(open_trainings()[0].read("process.json")["process"][0]).kill()
    qtbot.waitUntil(lambda: ready.finetune_step.job is None, timeout=PATIENCE)
    assert "was killed by the system" in ready.finetune.reason.text() and len(errors) == 1
    assert ready.finetune.resume.isVisibleTo(ready.finetune)
    assert "The training of killed ended after epoch" in ready.finetune.interrupted.text()
    kept = open_trainings()[0].epochs_done
    press(qtbot, ready.finetune.resume)
    qtbot.waitUntil(lambda: epoch_shown(ready) > kept, timeout=PATIENCE)
    assert list(ready.finetune.curves.loss_curve.getData()[0])[:kept] == list(range(1, kept + 1))
    press(qtbot, ready.finetune.progress.button)
    qtbot.waitUntil(lambda: ready.finetune_step.job is None, timeout=PATIENCE)
    press(qtbot, ready.finetune.forget)
    assert not ready.finetune.resume.isVisibleTo(ready.finetune)


def test_a_training_goes_on_while_the_dock_is_closed(qtbot, ready, open_dock, errors):
    ready.finetune.form.fields["epochs"].editor.setValue(3000)
    ready.finetune.name.setText("alone")
    press(qtbot, ready.finetune.start)
    qtbot.waitUntil(lambda: epoch_shown(ready) >= 1, timeout=PATIENCE)
    viewer = ready._viewer
    viewer.window.remove_dock_widget(ready)
    qtbot.wait(500)
    (training,) = open_trainings()
    assert training.is_running
    told = training.epochs_done
    again = open_dock()
    qtbot.waitUntil(lambda: epoch_shown(again) > told, timeout=PATIENCE)
    press(qtbot, again.finetune.progress.button)
    qtbot.waitUntil(lambda: again.finetune_step.job is None, timeout=PATIENCE)
    assert training.ended is not None and not errors


def test_start_looks_for_a_training_that_is_at_work_first(qtbot, ready, monkeypatch):
    step, begun = ready.finetune_step, []
    monkeypatch.setattr(step, "find_training", lambda: setattr(step, "job", object()))
    monkeypatch.setattr(step, "_begin", lambda *given: begun.append(given))
    step._has_looked = False
    press(qtbot, ready.finetune.start)
    assert step.job is not None and begun == []
    step.job = None


def test_a_result_is_there_again_when_the_dock_is_opened_again(qtbot, ready, open_dock, monkeypatch, errors, finished):
    decide(monkeypatch, 0.5, 0.75, finished)
    ready.finetune.name.setText("better")
    finetune(qtbot, ready)
    told = ready.finetune.result.text()
    assert told == "Better: held-out score 0.50 → 0.75."
    ready._viewer.window.remove_dock_widget(ready)
    again = open_dock()
    qtbot.waitUntil(lambda: bool(again.finetune.result.text()), timeout=PATIENCE)
    assert again.finetune.result.text() == told and again.finetune.details.text().endswith("\n\nSaved as better.")
    assert list(again.finetune.curves.loss_curve.getData()[0]) == [1, 2]
    assert again.finetune.base.current() == "better" and not errors
    # its events are no news
    assert "Learning from" not in again.status.text()


def test_the_last_result_is_offered_when_napari_was_started_again(
    qtbot, ready, open_dock, monkeypatch, errors, finished
):
    decide(monkeypatch, 0.5, 0.75, finished)
    ready.finetune.name.setText("better")
    finetune(qtbot, ready)
    told = ready.finetune.result.text()
    ready._viewer.window.remove_dock_widget(ready)
    monkeypatch.setattr("segloop._napari.steps.finetune._began_here", lambda _: False)
    panel = (again := open_dock()).finetune
    qtbot.waitUntil(lambda: panel.last.isVisibleTo(panel), timeout=PATIENCE)
    assert panel.last.text() == "Show the last training: better" and panel.result.text() == ""
    press(qtbot, panel.last)
    qtbot.waitUntil(lambda: bool(panel.result.text()), timeout=PATIENCE)
    assert panel.result.text() == told and panel.details.text().endswith("\n\nSaved as better.")
    assert list(panel.curves.loss_curve.getData()[0]) == [1, 2] and not panel.last.isVisibleTo(panel)
    assert again.session.find_model("better").versions == (1,) and not errors


def test_a_version_that_another_program_saved_meanwhile_is_the_one_in_use(qtbot, ready, monkeypatch, finished):
    from segloop import versions

    save = versions.save_result

    def saved_twice(result, name):
        own = save(result, name)
        save(result, name)
        return own

    decide(monkeypatch, 0.5, 0.75, finished)
    monkeypatch.setattr(versions, "save_result", saved_twice)
    ready.finetune.form.fields["epochs"].editor.setValue(1)
    ready.finetune.name.setText("better")
    finetune(qtbot, ready)
    assert ready.status.text().startswith("Saved as better, version 1, but version 2 is in use")
    assert ready.status.property("role") == "warning"


def test_an_error_is_told_once_where_the_panel_is_seen(qtbot, open_dock, errors):
    dock = open_dock(show=True)
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(dock.finetune.start.isVisible, timeout=PATIENCE)
    dock.finetune_step.fail(TrainingError("the loss is not finite"))
    assert dock.finetune.reason.text() == "the loss is not finite" and dock.status.text() == ""
    dock.tabs.setCurrentIndex(0)
    dock.finetune_step.fail(TrainingError("the training ended"))
    assert dock.status.text() == "the training ended"
    assert errors == ["the training ended"]


def test_plots_that_cannot_be_made_are_no_end_of_training(qtbot, ready, monkeypatch, errors, finished):
    decide(monkeypatch, 0.5, 0.75, finished)

    def broken():
        raise ImportError("no pyqtgraph here")
        yield

    panel = ready.finetune
    panel._building = panel.curves = panel.pictures = None
    monkeypatch.setattr(panel, "_build_plots", broken)
    finetune(qtbot, ready)
    assert len(errors) == 1 and "no pyqtgraph here" in errors[0]
    assert "Held-out score" in panel.details.text()


def test_one_button_takes_what_is_reviewed_in_the_open_layers(qtbot, untrained, dock, errors, blobs):
    dock.session.choose_model(untrained)
    dock._viewer.add_image(blobs, name="blobs")
    dock._viewer.add_image(blobs[::-1].copy(), name="turned")
    for name in ("blobs", "turned"):
        dock._viewer.layers.selection.active = dock._viewer.layers[name]
        press(qtbot, dock.segment.run)
        qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    made = [layer for layer in dock._viewer.layers if layer in dock.session.origins]
    assert len(made) == 2 and not dock.finetune.start.isEnabled()
    for layer in made:
        layer.data = (dock.session.origins[layer].image().data > 100).astype(layer.data.dtype)
        dock.session.wholly_reviewed.add(layer)
    dock.review_step.reviewed_changed.emit()
    assert dock.finetune.start.isEnabled()
    assert "what is open" in dock.finetune.uses.text()
    dock.finetune.form.fields["epochs"].editor.setValue(1)
    dock.finetune.form.fields["crop"].editor.setValue(64)
    press(qtbot, dock.finetune.start)
    qtbot.waitUntil(lambda: dock.finetune_step.job is not None, timeout=PATIENCE)
    qtbot.waitUntil(lambda: dock.finetune_step.job is None, timeout=PATIENCE)
    training_set = TrainingSet(dock.session.training_folder("semantic"))
    assert len(training_set) == 2 and not errors
    assert "Held-out score" in dock.finetune.details.text()


def test_pictures_show_what_is_right_and_what_is_not():
    scored = np.ones((40, 40), bool)
    reference, found = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    reference[5:15, 5:15] = found[5:15, 5:15] = 1
    reference[25:35, 5:15], found[25:35, 25:35] = 2, 7
    picture = pictures.outlined(FoundRegion(np.full((40, 40), 100, np.uint8), reference, found, scored))
    assert picture.shape == (40, 40, 3) and tuple(picture[0, 0]) == (100, 100, 100)
    assert tuple(picture[5, 8]) == pictures.BOTH
    assert tuple(picture[25, 8]) == pictures.CORRECTED and tuple(picture[25, 28]) == pictures.FOUND


def test_the_learning_curve_of_a_model_is_shown(qtbot, dock):
    points = (LearningPoint(1, 10, 0.5, 0.01), LearningPoint(2, 20, 0.6, 0.01))
    assert not dock.finetune.learning_fold.isVisibleTo(dock.finetune)
    dock.finetune.show_learning(LearningCurve("objects", points, 0.3), "dark")
    assert dock.finetune.learning_fold.isVisibleTo(dock.finetune)
    x, y = dock.finetune.learning.curve.getData()
    assert list(x) == [0, 10, 20] and list(y) == [0.3, 0.5, 0.6]
    assert dock.finetune.learning.verdict.text().startswith("More annotation pays")


def test_plots_are_shown_when_they_show_something_and_pictures_are_enlarged_by_a_click(qtbot, open_dock):
    dock = open_dock(show=True)
    dock.tabs.setCurrentIndex(2)
    dock.finetune.show_plots()
    curves, grid = dock.finetune.curves, dock.finetune.pictures.grid
    curves.begin(40)
    assert not curves.loss_plot.isVisibleTo(curves) and not curves.score_plot.isVisibleTo(curves)
    curves.add_epoch(1, 0.8, 0.5)
    assert not curves.loss_plot.isVisibleTo(curves) and curves.score_plot.isVisibleTo(curves)
    curves.add_epoch(2, 0.6, 0.7)
    assert curves.loss_plot.isVisibleTo(curves)
    bottom, top = curves.score_plot.viewRange()[1]
    assert bottom >= -0.05 and top <= 1.05
    labels = np.zeros((60, 60), np.uint8)
    region = FoundRegion(labels, labels, labels, np.ones((60, 60), bool))
    dock.finetune.pictures.show_regions(2, [region] * 2)
    qtbot.waitUntil(lambda: grid.width() > 200, timeout=PATIENCE)
    small = grid._cells()[0].width()
    press(qtbot, grid)
    assert grid._cells()[0].width() > 1.8 * small
    press(qtbot, grid)
    assert grid._cells()[0].width() == small
