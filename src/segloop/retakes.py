"""Retakes: further tiles, centred on objects that no tile of the grid sees well.

What a network says of an object depends on what lies around it. An object about as large as the overlap of tiles is cut
by one tile and lies at the border of the next; a tile around it sees it as one pass over the whole plane would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segloop.tiling import Tile

DEEP = 0.5
"""A tile sees an object well if this many of the object's longest sides lie between it and the tile's borders."""

LEAST = 2.0
"""Nearer to a border than this, in pixels, an object may be cut by it."""

MEETING, MOST = 0.25, 0.5
"""A box that agrees with an object's by this IoU is found instead of it; one that is cut and covers more than this
share of it shows that it goes on."""

NEARLY = 1.5
"""Of a retake, what the grid sees not even this many times as deep as needed is taken: a box may come out smaller."""

CLEARLY = 8.0
"""A retake answers for what it sees so many pixels deeper than the grid; what it finds may lie a little less deep."""


def needed_depth(boxes: np.ndarray) -> np.ndarray:
    """Distance to a tile's borders from which on a tile sees a box well: float32 (N,)."""
    sides: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    return DEEP * sides


def depth_in(tile: Tile, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Distance of boxes of a plane to the nearest border of a tile inside it: float32 (N,), infinite without one.

    Negative where a box reaches over a border. Boxes are float32 (N, 4): x0, y0, x1, y1 in pixels of the plane.
    """
    return np.minimum(*(_along([tile.outer[axis]], boxes, axis, shape[axis]) for axis in (0, 1)))


def best_depth(tiles: Sequence[Tile], boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Distance of boxes to the borders of that tile of a grid in which they lie deepest: float32 (N,)."""
    edges = ({(tile.outer[axis].start, tile.outer[axis].stop) for tile in tiles} for axis in (0, 1))
    sides = ([slice(*pair) for pair in sorted(pairs)] for pairs in edges)
    return np.minimum(*(_along(own, boxes, axis, shape[axis]) for axis, own in enumerate(sides)))


def _along(sides: Sequence[slice], boxes: np.ndarray, axis: int, length: int) -> np.ndarray:
    """The same along one axis, for the best of some sides of tiles."""
    low, high = boxes[:, 1 - axis], boxes[:, 3 - axis]
    best = np.full(len(boxes), -np.inf, np.float32)
    for side in sides:
        below = low - side.start if side.start > 0 else np.full_like(low, np.inf)
        above = side.stop - high if side.stop < length else np.full_like(high, np.inf)
        np.maximum(best, np.minimum(below, above), out=best)
    return best


def plan_retakes(
    boxes: np.ndarray, depth: np.ndarray, size: tuple[int, int], divisor: int, shape: tuple[int, int]
) -> list[Tile]:
    """Tiles around objects, as few as a simple choice finds: one serves all others that it sees well.

    Parameters
    ----------
    boxes : float32 (N, 4)
        Of objects that no tile sees well: x0, y0, x1, y1 in pixels of the plane.
    depth : float32 (N,)
        How far they are from the borders of the best tile they have.
    size : (int, int)
        Y, X of a tile.
    divisor : int
        Every start is a multiple of it.
    shape : (int, int)
        Y, X of the plane.

    Returns
    -------
    list of Tile
        ``inner`` holds the objects that a tile is for. None for objects that it would not see much better, such as
        those that are larger than a tile.
    """
    order = np.lexsort((boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1]))
    boxes, depth = boxes[order], depth[order]
    around = [_around(box, size, divisor, shape) for box in boxes]
    reach = np.array([depth_in(tile, box[None], shape)[0] for tile, box in zip(around, boxes)], np.float32)
    waiting = (reach > LEAST) & (reach >= depth + divisor / 2)
    enough = np.minimum(needed_depth(boxes), reach)
    tiles = []
    for number in range(len(boxes)):
        if not waiting[number]:
            continue
        outer = around[number].outer
        # boxes come in the order of their first row
        first, end = np.searchsorted(boxes[:, 1], [boxes[number, 1], outer[0].stop], side="left")
        near = slice(int(first), int(end))
        served = waiting[near] & (depth_in(around[number], boxes[near], shape) >= enough[near])
        waiting[near] &= ~served
        own = boxes[near][served]
        low, high = np.floor(own[:, :2].min(axis=0)).astype(int), np.ceil(own[:, 2:].max(axis=0)).astype(int)
        inner = tuple(
            slice(max(side.start, int(low[1 - axis]), 0), min(side.stop, int(high[1 - axis]), shape[axis]))
            for axis, side in enumerate(outer)
        )
        tiles.append(Tile(outer, inner))
    return tiles


