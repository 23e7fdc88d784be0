"""Which training set labels go into, and which one is learned from, where sets hold different classes."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from segloop._napari.reviewed import Regions
from segloop._napari.session import Origin
from segloop._napari.steps import review
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
    image = dock._viewer.add_image(blobs, name="blobs")
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
    assert dock.finetune.uses.text() == "The reviewed part of what is open: blobs (all of it)."
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


def objects(dock, image, name: str, classes: tuple[str, ...], model: str = ""):
    """Labels of objects on an image, chosen in Correct."""
    layer = Labels((image.data > 100).astype(np.uint8), name=name)
    dock.session.origins[layer] = Origin(weakref.ref(image), "YX", classes=classes, model=model)
    dock._viewer.add_layer(layer)
    dock._viewer.layers.selection.active = layer
    assert dock.correct.labels.current() is layer
    return layer


def add(dock, qtbot) -> None:
    dock.correct.whole.click()
    qtbot.mouseClick(dock.correct.add, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.review_step.job is None, timeout=PATIENCE)


def test_labels_from_elsewhere_and_corrections_of_a_model_share_a_set(dock, errors, qtbot, blobs):
    viewer = dock._viewer
    own, other = viewer.add_image(blobs, name="own"), viewer.add_image(blobs[::-1].copy(), name="other")
    objects(dock, own, "by hand", ())
    add(dock, qtbot)
    folder = dock.session.training_folder("instance")
    assert TrainingSet(folder).classes == ("object",)
    objects(dock, other, "found", ("nucleus",), "my-nuclei")
    add(dock, qtbot)
    assert TrainingSet(folder).classes == ("nucleus",) and len(TrainingSet(folder)) == 2
    # another class of objects cannot lie in the same set
    third = viewer.add_image(blobs.T.copy(), name="third")
    objects(dock, third, "cells", ("cell",), "my-cells")
    add(dock, qtbot)
    assert len(TrainingSet(folder)) == 2
    assert TrainingSet(folder.with_name("my-corrections-cell")).classes == ("cell",)
    assert errors == []


def test_objects_of_two_models_go_into_one_set_only_if_she_says_so(dock, errors, qtbot, blobs):
    dock.session.choose_model("nuclei-maskrcnn")
    viewer, session = dock._viewer, dock.session
    images = [viewer.add_image(np.roll(blobs, 9 * n, 0), name=f"image {n}") for n in range(3)]
    objects(dock, images[0], "nuclei", ("nucleus",), "nuclei-maskrcnn")
    add(dock, qtbot)
    usual = session.training_folder("instance")
    objects(dock, images[1], "cells", ("object",), "objects-maskrcnn")
    dock.correct.whole.click()
    own = usual.with_name("my-corrections-object")
    assert dock.correct.folder_text.text() == f"Training set: {own.name} (empty)"
    assert (
        "What is open goes into 2 training sets (my-corrections-object, my-corrections); a training learns from one. "
        "To learn both as one kind, choose one set for both in Correct ▸ Training set."
    ) in dock.finetune.missing.text()
    qtbot.mouseClick(dock.correct.add, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.review_step.job is None, timeout=PATIENCE)
    assert (TrainingSet(usual).classes, TrainingSet(own).classes) == (("nucleus",), ("object",))
    # she says that they are the same
    objects(dock, images[2], "more cells", ("object",), "objects-maskrcnn")
    dock.correct.folder_chosen.emit(usual)
    assert dock.correct.reason.text() == ""
    add(dock, qtbot)
    assert len(TrainingSet(usual)) == 2 and TrainingSet(usual).classes == ("nucleus",)
    assert "training sets" not in dock.finetune.missing.text() and errors == []


def test_a_set_of_a_model_that_knows_no_kind_takes_no_kind_by_itself(dock, blobs):
    session = dock.session
    usual = session.training_folder("instance")
    TrainingSet(usual).add(Image(blobs, "YX"), (blobs > 100).astype(np.uint8), model="objects-maskrcnn@1")
    assert session.training_folder("instance", ("object",)) == usual
    assert session.training_folder("instance", ("nucleus",)).name == "my-corrections-nucleus"
    assert session.training_folder("instance", ()) == usual
    session.choose_training_folder("instance", usual)
    assert session.training_folder("instance", ("nucleus",)) == usual


def test_of_two_drafts_of_an_image_the_one_reviewed_last_counts(dock, errors, qtbot, blobs):
    image = dock._viewer.add_image(blobs, name="blobs")
    found = objects(dock, image, "found", ("nucleus",), "nuclei-maskrcnn")
    dock.review_step.add_plane()
    own = objects(dock, image, "by hand", ())
    dock.correct.whole.click()
    assert dock.review_step.open_reviewed(None) == [own]
    (passed,) = dock.review_step.passed_over(None)
    assert passed.layer is found and "“by hand” and “found” are both reviewed for the image blobs" in passed.text
    assert passed.text in dock.finetune.missing.text()
    # what is done in the other one makes that one count
    dock._viewer.layers.selection.active = found
    add(dock, qtbot)
    assert dock.review_step.open_reviewed(None) == [found]
    assert errors == []


def test_all_sets_are_offered_and_one_of_classes_brings_a_model_for_it(dock, errors, qtbot, blobs):
    dock.session.choose_model("nuclei-maskrcnn")
    sets = dock.session.training_folder("instance").parent
    image, labels = Image(blobs, "YX"), (blobs > 100).astype(np.uint8)
    TrainingSet(sets / "leaves", task="semantic", classes=("background", "leaf")).add(image, labels)
    dock.session.training_set_changed.emit()
    source = dock.finetune.source
    assert source.items() == [None, sets / "leaves"] and source.current() is None
    assert source.currentText() == "None for nuclei-maskrcnn yet" and not dock.finetune.start.isEnabled()
    TrainingSet(sets / "seeds").add(image, labels)
    dock.session.training_set_changed.emit()
    assert source.items() == [sets / "seeds", sets / "leaves"] and source.current() == sets / "seeds"
    source.setCurrentIndex(1)
    source.chosen.emit(sets / "leaves")
    assert dock.finetune.base.current() == "nuclei-unet" and source.current() == sets / "leaves"
    assert "starts from nuclei-unet" in dock.status.text()
    qtbot.waitUntil(lambda: "background, leaf" in dock.finetune.uses.text(), timeout=PATIENCE)
    assert errors == []


def told(dock) -> str:
    return dock.finetune.uses.text()


def test_what_is_open_counts_before_the_training_starts(dock, errors, qtbot, blobs):
    dock.session.choose_model("nuclei-maskrcnn")
    viewer = dock._viewer
    first = viewer.add_image(blobs, name="cells")
    found = objects(dock, first, "found", ("nucleus",))
    add(dock, qtbot)
    # nobody looks at the panel: what is in the set counts, what is open is named
    qtbot.waitUntil(lambda: told(dock).startswith("1 image, 1 object. "), timeout=PATIENCE)
    assert "Open, and brought up to date at the start" in told(dock) and "others: cells (all of it)." in told(dock)
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: "block" in told(dock) and "cells" not in told(dock), timeout=PATIENCE)
    assert told(dock).startswith("1 image, 1 object. What is reviewed makes one block, which is learned from. ")
    # of a second image, one that is not in the set yet
    second = viewer.add_image(blobs[::-1].copy(), name="second")
    objects(dock, second, "also found", ("nucleus",))
    dock.review_step.vouch((), slice(0, 60), slice(0, 128))
    qtbot.waitUntil(lambda: "second" in told(dock), timeout=PATIENCE)
    assert told(dock).startswith("2 images, 2 objects. What is reviewed is cut into 2 blocks: 1 to learn from, 1 kept ")
    assert " Added at the start: second (1 region). " in told(dock) and "Changed" not in told(dock)
    assert "One block only is held out" in dock.finetune.missing.text()
    # what was changed in one that is in the set is counted when she comes back
    dock.tabs.setCurrentIndex(1)
    found.data = np.where(blobs == 200, 2, found.data)
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: "Changed since it was added: cells (all of it)." in told(dock), timeout=PATIENCE)
    assert told(dock).startswith("2 images, 3 objects. ")
    # and what was counted is what is used
    folder = dock.session.training_folder("instance")
    assert len(TrainingSet(folder)) == 1
    dock.review_step.add_open_layers(folder, lambda: None)
    qtbot.waitUntil(lambda: len(TrainingSet(folder)) == 2, timeout=PATIENCE)
    qtbot.waitUntil(lambda: "image" in told(dock) and "at the start" not in told(dock), timeout=PATIENCE)
    assert told(dock).startswith("2 images, 3 objects. What is reviewed is cut into 2 blocks: ")
    assert "Changed" not in told(dock) and errors == []


def test_what_is_open_counts_where_there_is_no_set_yet(dock, errors, qtbot, blobs):
    dock.session.choose_model("nuclei-maskrcnn")
    image = dock._viewer.add_image(blobs, name="blobs")
    objects(dock, image, "found", ("nucleus",))
    dock.tabs.setCurrentIndex(2)
    dock.correct.whole.click()
    qtbot.waitUntil(lambda: "block" in told(dock), timeout=PATIENCE)
    assert "Added at the start: blobs (all of it)." in told(dock) and dock.finetune.start.isEnabled()
    assert not dock.session.training_folder("instance").exists() and errors == []


def test_what_is_reviewed_is_counted_as_soon_as_it_is_looked_at(dock, errors, qtbot, blobs):
    dock.session.choose_model("nuclei-maskrcnn")
    image = dock._viewer.add_image(blobs, name="blobs")
    objects(dock, image, "found", ("nucleus",))
    dock.tabs.setCurrentIndex(1)
    dock.correct.whole.click()
    qtbot.waitUntil(lambda: "what is open: blobs (all of it)." in told(dock), timeout=PATIENCE)
    # of somebody who has no training set yet
    assert dock.finetune.source.items() == []
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: "block" in told(dock), timeout=PATIENCE)
    assert told(dock).startswith("1 image, 1 object. ") and errors == []
    assert "review a second region" in dock.finetune.missing.text()


def test_edits_are_counted_while_it_is_looked_at_and_settings_copy_nothing(dock, errors, qtbot, blobs, monkeypatch):
    dock.session.choose_model("nuclei-maskrcnn")
    image = dock._viewer.add_image(blobs, name="blobs")
    layer = objects(dock, image, "found", ("nucleus",))
    dock.correct.whole.click()
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: told(dock).startswith("1 image, 1 object. "), timeout=PATIENCE)
    material = dock.finetune_step.material
    # the table follows what is reviewed
    qtbot.wait(1000)
    qtbot.waitUntil(lambda: not (material._edits_rest.isActive() or material._settings_changed.isActive()))
    copies, freeze = [], review.freeze_labels
    monkeypatch.setattr(review, "freeze_labels", lambda *given: copies.append(given) or freeze(*given))
    counted = []
    material._settings_changed.timeout.connect(lambda: counted.append(None))
    dock.finetune.minutes.setValue(dock.finetune.minutes.value() + 1)
    qtbot.waitUntil(lambda: bool(counted) and told(dock).startswith("1 image, 1 object. "), timeout=PATIENCE)
    assert copies == []
    corner = tuple(axis.ravel() for axis in np.mgrid[:20, :20])
    layer.data_setitem(corner, 7)
    qtbot.waitUntil(lambda: told(dock).startswith("1 image, 2 objects. "), timeout=PATIENCE)
    layer.undo()
    qtbot.waitUntil(lambda: told(dock).startswith("1 image, 1 object. "), timeout=PATIENCE)
    assert len(copies) == 2
    # nobody looks: nothing is kept
    dock.tabs.setCurrentIndex(1)
    layer.data_setitem(corner, 7)
    dock.session.ledgers[layer].flush()
    qtbot.wait(1000)
    assert len(copies) == 2 and errors == []


def test_regions_are_drawn_beside_the_window(dock, errors, qtbot, blobs, monkeypatch):
    dock.session.choose_model("nuclei-maskrcnn")
    image = dock._viewer.add_image(blobs, name="blobs")
    objects(dock, image, "found", ("nucleus",))
    dock.review_step.vouch((), slice(0, 60), slice(0, 128))
    threads, draw = [], Regions.mask
    qtbot.wait(300)
    monkeypatch.setattr(Regions, "mask", lambda *given: threads.append(threading.get_ident()) or draw(*given))
    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: "blobs (1 region). " in told(dock), timeout=PATIENCE)
    assert threads and threading.get_ident() not in threads and errors == []
