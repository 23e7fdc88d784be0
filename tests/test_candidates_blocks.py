"""Choosing and drawing, block by block, against the plain algorithm: everything into one label image, in order."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop import painting
from segloop.candidates import Candidates, rasterize
from segloop.labels import object_table


def plainly(found: Candidates, score: float, overlap: float, min_area: int) -> tuple[np.ndarray, np.ndarray]:
    """Paste as it is defined: greedy, into whole planes."""
    labels = np.zeros(found.shape, np.uint32)
    chosen: list[int] = []
    order = np.lexsort((np.arange(len(found)), found.objects, -found.scores, found.planes))
    order = order[found.scores[order] >= score]
    for pieces in np.split(order, np.flatnonzero(np.diff(found.objects[order])) + 1):
        if not len(pieces):
            continue
        plane = labels[found.planes[pieces[0]]]
        mask = np.zeros(plane.shape, bool)
        for index in pieces:
            region, inside = rasterize(found.masks[index], found.boxes[index], plane.shape)
            mask[region] |= inside
        free = mask & (plane == 0)
        visible, whole = int(free.sum()), int(mask.sum())
        if visible >= max(1, min_area) and whole - visible <= overlap * whole:
            chosen.append(int(pieces[0]))
            plane[free] = len(chosen)
    return labels, np.asarray(chosen, np.int64)


def levels(mask: np.ndarray, box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The interpolated probability at each pixel centre, in float64: the definition of ``rasterize``."""
    sides = []
    for low, high, length, cells in ((box[1], box[3], shape[0], len(mask)), (box[0], box[2], shape[1], len(mask.T))):
        places = (np.arange(length) + 0.5 - float(low)) * (cells / max(float(high) - float(low), 1e-6)) - 0.5
        sides.append(np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, 1))
    return sides[0] @ mask.astype(np.float64) @ sides[1].T


SHAPE = (3, 37, 45)
EDGES = st.one_of(st.floats(-30, 80, width=32), st.integers(-60, 160).map(lambda half: half / 2))
SIDES = st.one_of(st.just(0.0), st.floats(0, 60, width=32), st.integers(0, 60).map(lambda half: half / 2))


@st.composite
def many(draw: st.DrawFn) -> Candidates:
    """Candidates of all kinds: in several pieces, of no size, outside the plane, equally sure, very large."""
    seed = draw(st.integers(0, 2**31))
    boxes, scores, objects, planes = [], [], [], []
    for number in range(draw(st.integers(0, 12))):
        score, plane = draw(st.sampled_from([0.1, 0.5, 0.5000001, 0.75, 0.9])), draw(st.integers(0, SHAPE[0] - 1))
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            x, y = draw(EDGES), draw(EDGES)
            boxes.append((x, y, x + draw(SIDES), y + draw(SIDES)))
            scores.append(score)
            objects.append(number)
            planes.append(plane)
    count = len(boxes)
    rng = np.random.default_rng(seed)
    cells = int(rng.choice([1, 2, 7, 28]))
    kind = rng.integers(0, 3, count)
    masks = rng.integers(0, 256, (count, cells, cells)).astype(np.uint8)
    masks[kind == 0] = 255
    masks[kind == 1] = np.hypot(*(np.indices((cells, cells)) - (cells - 1) / 2)) < cells / 2
    masks[kind == 1] *= 255
    order = rng.permutation(count)
    return Candidates(
        np.asarray(boxes, np.float32).reshape(-1, 4)[order],
        np.asarray(scores, np.float32)[order],
        np.ones(count, np.int64),
        masks[order],
        np.asarray(objects, np.int64)[order],
        np.asarray(planes, np.int64)[order],
        SHAPE,
    )


LIMITS = {
    "score": st.sampled_from([0.0, 0.5, 0.8]),
    "overlap": st.sampled_from([0.0, 0.25, 0.4, 1.0]),
    "min_area": st.sampled_from([0, 1, 8, 60]),
}


@settings(deadline=None, max_examples=150, derandomize=True)
@given(found=many(), **LIMITS)
def test_as_the_plain_algorithm(found: Candidates, score: float, overlap: float, min_area: int) -> None:
    expected, numbers = plainly(found, score, overlap, min_area)
    labels, chosen = found.paste(score, overlap, min_area)
    assert labels.dtype == np.uint32 and chosen.dtype == np.int64
    assert np.array_equal(labels, expected)
    assert np.array_equal(chosen, numbers)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(found=many(), **LIMITS)
def test_measured_as_the_object_table_measures(found: Candidates, score: float, overlap: float, min_area: int) -> None:
    labels, _ = plainly(found, score, overlap, min_area)
    chosen = found.choose(score, overlap, min_area)
    table = object_table(labels)
    assert np.array_equal(table["label"], np.arange(1, len(chosen) + 1))
    assert np.array_equal(table["area"], chosen.area)
    for column, values in {
        "centroid-0": chosen.planes,
        "centroid-1": chosen.centroid[:, 0],
        "centroid-2": chosen.centroid[:, 1],
        "bbox-0": chosen.planes,
        "bbox-1": chosen.bbox[:, 0],
        "bbox-2": chosen.bbox[:, 1],
        "bbox-3": chosen.planes + 1,
        "bbox-4": chosen.bbox[:, 2],
        "bbox-5": chosen.bbox[:, 3],
    }.items():
        assert np.array_equal(table[column], values), column


