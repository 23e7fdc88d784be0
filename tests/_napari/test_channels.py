"""Several channels: a layer with channels, or a layer for each, from the first correction to the new model's labels."""

from __future__ import annotations

import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from segloop import store
from segloop._napari import prompt_work
from segloop._napari.channels import channel_layers, stack_of
from segloop._napari.session import Origin
from segloop.corrections import TrainingSet

PATIENCE = 180_000


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def run(qtbot, dock):
    press(qtbot, dock.segment.run)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)


def tick(menu, name: str) -> None:
    """Choose a layer in the menu, or leave it out."""
    next(action for action in menu.menu().actions() if action.text() == name).trigger()


def results(dock) -> list[Labels]:
    return [layer for layer in dock._viewer.layers if isinstance(layer, Labels)]


@pytest.fixture
def stained(blobs):
    """Squares of which one is seen in each channel."""
    other = np.full_like(blobs, 20)
    other[60:90, 10:40] = 220
    return blobs, other


@pytest.fixture
def dock(untrained, dock, errors):
    dock.session.choose_model(untrained)
    return dock


@pytest.fixture
def two_channels(segloop_home):
    """A model that sees two channels."""
    from segloop.models.registry import get_family

    family = get_family("unet")
    spec = family.new_spec("double", ("background", "foreground"), 2, 2, family.sizes()[0])
    spec = replace(spec, normalization=replace(spec.normalization, joint=False))
    store.save_model(family.build(spec), "double")
    return "double"


def correct_and_learn(qtbot, dock, stained, name: str) -> None:
    """Put the only result right, let all channels be learned, and fine-tune."""
    (labels,) = results(dock)
    labels.data = ((stained[0] > 100) | (stained[1] > 100)).astype(labels.data.dtype)
    dock.session.wholly_reviewed.add(labels)
    dock.review_step.reviewed_changed.emit()
    assert dock.finetune.channels_field.isVisibleTo(dock.finetune)
    panel = dock.finetune
    assert [panel.channels.itemText(n) for n in range(panel.channels.count())] == ["As segmented", "All 2 channels"]
    panel.channels.setCurrentIndex(1)
    panel.channels._on_activated()
    assert panel.source.current() is None
    panel.form.fields["epochs"].editor.setValue(1)
    panel.form.fields["crop"].editor.setValue(64)
    panel.name.setText(name)
    press(qtbot, panel.start)
    qtbot.waitUntil(lambda: dock.finetune_step.job is not None, timeout=PATIENCE)
    qtbot.waitUntil(lambda: dock.finetune_step.job is None, timeout=PATIENCE)
    assert dock.session.model == name and dock.session.find_model(name).channels == 2
    assert panel.result.text().startswith("Taken, but not scored.")


def test_layers_that_lie_on_each_other_are_learned_and_seen_as_channels(qtbot, dock, errors, stained, blobs):
    for pixels, name in zip(stained, ("nuclei", "actin")):
        dock._viewer.add_image(pixels, name=name, blending="additive")
    dock._viewer.add_image(blobs, name="another field")
    dock._viewer.layers.selection.active = dock._viewer.layers["nuclei"]
    assert dock.segment.layers_field.isVisibleTo(dock.segment)
    assert dock.segment.layers.text() == "nuclei"
    run(qtbot, dock)
    correct_and_learn(qtbot, dock, stained, "both")
    # nothing was chosen, and the model takes as many channels as there are layers
    assert dock.segment.layers.text() == "nuclei + actin"
    folder = dock.session.training_folder("semantic", ("background", "foreground"), 2)
    assert folder.name == "my-corrections-classes-2-channels"
    training_set = TrainingSet(folder)
    (entry,) = training_set.entries
    np.testing.assert_array_equal(training_set.read(entry)[0].read(), np.stack(stained))
    run(qtbot, dock)
    first, second = results(dock)
    assert second.data.shape == stained[0].shape and dock.session.origins[second].model == "both"
    # what is corrected of it is learned with the channels that were seen
    dock.session.wholly_reviewed.discard(first)
    dock.session.wholly_reviewed.add(second)
    dock.session.learns_all_channels = False
    assert dock.review_step.set_for(dock.session.origins[second]) == folder
    assert errors == []


def test_channels_of_one_layer_are_learned_and_seen(qtbot, dock, errors, stained):
    dock._viewer.add_image(np.stack(stained), name="cells", axis_labels=("c", "y", "x"))
    assert not dock.segment.layers_field.isVisibleTo(dock.segment)
    run(qtbot, dock)
    assert dock.session.origins[results(dock)[0]].channel == 0
    correct_and_learn(qtbot, dock, stained, "both")
    # what the new model sees, without a choice
    assert dock.segment.channel.currentText() == "All"
    run(qtbot, dock)
    second = results(dock)[-1]
    assert dock.session.origins[second].model == "both" and dock.session.origins[second].channel == -1
    assert errors == []


