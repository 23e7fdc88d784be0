"""Agreement: pixels that masks share are counted as if each mask were painted on a plane of its own."""

from __future__ import annotations

import numpy as np
import pytest

from segloop import agreement
from segloop.candidates import rasterize
from segloop.painting import pixel_regions

SHAPE = (150, 333)


def some_masks(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of all sizes, some beyond the plane, some without a pixel, and masks with holes."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, SHAPE[::-1], (count, 2))
    sides = rng.choice([0, 1, 7, 63, 64, 65, 200], (count, 2)) * rng.uniform(0.9, 1.1, (count, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    boxes[0] = 0, 0, *SHAPE[::-1]
    boxes[1] = 400, 20, 420, 40
    boxes[2] = 10, 20, 10, 90
    return boxes, rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)


def painted(boxes: np.ndarray, masks: np.ndarray) -> list[np.ndarray]:
    planes = []
    for box, mask in zip(boxes, masks):
        region, inside = rasterize(mask, box, SHAPE)
        planes.append(np.zeros(SHAPE, bool))
        planes[-1][region] = inside
    return planes


@pytest.mark.parametrize("kept", (1, 2000, 1 << 20))
def test_shared_pixels_are_those_of_the_painted_masks(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all masks can be kept or the drawing begins anew for each pair."""
    monkeypatch.setattr(agreement, "KEPT_WORDS", kept)
    boxes, masks = some_masks(40, 3)
    rng = np.random.default_rng(0)
    pairs = np.stack(np.triu_indices(len(boxes), 1), axis=1)
    windows = np.sort(rng.integers(0, (SHAPE[0], SHAPE[1]), (len(pairs), 2, 2)), axis=1).reshape(-1, 4)
    windows[::3] = 0, 0, *SHAPE
    windows[1::3] = pixel_regions(boxes[pairs[1::3, 0]], SHAPE)
    planes = painted(boxes, masks)
    expected = []
    for (first, second), (top, left, bottom, right) in zip(pairs, windows):
        one, other = planes[first][top:bottom, left:right], planes[second][top:bottom, left:right]
        expected.append([one.sum(), other.sum(), (one & other).sum()])
    counts = agreement.shared_pixels(boxes, masks, pairs, windows, SHAPE)
    assert counts.tolist() == np.array(expected).tolist()
    assert counts[:, 2].max() > 1000


def test_no_pair_shares_nothing() -> None:
    boxes, masks = some_masks(4, 0)
    none = np.zeros((0, 2), np.int64)
    assert agreement.shared_pixels(boxes, masks, none, np.zeros((0, 4), np.int64), SHAPE).shape == (0, 3)
