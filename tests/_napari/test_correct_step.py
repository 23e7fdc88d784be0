"""Correct: tools through the window, reviewed regions, and what lands in the training set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels, Shapes
from qtpy.QtCore import Qt

from segloop._napari.session import Origin
from segloop.corrections import TrainingSet

PATIENCE = 60_000


@pytest.fixture
def blob_labels() -> np.ndarray:
    labels = np.zeros((96, 128), np.uint16)
    labels[20:40, 20:40] = 1
    labels[25:30, 25:30] = 0
    labels[50:80, 70:90] = 2
    labels[50:80, 90:110] = 3
    return labels


@pytest.fixture
def corrected(dock, blobs, blob_labels, errors):
    """The dock with an image and labels from elsewhere."""
    dock._viewer.add_image(blobs, name="cells", scale=(0.5, 0.5), units=("um", "um"))
    dock._viewer.add_labels(blob_labels, name="draft", scale=(0.5, 0.5), units=("um", "um"))
    return dock


def press(qtbot, button):
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def tool(dock, name):
    return dock.correct.tools.buttons[name]


def layer_of(dock) -> Labels:
    return dock.correct_step.labels


def add(qtbot, dock):
    press(qtbot, dock.correct.add)
    qtbot.waitUntil(lambda: dock.review_step.job is None, timeout=PATIENCE)


def test_without_labels_the_tools_wait(dock):
    for widget in (*dock.correct.tools.buttons.values(), dock.correct.add, dock.correct.whole):
        assert not widget.isEnabled()


def test_any_labels_layer_is_taken_as_a_draft(corrected):
    assert layer_of(corrected).name == "draft"
    assert corrected.correct.image.currentText() == "cells"
    assert corrected.correct.task.current() == "instance"
    assert corrected.correct.image_field.reason == ""


def test_class_images_are_told_from_objects(dock, blobs):
    dock._viewer.add_image(blobs)
    dock._viewer.add_labels((blobs > 100).astype(np.uint8))
    assert dock.correct.task.current() == "semantic"
    dock.correct.task.setCurrentIndex(0)
    dock.correct.task.activated.emit(0)
    assert dock.correct_step.origin.task == "instance"
    # drawing a new layer from nothing means objects
    dock._viewer.add_labels(np.zeros(blobs.shape, np.uint8))
    assert dock.correct.task.current() == "instance"


def test_new_object_takes_the_next_free_number_and_the_brush(qtbot, corrected):
    press(qtbot, tool(corrected, "new_object"))
    assert layer_of(corrected).selected_label == 4
    assert layer_of(corrected).mode == "paint"
    assert "Selected: 4" in corrected.correct.object_text.text()


def test_delete_fill_and_undo(qtbot, corrected, blob_labels):
    layer = layer_of(corrected)
    layer.selected_label = 1
    press(qtbot, tool(corrected, "fill_holes"))
    assert (layer.data[20:40, 20:40] == 1).all()
    assert "filled: 25 pixels" in corrected.status.text()
    press(qtbot, tool(corrected, "delete_object"))
    assert 1 not in layer.data
    press(qtbot, corrected.correct.tools.undo)
    press(qtbot, corrected.correct.tools.undo)
    np.testing.assert_array_equal(layer.data, blob_labels)
    press(qtbot, corrected.correct.tools.redo)
    assert (layer.data[20:40, 20:40] == 1).all()


def test_what_cannot_be_deleted_is_told(qtbot, corrected, errors):
    layer_of(corrected).selected_label = 9
    press(qtbot, tool(corrected, "delete_object"))
    assert errors == ["there is no object 9; click the one that is meant"]
    assert corrected.status.property("role") == "error"


def test_the_table_follows_the_brush(qtbot, corrected):
    layer = layer_of(corrected)
    layer.features = pd.DataFrame(
        {
            "index": [1, 2, 3],
            "label": [1, 2, 3],
            "class": "cell",
            "score": 0.9,
            "area": [375, 600, 600],
            "origin": "model",
        }
    )
    layer.data_setitem((np.array([0, 0]), np.array([0, 1])), 5)
    layer.selected_label = 2
    layer.paint((50, 70), 0)
    qtbot.waitUntil(lambda: 5 in set(layer.features["label"]), timeout=PATIENCE)
    origins = layer.features.set_index("label")["origin"].to_dict()
    assert origins == {1: "model", 2: "edited", 3: "model", 5: "added"}
    assert "edited" in corrected.correct.object_text.text()


def test_nothing_reviewed_is_said_beside_the_button(qtbot, corrected):
    add(qtbot, corrected)
    assert "nothing is reviewed yet" in corrected.correct.reason.text()
    assert not TrainingSet(corrected.session.training_folder("instance")).entries


def test_a_reviewed_region_goes_into_the_training_set(qtbot, corrected, blobs, blob_labels):
    press(qtbot, corrected.correct.region)
    (regions,) = [layer for layer in corrected._viewer.layers if isinstance(layer, Shapes)]
    assert regions.name == "draft – reviewed"
    assert regions.mode == "add_rectangle"
    np.testing.assert_array_equal(regions.scale, (0.5, 0.5))
    regions.add_rectangles(np.array([[-0.5, -0.5], [-0.5, 63.5], [47.5, 63.5], [47.5, -0.5]]))
    qtbot.waitUntil(lambda: corrected.correct.share.value() == 250, timeout=PATIENCE)
    assert corrected.correct.share.text() == "25% reviewed"
    add(qtbot, corrected)
    training_set = TrainingSet(corrected.session.training_folder("instance"))
    (entry,) = training_set.entries
    image, labels, reviewed = training_set.read(entry)
    np.testing.assert_array_equal(image.data, blobs)
    np.testing.assert_array_equal(labels, blob_labels)
    assert reviewed[:48, :64].all() and reviewed.sum() == 48 * 64
    assert dict(image.pixel_size) == {"Y": 0.5, "X": 0.5}
    assert image.unit == "micrometer"
    assert "1 image" in corrected.correct.folder_text.text()
    assert corrected.finetune.source.current() == training_set.folder

    # the same image corrected again replaces its entry
    layer_of(corrected).data_setitem((np.array([0]), np.array([0])), 7)
    add(qtbot, corrected)
    (again,) = training_set.entries
    assert again.id == entry.id
    assert training_set.read(again)[1][0, 0] == 7


def test_the_whole_image_is_reviewed(qtbot, corrected):
    corrected.correct.whole.click()
    assert corrected.correct.share.text() == "100% reviewed"
    add(qtbot, corrected)
    training_set = TrainingSet(corrected.session.training_folder("instance"))
    assert training_set.read(training_set.entries[0])[2].all()
    corrected.correct.whole.click()
    assert corrected.correct.share.text() == "0% reviewed"


def test_one_plane_of_a_stack(qtbot, dock, blobs, blob_labels):
    viewer = dock._viewer
    viewer.add_image(np.stack([blobs] * 4), scale=(3, 1, 1))
    viewer.add_labels(np.stack([blob_labels] * 4), scale=(3, 1, 1))
    # four planes look like channels; the person knows better
    assert "axes CYX" in dock.correct.image_field.reason
    dock.segment.axes.setText("ZYX")
    dock.segment.axes.textEdited.emit("ZYX")
    assert dock.correct.image_field.reason == ""
    viewer.dims.set_current_step(0, 2)
    assert not dock.correct.plane.isHidden()
    press(qtbot, dock.correct.plane)
    qtbot.waitUntil(lambda: dock.correct.share.value() == 250, timeout=PATIENCE)
    add(qtbot, dock)
    training_set = TrainingSet(dock.session.training_folder("instance"))
    reviewed = training_set.read(training_set.entries[0])[2]
    assert reviewed[2].all() and reviewed.sum() == blobs.size
    press(qtbot, dock.correct.clear)
    assert dock.correct.share.value() == 0


def test_labels_of_a_hyperstack_lose_their_empty_channel_axis(qtbot, dock, blobs, blob_labels):
    viewer = dock._viewer
    viewer.add_image(np.stack([np.stack([blobs, blobs])] * 3), axis_labels=("z", "c", "y", "x"))
    layer = viewer.add_labels(np.stack([blob_labels] * 3)[:, None])
    dock.session.update_origin(layer, channel=1)
    dock.correct.whole.click()
    add(qtbot, dock)
    training_set = TrainingSet(dock.session.training_folder("instance"))
    image, labels, _ = training_set.read(training_set.entries[0])
    assert (image.axes, image.shape, labels.shape) == ("ZYX", (3, 96, 128), (3, 96, 128))


def test_classes_of_objects_go_along(qtbot, corrected):
    layer = layer_of(corrected)
    image = corrected.correct_step.origin.image
    corrected.session.origins[layer] = Origin(image, "YX", classes=("round", "long"), model="two")
    layer.features = pd.DataFrame({"index": [1, 2, 3], "class": ["round", "long", "long"]})
    corrected.correct.whole.click()
    add(qtbot, corrected)
    training_set = TrainingSet(corrected.session.training_folder("instance"))
    assert training_set.classes == ("round", "long")
    assert dict(training_set.entries[0].object_classes) == {1: 1, 2: 2, 3: 2}


def test_labels_that_do_not_fit_their_image_are_marked(corrected):
    corrected._viewer.add_labels(np.ones((5, 6), np.uint8), name="small")
    assert "(5, 6)" in corrected.correct.image_field.reason
    assert not corrected.correct.add.isEnabled()


def test_a_folder_with_another_kind_of_set_is_refused(qtbot, corrected, tmp_path, blobs):
    from segloop.image import Image

    other = TrainingSet(tmp_path / "classes", task="semantic", classes=("background", "cell"))
    other.add(Image(blobs, "YX"), (blobs > 100).astype(np.uint8))
    corrected.correct.folder_chosen.emit(tmp_path / "classes")
    corrected.correct.whole.click()
    add(qtbot, corrected)
    assert "semantic" in corrected.correct.reason.text()
    assert len(other.entries) == 1
    assert corrected.correct.add.isEnabled()


def test_the_labels_layer_is_removed(corrected):
    corrected._viewer.layers.clear()
    assert corrected.correct_step.labels is None
    assert not tool(corrected, "new_object").isEnabled()
    assert corrected.correct.share.value() == 0
