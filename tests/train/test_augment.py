"""Augmentation: where a crop's pixels come from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from segloop.train.augment import (
    NO_AUGMENTATION,
    Augmentation,
    draw_affine,
    sample_affine,
    vary_intensity,
    window_margin,
)


def window(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, *shape, generator=generator)
    labels = torch.randint(0, 9, shape, generator=generator)
    return image, labels, torch.rand(shape, generator=generator) < 0.7


@pytest.mark.parametrize("shape", [(9, 12), (7, 8, 10)])
def test_identity_gives_the_window_back(shape: tuple[int, ...]) -> None:
    image, labels, reviewed = window(*shape)
    center = (np.array(shape) - 1) / 2
    out = sample_affine((image, labels, reviewed), center, np.eye(len(shape)), shape)
    torch.testing.assert_close(out[0], image, rtol=0, atol=1e-5)
    assert torch.equal(out[1], labels) and torch.equal(out[2], reviewed)


def test_quarter_turns_and_flips_are_exact() -> None:
    image, labels, reviewed = window(8, 8)
    center = np.array([3.5, 3.5])
    turns = {
        0: [[1, 0], [0, 1]],
        1: [[0, 1], [-1, 0]],  # crop (y, x) is window (x, -y): numpy's rot90
        2: [[-1, 0], [0, -1]],
        3: [[0, -1], [1, 0]],
    }
    for turn, matrix in turns.items():
        out = sample_affine((image, labels, reviewed), center, np.array(matrix, float), (8, 8))
        torch.testing.assert_close(out[0], torch.rot90(image, turn, (1, 2)), rtol=0, atol=1e-5)
        assert torch.equal(out[1], torch.rot90(labels, turn)) and torch.equal(out[2], torch.rot90(reviewed, turn))
    out = sample_affine((image, labels, reviewed), center, np.diag([-1.0, 1.0]), (8, 8))
    assert torch.equal(out[1], labels.flip(0))


def test_drawn_quarter_turns_are_exact_too() -> None:
    """The sine of a half turn is not quite 0; it must not move a label."""
    arrays = window(8, 8)
    seen = set()
    rng = np.random.default_rng(0)
    possible = [torch.rot90(own, turn) for own in (arrays[1], arrays[1].flip(0)) for turn in range(4)]
    for _ in range(40):
        out = sample_affine(arrays, np.array([3.5, 3.5]), draw_affine(NO_AUGMENTATION, 2, rng), (8, 8))
        (match,) = [number for number, one in enumerate(possible) if torch.equal(out[1], one)]
        seen.add(match)
    assert seen == set(range(8))


def test_half_a_pixel_by_hand() -> None:
    image = torch.tensor([[[0.0, 4.0, 8.0, 2.0]]])
    labels = torch.tensor([[1, 2, 3, 4]])
    reviewed = torch.tensor([[True, True, False, True]])
    # the crop's two pixels lie at 0.75 and 1.75 of the row: 3 and 7; the nearest are 1 and 2
    out = sample_affine((image, labels, reviewed), np.array([0.0, 1.25]), np.eye(2), (1, 2))
    assert out[0].flatten().tolist() == pytest.approx([3, 7])
    assert out[1].flatten().tolist() == [2, 3] and out[2].flatten().tolist() == [True, False]


def test_magnified_twice() -> None:
    _, labels, reviewed = window(6, 6)
    image = torch.arange(36.0).reshape(1, 6, 6)
    out = sample_affine((image, labels, reviewed), np.array([2.5, 2.5]), np.eye(2) / 2, (12, 12))
    assert torch.equal(out[1], labels.repeat_interleave(2, 0).repeat_interleave(2, 1))
    # pixel centres: crop 4 is at 1.75 of the window, crop 5 at 2.25
    assert out[0][0, 4, 4].item() == pytest.approx(6 * 1.75 + 1.75, abs=1e-4)
    assert out[0][0, 4, 5].item() == pytest.approx(6 * 1.75 + 2.25, abs=1e-4)


def test_outside_nothing_is_reviewed() -> None:
    image, labels, _ = window(4, 4)
    everything = torch.ones(4, 4, dtype=torch.bool)
    out = sample_affine((image, labels + 1, everything), np.array([1.5, 1.5]), np.eye(2), (8, 6))
    inside = torch.zeros(8, 6, dtype=torch.bool)
    inside[2:6, 1:5] = True
    assert torch.equal(out[2], inside)
    assert torch.equal(out[1] > 0, inside)
    torch.testing.assert_close(out[0][:, 0, 1:5], image[:, 0], rtol=0, atol=1e-5)  # edges go on


@pytest.mark.parametrize("ndim", [2, 3])
def test_matrices(ndim: int) -> None:
    augmentation = Augmentation(zoom_low=0.5, zoom_high=2.0)
    rng = np.random.default_rng(0)
    zooms = []
    for _ in range(200):
        matrix = draw_affine(augmentation, ndim, rng)
        plane = matrix[-2:, -2:]
        zoom = 1 / math.sqrt(abs(np.linalg.det(plane)))
        np.testing.assert_allclose(plane @ plane.T * zoom**2, np.eye(2), atol=1e-9)  # a rotation, flip and zoom only
        zooms.append(zoom)
        if ndim == 3:
            assert abs(matrix[0, 0]) == 1 and not matrix[0, 1:].any() and not matrix[1:, 0].any()
    assert 0.5 <= min(zooms) < 0.6 and 1.8 < max(zooms) <= 2
    assert np.mean(np.log(zooms)) == pytest.approx(0, abs=0.1)


def test_a_window_of_the_margin_holds_the_crop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix = draw_affine(Augmentation(zoom_low=0.4, zoom_high=2), 2, rng)
        margin = window_margin(matrix, (31, 48))
        corners = np.array([(y, x) for y in (-15, 15) for x in (-23.5, 23.5)]) @ matrix.T
        assert (np.abs(corners).max(axis=0) + 0.5 <= margin).all()
    assert window_margin(np.eye(2), (10, 20)) == (6, 11)


def test_intensities_are_left_alone_when_asked() -> None:
    image = torch.rand(3, 8, 8)
    assert torch.equal(vary_intensity(image, NO_AUGMENTATION, np.random.default_rng(0)), image)
    inverted = vary_intensity(image, replace(NO_AUGMENTATION, invert=1.0), np.random.default_rng(0))
    assert torch.equal(inverted, 1 - image)
    colour = vary_intensity(image, replace(NO_AUGMENTATION, colour=1.0), np.random.default_rng(0))
    assert colour.shape == image.shape and not torch.allclose(colour, image)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (2, 5, 16, 16)])
def test_intensities_vary_finitely_and_repeatably(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape) * 2.5 - 0.5
    augmentation = Augmentation(intensity=1.0, invert=0.5, colour=0.5)
    outs = []
    for seed in range(30):
        first, second = (vary_intensity(image, augmentation, np.random.default_rng(seed)) for _ in range(2))
        assert torch.equal(first, second)
        assert first.shape == image.shape and bool(torch.isfinite(first).all())
        outs.append(first.mean().item())
    assert np.std(outs) > 0.05
