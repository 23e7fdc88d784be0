"""Fine-tune: real training for a moment; saved and chosen if better, asked about if not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from qtpy.QtCore import Qt

from segloop import store
from segloop._napari import work
from segloop.corrections import TrainingSet
from segloop.errors import TrainingError
from segloop.image import Image

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


def decide(monkeypatch, before: float, after: float) -> None:
    """Let the held-out scores be these, whatever the few steps of a test make of the model."""
    real = work.finetune_model

    def judged(base, folder, name, settings, stop):
        finetuned = yield from real(base, folder, name, settings, stop)
        result = dataclasses.replace(finetuned.result, before=before, after=after)
        return work.Finetuned(result, name, store.save_model(result.model, name) if result.improved else None)

    monkeypatch.setattr(work, "finetune_model", judged)


def test_without_corrections_it_says_what_to_do(qtbot, untrained, dock):
    dock.session.choose_model(untrained)
    assert not dock.finetune.start.isEnabled()
    assert "nothing to learn from" in dock.finetune.uses.text()


def test_it_says_what_it_will_use(ready):
    assert ready.finetune.uses.text() == "2 images, background, foreground in reviewed regions. Nothing else is used."
    assert ready.finetune.base.current() == "fresh"


def test_a_better_model_is_saved_and_chosen(qtbot, ready, monkeypatch):
    decide(monkeypatch, 0.5, 0.75)
    ready.finetune.name.setText("better")
    finetune(qtbot, ready)
    assert ready.session.model == "better"
    info = ready.session.find_model("better")
    assert info.version == 1 and info.parent.startswith("fresh")
    assert "0.500 before, 0.750 after" in ready.finetune.result.text()
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


@pytest.mark.parametrize("insist", [True, False])
def test_a_worse_model_is_only_kept_if_the_person_insists(qtbot, ready, monkeypatch, insist):
    decide(monkeypatch, 0.75, 0.5)
    ready.finetune.name.setText("worse")
    finetune(qtbot, ready)
    assert ready.session.model == "fresh"
    assert ready.session.find_model("worse") is None
    assert "Not better" in ready.finetune.result.text()
    assert ready.finetune.keep.isVisibleTo(ready.finetune)
    press(qtbot, ready.finetune.keep if insist else ready.finetune.discard)
    if insist:
        qtbot.waitUntil(lambda: ready.session.model == "worse", timeout=PATIENCE)
    else:
        assert ready.session.model == "fresh"
        assert not (store.home() / "models" / "worse").exists()
    assert not ready.finetune.keep.isVisibleTo(ready.finetune)


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
        patched.setattr(work, "finetune_model", broken)
        finetune(qtbot, ready)
    assert errors == ["the loss is not finite; use a smaller learning rate"]
    assert ready.finetune.reason.text() == errors[0]
    qtbot.waitUntil(ready.finetune.start.isEnabled, timeout=PATIENCE)
    assert ready.finetune.start.isEnabled() and ready.finetune.start.isVisibleTo(ready.finetune)
