"""Live parts: objects parted anew as thresholds move, as a run parts them, and around what a person did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from segloop import live_parts
from segloop.candidates import ClassScores
from segloop.live_parts import LiveParts, PartThresholds
from segloop.parting import HALF, Parting, flood, part
from segloop.pieces import find_pieces, turning_levels

RUN = PartThresholds()


def crowd(shape: tuple[int, ...], seed: int, radius: float = 5, border: float = 2.5) -> np.ndarray:
    """Scores as a network gives them of crowded blobs: uint8 (3, ...)."""
    rng = np.random.default_rng(seed)
    away = ndimage.distance_transform_edt(rng.random(shape) >= 0.2 / radius ** len(shape))
    away += ndimage.gaussian_filter(rng.standard_normal(shape), 2) * 6
    inside, background = (1 / (1 + np.exp(s * (away - r))) for s, r in ((1, radius - border), (-1, radius)))
    inside = np.minimum(inside, 1 - background)
    return np.rint(255 * np.stack([background, inside, 1 - background - inside])).astype(np.uint8)


def parted_at(scores: np.ndarray, limit: int, level: int) -> np.ndarray:
    """A plane parted by thresholds, without any of what is tested: the objects' outlines, whatever their numbers."""
    background, inside, _ = scores
    mask = background < limit
    seeds, count = ndimage.label(inside >= level)
    labels = flood(inside[None], seeds[None], mask[None])[0]
    alone = ndimage.label(mask)[0]
    return np.where(mask & (labels == 0), alone + count, labels)


def same_objects(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two label images hold the same objects under whatever numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(first)) == len(np.unique(second)) and bool((pairs[:, 0] == 0).all())


@pytest.fixture
def scores() -> np.ndarray:
    return crowd((180, 210), 0)


def begin(scores: np.ndarray, thresholds: PartThresholds = RUN) -> tuple[LiveParts, np.ndarray]:
    labels = part(scores[1], scores[0]).astype(np.uint32)
    return LiveParts(ClassScores(scores[None]), labels[None], thresholds), labels


@pytest.mark.parametrize("limit", (0.2, 0.5, 0.8))
def test_foreground_as_a_run_would_part_it(scores, limit):
    live, data = begin(scores)
    live.move(replace(RUN, foreground=limit), data[None])
    expected = parted_at(scores, live.thresholds.limit, RUN.level)
    assert expected.max() > 100 and same_objects(data, expected)


@pytest.mark.parametrize("seeds", (0.55, 0.7, 0.8, 0.9, 1.0))
def test_seeds_as_a_run_would_part_them_but_for_ties(scores, seeds):
    live, data = begin(scores)
    first = len(np.unique(data))
    live.move(replace(RUN, seeds=seeds), data[None])
    expected = parted_at(scores, HALF, live.thresholds.level)
    assert len(np.unique(data)) == len(np.unique(expected)) and len(np.unique(data)) != first
    # where floods meet at one time, pixels may fall to the other side
    pairs, counts = np.unique(np.stack([data.ravel(), expected.ravel()]), axis=1, return_counts=True)
    best = np.zeros(expected.max() + 1)
    np.maximum.at(best, pairs[1], counts)
    assert best.sum() >= 0.995 * data.size


def test_the_way_does_not_matter_and_back_restores(scores):
    live, data = begin(scores)
    first = data.copy()
    rng = np.random.default_rng(0)
    goal = PartThresholds(0.3, 0.9, 20)
    for _ in range(20):
        live.move(PartThresholds(rng.uniform(0.05, 0.95), rng.uniform(0.5, 1), int(rng.integers(0, 80))), data[None])
        if rng.random() < 0.3:
            live.rest()
    live.move(goal, data[None])
    other, straight = begin(scores)
    other.move(goal, straight[None])
    assert same_objects(data, straight) and not same_objects(data, first)
    live.move(RUN, data[None])
    assert np.array_equal(data, first)
    areas = np.bincount(data.ravel())
    assert {number: area for number, (_, area) in live.table().items()} == {
        number: int(areas[number]) for number in np.unique(data) if number
    }


def test_what_is_kept_at_rest_is_small(scores):
    live, data = begin(scores)
    shut = np.zeros(data.shape, bool)
    shut[20:60, 30:90] = True
    live.hold(shut[None], {int(data[40, 40])})
    live.move(replace(RUN, foreground=0.3), data[None])
    live.rest()
    # blobs everywhere: hardly a pixel of which the model is sure
    assert 0 < live.nbytes < 0.3 * data.size
    found = ClassScores(scores[None])
    found.pack()
    assert live.nbytes + found.nbytes < 2 * data.size


def test_small_objects_come_and_go(scores):
    live, data = begin(scores)
    first = data.copy()
    areas = np.bincount(first.ravel())
    box = live.move(replace(RUN, min_area=40), data[None])
    assert np.array_equal(data, np.where(areas[first] >= 40, first, 0)) and (data != first).any()
    outside = data != first
    outside[box[1:]] = False
    assert not outside.any()
    assert live.move(live.thresholds, data[None]) is None
    live.move(RUN, data[None])
    assert np.array_equal(data, first)


def test_where_blocks_ended_the_flood_of_a_run_back_restores_too():
    scores = crowd((150, 170), 3, radius=9, border=8)
    parting = Parting(lambda region: scores[[1, 0]][(slice(None), *region)], (150, 170), 32, 2)
    for _ in parting.survey():
        pass
    labels = np.zeros((150, 170), np.uint32)
    for region, own in parting.blocks():
        labels[region] = own
    labels = parting.table().numbers(6)[labels]
    assert not same_objects(labels, parted_at(scores, HALF, RUN.level))
    start = replace(RUN, min_area=6)
    live, data = LiveParts(ClassScores(scores[None]), labels[None], start), labels.copy()
    for thresholds in (replace(start, foreground=0.2), replace(start, seeds=0.95), replace(start, min_area=90), start):
        live.move(thresholds, data[None])
        areas = np.bincount(data[data > 0])
        assert areas[areas > 0].min() >= thresholds.min_area
    assert np.array_equal(data, labels)
    assert live.shown == len(np.unique(labels)) - 1


