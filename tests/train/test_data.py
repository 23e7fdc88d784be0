"""Crops: what of an image is learned, and at what scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from segloop.errors import TrainingError
from segloop.image import Image
from segloop.models.protocol import ModelSpec, Task
from segloop.normalize import Normalization, Statistics
from segloop.resample import read_network_pixels
from segloop.train.augment import NO_AUGMENTATION, Augmentation
from segloop.train.data import CropSource, TrainingImage, trust_whole_objects

SPEC = ModelSpec("x", "maskrcnn", Task.INSTANCE, ("cell",), normalization=Normalization(0, 100))
PLAIN = Statistics((0.0,), (1.0,))


def everywhere(*shape: int) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in shape)


def training_image(labels: np.ndarray, reviewed: np.ndarray | None = None, **fields: object) -> TrainingImage:
    pixels = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    seen = np.ones(labels.shape, bool) if reviewed is None else reviewed
    values = {"boxes": [everywhere(*labels.shape)], "statistics": PLAIN, **fields}
    return TrainingImage(Image(pixels, "ZYX"[-labels.ndim :]), labels, seen, **values)


def test_whole_objects_by_hand() -> None:
    labels = np.array(
        [
            [1, 1, 0, 2, 2, 0, 0, 4],
            [1, 1, 0, 2, 2, 0, 3, 0],
            [0, 0, 0, 0, 0, 0, 3, 0],
        ]
    )
    reviewed = np.ones(labels.shape, bool)
    reviewed[:, 4:6] = False
    # 1 is whole. 2 is half reviewed. 3 is reviewed but touches what is not, where it may go on. 4 touches only the end
    # of the image, and 3 by a corner.
    expected = reviewed & (labels != 2) & (labels != 3)
    assert np.array_equal(trust_whole_objects(labels, reviewed), expected)


def test_whole_objects_in_full_view() -> None:
    labels = np.arange(12).reshape(3, 4)
    everything = np.ones((3, 4), bool)
    assert trust_whole_objects(labels, everything) is everything
    assert not trust_whole_objects(labels, ~everything).any()


def test_held_out_blocks_are_never_learned() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (100, 120)) * (rng.random((100, 120)) < 0.01)
    held_out = (slice(20, 60), slice(50, 110))
    image = training_image(labels, held_out=[held_out], boxes=[everywhere(100, 120)])
    never = np.zeros(labels.shape, bool)
    never[held_out] = True
    for _ in range(50):
        start = rng.integers(0, (90, 110))
        box = tuple(slice(int(a), int(rng.integers(a + 1, n + 1))) for a, n in zip(start, labels.shape))
        _, trusted = image.read_labels(box)
        assert not (trusted & never[box]).any()
    _, whole = image.read_labels(everywhere(100, 120))
    assert (whole | never).mean() > 0.9


def test_an_object_that_reaches_into_a_held_out_block_is_not_learned() -> None:
    labels = np.zeros((20, 40), np.int64)
    labels[5:10, 15:25] = 1
    labels[12:16, 3:8] = 2
    image = training_image(labels, held_out=[(slice(0, 20), slice(20, 40))])
    _, trusted = image.read_labels(everywhere(20, 40))
    assert not trusted[:, 20:].any() and not trusted[labels == 1].any() and trusted[labels == 2].all()
    # classes have no outline to be cut: only the block is left out
    _, semantic = replace(image, instances=False).read_labels(everywhere(20, 40))
    assert semantic[:, :20].all() and not semantic[:, 20:].any()


def test_the_mask_of_the_training_set_is_not_written_to() -> None:
    reviewed = np.ones((20, 20), bool)
    image = training_image(np.zeros((20, 20), np.int64), reviewed, held_out=[(slice(0, 9), slice(0, 9))])
    image.read_labels(everywhere(20, 20))
    assert reviewed.all()


@pytest.mark.parametrize("crop", [(32, 32), (64, 32)])
def test_crops_without_augmentation_are_pieces_of_the_image(crop: tuple[int, int]) -> None:
    labels = np.arange(40 * 60).reshape(40, 60)
    image = training_image(labels, instances=False)
    draw = CropSource([image], SPEC, crop, NO_AUGMENTATION)
    for seed in range(5):
        example = draw(np.random.default_rng(seed))
        assert example.image.shape == (1, *crop) and example.labels.shape == example.reviewed.shape == crop
        assert example.image.dtype == torch.float32 and example.labels.dtype == torch.int64
        # every label once, neighbours beside each other
        known = example.labels[example.reviewed]
        assert len(torch.unique(known)) == len(known) >= min(crop[0], 40) * min(crop[1], 60) * 0.9


def test_same_generator_same_crop() -> None:
    draw = CropSource([training_image(np.zeros((50, 50), np.int64))], SPEC, (32, 32), Augmentation())
    first, second, third = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.image, second.image) and not torch.equal(first.image, third.image)


def test_crops_stay_in_their_regions() -> None:
    labels = np.zeros((100, 100), np.int64)
    reviewed = np.zeros((100, 100), bool)
    region = (slice(10, 60), slice(30, 90))
    reviewed[region] = True
    draw = CropSource([training_image(labels, reviewed, boxes=[region])], SPEC, (32, 32), NO_AUGMENTATION)
    shares = [draw(np.random.default_rng(seed)).reviewed.float().mean().item() for seed in range(20)]
    assert min(shares) > 0.93  # all but a row where the crop lies between pixels


@pytest.mark.parametrize("zoom", [0.4, 1.0, 2.5])
def test_training_sees_what_segmenting_sees(zoom: float) -> None:
    """The same scale, the same blur: a crop of the whole image equals the tile that a model is shown."""
    side = 60
    scaled = round(side * zoom)
    image = training_image(np.zeros((side, side), np.int64), zoom=zoom)
    draw = CropSource([image], SPEC, (scaled, scaled), NO_AUGMENTATION)
    crop = draw(np.random.default_rng(0)).image[0]
    tile = read_network_pixels(
        image.image,
        everywhere(scaled, scaled),
        (scaled, scaled),
        lambda raw: SPEC.normalization.apply(raw, PLAIN),
    )[0]
    turned = [torch.rot90(own, turn) for own in (crop, crop.flip(0)) for turn in range(4)]
    inner = slice(4, -4)
    errors = [float((one.numpy() - tile)[inner, inner].__abs__().max()) for one in turned]
    assert min(errors) < 1e-4


def test_depth_is_not_scaled() -> None:
    labels = np.arange(6)[:, None, None] * np.ones((1, 40, 40), np.int64)
    image = training_image(labels, zoom=0.5, instances=False)
    assert image.zooms == (1.0, 0.5, 0.5)
    spec = replace(SPEC, ndim=3)
    example = CropSource([image], spec, (6, 16, 16), NO_AUGMENTATION)(np.random.default_rng(0))
    planes = example.labels[:, 8, 8].tolist()
    assert planes in (list(range(6)), list(range(6))[::-1])


def test_labels_are_prepared_after_they_were_moved() -> None:
    image = training_image(np.full((40, 40), 7, np.int64))
    draw = CropSource([image], SPEC, (32, 32), NO_AUGMENTATION, prepare=lambda labels: (labels > 0).astype(np.uint8))
    example = draw(np.random.default_rng(0))
    assert example.labels.dtype == torch.int64 and set(example.labels.unique().tolist()) <= {0, 1}


def test_grey_for_a_network_of_three_channels() -> None:
    spec = replace(SPEC, channels=3, repeat_grey=True)
    example = CropSource([training_image(np.zeros((40, 40), np.int64))], spec, (32, 32), NO_AUGMENTATION)(
        np.random.default_rng(0)
    )
    assert example.image.shape == (3, 32, 32) and torch.equal(example.image[0], example.image[2])


def test_images_with_more_regions_are_drawn_more_often() -> None:
    one = training_image(np.full((40, 40), 1))
    three = training_image(np.full((40, 40), 3), boxes=[everywhere(40, 40)] * 3)
    draw = CropSource([one, three], SPEC, (16, 16), NO_AUGMENTATION)
    rng = np.random.default_rng(0)
    drawn = [int(draw(rng).labels.max()) for _ in range(200)]
    assert 0.65 < np.mean(np.array(drawn) == 3) < 0.85
    never = CropSource([one, three], SPEC, (16, 16), NO_AUGMENTATION, weights=[1, 0])
    assert {int(never(rng).labels.max()) for _ in range(20)} == {1}


def test_nothing_reviewed_is_an_error() -> None:
    with pytest.raises(TrainingError, match="nothing to train on: no region is reviewed"):
        CropSource([training_image(np.zeros((40, 40)), boxes=[])], SPEC, (16, 16), NO_AUGMENTATION)