def _around(box: np.ndarray, size: tuple[int, int], divisor: int, shape: tuple[int, int]) -> Tile:
    """The tile in whose middle a box lies, as nearly as divisor and plane allow."""
    sides = []
    for axis, length in enumerate(size):
        middle = float(box[1 - axis] + box[3 - axis]) / 2
        last = max(0, -(-shape[axis] // divisor) * divisor - length)
        start = min(max(0, round((middle - length / 2) / divisor) * divisor), last)
        sides.append(slice(start, start + length))
    return Tile(tuple(sides), tuple(sides))


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a retake answers for and found: boxes and scores of what is taken of it, and of what it cuts."""

    tile: Tile
    answers: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    cut: np.ndarray
    cut_scores: np.ndarray


@dataclass(frozen=True, eq=False)
class GridView:
    """What the tiles of the grid say alone, once retakes are asked for.

    Parameters
    ----------
    owners : int64 (N,)
        Which of the K objects each piece shows, -1 for those that another tile shows better.
    boxes, depth, scores : float32 (K, 4), (K,), (K,)
        Around all pieces; how deep that lies in the best tile of the grid.
    weak : bool (K,)
        Whether no tile sees it well.
    grid : list of Tile
    shape : (int, int)
    answers : list of _Answer
        Of the retakes that came.
    """

    owners: np.ndarray
    boxes: np.ndarray
    depth: np.ndarray
    scores: np.ndarray
    weak: np.ndarray
    grid: list[Tile]
    shape: tuple[int, int]
    answers: list[_Answer]

    @classmethod
    def of(
        cls,
        first: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        grid: Sequence[Tile],
        shape: tuple[int, int],
    ) -> GridView:
        """Gather the objects of N pieces; ``first`` is one piece of the object that each shows, or -1."""
        some = np.flatnonzero(first >= 0)
        names, owners = np.unique(first[some], return_inverse=True)
        low, high = np.full((len(names), 2), np.inf, np.float32), np.full((len(names), 2), -np.inf, np.float32)
        np.minimum.at(low, owners, boxes[some, :2])
        np.maximum.at(high, owners, boxes[some, 2:])
        best = np.zeros(len(names), np.float32)
        np.maximum.at(best, owners, scores[some])
        every = np.full(len(first), -1)
        every[some] = owners
        around = np.concatenate([low, high], axis=1)
        depth = best_depth(grid, around, shape)
        return cls(every, around, depth, best, depth < needed_depth(around), list(grid), shape, [])

    def take(self, tile: Tile, boxes: np.ndarray, scores: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Positions of what a retake is asked for: what it sees whole and deeper than the grid, and the grid hardly.

        ``boxes`` and ``scores`` are what it found, in pixels of the plane; ``answers`` bool (K,) is whether it answers
        for each object.
        """
        own, best = depth_in(tile, boxes, self.shape), best_depth(self.grid, boxes, self.shape)
        cut = own <= LEAST
        hardly = best < NEARLY * needed_depth(boxes)
        for whole in self.boxes[self.weak & (depth_in(tile, self.boxes, self.shape) > LEAST)]:
            hardly |= _box_iou(boxes, whole) >= MEETING
        asked = ~cut & (own > best) & hardly
        beside = asked.copy()
        for one in boxes[asked]:
            # what it takes for something else beside this is not mistaken for it
            beside |= _box_iou(boxes, one) >= MEETING
        taken = np.flatnonzero(beside & ~cut)
        self.answers.append(_Answer(tile, answers, boxes[taken], scores[taken], boxes[cut], scores[cut]))
        return taken

    def left(self) -> np.ndarray:
        """Pieces of the objects that no retake sees better."""
        seen = np.zeros(len(self.boxes), bool)
        for one in self.answers:
            depth = depth_in(one.tile, self.boxes, self.shape)
            better = one.answers & self.weak & (depth > LEAST) & (depth > self.depth + CLEARLY)
            for number in np.flatnonzero(better & ~seen):
                whole, least = self.boxes[number], self.scores[number] / 2
                instead = (_box_iou(one.boxes, whole) >= MEETING) & (one.scores >= least)
                # what goes on beyond the retake is larger than a tile
                beyond = (_shared(one.cut, whole) > MOST * _area(whole[None])) & (one.cut_scores >= least)
                seen[number] = instead.any() and not beyond.any()
        return np.flatnonzero((self.owners >= 0) & ~seen[self.owners])


def _shared(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The area that boxes (N, 4) share with another one, (4,): (N,)."""
    return _area(np.concatenate([np.maximum(boxes[:, :2], other[:2]), np.minimum(boxes[:, 2:], other[2:])], axis=1))


def _box_iou(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    both = _shared(boxes, other)
    return both / np.maximum(_area(boxes) + _area(other[None]) - both, 1e-6)


def _area(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = np.prod((boxes[:, 2:] - boxes[:, :2]).clip(0), axis=1)
    return area