def test_what_a_person_did_never_changes(scores):
    live, data = begin(scores)
    first = data.copy()
    confirmed, deleted, added = 7, 30, int(data.max()) + 1
    painted = np.zeros(data.shape, bool)
    painted[60:90, 40:80] = True
    painted |= data == deleted
    data[data == deleted] = 0
    data[60:90, 40:80] = added
    held = {confirmed, deleted, added, *np.unique(first[60:90, 40:80]).tolist()} - {0}
    shut = painted | np.isin(data, list(held))
    edited = data.copy()
    live.hold(shut[None], held)
    rng = np.random.default_rng(1)
    for _ in range(15):
        thresholds = PartThresholds(rng.uniform(0.05, 0.95), rng.uniform(0.5, 1), int(rng.integers(0, 80)))
        live.move(thresholds, data[None], added)
        assert np.array_equal(data[shut], edited[shut])
        assert not np.isin(data[~shut], list(held)).any()
    live.move(RUN, data[None], added)
    assert np.array_equal(data, edited)
    # undone: what was held follows again
    live.move(replace(RUN, foreground=0.3), data[None], added)
    data[shut] = first[shut]
    live.hold(None, ())
    live.move(RUN, data[None], added)
    assert np.array_equal(data, first)


def test_nothing_grows_around_what_a_person_vouched_for(scores):
    alone = np.zeros_like(scores)
    alone[0] = 255
    rows, columns = np.indices(scores.shape[1:])
    away = np.hypot(rows - 90, columns - 100)
    alone[0] = np.clip(255 / (1 + np.exp(-(away - 20))), 0, 255)
    alone[1] = np.clip(255 - alone[0].astype(int) - (away > 16) * 60, 0, 255)
    live, data = begin(alone)
    number = int(data[90, 100])
    live.hold((data == number)[None], {number})
    before = data.copy()
    live.move(replace(RUN, foreground=0.05), data[None])
    assert np.array_equal(data, before)


def test_numbers_stay_with_their_objects(scores):
    live, data = begin(scores)
    first = data.copy()
    live.move(replace(RUN, foreground=0.7), data[None])
    both = (first > 0) & (data > 0)
    same = first[both] == data[both]
    assert same.mean() > 0.9
    # joined, the surer one keeps its number
    live.move(replace(RUN, seeds=0.5), data[None])
    common = np.intersect1d(data, first)[1:]
    kept = [np.count_nonzero((data == n) & (first == n)) > 0.5 * np.count_nonzero(first == n) for n in common]
    assert len(kept) > 100 and np.mean(kept) > 0.95


def test_a_full_layer_says_so(scores):
    labels = part(scores[1], scores[0])
    live = LiveParts(ClassScores(scores[None]), labels[None], RUN, largest=int(labels.max()))
    data = labels.copy()
    live.move(replace(RUN, seeds=0.9), data[None])
    assert not live.complete and data.max() == labels.max()
    live.move(RUN, data[None])
    assert live.complete and np.array_equal(data, labels)


def test_stacks_and_volumes():
    stack = np.stack([crowd((90, 80), 1), crowd((90, 80), 2)])
    labels = np.stack([part(s[1], s[0]) for s in stack])
    labels[1][labels[1] > 0] += labels[0].max()
    live, data = LiveParts(ClassScores(stack), labels, RUN), labels.copy()
    live.move(replace(RUN, foreground=0.3), data)
    for plane, own in zip(stack, data):
        assert same_objects(own, parted_at(plane, live.thresholds.limit, RUN.level))
    volume = crowd((20, 60, 60), 3, radius=6)
    whole = part(volume[1], volume[0])
    live, data = LiveParts(ClassScores(volume[None]), whole[None], RUN), whole.copy()
    box = live.move(replace(RUN, foreground=0.3), data[None])
    assert len(box) == 4 and np.array_equal(data > 0, volume[0] < live.thresholds.limit)
    live.move(RUN, data[None])
    assert np.array_equal(data, whole)


def test_turning_levels_by_hand():
    # two cores of 200 and 150, joined at 100, and a third of 120 that is joined to them at 60
    inside = np.array([[0, 200, 100, 150, 60, 120, 0]], np.uint8)
    pieces = find_pieces((inside > 0)[None, None])
    turning = turning_levels(pieces.pixels, pieces.starts, pieces.boxes, pieces.shape, inside.ravel())
    assert np.flatnonzero(turning[0]).tolist() == [60, 100, 120, 150, 200, 256]


def test_nothing_at_all():
    empty = np.zeros((1, 3, 20, 30), np.uint8)
    live, data = LiveParts(ClassScores(empty), np.zeros((1, 20, 30), np.uint16), RUN), np.zeros((1, 20, 30), np.uint16)
    live.hold(np.ones((1, 20, 30), bool), ())
    assert live.move(replace(RUN, foreground=0.05), data) is None and not data.any() and live.table() == {}


def test_more_pixels_than_can_be_counted_are_refused(scores, monkeypatch):
    monkeypatch.setattr(live_parts, "MOST_PIXELS", scores[0].size)
    assert begin(scores)[0].shown > 100
    monkeypatch.setattr(live_parts, "MOST_PIXELS", scores[0].size - 1)
    with pytest.raises(ValueError, match="37800 pixels; at most 37799"):
        begin(scores)
