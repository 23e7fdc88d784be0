"""Class scores: packed without loss, in memory and in a file, read as a whole and plane by plane."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from segloop import candidates
from segloop.candidates import ClassScores
from segloop.canvas import DiskArray
from segloop.packing import Packed


def scores_of(shape: tuple[int, ...]) -> np.ndarray:
    """Scores that nearly add up, with pixels that were never looked at, and some that do not add up at all."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet((0.2,) * shape[1], (shape[0], *shape[2:]))
    scores = np.moveaxis(np.rint(255 * shares).astype(np.uint8), -1, 1).copy()
    scores[..., :3, :4] = 0
    scores[..., 3:5, :4] = 200
    return scores


@pytest.mark.parametrize(
    "shape", [(1, 3, 40, 50), (3, 2, 17, 20), (2, 5, 6, 17, 20), (1, 1, 9, 9), (0, 3, 5, 5), (0, 3)]
)
@pytest.mark.parametrize("strip", [1, 100, 1 << 20])
@pytest.mark.parametrize("on_disk", [False, True])
def test_nothing_is_lost(shape, strip, on_disk, monkeypatch):
    monkeypatch.setattr(candidates, "STRIP", strip)
    scores = scores_of(shape) if len(shape) > 2 else np.zeros(shape, np.uint8)
    given = scores
    if on_disk := on_disk and scores.size > 0:
        given = DiskArray(shape, np.dtype(np.uint8))
        given[...] = scores
    found = ClassScores(given)
    assert (found.nbytes > 0) == (found.in_memory and scores.size > 0)
    assert found.shape == shape and found.in_memory != on_disk
    assert np.array_equal(found.scores, scores) and found.scores.dtype == np.uint8
    planes = scores if len(shape) < 5 else np.moveaxis(scores, 1, 2).reshape(-1, *np.array(shape)[[1, 3, 4]])
    for number, plane in enumerate(planes):
        assert np.array_equal(found.plane(number), plane)


def test_sure_scores_take_little_room_and_none_in_memory_if_they_are_in_a_file():
    scores = np.zeros((1, 3, 500, 500), np.uint8)
    scores[:, 0] = 255
    scores[:, :, 100:200, 100:220] = np.array([0, 250, 5], np.uint8)[:, None, None]
    found = ClassScores(scores)
    found.pack()
    assert 0 < found.nbytes < 0.01 * scores.size
    given = DiskArray(scores.shape, np.dtype(np.uint8))
    given[...] = scores
    found = ClassScores(given)
    found.pack()
    assert found.nbytes == 0


def test_nothing_is_packed_before_somebody_reads(monkeypatch):
    """Command lines and clusters write labels and never look at scores."""
    calls = []
    monkeypatch.setattr(candidates, "packed", lambda one: calls.append(one) or b"")
    ClassScores(scores_of((1, 3, 40, 50)))
    assert not calls


@pytest.mark.parametrize("shape", [(3, 2, 17, 20), (2, 5, 6, 17, 20)])
@pytest.mark.parametrize("full", ["disk", "folder", "memory"])
def test_without_room_for_packing_scores_stay_as_they_are(shape, full, monkeypatch):
    resource = pytest.importorskip("resource")
    scores = scores_of(shape)
    given: np.ndarray | DiskArray = scores
    if full != "memory":
        given = DiskArray(shape, np.dtype(np.uint8))
        given[...] = scores
    found = ClassScores(given)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        if full == "folder":
            patch.setattr(tempfile, "TemporaryFile", lambda **how: (_ for _ in ()).throw(PermissionError(13, "no")))
        if full == "memory":
            patch.setattr(candidates, "packed", lambda one: bytes(1 << 60))
        try:
            # writing beyond the limit fails as on a disk that is full
            resource.setrlimit(resource.RLIMIT_FSIZE, (100 if full == "disk" else soft, hard))
            assert np.array_equal(found.scores, scores)
            found.pack()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    planes = scores if len(shape) < 5 else np.moveaxis(scores, 1, 2).reshape(-1, *np.array(shape)[[1, 3, 4]])
    for number, plane in enumerate(planes):
        assert np.array_equal(found.plane(number), plane)
    assert found.nbytes == (scores.size if full == "memory" else 0)


@pytest.mark.parametrize("kind", ["bool", "uint8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(0,), (0, 5), (7, 3), (4, 5, 6)])
def test_any_array(kind, shape):
    array = np.random.default_rng(1).integers(0, 2, shape).astype(kind)
    again = Packed.of(array.T).array()
    assert np.array_equal(again, array.T) and again.dtype == kind and again.flags.writeable
