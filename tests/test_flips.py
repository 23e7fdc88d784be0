"""Four views of a tile and their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import segloop
from segloop.flips import VIEWS, fuse, mirrored, predict_flipped
from segloop.metrics import instance_scores
from segloop.models.protocol import Instances, ScoreMap
from segloop.samples import load_sample


def instances(boxes: list[list[float]], scores: list[float], level: float = 1.0, classes: int = 1) -> Instances:
    """Some objects with one level in all cells of their masks."""
    count = len(boxes)
    return Instances(
        np.array(boxes, np.float32).reshape(count, 4),
        np.array(scores, np.float32),
        np.full(count, classes, np.int64),
        np.full((count, 4, 4), level, np.float32),
    )


@pytest.mark.parametrize("axes", VIEWS)
def test_mirrored_twice_is_as_before(axes: tuple[int, ...]) -> None:
    """A box in the upper left corner goes where the pixels go, and comes back."""
    found = instances([[1, 2, 5, 10]], [0.9])
    found.masks[0, 0, 1] = 0.25
    once = mirrored(found, axes, (64, 32))
    plane = np.zeros((64, 32), bool)
    plane[2:10, 1:5] = True
    rows, columns = np.nonzero(np.flip(plane, axes))
    assert once.boxes[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.array_equal(np.flip(once.masks[0], axes), found.masks[0])
    twice = mirrored(once, axes, (64, 32))
    assert np.array_equal(twice.boxes, found.boxes) and np.array_equal(twice.masks, found.masks)


def test_fuse_by_hand() -> None:
    """Boxes and masks are means weighted by score; scores are shared out over all views."""
    first = instances([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.6], level=1.0)
    second = instances([[2, 0, 12, 10]], [0.3], level=0.0)
    fused = fuse([first, second])
    assert fused.scores.tolist() == pytest.approx([0.6, 0.3])
    assert fused.boxes[0].tolist() == pytest.approx([0.5, 0, 10.5, 10])  # 0.75 of the one, 0.25 of the other
    assert fused.masks[0] == pytest.approx(np.full((4, 4), 0.75))
    assert fused.boxes[1].tolist() == [50, 50, 60, 60]


def test_two_objects_of_one_view_stay_two() -> None:
    """However much two objects of a view overlap, the model has told them apart; another view's goes to the nearer."""
    first = instances([[0, 0, 10, 10], [3, 0, 13, 10]], [0.9, 0.8])
    second = instances([[3, 0, 13, 10]], [0.8])
    fused = fuse([first, second])
    assert len(fused) == 2
    # from the best on: the object of the second view agrees with the best by 7/13, and goes to it
    assert fused.scores.tolist() == pytest.approx([0.85, 0.4])


def test_classes_are_never_fused() -> None:
    """The same box with another class is another object."""
    fused = fuse([instances([[0, 0, 10, 10]], [0.9]), instances([[0, 0, 10, 10]], [0.8], classes=2)])
    assert fused.classes.tolist() == [1, 2]


def test_nothing_found() -> None:
    """Views without an object give none."""
    nothing = instances([], [])
    assert len(fuse([nothing, replace(nothing)])) == 0


def test_unet_is_the_mean_of_four_views() -> None:
    """Against the definition, written out."""
    model = segloop.load_model("nuclei-unet")
    pixels = np.random.default_rng(0).normal(size=(1, model.spec.channels, 64, 96)).astype(np.float32)

    def view(*axes: int) -> np.ndarray:
        (found,) = model.predict(torch.from_numpy(np.ascontiguousarray(np.flip(pixels, axes))))
        assert isinstance(found, ScoreMap)
        return np.flip(found.scores, axes)

    expected = (view() + view(-1) + view(-2) + view(-1, -2)) / 4
    (found,) = predict_flipped(model, pixels)
    assert isinstance(found, ScoreMap) and found.scores.dtype == np.float32
    assert np.allclose(found.scores, expected, atol=1e-6)
    assert np.allclose(found.scores.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["nuclei-unet", "nuclei-maskrcnn"])
def test_the_mean_is_indifferent_to_mirrors(name: str) -> None:
    """An image and its mirror image give mirrored labels, which one look alone does not."""
    model = segloop.load_model(name)
    pixels = np.asarray(load_sample("fluorescence").data)[:256, :256]
    settings = segloop.SegmentSettings(instances=True, flips=True)
    labels = np.asarray(segloop.segment(model, pixels, settings).labels.data)
    mirrored_labels = np.asarray(segloop.segment(model, pixels[:, ::-1], settings).labels.data)[:, ::-1]
    assert labels.max() > 5
    assert instance_scores(labels, mirrored_labels).ap(0.9) > 0.97
    once = replace(settings, flips=False)
    alone = np.asarray(segloop.segment(model, pixels, once).labels.data)
    alone_mirrored = np.asarray(segloop.segment(model, pixels[:, ::-1], once).labels.data)[:, ::-1]
    assert instance_scores(alone, alone_mirrored).mean_ap < instance_scores(labels, mirrored_labels).mean_ap


@pytest.mark.parametrize("name", ["nuclei-unet", "nuclei-maskrcnn"])
def test_tiles_do_not_matter(name: str) -> None:
    """Seams are closed with four views as with one."""
    model = segloop.load_model(name)
    pixels = np.asarray(load_sample("fluorescence").data)[:320, :320]
    whole = segloop.segment(model, pixels, segloop.SegmentSettings(instances=True, flips=True, tile=320)).labels.data
    tiled = segloop.segment(model, pixels, segloop.SegmentSettings(instances=True, flips=True, tile=256)).labels.data
    assert instance_scores(np.asarray(whole), np.asarray(tiled)).ap(0.9) > 0.95
