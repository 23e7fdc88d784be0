"""Material: a training set as a model learns it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segloop.corrections import TrainingSet
from segloop.image import Image
from segloop.labels import Task
from segloop.models.protocol import ModelSpec
from segloop.models.unet import FAMILY
from segloop.settings import AUTO, Auto
from segloop.train.material import crop_shape, fitting_zoom, learned_size, read_set
from segloop.train.regions import find_regions

SPEC = ModelSpec("base", "unet", Task.SEMANTIC, ("background", "inside", "border"), object_size=20.0)


@pytest.mark.parametrize(
    ("size", "zoom", "learned"),
    [
        (0.0, 1.0, 20.0),  # no object is known
        (20.0, 1.0, 20.0),
        (10.0, 1.0, 20.0),  # half to twice the size: the model's own kind
        (40.0, 1.0, 20.0),
        (5.0, 4.0, 20.0),  # too small: enlarged to the model's size
        (80.0, 1.0, 80.0),  # four times the size is still seen whole
        (100.0, 0.4, 20.0),  # too large: reduced to twice the model's size
    ],
)
def test_the_scale_is_left_alone_unless_objects_cannot_be_seen(size: float, zoom: float, learned: float) -> None:
    assert fitting_zoom(SPEC, size) == pytest.approx(zoom)
    assert learned_size(SPEC, size, zoom) == pytest.approx(learned)


def test_a_scaled_model_counts_in_its_own_pixels() -> None:
    # at zoom 0.5 it sees 60 pixels as 30
    scaled = replace(SPEC, zoom=0.5)
    assert fitting_zoom(scaled, 60.0) == 0.5
    assert fitting_zoom(scaled, 15.0) == pytest.approx(1.33)
    assert learned_size(replace(SPEC, object_size=0.0), 15.0, 2.0) == 30.0


def regions_of(folder: Path, task: Task, side: int) -> list:
    training_set = TrainingSet(folder, task, ("background", "cell") if task is Task.SEMANTIC else ("cell",))
    labels = np.zeros((600, 600), np.uint8)
    labels[30:40, 30:40] = 1
    reviewed = np.zeros(labels.shape, bool)
    reviewed[20 : 20 + side, 20 : 20 + side] = True
    training_set.add(Image(labels, "YX"), labels, reviewed)
    return find_regions(training_set, 2, 0)


@pytest.mark.parametrize(
    ("task", "piece", "zoom", "side", "expected"),
    [
        (Task.INSTANCE, 500, 1.0, 256, 256),
        (Task.INSTANCE, 200, 1.0, 256, 208),  # no larger than what is reviewed, in multiples of 16
        (Task.INSTANCE, 500, 0.25, 256, 128),
        (Task.SEMANTIC, 500, 1.0, 256, 256),
        (Task.SEMANTIC, 400, 1.0, 256, 208),  # half of it
        (Task.SEMANTIC, 256, 1.0, 256, 128),
        (Task.SEMANTIC, 100, 1.0, 256, 128),
        (Task.SEMANTIC, 500, 1.0, 64, 64),  # never more than was asked for
        (Task.SEMANTIC, 1024, 1.0, AUTO, 128),  # a whole image is learned in many small steps
        (Task.INSTANCE, 1024, 1.0, AUTO, 256),
    ],
)
def test_crops_are_no_larger_than_what_is_reviewed(
    task: Task, piece: int, zoom: float, side: int | Auto, expected: int, tmp_path: Path
) -> None:
    model = FAMILY.build(replace(SPEC, architecture={"levels": 4, "base_channels": 2}))
    assert crop_shape(model, task, regions_of(tmp_path, task, piece), zoom, side) == (expected, expected)


def test_regions_with_rare_classes_are_drawn_from_more_often(tmp_path: Path) -> None:
    labels = np.zeros((128, 128 * 6), np.uint8)
    labels[:, ::2] = 1
    labels[10:20, 10:20] = 2  # in one region of six: no more than four times as often
    labels[10:20, [200, 330, 460]] = 3  # 10 pixels in each of three regions: too few to hold it
    training_set = TrainingSet(tmp_path, Task.SEMANTIC, ("background", "common", "rare", "specks"))
    training_set.add(Image(labels, "YX"), labels)
    spec = replace(SPEC, classes=training_set.classes)
    train = find_regions(training_set, 2, 0)
    ((image,), held_out) = read_set(training_set, spec, train, [], 1.0, 128)
    assert held_out == []
    columns = [box[1].start // 128 for box in image.boxes]
    assert [columns.count(number) for number in range(6)] == [4, 1, 1, 1, 1, 1]


def test_objects_are_all_drawn_alike_with_room_for_a_crop(tmp_path: Path) -> None:
    labels = np.zeros((256, 256), np.uint8)
    labels[10:20, 10:20] = 1
    training_set = TrainingSet(tmp_path, Task.INSTANCE, ("cell",))
    training_set.add(Image(labels, "YX"), labels)
    regions = find_regions(training_set, 2, 0)
    ((image,), (held,)) = read_set(training_set, SPEC, regions[:3], regions[3:], 1.0, 192)
    assert [tuple((s.start, s.stop) for s in box) for box in image.boxes] == [
        ((0, 192), (0, 192)),
        ((0, 192), (64, 256)),
        ((64, 256), (0, 192)),
    ]
    assert image.held_out == [(slice(128, 256), slice(128, 256))]
    assert held.scored.sum() == 128 * 128
