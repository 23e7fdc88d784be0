"""Route: regions cover every plane once, hold few things, and come in the order of doubt."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.candidates import Candidates, ClassScores
from segloop.doubt import Doubts, Reason
from segloop.events import PlaneExamined, drain
from segloop.route import ARRIVING, LEAST_SIDE, THINGS, plan_route, route_events


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def doubts_at(boxes, chances, planes=None):
    boxes = np.array(boxes, np.int64).reshape(-1, 4)
    evidence = np.zeros((len(boxes), len(Reason)), np.float32)
    evidence[:, Reason.SCORE] = chances
    planes = np.zeros(len(boxes), np.int64) if planes is None else np.array(planes)
    return Doubts(np.arange(1, len(boxes) + 1), planes, boxes, evidence, np.ones(len(boxes)), np.full(len(boxes), -1))


def scattered(rng, count, shape):
    corners = rng.integers(0, [shape[0] - 10, shape[1] - 10], (count, 2))
    return np.concatenate([corners, corners + rng.integers(3, 10, (count, 2))], axis=1)


@pytest.mark.parametrize("count", [0, 1, 30, 300])
@pytest.mark.parametrize("things", [1, 2, 5])
def test_regions_cover_every_pixel_and_hold_every_thing_once_and_whole(rng, count, things):
    shape = (3, 190, 333)
    planes = rng.integers(0, 3, count)
    doubts = doubts_at(scattered(rng, count, shape[1:]), rng.random(count), planes)
    regions = plan_route(doubts, shape, things)
    covered = np.zeros(shape, int)
    for region in regions:
        covered[region.plane, region.rows, region.columns] += 1
        for thing in region.things:
            assert planes[thing] == region.plane
            top, left, bottom, right = doubts.boxes[thing]
            assert region.rows.start <= top and bottom <= region.rows.stop
            assert region.columns.start <= left and right <= region.columns.stop
    assert covered.min() == 1 and covered.mean() < 1.5
    assert sorted(thing for region in regions for thing in region.things) == list(range(count))
    worth = [region.expected / (ARRIVING + len(region.things)) for region in regions]
    assert worth == sorted(worth, reverse=True)
    assert sum(region.expected for region in regions) == pytest.approx(doubts.probability.sum())


def test_regions_hold_few_things_where_they_lie_apart(rng):
    boxes = [(y, x, y + 20, x + 20) for y in range(10, 400, 60) for x in range(10, 400, 60)]
    regions = plan_route(doubts_at(boxes, rng.random(len(boxes))), (1, 420, 420))
    assert max(len(region.things) for region in regions) <= THINGS
    # borders run between objects
    for region in regions:
        for top, left, bottom, right in boxes:
            if region.rows.start <= (top + bottom) / 2 < region.rows.stop:
                assert region.rows.start <= top and bottom <= region.rows.stop
            if region.columns.start <= (left + right) / 2 < region.columns.stop:
                assert region.columns.start <= left and right <= region.columns.stop


def test_specks_do_not_make_regions_small(rng):
    large = [(y, x, y + 60, x + 60) for y in range(20, 900, 110) for x in range(20, 900, 110)]
    specks = scattered(rng, 400, (1000, 1000))
    regions = plan_route(doubts_at(np.concatenate([large, specks]), 0.5), (1, 1000, 1000))
    assert len(regions) < 100
    for region in regions:
        assert min(region.rows.stop - region.rows.start, region.columns.stop - region.columns.start) >= 120


def test_a_box_that_is_as_large_as_the_plane_makes_no_region_large():
    boxes = [(0, 0, 600, 600)] + [(y, x, y + 10, x + 10) for y in range(5, 600, 30) for x in range(5, 600, 30)] * 12
    regions = plan_route(doubts_at(boxes, 0.5), (1, 600, 600))
    assert max(region.rows.stop - region.rows.start for region in regions) < 200


def test_heaps_are_not_cut_endlessly():
    regions = plan_route(doubts_at([(50, 50, 60, 60)] * 40, [0.5] * 40), (1, 100, 100))
    assert max(len(region.things) for region in regions) == 40
    assert all(region.rows.stop - region.rows.start >= LEAST_SIDE for region in regions)


def test_small_planes_are_one_region():
    (region,) = plan_route(Doubts.none(), (1, 5, 7))
    assert (region.rows, region.columns, region.expected) == (slice(0, 5), slice(0, 7), 0)


def test_the_most_doubtful_object_comes_first():
    boxes = [(10, 10, 20, 20), (10, 200, 20, 210), (150, 10, 160, 20), (150, 200, 160, 210)]
    doubts = doubts_at(boxes, [0.1, 0.2, 0.7, 0.3])
    first, *_ = plan_route(doubts, (1, 170, 220), 1)
    assert first.things == (2,)


def test_a_stack_is_looked_through_plane_by_plane():
    labels = np.zeros((2, 3, 40, 60), np.uint8)
    labels[1, 2, 10:20, 10:20] = 4
    labels[0, 1, 10:20, 10:20] = 9
    found = Candidates(
        np.array([[10, 10, 20, 20]] * 2, np.float32),
        np.array([0.3, 0.6], np.float32),
        np.ones(2, np.int64),
        np.full((2, 28, 28), 255, np.uint8),
        np.arange(2),
        np.array([5, 1]),
        (6, 40, 60),
    )
    events = []
    route = drain(route_events(labels, found), events.append)
    assert events[-1] == PlaneExamined(6, 6)
    first, second = route.regions[:2]
    assert (first.plane, second.plane) == (5, 1)
    assert route.why(first) == "Object 4: score 0.30 only"
    assert first.expected == pytest.approx(0.7)
    assert route.why(first, gone={first.things[0]}) == "Nothing was found here: is anything missing?"
    # a person has seen to object 4
    assert drain(route_events(labels, found, vouched={4})).regions[0].plane == 1


def test_candidates_of_another_shape_are_passed_over():
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 10:20] = 1
    route = drain(route_events(labels, ClassScores(np.zeros((1, 2, 30, 30), np.uint8))))
    assert all(region.expected == 0 for region in route.regions)


def test_classes_are_looked_at_where_the_model_hesitates():
    scores = np.zeros((1, 2, 160, 160), np.uint8)
    scores[0, 0] = 255
    scores[0, :, 120:, 40:80] = np.array([51, 204])[:, None, None]
    labels = scores[0].argmax(axis=0)
    route = drain(route_events(labels, ClassScores(scores), classes=True))
    first = route.regions[0]
    assert (first.rows.stop, first.columns.start) == (160, 40)
    assert first.expected == pytest.approx(51 / 255, abs=0.01)
    assert route.why(first) == "The model is not sure of the class of 20% of these pixels"
    assert route.regions[-1].expected == 0


def test_removed_candidates_are_asked_about_on_no_plane():
    boxes = np.array([(10, 10, 30, 30), (60, 10, 80, 30), (10, 10, 30, 30)], np.float32)
    masks = np.full((3, 28, 28), 255, np.uint8)
    found = Candidates(
        boxes,
        np.array([0.9, 0.8, 0.7], np.float32),
        np.ones(3, np.int64),
        masks,
        np.arange(3),
        np.array([0, 0, 1]),
        (2, 90, 90),
    )
    labels = np.zeros((2, 90, 90), np.uint16)

    def asked(**keywords):
        route = drain(route_events(labels, found, **keywords))
        return sorted(route.doubts.candidates.tolist())

    assert asked() == [0, 1, 2]
    assert asked(rejected=[0]) == [1, 2] and asked(rejected=[0, 2]) == [1]
    cleared = np.zeros(labels.shape, bool)
    cleared[0, 5:35, 55:85] = True
    assert asked(cleared=cleared) == [0, 2] and asked(cleared=cleared, rejected=[0]) == [2]
