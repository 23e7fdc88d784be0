"""Label images that are drawn when indexed."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.candidates import Candidates
from segloop.drawing import DrawnLabels

INDICES = [
    (...,),
    (1,),
    (slice(None), slice(3, 20), slice(5, 30)),
    (0, slice(3, 20, 2), slice(30)),
    (..., slice(4, 9)),
    (-1, 1, 1),
    (slice(0, 0),),
    (slice(1, None), ..., slice(0, 40, 7)),
]


@pytest.fixture
def candidates() -> Candidates:
    """Some thirty boxes in two planes of 40 × 50 pixels."""
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(-3, 40, (30, 2)), rng.uniform(3, 12, (30, 2))
    return Candidates(
        boxes=np.concatenate([corner, corner + size], axis=1).astype(np.float32),
        scores=rng.random(30).astype(np.float32),
        classes=np.ones(30, np.int64),
        masks=rng.integers(100, 255, (30, 7, 7)).astype(np.uint8),
        objects=np.arange(30),
        planes=np.arange(30) % 2,
        shape=(2, 40, 50),
    )


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("axes", ["ZYX", "XZY", "YXT"])
def test_any_index_gives_what_the_whole_image_has_there(candidates: Candidates, axes: str, index: tuple) -> None:
    chosen = candidates.choose(0.2, 0.5, 2)
    whole = candidates.paste(0.2, 0.5, 2)[0]
    lengths = {"Z": 2, "T": 2, "Y": 40, "X": 50}
    drawn = DrawnLabels(candidates, chosen, {axis: lengths[axis] for axis in axes})
    stored = "TYX" if "T" in axes else "ZYX"
    expected = whole.transpose([stored.index(axis) for axis in axes])
    assert drawn.shape == expected.shape and drawn.dtype == expected.dtype and drawn.size == expected.size
    assert np.array_equal(np.asarray(drawn), expected)
    got = drawn[index]
    assert got.shape == expected[index].shape
    assert np.array_equal(got, expected[index])


def test_a_plane_alone(candidates: Candidates) -> None:
    first = Candidates(**{**vars(candidates), "planes": np.zeros(30, np.int64), "shape": (1, 40, 50)})
    chosen = first.choose(0.2, 0.5, 2)
    drawn = DrawnLabels(first, chosen, {"Y": 40, "X": 50})
    assert np.array_equal(drawn[3:9, 4], first.paste(0.2, 0.5, 2)[0][0, 3:9, 4])


def test_indices_that_no_array_has_are_refused(candidates: Candidates) -> None:
    drawn = DrawnLabels(candidates, candidates.choose(0.2, 0.5, 2), {"Z": 2, "Y": 40, "X": 50})
    with pytest.raises(IndexError, match="out of bounds"):
        drawn[2]
    with pytest.raises(IndexError, match="steps below 1"):
        drawn[:, ::-1]
