"""Live strips: in any order, from memory and from a file, as a threshold decides on the whole image at once."""

from __future__ import annotations

import numpy as np
import pytest

from segloop import canvas
from segloop.candidates import ClassScores
from segloop.live_classes import LiveClasses
from segloop.live_strips import LiveStrips

SHAPES = {"planes": (3, 4, 60, 70), "volumes": (2, 4, 3, 60, 70)}


@pytest.fixture(params=["memory", "file"])
def found(request, monkeypatch) -> dict[str, ClassScores]:
    """Scores that add up to 255, packed in strips of seven rows."""
    monkeypatch.setattr("segloop.candidates.STRIP", 7 * 70)
    rng, kept = np.random.default_rng(0), {}
    for name, shape in SHAPES.items():
        scores = rng.integers(0, 64, shape).astype(np.uint8)
        scores[:, 0] = 255 - scores[:, 1:].sum(axis=1)
        if request.param == "file":
            loose = canvas.DiskArray(shape, np.dtype(np.uint8))
            loose[...] = scores
            kept[name] = ClassScores(loose)
        else:
            kept[name] = ClassScores(scores)
        assert kept[name].in_memory == (request.param == "memory")
    return kept


def flat(found: ClassScores) -> np.ndarray:
    """All scores, (K, planes, Y, X)."""
    scores = np.moveaxis(found.scores, 1, 0)
    return scores.reshape(len(scores), -1, *scores.shape[-2:])


@pytest.mark.parametrize("name", SHAPES)
def test_strips_hold_what_planes_do(found, name):
    whole = flat(found[name])
    covered = np.zeros(whole.shape[1:], int)
    for number, (plane, rows) in enumerate(found[name].strip_places()):
        assert np.array_equal(found[name].strip(number), whole[:, plane, rows])
        assert np.array_equal(found[name].plane(plane)[:, rows], whole[:, plane, rows])
        covered[plane, rows] += 1
    assert (covered == 1).all()


def update(live: LiveStrips, data: np.ndarray, held: np.ndarray | None, most: int = 1 << 30) -> None:
    """Bring some strips up to date; check that nothing changes but in the box that is returned."""
    for number in live.due(1, 20)[:most]:
        area = live.strips[number]
        part = data[area.plane, area.rows]
        before = part.copy()
        box = live.update(number, part, None if held is None else held[area.plane, area.rows])
        outside = part != before
        if box is not None:
            outside[box] = False
        assert not outside.any()


@pytest.mark.parametrize("name", SHAPES)
def test_moved_strip_by_strip_as_at_once(found, name, monkeypatch):
    monkeypatch.setattr("segloop.live_strips.MOST_OPEN", 2)
    scores = flat(found[name])
    first = scores.argmax(axis=0).astype(np.uint16)
    live, data = LiveStrips(found[name]), first.copy()
    held = np.zeros(data.shape, bool)
    held[1, 10:40, 20:50] = True
    data[held] = 3
    edited = data.copy()
    assert not live.is_due
    # the threshold moves on before all strips are where it was
    live.move(0.1)
    update(live, data, held, 5)
    live.move(0.3)
    assert live.is_due and live.strips[live.due(1, 20)[0]].plane == 1
    update(live, data, held)
    assert not live.is_due and live.threshold == 0.3
    expected = first.copy()
    LiveClasses(lambda: scores, first.shape).move(0.3, expected)
    assert np.array_equal(data[~held], expected[~held]) and (data[held] == 3).all()
    assert (expected != first).any()
    live.rest()
    live.move(0.5)
    update(live, data, held)
    assert np.array_equal(data, edited)


def test_what_is_held_no_longer_follows_again(found):
    scores = flat(found["planes"])
    first = scores.argmax(axis=0).astype(np.uint16)
    live, data = LiveStrips(found["planes"]), first.copy()
    held = np.zeros(data.shape, bool)
    held[0, 10:40] = True
    data[held] = 2
    live.move(0.8)
    update(live, data, held)
    data[held] = first[held]
    live.look_again()
    update(live, data, None)
    expected = first.copy()
    LiveClasses(lambda: scores, first.shape).move(0.8, expected)
    assert np.array_equal(data, expected)


def test_a_strip_that_failed_stays_due(found, monkeypatch):
    live = LiveStrips(found["planes"])
    live.move(0.3)
    number, (_, rows) = live.due(0, 0)[0], next(iter(found["planes"].strip_places()))
    data = np.zeros((rows.stop - rows.start, 70), np.uint8)

    def fail(*_):
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(LiveClasses, "move", fail)
        with pytest.raises(OSError, match="gone"):
            live.update(number, data, None)
    assert number in live.due(0, 0)
    live.update(number, data, None)
    assert number not in live.due(0, 0)
