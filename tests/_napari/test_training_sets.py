"""Which training set labels go into, and which one is learned from, where sets hold different classes."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from qtpy.QtCore import Qt

from segloop._napari.session import Origin
from segloop.corrections import TrainingSet
from segloop.image import Image

PATIENCE = 60_000
SCRIBBLED = ("cytoplasm", "chloroplast")
NUCLEI = ("background", "foreground")


@pytest.fixture
def after_scribbling(untrained, dock, errors, blobs, qtbot):
    """The usual set holds what was scribbled; labels of other classes are open."""
    dock.session.choose_model(untrained)
    scribbled = dock.session.training_folder("semantic", SCRIBBLED)
    labels = (blobs > 100).astype(np.uint8)
    TrainingSet(scribbled, task="semantic", classes=SCRIBBLED).add(Image(blobs, "YX"), labels)
    dock.session.note_added("semantic", scribbled)
    qtbot.waitUntil(lambda: "Classes: cytoplasm, chloroplast" in dock.finetune.uses.text(), timeout=PATIENCE)
    image = dock._viewer.add_image(blobs)
    layer = dock._viewer.add_labels(labels)
    dock.session.origins[layer] = Origin(weakref.ref(image), "YX", task="semantic", classes=NUCLEI, model=untrained)
    dock.correct_step.labels_used.emit()
    yield dock
    assert errors == []


def test_corrections_of_other_classes_go_into_a_set_of_their_own(after_scribbling, qtbot):
    dock = after_scribbling
    scribbled = dock.session.training_folder("semantic", SCRIBBLED)
    own = dock.session.training_folder("semantic", NUCLEI)
    assert own != scribbled and own.name == "my-corrections-background-foreground"
    assert f"Training set: {own.name} (empty)" == dock.correct.folder_text.text()
    dock.correct.whole.click()
    # what was reviewed last is what Fine-tune would learn from, and nothing of the other classes
    assert dock.finetune.source.items() == [scribbled, own] and dock.finetune.source.current() == own
    assert dock.finetune.uses.text() == "The reviewed part of what is open."
    assert dock.finetune.start.isEnabled() and dock.finetune.missing.text() == ""
    qtbot.mouseClick(dock.correct.add, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.review_step.job is None, timeout=PATIENCE)
    assert TrainingSet(own).classes == NUCLEI and len(TrainingSet(own)) == 1
    assert len(TrainingSet(scribbled)) == 1
    qtbot.waitUntil(lambda: "Classes: background, foreground" in dock.finetune.uses.text(), timeout=PATIENCE)
    assert dock.finetune.source.current() == own


def test_a_folder_of_other_classes_is_passed_over_and_that_is_said(after_scribbling, tmp_path, blobs):
    dock = after_scribbling
    other = tmp_path / "elsewhere"
    TrainingSet(other, task="semantic", classes=("sky", "sea")).add(Image(blobs, "YX"), np.zeros(blobs.shape, np.uint8))
    dock.correct.folder_chosen.emit(other)
    assert dock.correct.reason.text() == (
        "elsewhere holds other classes than these labels (background, foreground), which go into "
        "my-corrections-background-foreground."
    )
    fitting = tmp_path / "fitting"
    dock.correct.folder_chosen.emit(fitting)
    assert dock.correct.reason.text() == ""
    assert dock.correct.folder_text.text() == "Training set: fitting (empty)"
