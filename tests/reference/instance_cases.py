"""Hard cases for instance metrics: pairs of label images made from a seed, the same with any NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def grid(rows: int, columns: int, side: int) -> np.ndarray:
    """Touching squares, numbered row by row: int32 (rows * side, columns * side)."""
    numbers = np.arange(1, rows * columns + 1, dtype=np.int32).reshape(rows, columns)
    return np.kron(numbers, np.ones((side, side), np.int32))


def discs(rng: np.random.RandomState, count: int, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Discs at random places and of random radius; later ones lie over earlier ones: int32 shape."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(0.5, 1.5) * radius
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = number
    return labels


def cases() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, reference, prediction."""
    rng = np.random.RandomState(20240601)
    zeros = np.zeros((16, 16), np.int32)
    touching = grid(6, 6, 12)
    yield "same", touching, touching
    yield "empty_empty", zeros, zeros
    yield "empty_full", zeros, np.ones_like(zeros)
    yield "full_empty", np.ones_like(zeros), zeros
    for shift in range(1, 7):
        yield f"touching_shift_{shift}", touching, np.roll(touching, (shift, shift // 2), (0, 1))
    yield "split", grid(2, 2, 24), grid(4, 4, 12)
    yield "merge", grid(4, 4, 12), grid(2, 2, 24)
    halves = np.repeat(np.arange(1, 9, dtype=np.int32), 3)[None].repeat(20, axis=0)
    yield (
        "uneven_split",
        halves,
        (halves + (np.arange(20)[:, None] >= 13) * 8 * (halves % 2)).astype(np.int32),
    )
    one = zeros.copy()
    one[5, 7] = 3
    other = zeros.copy()
    other[5, 8] = 3
    yield "single_pixel_hit", one, one * 2
    yield "single_pixel_missed", one, other
    for number in range(12):
        reference = discs(rng, rng.randint(1, 40), (96, 80), 7)
        prediction = np.roll(reference, rng.randint(-3, 4, 2), (0, 1))
        noise = discs(rng, rng.randint(1, 12), (96, 80), 4)
        prediction = np.where(noise > 0, noise + 100, prediction)
        prediction[rng.uniform(size=prediction.shape) < 0.05] = 0
        yield f"discs_{number}", reference, prediction
    gaps = rng.permutation(5000)[:40].astype(np.int32) + 1
    gaps[0] = 0
    reference = discs(rng, 39, (96, 80), 7)
    yield (
        "gappy_numbers",
        gaps[reference],
        gaps[::-1][np.roll(reference, 1, 0)] * (np.roll(reference, 1, 0) > 0),
    )
    yield "many", grid(45, 45, 8), np.roll(grid(45, 45, 8), (1, 1), (0, 1))
    sparse = np.where(rng.uniform(size=(45, 45)) < 0.8, np.arange(1, 2026).reshape(45, 45), 0).astype(np.int32)
    yield "many_missing", grid(45, 45, 8), np.kron(sparse, np.pad(np.ones((7, 7), np.int32), (0, 1)))