@settings(deadline=None, max_examples=40, derandomize=True)
@given(found=many(), block=st.tuples(st.integers(1, 40), st.integers(1, 50)))
def test_blocks_are_the_whole(found: Candidates, block: tuple[int, int]) -> None:
    chosen = found.choose(0.2, 0.4, 1)
    whole, _ = found.paste(0.2, 0.4, 1)
    for plane in range(SHAPE[0]):
        together = np.full(SHAPE[1:], 99, np.uint32)
        for top in range(0, SHAPE[1], block[0]):
            for left in range(0, SHAPE[2], block[1]):
                window = slice(top, min(top + block[0], SHAPE[1])), slice(left, min(left + block[1], SHAPE[2]))
                together[window] = found.draw(chosen, plane, *window)
        assert np.array_equal(together, whole[plane])


@settings(deadline=None, max_examples=200, derandomize=True)
@given(found=many())
def test_rasterize_as_defined(found: Candidates) -> None:
    """In exact arithmetic; where it comes out at one half to six digits, float32 may fall on either side."""
    for mask, box in zip(found.masks, found.boxes):
        region, inside = rasterize(mask, box, SHAPE[1:])
        level = levels(mask, box, SHAPE[1:])
        sure = np.abs(level - 127.5) > 1e-3 * max(1.0, len(mask) / max(0.01, float((box[2:] - box[:2]).min())))
        drawn = np.zeros(SHAPE[1:], bool)
        drawn[region] = inside
        assert np.array_equal(drawn[sure], (level >= 127.5)[sure])


def test_an_object_of_many_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects with more pixels than are counted at once."""
    side = 3 * int(np.sqrt(painting.STRIP))
    disc = ((np.hypot(*(np.indices((28, 28)) - 13.5)) < 13.5) * 255).astype(np.uint8)
    boxes = np.array([[5, 7, side - 3, side - 9], [0, 0, 40, side], [3, 3, side, side]], np.float32)
    scores = np.array([0.9, 0.95, 0.5], np.float32)
    found = Candidates(
        boxes, scores, np.ones(3, np.int64), np.stack([disc] * 3), np.arange(3), np.zeros(3, np.int64), (1, side, side)
    )
    expected, numbers = plainly(found, 0.0, 1.0, 1)
    chosen = found.choose(0.0, 1.0, 1)
    assert np.array_equal(chosen.index, numbers)
    assert np.array_equal(found.draw(chosen, 0, slice(None), slice(None)), expected[0])
    assert np.array_equal(chosen.area, np.bincount(expected.ravel())[1:])
    assert np.array_equal(chosen.centroid[:, 1], object_table(expected[0])["centroid-1"])


def test_boxes_that_are_no_numbers_are_left_out() -> None:
    boxes = np.array([[0, 0, 9, 9], [np.nan, 0, 9, 9], [0, np.nan, 9, 9], [0, 0, np.nan, 9], [np.nan] * 4], np.float32)
    boxes = np.concatenate([boxes, [[-np.inf, -np.inf, np.inf, np.inf]]]).astype(np.float32)
    count = len(boxes)
    found = Candidates(
        boxes,
        np.linspace(0.5, 1, count, dtype=np.float32),
        np.ones(count, np.int64),
        np.full((count, 28, 28), 255, np.uint8),
        np.arange(count),
        np.zeros(count, np.int64),
        (1, 20, 20),
    )
    labels, chosen = found.paste(0, 0.4, 1)
    assert chosen.tolist() == [0]
    assert (labels == 1).sum() == 81


def field(count: int, side: int) -> Candidates:
    """``count`` discs of nuclear size, and as many again of low score close to them."""
    rng = np.random.default_rng(0)
    centers, sizes = rng.uniform(10, side - 10, (count, 2)), np.clip(rng.normal(17, 4, (count, 2)), 8, 40)
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
    boxes = np.concatenate([boxes, boxes + rng.normal(0, 1.5, boxes.shape)]).astype(np.float32)
    disc = ((np.hypot(*(np.indices((28, 28)) - 13.5)) < 13.5) * 255).astype(np.uint8)
    return Candidates(
        boxes,
        np.concatenate([rng.uniform(0.5, 1, count), rng.uniform(0.05, 0.6, count)]).astype(np.float32),
        np.ones(2 * count, np.int64),
        np.broadcast_to(disc, (2 * count, 28, 28)),
        np.arange(2 * count),
        np.zeros(2 * count, np.int64),
        (1, side, side),
    )


def test_a_slider_is_live() -> None:
    found = field(2000, 2048)
    found = dataclasses.replace(found, masks=np.ascontiguousarray(found.masks))
    found.paste(0.5, 0.4, 8)  # compiled, or read from the cache
    seconds = []
    for score in (0.05, 0.3, 0.5):
        started = time.thread_time()
        chosen = found.choose(score, 0.4, 8)
        found.draw(chosen, 0, slice(None), slice(None))
        seconds.append(time.thread_time() - started)
    assert 1800 < len(chosen) <= 2000
    assert min(seconds) < 0.05  # 10 to 15 ms on an idle core


def test_other_threads_go_on() -> None:
    """Choosing and drawing release the GIL: a thread of Python code is not stopped by them."""
    found = field(20000, 4096)
    found.choose(0.9, 0.4, 8)
    beats: list[float] = []
    over = threading.Event()

    def heart() -> None:
        while not over.is_set():
            beats.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=heart)
    thread.start()
    started = time.perf_counter()
    chosen = found.choose(0.0, 0.4, 8)
    found.draw(chosen, 0, slice(None), slice(None))
    ended = time.perf_counter()
    over.set()
    thread.join()
    assert sum(started < beat < ended for beat in beats) >= 4
