"""Retakes: further tiles around objects that no tile of the grid sees well."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from segloop import segmentation
from segloop.events import SegmentStarted, TileDone, drain
from segloop.image import Image
from segloop.matching import match
from segloop.models.protocol import Instances
from segloop.models.registry import get_family
from segloop.retakes import (
    GridView,
    best_depth,
    depth_in,
    longest_worthwhile,
    needed_depth,
    plan_retakes,
    retake_side,
)
from segloop.seams import Joiner
from segloop.segmentation import SegmentSettings, segment, segment_events
from segloop.store import load_model
from segloop.tiling import Tile, plan_tiles

SHAPE = (1000, 1000)
GRID = plan_tiles(SHAPE, (384,) * 2, (64,) * 2, (32,) * 2)


def instances(*found: tuple[float, float, float, float, float]) -> Instances:
    """Full boxes: x0, y0, x1, y1, score."""
    numbers = np.array(found, np.float32).reshape(-1, 5)
    count = len(numbers)
    return Instances(numbers[:, :4], numbers[:, 4], np.ones(count, np.int64), np.ones((count, 28, 28), np.float32))


def seen_by(tile: Tile, box: tuple[float, ...], score: float) -> Instances:
    """What an honest model says of a box, cut where the tile ends; nothing if it does not meet it."""
    top, left = (side.start for side in tile.outer)
    low, high = np.array([left, top]), np.array([tile.outer[1].stop, tile.outer[0].stop])
    first, last = np.maximum(box[:2], low), np.minimum(box[2:], high)
    if (last - first).min() <= 0:
        return instances()
    return instances((*(first - low), *(last - low), score))


def test_small_objects_ask_for_nothing_wherever_they_lie() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 950, (400, 2))
    joiner = Joiner(SHAPE, 0)
    for tile in GRID:
        parts = [seen_by(tile, (x, y, x + 25, y + 25), 0.9) for x, y in corners]
        numbers = np.concatenate([np.c_[part.boxes, part.scores] for part in parts])
        joiner.add(tile, instances(*numbers))
    assert joiner.retakes(32, 0.2) == []


def test_an_object_at_a_seam_is_taken_from_the_tile_around_it() -> None:
    box = (230.0, 430.0, 400.0, 560.0)
    joiner = Joiner(SHAPE, 0)
    for tile in GRID:
        joiner.add(tile, seen_by(tile, box, 0.9))
    (tile,) = joiner.retakes(32, 0.2)
    assert tile.shape == GRID[0].shape and all(side.start % 32 == 0 for side in tile.outer)
    # what the retake says differs from what the grid made of pieces
    left, top = tile.outer[1].start, tile.outer[0].start
    better = (233.0, 433.0, 398.0, 557.0)
    joiner.add(tile, instances((better[0] - left, better[1] - top, better[2] - left, better[3] - top, 0.8)))
    joined = joiner.join()
    assert len(joined) == 1
    np.testing.assert_allclose(joined.boxes[0], better)
    assert joined.scores[0] == pytest.approx(0.8)


@pytest.mark.parametrize("answer", [(), ((10.0, 10.0, 40.0, 50.0, 0.9),)])
@pytest.mark.parametrize(
    ("box", "seen_well"), [((240.0, 430.0, 390.0, 560.0), True), ((170.0, 430.0, 450.0, 560.0), False)]
)
def test_what_a_retake_does_not_find_is_lost_only_where_it_sees_well(
    box: tuple[float, ...], seen_well: bool, answer: tuple
) -> None:
    """A part of something that a tile cuts may look like an object; the whole of it need not."""
    joiner = Joiner(SHAPE, 0)
    for tile in GRID:
        joiner.add(tile, seen_by(tile, box, 0.9))
    (tile,) = joiner.retakes(32, 0.2)
    whole = np.array([box], np.float32)
    assert bool(depth_in(tile, whole, SHAPE)[0] >= needed_depth(whole)[0]) is seen_well
    joiner.add(tile, instances(*answer))
    joined = joiner.join()
    assert len(np.unique(joined.objects)) == (0 if seen_well else 1)
    if not seen_well:
        around = (*joined.boxes[:, :2].min(axis=0), *joined.boxes[:, 2:].max(axis=0))
        np.testing.assert_allclose(around, box)


@pytest.mark.parametrize("goes_on", [False, True])
def test_what_one_tile_cuts_and_another_sees_well_is_there_only_if_that_one_finds_it(goes_on: bool) -> None:
    first, second = sorted((tile for tile in GRID if tile.outer[0].start == 0), key=lambda t: t.outer[1].start)[:2]
    end, shift = first.outer[1].stop, second.outer[1].start
    piece = (end - 80.0, 100.0, float(end), 160.0, 0.9)
    joiner = Joiner(SHAPE, 0)
    joiner.add(first, instances(piece))
    assert depth_in(second, np.array([piece[:4]], np.float32), SHAPE)[0] >= 40
    # what is larger than a tile reaches to its borders
    larger = (0.0, 90.0, float(second.outer[1].stop - shift), 170.0, 0.9)
    joiner.add(second, instances(larger) if goes_on else instances())
    joiner.retakes(32, 0.2)
    assert len(np.unique(joiner.join().objects)) == (1 if goes_on else 0)


@pytest.mark.parametrize(("score", "longest"), [(0.9, 60.0), (0.15, np.inf)], ids=["too long", "unsure"])
@pytest.mark.parametrize("elsewhere", [(), ((20.0, 300.0, 75.0, 340.0, 0.9),)], ids=["alone", "another"])
def test_what_is_denied_does_not_depend_on_objects_elsewhere(elsewhere: tuple, score: float, longest: float) -> None:
    """An image and a part of it that was cropped say the same of what lies in both."""
    first = min(GRID, key=lambda tile: (tile.outer[0].start, tile.outer[1].start))
    end = float(first.outer[1].stop)
    joiner = Joiner(SHAPE, 0)
    for tile in GRID:
        found = ((end - 80, 100.0, end, 160.0, score),) if tile is first else ()
        # at a border of the last tile, and worth a look
        joiner.add(tile, instances(*found, *(elsewhere if tile is GRID[-1] else ())))
    joiner.retakes(32, 0.2, longest)
    assert not (joiner.join().boxes[:, 1] == 100).any()


@pytest.mark.parametrize(
    ("box", "score", "longest"),
    [
        ((100.0, 100.0, 900.0, 300.0), 0.9, np.inf),
        ((230.0, 430.0, 400.0, 560.0), 0.1, np.inf),
        ((230.0, 430.0, 400.0, 560.0), 0.9, 160.0),
    ],
    ids=["larger than a tile", "unsure", "larger than what the model knows"],
)
def test_what_is_not_worth_a_tile_is_not_asked_for(box: tuple[float, ...], score: float, longest: float) -> None:
    joiner = Joiner(SHAPE, 0)
    for tile in GRID:
        joiner.add(tile, seen_by(tile, box, score))
    assert joiner.retakes(32, 0.2, longest) == []
    assert len(np.unique(joiner.join().objects)) == 1


def test_a_network_that_has_learned_no_objects_asks_for_nothing() -> None:
    """Its boxes have any size, and any score; of one that has learned, something, whether it says the size or not."""
    spec = get_family("maskrcnn").new_spec("untrained", ("cell",), channels=1, ndim=2, size="resnet50")
    spec = replace(spec, architecture=dict(spec.architecture) | {"proposals": 50, "detections": 20})
    model = get_family("maskrcnn").build(spec)
    image = Image(np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8), "YX")

    def tiles(object_size: float, **learned: object) -> tuple[int, int]:
        events: list = []
        model.spec = replace(spec, object_size=object_size, **learned)
        settings = SegmentSettings(tile=128, score=0.0)
        if object_size:
            settings = replace(settings, object_size=object_size)
        segment(model, image, settings, events.append)
        started = next(event for event in events if isinstance(event, SegmentStarted))
        return started.tiles, sum(isinstance(event, TileDone) for event in events)

    grid, done = tiles(0)
    assert grid == done > 4
    for object_size, learned in ((40, {}), (0, {"training": {"data": "cells"}})):
        grid, done = tiles(object_size, **learned)
        assert done > grid, "the boxes of this network would not ask for a tile in any case"


def test_tiles_around_objects_are_no_larger_than_what_is_worth_a_look_needs() -> None:
    assert retake_side(longest_worthwhile(0, has_learned=False), 640, 32) == 0
    assert retake_side(longest_worthwhile(20, has_learned=True), 640, 32) == 448
    # of any size: as large as the model's own
    assert retake_side(longest_worthwhile(0, has_learned=True), 640, 32) == 640
    assert retake_side(longest_worthwhile(500, has_learned=True), 640, 32) == 640


def test_a_deep_but_unsure_guess_does_not_replace_an_object() -> None:
    """Two guesses of one tile: a nearby tile has only the unsure one, and deeper."""
    row = sorted((tile for tile in GRID if tile.outer[0].start == 0), key=lambda tile: tile.outer[1].start)
    first, second = row[:2]
    shift, end = second.outer[1].start, first.outer[1].stop
    sure, unsure = (end - 105.0, 100.0, end - 5.0, 200.0, 0.9), (end - 95.0, 100.0, end - 23.0, 200.0, 0.1)
    joiner = Joiner(SHAPE, 0)
    joiner.add(first, instances(sure))
    joiner.add(second, instances((unsure[0] - shift, unsure[1], unsure[2] - shift, *unsure[3:])))
    assert joiner.join().scores.max() == pytest.approx(0.9)


def test_one_retake_serves_all_that_it_sees_well() -> None:
    boxes = np.array([[230, 430, 330, 530], [240, 540, 330, 620], [800, 800, 900, 900]], np.float32)
    tiles = plan_retakes(boxes, np.zeros(3, np.float32), (384, 384), 32, SHAPE)
    assert len(tiles) == 2
    for box in boxes:
        assert max(depth_in(tile, box[None], SHAPE)[0] for tile in tiles) >= needed_depth(box[None])[0]


def mixed_grid() -> list[Tile]:
    """The grid after memory ran short at its last tile, which was cut into smaller ones."""
    rows, columns = GRID[-1].inner
    cut = []
    for tile in plan_tiles(SHAPE, (192,) * 2, (48,) * 2, (32,) * 2):
        inner = tuple(
            slice(max(own.start, its.start), min(own.stop, its.stop)) for own, its in zip(tile.inner, (rows, columns))
        )
        if all(side.stop > side.start for side in inner):
            cut.append(Tile(tile.outer, inner))
    return [*GRID[:-1], *cut]


@pytest.mark.parametrize("grid", [GRID, mixed_grid()], ids=["one size", "two sizes"])
def test_depth_is_that_of_the_best_tile(grid: list[Tile]) -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 900, (200, 2)).astype(np.float32)
    boxes = np.concatenate([low, low + rng.uniform(5, 300, (200, 2)).astype(np.float32)], axis=1)
    each = np.max([depth_in(tile, boxes, SHAPE) for tile in grid], axis=0)
    np.testing.assert_array_equal(best_depth(grid, boxes, SHAPE), each)


def test_retakes_are_as_large_as_what_fitted_in_memory() -> None:
    seam = float(GRID[0].inner[1].stop)
    box = (seam - 50, 100.0, seam + 50, 190.0)
    joiner = Joiner(SHAPE, 0)
    for tile in mixed_grid():
        joiner.add(tile, seen_by(tile, box, 0.9))
    (tile,) = joiner.retakes(32, 0.2)
    assert tile.shape == (192, 192)


def test_only_objects_that_no_tile_sees_well_are_kept_for_retakes() -> None:
    boxes = np.array([[20, 20, 40, 40], [230, 430, 400, 560], [60, 60, 80, 80]], np.float32)
    found = SimpleNamespace(
        boxes=boxes,
        scores=np.full(3, 0.9, np.float32),
        sources=np.zeros(3, int),
        depth=depth_in(GRID[0], boxes, SHAPE),
        cut=np.array([False, True, False]),
    )
    view = GridView(np.array([0, 1, -1]), found, GRID, SHAPE)
    np.testing.assert_array_equal(view.boxes, boxes[1:2])
    np.testing.assert_array_equal(view.left(), [0, 1])
    (tile,) = plan_retakes(view.boxes, view.depth, (384, 384), 32, SHAPE)
    taken = view.take(tile, boxes[1:2], np.full(1, 0.8, np.float32))
    np.testing.assert_array_equal(taken, [0])
    np.testing.assert_array_equal(view.left(), [0])


@pytest.fixture(scope="module")
def large() -> tuple:
    """A real image enlarged, the model, settings that keep it so, and labels of one pass over the whole."""
    import segloop
    from segloop.samples import load_sample

    pixels = np.asarray(load_sample("fluorescence").data)[:260, :348]
    image = segloop.Image(np.kron(pixels, np.ones((4, 4), pixels.dtype)), "YX")
    model = load_model("nuclei-maskrcnn")
    settings = SegmentSettings(object_size=model.spec.object_size, tile=1408)
    return image, model, settings, segment(model, image, settings).labels.data


def test_large_objects_do_not_depend_on_tiles(large: tuple) -> None:
    image, model, settings, whole = large
    events: list = []
    labels = segment(model, image, replace(settings, tile=512), events.append).labels.data
    matching = match(whole, labels, 0.9)
    assert len(matching.iou) >= 0.97 * whole.max() and abs(int(labels.max()) - int(whole.max())) <= 1
    done = [event for event in events if isinstance(event, TileDone)]
    assert len(done) > 12 and done[-1].done == done[-1].tiles == len(done)


def test_progress_knows_of_further_tiles(large: tuple) -> None:
    image, model, settings, _ = large
    events: list = []
    segment(model, image, replace(settings, tile=512), events.append)
    done = [event for event in events if isinstance(event, TileDone)]
    grid, total = done[0].tiles, done[-1].tiles
    # nowhere but at the end does it look as if all were done
    assert all(event.done < event.tiles for event in done[:-1])
    assert [event.at_seams for event in done] == [False] * grid + [True] * (total - grid)
    half = done[grid // 2]
    assert 0.5 * total <= half.tiles + half.expected <= 2 * total
    assert all(event.expected == 0 for event in done[grid - 1 :])


def test_memory_that_runs_short_at_a_retake_makes_it_smaller(large: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    image, model, settings, whole = large
    predict, calls, sides = segmentation.predict_tiles, [], []

    def limited(model: object, plan: object, block: object, tiles: list) -> object:
        calls.append(tiles[0])
        if len(calls) > 12:
            sides.append(max(tiles[0].shape))
            if sides[-1] > 300:
                raise MemoryError
        return predict(model, plan, block, tiles)

    monkeypatch.setattr(segmentation, "predict_tiles", limited)
    events: list = []
    result = segment(model, image, replace(settings, tile=512), events.append)
    started = next(event for event in events if isinstance(event, SegmentStarted))
    assert started.tiles == 12, "the limit begins with the first retake"
    assert max(sides) > 300 >= sides[-1]
    assert result.complete and any("not enough memory for tiles of" in notice for notice in result.notices)
    last = [event for event in events if isinstance(event, TileDone)][-1]
    assert last.done == last.tiles > 12
    assert len(match(whole, result.labels.data, 0.5).iou) >= 0.95 * whole.max()


def test_stopping_during_retakes_keeps_what_the_grid_found(large: tuple) -> None:
    image, model, settings, whole = large
    done = 0
    work = segment_events(model, image, replace(settings, tile=512), stop=lambda: done >= 13)
    try:
        while True:
            done += isinstance(next(work), TileDone)
    except StopIteration as stop:
        result = stop.value
    assert not result.complete
    (notice,) = [notice for notice in result.notices if "stopped" in notice]
    assert re.match(r"stopped after \d+ of \d+ tiles around objects at seams", notice) and "empty" not in notice
    assert len(match(whole, result.labels.data, 0.5).iou) >= 0.95 * whole.max()


def test_planes_of_a_stack_are_as_each_alone(large: tuple) -> None:
    image, model, settings, _ = large
    first = np.asarray(image.data)
    planes = np.stack([first, first[::-1, ::-1]])
    settings = replace(settings, tile=512)
    statistics = model.spec.normalization.fit(Image(planes, "ZYX"))
    together = drain(segment_events(model, Image(planes, "ZYX"), settings, statistics))
    for number, plane in enumerate(planes):
        events: list = []
        alone = drain(segment_events(model, Image(plane, "YX"), settings, statistics), events.append)
        done = [event for event in events if isinstance(event, TileDone)]
        assert done[-1].tiles > done[0].tiles, "no retakes"
        own = together.candidates.planes == number
        for name in ("boxes", "scores", "masks"):
            np.testing.assert_array_equal(
                getattr(together.candidates, name)[own], getattr(alone.candidates, name), err_msg=name
            )
        np.testing.assert_array_equal(together.labels.data[number] > 0, alone.labels.data > 0)


def test_large_objects_do_not_depend_on_tiles_with_flips(large: tuple) -> None:
    image, model, settings, _ = large
    settings = replace(settings, flips=True)
    whole = segment(model, image, settings).labels.data
    events: list = []
    labels = segment(model, image, replace(settings, tile=512), events.append).labels.data
    done = [event for event in events if isinstance(event, TileDone)]
    assert done[-1].tiles > done[0].tiles, "no retakes"
    assert len(match(whole, labels, 0.8).iou) >= 0.95 * whole.max()
    assert abs(int(labels.max()) - int(whole.max())) <= 1


def test_the_order_of_retakes_does_not_matter() -> None:
    boxes = ((230.0, 430.0, 400.0, 560.0), (600.0, 100.0, 760.0, 230.0), (240.0, 700.0, 390.0, 860.0))
    joined = []
    for step in (1, -1):
        joiner = Joiner(SHAPE, 0)
        for tile in GRID[::step]:
            found = [seen_by(tile, box, 0.9) for box in boxes]
            joiner.add(tile, instances(*np.concatenate([np.c_[part.boxes, part.scores] for part in found])))
        tiles = joiner.retakes(32, 0.2)
        assert tiles
        for tile in tiles[::step]:
            found = [seen_by(tile, box, 0.8) for box in boxes]
            joiner.add(tile, instances(*np.concatenate([np.c_[part.boxes, part.scores] for part in found])))
        joined.append(joiner.join())
    for name in ("boxes", "scores", "objects", "masks"):
        np.testing.assert_array_equal(getattr(joined[0], name), getattr(joined[1], name))
    assert len(joined[0]) == 3 and (joined[0].scores == np.float32(0.8)).all()
