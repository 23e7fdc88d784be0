"""Parting: a semantic prediction into single objects, block by block, so that no plane or volume is ever held.

Seeds are the connected regions inside objects. They are flooded into the foreground, the most certain pixels first (the
watershed of Meyer, Pattern Recognition Letters 1991; equal values first come, first served). Foreground without a seed
is an object by itself. A first pass finds which regions of different blocks are one; a second floods each block with a
margin around it.

What comes out does not depend on the size of the blocks. Which seeds there are, their numbers, and which foreground has
none is exact for objects of any size and shape. The flooding is exact where it ends within half a margin of its seed:
the border class is a few pixels wide. Foreground that no seed reaches within the margin becomes an object by itself.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import ndimage

from segloop.agreement import connected
from segloop.compiled import compiled

Read = Callable[[tuple[slice, ...]], np.ndarray]
Region = tuple[slice, ...]
Result = TypeVar("Result")

HALF = 128
"""Scores in 255ths from here on are more than one half."""
SEED = 192
"""Where the score of lying inside, in 255ths, is at least this, seeds are: objects that touch have fewer bridges."""


@dataclass(frozen=True, eq=False)
class PartedTable:
    """Objects 1…N of a parted plane or volume; some may have no pixels.

    Parameters
    ----------
    area : int64 (N,)
        Pixels.
    score : float64 (N,) in [0, 1]
        Mean probability of foreground.
    centroid : float64 (N, D)
        In pixels; pixel 0 has its centre at 0.
    bbox : int64 (N, 2 D)
        First pixel along each axis, then end (exclusive) along each.
    """

    area: np.ndarray
    score: np.ndarray
    centroid: np.ndarray
    bbox: np.ndarray

    def numbers(self, min_area: int) -> np.ndarray:
        """The numbers 1…L, without gaps, of objects of at least ``min_area`` pixels, and 0 of others: uint32 (N + 1,).

        The first entry is the background's: ``numbers[labels]`` leaves the others out of a block.
        """
        kept = np.concatenate([[False], self.area >= max(1, min_area)])
        return np.where(kept, np.cumsum(kept), 0).astype(np.uint32)


class Parting:
    """Parts one plane or volume. Exhaust :meth:`survey` first, then :meth:`blocks`, then see :meth:`table`.

    Parameters
    ----------
    read : callable
        Given a region, slices with start and stop, returns uint8 (2, ...) of its shape: the scores, in 255ths, of lying
        inside an object and of background.
    shape : sequence of int (D,)
        Of the plane (Y, X) or volume (Z, Y, X).
    block : int
        Side of a block in pixels, along Y and X and, in volumes, Z.
    margin : int
        What is read around a block; at most ``block``.
    threads : int
        Blocks worked on at once; the result does not depend on it. ``read`` is called by one thread at a time.
    """

    def __init__(self, read: Read, shape: Sequence[int], block: int = 1024, margin: int = 32, threads: int = 1) -> None:
        self._ndim, self._threads = len(shape), threads
        self._read_region = read
        # planes are volumes of depth 1
        self._shape = (1,) * (3 - self._ndim) + tuple(shape)
        self._block, self._margin = block, max(1, min(margin, block))
        starts = [range(0, length, block) for length in self._shape]
        self._regions: list[Region] = [
            tuple(slice(start, min(start + block, length)) for start, length in zip(corner, self._shape))
            for corner in itertools.product(*starts)
        ]
        # seeds and pieces of foreground on planes across an axis: the ends of blocks, and those of their margins
        self._faces: dict[tuple[int, int], np.ndarray] = {}
        self._bases: list[tuple[int, int]] = []
        self._seeds = self._pieces = _Regions.none()
        self._lonely = np.zeros(0, bool)

    def __len__(self) -> int:
        return len(self._regions)

    def survey(self) -> Iterator[Region]:
        """Find which regions of different blocks are one; yields the region of each block when it is done."""
        firsts: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        links: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        seeded: list[np.ndarray] = []
        counts = [0, 0]
        for number, (both, held, places) in enumerate(self._ahead(self._regions, _labelled)):
            region = self._regions[number]
            self._bases.append((counts[0], counts[1]))
            seeded.append(held + (counts[1] - 1))
            for kind, (labels, first) in enumerate(zip(both, places)):
                firsts[kind].append(self._flat(region, np.unravel_index(first, labels.shape)))
                labels[labels > 0] += counts[kind]
                counts[kind] += len(first)
            links[0].extend(self._touching(region, 0, both[0]))
            links[1].extend(self._touching(region, 1, both[1]))
            self._remember(region, np.stack(both))
            yield region[3 - self._ndim :]
        none = np.zeros((0, 2), np.int64)
        self._seeds, self._pieces = (
            _Regions.of(np.concatenate(own), np.concatenate([none, *pairs])) for own, pairs in zip(firsts, links)
        )
        lonely = np.ones(len(self._pieces.first), bool)
        lonely[self._pieces.place[np.concatenate(seeded)]] = False
        self._lonely = lonely
        # each piece has a number after those of the seeds: needed by those without a seed, and by what no seed reaches
        self._count = len(self._seeds.first) + len(lonely)
        self._sums = np.zeros((self._count + 1, 5), np.int64)
        self._bounds = np.zeros((self._count + 1, 6), np.int64)
        self._bounds[:, :3] = np.iinfo(np.int64).max

    def blocks(self) -> Iterator[tuple[Region, np.ndarray]]:
        """Flood block by block; yields its region and its labels, uint32: 1…N in the order of first seed pixels."""
        windows = [self._window(region) for region in self._regions]
        for number, (labels, background) in enumerate(self._ahead(windows, self._part)):
            region = self._regions[number]
            _measure(labels, background, np.array([side.start for side in region]), self._sums, self._bounds)
            yield region[3 - self._ndim :], labels.reshape([n.stop - n.start for n in region[3 - self._ndim :]])

    def table(self) -> PartedTable:
        """Measurements of all objects, once all blocks are done."""
        area, score = self._sums[1:, 0], self._sums[1:, 1]
        some = np.maximum(area, 1)
        first = 3 - self._ndim
        bounds = np.where(area[:, None] > 0, self._bounds[1:], 0)
        return PartedTable(
            area=area,
            score=score / (255 * some),
            centroid=self._sums[1:, 2 + first :] / some[:, None],
            bbox=np.concatenate([bounds[:, first:3], bounds[:, 3 + first :]], axis=1),
        )

    def _ahead(
        self, windows: Sequence[Region], work: Callable[[int, np.ndarray, np.ndarray], Result]
    ) -> Iterator[Result]:
        """What ``work`` returns for the number of each block and what is read in its window, in order."""
        if min(self._threads, len(windows)) < 2:
            yield from (work(number, *self._read(window)) for number, window in enumerate(windows))
            return
        flying: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(self._threads, "segloop-parting") as pool:
            for number, window in enumerate(windows):
                flying.append(pool.submit(work, number, *self._read(window)))
                if len(flying) > self._threads:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()

    def _window(self, region: Region) -> Region:
        """What is read for a block."""
        return tuple(
            slice(max(0, side.start - self._margin), min(n, side.stop + self._margin))
            for side, n in zip(region, self._shape)
        )

    def _part(self, number: int, inside: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels of a block, uint32, and its background scores; given those of its window."""
        region, (seed_base, piece_base) = self._regions[number], self._bases[number]
        window = self._window(region)
        own = tuple(slice(r.start - w.start, r.stop - w.start) for r, w in zip(region, window))
        mask = background < HALF
        seeds, count = ndimage.label(inside >= SEED)
        numbers = self._numbers(region, window, own, seeds, int(count), seed_base)
        flooded = numbers[flood(inside, seeds, mask)[own]]
        # foreground of pieces without a seed, or farther than the margin from any
        left = mask[own] & (flooded == 0)
        if left.any():
            pieces = ndimage.label(mask[own])[0]
            flooded[left] = 1 + len(self._seeds.first) + self._pieces.place[piece_base - 1 + pieces[left]]
        return flooded, np.ascontiguousarray(background[own])

    def _numbers(
        self, region: Region, window: Region, own: Region, seeds: np.ndarray, count: int, base: int
    ) -> np.ndarray:
        """The number, over all blocks, of each seed of a window: uint32 (count + 1,)."""
        numbers = np.zeros(count + 1, np.uint32)
        # those that lie in the window as a whole are known by their first pixel
        first = self._flat(window, np.unravel_index(_first_pixels(seeds), seeds.shape))
        places = np.searchsorted(self._seeds.first, first)
        numbers[1:] = 1 + np.minimum(places, len(self._seeds.first) - 1)
        # those that reach out of it by where they do so
        for axis in range(3):
            for coordinate, local, cut in (
                (window[axis].start, 0, window[axis].start > 0),
                (window[axis].stop - 1, -1, window[axis].stop < self._shape[axis]),
            ):
                if cut:
                    others = window[:axis] + window[axis + 1 :]
                    known = self._faces[axis, coordinate][0][others]
                    here = np.take(seeds, local, axis=axis)
                    numbers[here[here > 0]] = 1 + self._seeds.place[known[here > 0] - 1]
        # and those that reach into the block by what they are there
        if any(r != w for r, w in zip(region, window)):
            inner = seeds[own]
            parts = ndimage.label(inner > 0)[0]
            numbers[inner[inner > 0]] = 1 + self._seeds.place[base - 1 + parts[inner > 0]]
        return numbers

    def _remember(self, region: Region, both: np.ndarray) -> None:
        """Keep the labels on planes that other blocks ask for; ``both`` : seeds and pieces, (2, Z, Y, X)."""
        for axis, (side, length) in enumerate(zip(region, self._shape)):
            wanted = {side.stop - 1, side.start + self._margin - 1, side.stop - self._margin}
            for coordinate in wanted:
                if side.start <= coordinate < side.stop and self._block < length:
                    others = self._shape[:axis] + self._shape[axis + 1 :]
                    face = self._faces.setdefault((axis, coordinate), np.zeros((2, *others), np.int32))
                    place = region[:axis] + region[axis + 1 :]
                    face[(slice(None), *place)] = np.take(both, coordinate - side.start, axis=axis + 1)

    def _touching(self, region: Region, kind: int, labels: np.ndarray) -> Iterator[np.ndarray]:
        """Pairs of regions, counted from 0, that touch across the low sides of a block."""
        for axis, side in enumerate(region):
            if side.start:
                place = region[:axis] + region[axis + 1 :]
                before = self._faces[axis, side.start - 1][kind][place]
                here = np.take(labels, 0, axis=axis)
                both = (before > 0) & (here > 0)
                yield np.unique(np.stack([before[both], here[both]], axis=1).astype(np.int64) - 1, axis=0)

    def _flat(self, region: Region, places: Sequence[np.ndarray]) -> np.ndarray:
        whole = [place + side.start for place, side in zip(places, region)]
        flat: np.ndarray = (whole[0] * self._shape[1] + whole[1]) * self._shape[2] + whole[2]
        return flat

    def _read(self, region: Region) -> tuple[np.ndarray, np.ndarray]:
        scores = self._read_region(region[3 - self._ndim :])
        shape = tuple(side.stop - side.start for side in region)
        inside, background = np.ascontiguousarray(scores, np.uint8).reshape(2, *shape)
        return inside, background


