"""Resampling: the pixels a network sees when objects are to have another size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from segloop.image import Image
from segloop.resample import blur, blur_sigma, read_network_pixels, resize_region


def as_is(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32)


def whole(array: np.ndarray, scaled: tuple[int, ...], axes: str = "") -> np.ndarray:
    image = Image(array, axes or "CZYX"[-array.ndim :])
    return read_network_pixels(image, tuple(slice(0, n) for n in scaled), scaled, as_is)


def test_the_same_size_is_left_alone() -> None:
    array = np.random.default_rng(0).random((2, 9, 11)).astype(np.float32)
    assert np.array_equal(whole(array, (9, 11), "CYX"), array)


def test_half_pixels_by_hand() -> None:
    # doubled: new pixel j has its centre at (j + 0.5) / 2 - 0.5 = -0.25, 0.25, 0.75, 1.25 … of the old; edges repeated
    row = np.array([[0.0, 4.0, 8.0]] * 8, np.float32)
    assert whole(row, (8, 6))[0, 0].tolist() == [0, 1, 3, 5, 7, 8]
    # enlarged by 3: the centres of every third new pixel are those of the old
    assert whole(row, (8, 9))[0, 0, 1::3].tolist() == pytest.approx([0, 4, 8])


def test_a_ramp_stays_a_ramp() -> None:
    ramp = np.tile(np.arange(40, dtype=np.float32), (8, 1))
    for length in (10, 23, 60, 120):
        out = whole(ramp, (8, length))[0, 0]
        expected = (np.arange(length) + 0.5) * 40 / length - 0.5
        edge = 3 + length // 40
        assert out[edge:-edge] == pytest.approx(expected[edge:-edge], abs=1e-3)


@pytest.mark.parametrize("shape", [(20, 30), (37, 15), (10, 7)])
def test_reducing_keeps_the_mean(shape: tuple[int, int]) -> None:
    array = np.random.default_rng(0).random((64, 60)).astype(np.float32)
    out = whole(array, shape)
    assert out.shape == (1, *shape)
    assert out.mean() == pytest.approx(array.mean(), abs=0.02)
    # and nothing aliases: a checkerboard becomes grey
    board = (np.indices((64, 60)).sum(axis=0) % 2).astype(np.float32)
    inner = whole(board, shape)[0, 1:-1, 1:-1]
    assert inner.std() < 0.2 * board.std()


def test_blur_by_hand() -> None:
    assert blur_sigma(1.0) == blur_sigma(0.5) == 0
    assert blur_sigma(3.0) == 1.0
    point = torch.zeros(1, 9, 9)
    point[0, 4, 4] = 1
    out = blur(point, [1.0, 0.0])
    weights = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    assert out[0, 1:8, 4].numpy() == pytest.approx(weights / weights.sum())
    assert out.sum() == pytest.approx(1) and out[0, :, 3].sum() == 0


@pytest.mark.parametrize("scaled", [(45, 52), (61, 70), (100, 117), (13, 152), (17, 20)])
def test_tiles_hold_exactly_what_the_whole_holds(scaled: tuple[int, int]) -> None:
    array = np.random.default_rng(1).random((2, 61, 70)).astype(np.float32)
    image = Image(array, "CYX")
    expected = whole(array, scaled, "CYX")
    assert expected.shape == (2, *scaled)
    rng = np.random.default_rng(2)
    for _ in range(12):
        starts = [int(rng.integers(0, n - 4)) for n in scaled]
        region = tuple(slice(a, int(rng.integers(a + 2, n + 1))) for a, n in zip(starts, scaled))
        part = read_network_pixels(image, region, scaled, as_is)
        assert np.array_equal(part, expected[(slice(None), *region)])


def test_past_the_end_edge_pixels_are_repeated() -> None:
    array = np.random.default_rng(1).random((1, 20, 20)).astype(np.float32)
    part = read_network_pixels(Image(array, "CYX"), (slice(24, 48), slice(0, 30)), (30, 30), as_is)
    inner = whole(array, (30, 30), "CYX")[:, 24:]
    assert np.array_equal(part, np.pad(inner, [(0, 0), (0, 18), (0, 0)], mode="edge"))


def test_volumes() -> None:
    array = np.random.default_rng(1).random((5, 20, 24)).astype(np.float32)
    out = whole(array, (5, 10, 36), "ZYX")
    assert out.shape == (1, 5, 10, 36)
    assert np.array_equal(out[0, 3], whole(array[3], (10, 36), "YX")[0])


def test_only_what_a_tile_needs_is_read() -> None:
    array = np.zeros((400, 400), np.uint8)
    seen: list[tuple[int, ...]] = []

    def note(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels.shape)
        return as_is(pixels)

    read_network_pixels(Image(array, "YX"), (slice(0, 20), slice(50, 70)), (200, 200), note)
    assert max(seen[0][1:]) < 60


def resized(scores: np.ndarray, shape: tuple[int, ...], edges: tuple[int, ...] = ()) -> np.ndarray:
    """Scores resized as one tile or, with ``edges``, as bands of rows of the result."""
    everything = tuple(slice(0, n) for n in scores.shape[1:])
    cuts = [0, *edges, shape[0]]
    parts = [
        resize_region(scores, everything, scores.shape[1:], (slice(a, b), *(slice(0, n) for n in shape[1:])), shape)
        for a, b in itertools.pairwise(cuts)
    ]
    return np.concatenate(parts, axis=1)


def test_scores_by_hand() -> None:
    scores = np.array([[[0, 100, 200]] * 2], np.float32)
    out = resized(scores, (2, 6))
    assert out.dtype == np.float32
    assert out[0, 0].tolist() == [0, 25, 75, 125, 175, 200]
    assert (resized(np.full((3, 4, 5, 6), 7, np.float32), (4, 9, 11)) == 7).all()


def test_scores_of_a_region_are_those_of_the_whole() -> None:
    scores = np.random.default_rng(0).random((2, 20, 15)).astype(np.float32)
    whole = resized(scores, (33, 24))
    assert np.array_equal(resized(scores, (33, 24), (5, 20)), whole)
    # a tile that reaches past the end of the plane holds padding there, which must not show
    padded = np.pad(scores, [(0, 0), (0, 4), (0, 1)])
    outer = (slice(0, 24), slice(0, 16))
    assert np.array_equal(resize_region(padded, outer, (20, 15), (slice(0, 33), slice(0, 24)), (33, 24)), whole)