def test_what_is_chosen_is_seen_and_the_order_is_that_of_the_layers(qtbot, dock, errors, stained, two_channels):
    for pixels, name in zip((*stained, stained[0] // 2), ("nuclei", "actin", "dim")):
        dock._viewer.add_image(pixels, name=name)
    dock.session.reload_models()
    dock.session.choose_model(two_channels)
    dock._viewer.layers.selection.active = dock._viewer.layers["actin"]
    menu = dock.segment.layers
    assert menu.text() == "actin"
    run(qtbot, dock)
    assert "has 1 channel, but the model 'double' takes 2 channels" in dock.segment.layers_field.reason
    assert len(errors) == 1 and results(dock) == []
    tick(menu, "nuclei")
    assert menu.text() == "nuclei + actin" and dock.segment.layers_field.reason == ""
    run(qtbot, dock)
    (result,) = results(dock)
    origin = dock.session.origins[result]
    assert [layer().name for layer in origin.stack] == ["nuclei", "actin"] and origin.image().name == "actin"
    expected = store.load_model(two_channels)
    from segloop import Image, segment

    labels = segment(expected, Image(np.stack(stained), "CYX")).labels
    np.testing.assert_array_equal(result.data, labels.data)
    # chosen for this image, whatever is looked at meanwhile
    dock._viewer.layers.selection.active = dock._viewer.layers["dim"]
    assert menu.text() == "dim"
    dock._viewer.layers.selection.active = dock._viewer.layers["actin"]
    assert menu.text() == "nuclei + actin"
    dock._viewer.layers.remove("nuclei")
    assert menu.text() == "actin"
    dock._viewer.layers.remove("dim")
    assert not dock.segment.layers_field.isVisibleTo(dock.segment)


@pytest.mark.parametrize(
    "other",
    [
        {"data": np.zeros((96, 100), np.uint8)},
        {"translate": (5, 5)},
        {"data": np.zeros((96, 128, 3), np.uint8)},
        {"data": np.zeros((2, 96, 128), np.uint8), "axis_labels": ("c", "y", "x")},
        {"blending": "translucent"},
    ],
    ids=["another shape", "another place", "colours", "channels of its own", "another field"],
)
def test_layers_that_are_no_channels_are_not_offered(dock, blobs, other):
    dock._viewer.add_image(**{"data": blobs, "name": "other", "blending": "additive", **other})
    dock._viewer.add_image(blobs, name="image", blending="additive")
    dock._viewer.layers.selection.active = dock._viewer.layers["image"]
    assert not dock.segment.layers_field.isVisibleTo(dock.segment)


def test_layers_that_napari_split_are_offered_as_channels(dock, stained):
    """The first of them is in colour and hides what lies below; a grey image there is none of them."""
    viewer = dock._viewer
    viewer.add_image(stained[0], name="another field")
    first = viewer.add_image(np.stack(stained), channel_axis=0, name=["dapi", "gfp"])
    second = viewer.add_image(np.stack(stained), channel_axis=0, name=["red", "far red"])
    for layers in (first, second):
        for layer in layers:
            viewer.layers.selection.active = layer
            assert dock.segment.layers_field.isVisibleTo(dock.segment)
            assert channel_layers(layer, viewer.layers, dock.session) == tuple(layers)
    viewer.layers.selection.active = viewer.layers["another field"]
    assert not dock.segment.layers_field.isVisibleTo(dock.segment)


def test_images_of_several_channels_have_a_training_set_of_their_own(dock, stained):
    from segloop.image import Image

    session, classes = dock.session, ("background", "foreground")
    labels = (stained[0] > 100).astype(np.uint8)
    usual = session.training_folder("semantic", classes)
    assert session.training_folder("semantic", classes, 2) == usual.with_name(f"{usual.name}-2-channels")
    TrainingSet(usual, task="semantic", classes=classes).add(Image(stained[0], "YX"), labels)
    many = session.training_folder("semantic", classes, 2)
    TrainingSet(many, task="semantic", classes=classes).add(Image(np.stack(stained), "CYX"), labels)
    assert session.training_folder("semantic", classes) == usual
    assert session.training_folder("semantic", classes, 2) == many
    assert session.training_folder("semantic", ("a", "b"), 2).name == "my-corrections-a-b-2-channels"
    # a set that holds such images already, from wherever, goes on to hold them
    session.choose_training_folder("semantic", many)
    assert session.training_folder("semantic", classes, 2) == many
    assert session.training_folder("semantic", classes) == usual
    # labels from elsewhere name no classes, but their image has one channel all the same
    assert session.training_folder("semantic") == many
    assert session.training_folder("semantic", (), 1) == usual
    shutil.rmtree(usual)
    shutil.copytree(many, usual)
    assert session.training_folder("semantic", (), 1) == usual.with_name(f"{usual.name}-1-channel")


def test_boxes_are_filled_from_the_channels_that_were_seen(qtbot, dock, stained, monkeypatch):
    seen = []

    def look(prompter, model, image, *others):
        seen.append(image.read())
        return prompter
        yield

    monkeypatch.setattr(prompt_work, "look", look)
    images = [dock._viewer.add_image(pixels, blending="additive") for pixels in stained]
    labels = dock._viewer.add_labels(np.zeros(stained[0].shape, np.uint16))
    dock.session.origins[labels] = Origin(weakref.ref(images[1]), "YX", classes=("cell",), stack=stack_of(images))
    dock.correct_step.labels_used.emit()
    press(qtbot, dock.candidate_tools.prompt)
    qtbot.waitUntil(lambda: bool(seen) and dock.adding_step.job is None, timeout=PATIENCE)
    np.testing.assert_array_equal(seen[0], np.stack(stained))