@dataclass(frozen=True, eq=False)
class _Regions:
    """Connected regions over all blocks.

    ``first`` int64 (N,) is the flat index of the first pixel of each, ascending; ``place`` int64 (B,) says which of
    them each region of a single block is.
    """

    first: np.ndarray
    place: np.ndarray

    @classmethod
    def none(cls) -> _Regions:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def of(cls, first: np.ndarray, pairs: np.ndarray) -> _Regions:
        """``first`` : first pixel of each region of a block; ``pairs`` of regions that touch."""
        root = connected(len(first), np.ascontiguousarray(pairs, np.int64))
        earliest = np.full(len(first), np.iinfo(np.int64).max)
        np.minimum.at(earliest, root, first)
        found, place = np.unique(earliest[root], return_inverse=True)
        return cls(found, place.astype(np.int64))


def part(inside: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Part a whole plane or volume at once.

    Parameters
    ----------
    inside, background : uint8 (Y, X) or (Z, Y, X)
        Scores in 255ths.

    Returns
    -------
    uint32, same shape
        0 for background, 1…N without gaps, in the order of first seed pixels, then objects without a seed.
    """
    scores = np.stack([inside, background])
    parting = Parting(lambda region: scores[(slice(None), *region)], inside.shape, max(inside.shape), 0)
    for _ in parting.survey():
        pass
    ((_, labels),) = parting.blocks()
    numbered: np.ndarray = parting.table().numbers(1)[labels]
    return numbered


def _labelled(
    number: int, inside: np.ndarray, background: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Seeds and pieces of foreground of a block, the pieces that hold a seed, and the first pixels of both kinds."""
    seeds, pieces = (ndimage.label(where)[0] for where in (inside >= SEED, background < HALF))
    held = np.unique(pieces[(seeds > 0) & (pieces > 0)])
    return [seeds, pieces], held, [_first_pixels(seeds), _first_pixels(pieces)]


def _first_pixels(labels: np.ndarray) -> np.ndarray:
    """Flat index of the first pixel of labels 1…N: int64 (N,)."""
    flat = labels.ravel()
    places = np.flatnonzero(flat)[::-1]
    first = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    first[flat[places]] = places  # the last one stays
    return first[1:]


@compiled
def flood(inside, seeds, mask):  # type: ignore[no-untyped-def]
    """Flood seeds into a mask, the largest values of ``inside`` first, equal ones first come, first served.

    Parameters
    ----------
    inside : uint8 (Z, Y, X)
    seeds : int32 (Z, Y, X)
        0 where there is none.
    mask : bool (Z, Y, X)

    Returns
    -------
    int32 (Z, Y, X)
        0 outside the mask and where no seed gets.
    """
    depth, height, width = inside.shape
    labels = np.where(mask, seeds, 0).astype(np.int32)
    following = np.full(inside.size, -1, np.int32)
    head, tail = np.full(256, -1, np.int32), np.full(256, -1, np.int32)
    flat_labels, flat_mask, flat_inside = labels.ravel(), mask.ravel(), inside.ravel()
    area = height * width
    level = 255
    # only seed pixels next to foreground have anything to give
    for pixel in range(inside.size):
        if flat_labels[pixel] == 0:
            continue
        z, y, x = pixel // area, pixel // width % height, pixel % width
        open_side = (
            (z > 0 and flat_mask[pixel - area] and flat_labels[pixel - area] == 0)
            or (y > 0 and flat_mask[pixel - width] and flat_labels[pixel - width] == 0)
            or (x > 0 and flat_mask[pixel - 1] and flat_labels[pixel - 1] == 0)
            or (x + 1 < width and flat_mask[pixel + 1] and flat_labels[pixel + 1] == 0)
            or (y + 1 < height and flat_mask[pixel + width] and flat_labels[pixel + width] == 0)
            or (z + 1 < depth and flat_mask[pixel + area] and flat_labels[pixel + area] == 0)
        )
        if open_side:
            value = flat_inside[pixel]
            if head[value] < 0:
                head[value] = pixel
            else:
                following[tail[value]] = pixel
            tail[value] = pixel
    while level >= 0:
        if head[level] < 0:
            level -= 1
            continue
        pixel = head[level]
        head[level] = following[pixel]
        z, y, x = pixel // area, pixel // width % height, pixel % width
        for side in range(6):
            if side == 0 and z > 0:
                other = pixel - area
            elif side == 1 and y > 0:
                other = pixel - width
            elif side == 2 and x > 0:
                other = pixel - 1
            elif side == 3 and x + 1 < width:
                other = pixel + 1
            elif side == 4 and y + 1 < height:
                other = pixel + width
            elif side == 5 and z + 1 < depth:
                other = pixel + area
            else:
                continue
            if not flat_mask[other] or flat_labels[other] != 0:
                continue
            flat_labels[other] = flat_labels[pixel]
            value = flat_inside[other]
            if head[value] < 0:
                head[value] = other
            else:
                following[tail[value]] = other
            tail[value] = other
            level = max(level, value)
    return labels


@compiled
def _measure(labels, background, first, sums, bounds):  # type: ignore[no-untyped-def]
    """Add a block's pixels to each object's count, score and places (N + 1, 5), and widen its bounds (N + 1, 6)."""
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                number = labels[z, y, x]
                if number == 0:
                    continue
                sums[number, 0] += 1
                sums[number, 1] += 255 - background[z, y, x]
                for axis, place in enumerate((first[0] + z, first[1] + y, first[2] + x)):
                    sums[number, 2 + axis] += place
                    bounds[number, axis] = min(bounds[number, axis], place)
                    bounds[number, 3 + axis] = max(bounds[number, 3 + axis], place + 1)
