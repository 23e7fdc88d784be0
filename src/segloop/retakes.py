"""Retakes: further tiles, centred on objects that no tile of the grid sees well.

What a network says of an object depends on what lies around it. An object about as large as the overlap of tiles is cut
by one tile and lies at the border of the next; a tile around it sees it as one pass over the whole plane would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segloop.tiling import Tile, belongs

DEEP = 0.5
"""A tile sees an object well if this many of the object's longest sides lie between it and the tile's borders."""

TOUCH = 2.0
"""A box that ends within this many pixels of a tile's border counts as cut by it."""

MIN_IOU = 0.25
"""A box that agrees with an object's by this IoU is found instead of it."""

COVERED_SHARE = 0.5
"""A box that a retake cuts, and that covers more than this share of an object's, shows that the object goes on."""

TAKE_FACTOR = 1.5
"""Of a retake, what the grid sees not even this many times as deep as needed is taken: a box may come out smaller."""

ANSWER_MARGIN = 8.0
"""A retake answers for what it sees so many pixels deeper than the grid; what it finds may lie a little less deep."""

KNOWN = 10.0
"""What is longer than this many of a model's typical diameters is nothing that it knows: not worth a further look.

Images whose objects are typically more than 3.5 times as large are reduced before anything is looked at.
"""

SIGHT = 128
"""Seen around the longest objects asked for: a network looks about 160 pixels far, and the last of them hardly count.

More would do harm: a tile of up to 512 × 512 pixels gets the same number of proposals, however small it is.
"""

TILES_PER_OBJECT = 0.7
"""Tiles that come, roughly, of each object that no tile sees well: one tile serves several that lie close together."""


def needed_depth(boxes: np.ndarray) -> np.ndarray:
    """Distance to a tile's borders from which on a tile sees a box well: float32 (N,)."""
    return DEEP * _longest_side(boxes)


def _longest_side(boxes: np.ndarray) -> np.ndarray:
    sides: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    return sides


def depth_in(tile: Tile, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Distance of boxes of a plane to the nearest border of a tile inside it: float32 (N,), infinite without one.

    Negative where a box reaches over a border. Boxes are float32 (N, 4): x0, y0, x1, y1 in pixels of the plane.
    """
    return np.minimum(*(_along([tile.outer[axis]], boxes, axis, shape[axis]) for axis in (0, 1)))


def best_depth(tiles: Sequence[Tile], boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Distance of boxes to the borders of that tile of a grid in which they lie deepest: float32 (N,)."""
    return _Grid(tiles, shape).depth(boxes)


class _Grid:
    """The tiles of a grid over a plane of ``shape`` (Y, X), which are many, as their sides along each axis: few."""

    def __init__(self, tiles: Sequence[Tile], shape: tuple[int, int]) -> None:
        self._tiles, self._shape = list(tiles), shape
        outers = {tuple((side.start, side.stop) for side in tile.outer) for tile in tiles}
        edges = [sorted({outer[axis] for outer in outers}) for axis in (0, 1)]
        self._sides = [[slice(*pair) for pair in pairs] for pairs in edges]
        # where memory ran short, a part of the plane has smaller tiles: the axes are not independent
        self._mixed = len(outers) < len(edges[0]) * len(edges[1])

    def depth(self, boxes: np.ndarray) -> np.ndarray:
        """See :func:`best_depth`."""
        if not self._mixed:
            along = (_along(own, boxes, axis, self._shape[axis]) for axis, own in enumerate(self._sides))
            return np.minimum(*along)
        best = np.full(len(boxes), -np.inf, np.float32)
        for tile in self._tiles:
            np.maximum(best, depth_in(tile, boxes, self._shape), out=best)
        return best


class _Rows:
    """Boxes float32 (N, 4) by their first row: tiles are many, and each concerns only those nearby."""

    def __init__(self, boxes: np.ndarray, shape: tuple[int, int]) -> None:
        self._order = np.argsort(boxes[:, 1], kind="stable")
        self._tops, self._length = boxes[self._order, 1], shape[0]

    def near(self, tile: Tile) -> np.ndarray:
        """Numbers of the boxes that begin in the rows of a tile, all that it sees whole among them: ascending."""
        rows = tile.outer[0]
        first = np.searchsorted(self._tops, rows.start) if rows.start > 0 else 0
        end = np.searchsorted(self._tops, rows.stop, side="right") if rows.stop < self._length else len(self._tops)
        return np.sort(self._order[int(first) : int(end)])


def _along(sides: Sequence[slice], boxes: np.ndarray, axis: int, length: int) -> np.ndarray:
    """The same along one axis, for the best of some sides of tiles."""
    low, high = boxes[:, 1 - axis], boxes[:, 3 - axis]
    best = np.full(len(boxes), -np.inf, np.float32)
    for side in sides:
        below = low - side.start if side.start > 0 else np.full_like(low, np.inf)
        above = side.stop - high if side.stop < length else np.full_like(high, np.inf)
        np.maximum(best, np.minimum(below, above), out=best)
    return best


def longest_worthwhile(object_size: float, has_learned: bool) -> float:
    """Longest side of what a model finds that is worth a further look, in network pixels.

    Parameters
    ----------
    object_size : float
        Typical diameter of the objects that it learned, in network pixels; 0 if it does not say so. Then anything is
        worth a look, however long.
    has_learned : bool
        The boxes of a network that has learned nothing may be of any size, and none is worth a look: the result is 0.
    """
    if not has_learned:
        return 0.0
    return KNOWN * object_size or math.inf


def retake_side(longest: float, own: int, divisor: int) -> int:
    """Side of the tiles around objects, a multiple of ``divisor``: what surrounds the longest is seen, and no more.

    ``longest`` is what :func:`longest_worthwhile` says, ``own`` the side of the model's own tiles, the most there will
    be. 0 if there will be none.
    """
    return round(min(longest + 2 * SIGHT, own) / divisor) * divisor if longest else 0


def worthwhile(boxes: np.ndarray, scores: np.ndarray, score: float, longest: float) -> np.ndarray:
    """Whether each box would be worth a further look: bool (N,); not below the score, nor with a longer side."""
    worth: np.ndarray = (scores >= score) & (_longest_side(boxes) <= longest)
    return worth


def expected_retakes(
    tile: Tile, boxes: np.ndarray, scores: np.ndarray, score: float, longest: float, shape: tuple[int, int]
) -> float:
    """How many further tiles will come, roughly, of what a tile of the grid found; those of all tiles add up.

    Parameters
    ----------
    tile : Tile
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in pixels of the tile.
    scores : float32 (N,)
    score, longest : float
        Objects below the one, or longer than the other, are not worth a tile.
    shape : (int, int)
        Y, X of the plane.
    """
    boxes = boxes.astype(np.float32) + _corner(tile)
    asked = worthwhile(boxes, scores, score, longest) & (depth_in(tile, boxes, shape) < needed_depth(boxes))
    # the tile in whose inner part the middle lies sees an object best, or nearly so
    for axis, side in enumerate(tile.inner):
        middle = (boxes[:, 1 - axis] + boxes[:, 3 - axis]) / 2
        asked &= (middle >= side.start) & (middle < side.stop)
    return TILES_PER_OBJECT * int(asked.sum())


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
    waiting = (reach > TOUCH) & (reach >= depth + divisor / 2)
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
    """What a retake found: boxes and scores of what is taken of it, and of what it cuts.

    ``answers`` int64 (A,) are the numbers of the objects that it answers for, of those that it sees whole.
    """

    tile: Tile
    answers: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    cut: np.ndarray
    cut_scores: np.ndarray


class Found(Protocol):
    """The N pieces that the tiles of the grid found, tile by tile."""

    @property
    def boxes(self) -> np.ndarray:
        """x0, y0, x1, y1 in pixels of the plane: float32 (N, 4)."""

    @property
    def scores(self) -> np.ndarray:
        """In [0, 1]: float32 (N,)."""

    @property
    def sources(self) -> np.ndarray:
        """The number of each one's tile: int64 (N,), ascending."""

    @property
    def depth(self) -> np.ndarray:
        """How deep each lies in its tile: float32 (N,)."""

    @property
    def cut(self) -> np.ndarray:
        """Whether a border of its tile cuts it: bool (N,)."""


class GridView:
    """What the tiles of the grid say alone of K objects that none of them sees well, and what retakes answer to it.

    Parameters
    ----------
    first : int64 (N,)
        For each piece that the grid found, one piece of the object that it shows; -1 for pieces that another tile
        shows better.
    found : Found
        The pieces.
    grid : sequence of Tile
        In the order of ``found.sources``.
    shape : (int, int)
        Y, X of the plane.

    Attributes
    ----------
    boxes, depth, scores : float32 (K, 4), (K,), (K,)
        Around all pieces of each object; how deep that lies in the best tile of the grid; the best of their scores.
    grid_pieces : int
        N.
    grid_tiles : int
    """

    def __init__(self, first: np.ndarray, found: Found, grid: Sequence[Tile], shape: tuple[int, int]) -> None:
        shown = np.flatnonzero(first >= 0)
        names, owners = np.unique(first[shown], return_inverse=True)
        low, high = np.full((len(names), 2), np.inf, np.float32), np.full((len(names), 2), -np.inf, np.float32)
        np.minimum.at(low, owners, found.boxes[shown, :2])
        np.maximum.at(high, owners, found.boxes[shown, 2:])
        best, own = np.zeros(len(names), np.float32), np.full(len(names), -np.inf, np.float32)
        np.maximum.at(best, owners, found.scores[shown])
        np.maximum.at(own, owners, found.depth[shown])
        around = np.concatenate([low, high], axis=1)
        self._grid, self._shape = _Grid(grid, shape), shape
        depth, needed = self._grid.depth(around), needed_depth(around)
        weak = np.flatnonzero(depth < needed)
        # its own tile sees it badly, and another one well
        doubted = np.flatnonzero((own < needed) & (depth >= needed))
        denied = doubted[_denied(around[doubted], best[doubted], found, grid, shape)]
        self.boxes, self.depth, self.scores = around[weak], depth[weak], best[weak]
        self.grid_pieces, self.grid_tiles = len(first), len(grid)
        self._rows = _Rows(self.boxes, shape)
        self._shown = first >= 0
        self._shown[shown] &= ~np.isin(owners, denied)
        self._denies = len(denied) > 0
        # K stands for all objects that some tile sees well: of them nothing else is asked
        numbers = np.full(len(names), len(weak))
        numbers[weak] = np.arange(len(weak))
        self._owners = np.full(len(first), len(weak))
        self._owners[shown] = numbers[owners]
        self._answers: list[_Answer] = []

    @property
    def has_news(self) -> bool:
        """Whether not all is left that the grid showed: a retake came, or a tile denies what another found."""
        return self._denies or bool(self._answers)

    def take(self, tile: Tile, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Take what a retake found, and say what of it is to be kept.

        That is what it was asked for: what it sees whole and deeper than the grid, and the grid hardly.

        Parameters
        ----------
        tile : Tile
        boxes, scores : float32 (M, 4), (M,)
            What it found, in pixels of the plane.

        Returns
        -------
        int64 (L,)
            Positions in ``boxes``, ascending.
        """
        own, best = depth_in(tile, boxes, self._shape), self._grid.depth(boxes)
        cut = own <= TOUCH
        hardly = best < TAKE_FACTOR * needed_depth(boxes)
        near = self._rows.near(tile)
        seen = near[depth_in(tile, self.boxes[near], self._shape) > TOUCH]
        for whole in self.boxes[seen]:
            hardly |= box_iou(boxes, whole) >= MIN_IOU
        asked = ~cut & (own > best) & hardly
        beside = asked.copy()
        for one in boxes[asked]:
            # what it takes for something else beside this is not mistaken for it
            beside |= box_iou(boxes, one) >= MIN_IOU
        taken = np.flatnonzero(beside & ~cut)
        answers = seen[belongs(tile, self.boxes[seen] - _corner(tile), self._shape)]
        self._answers.append(_Answer(tile, answers, boxes[taken], scores[taken], boxes[cut], scores[cut]))
        return taken

    def left(self) -> np.ndarray:
        """Pieces of the objects that no retake sees better and no tile denies: int64 (L,), ascending, of the N."""
        seen = np.zeros(len(self.boxes) + 1, bool)
        for one in self._answers:
            boxes = self.boxes[one.answers]
            depths, needed = depth_in(one.tile, boxes, self._shape), needed_depth(boxes)
            better = (depths > self.depth[one.answers] + ANSWER_MARGIN) & ~seen[one.answers]
            for number, whole, depth, enough in zip(one.answers[better], boxes[better], depths[better], needed[better]):
                least = self.scores[number] / 2
                instead = (box_iou(one.boxes, whole) >= MIN_IOU) & (one.scores >= least)
                # where it sees well and finds nothing, there is nothing: a part cut off may look like an object
                told = instead.any() or depth >= enough
                seen[number] = told and not _goes_on(whole, least, one.cut, one.cut_scores)
        return np.flatnonzero(self._shown & ~seen[self._owners])


def _denied(
    boxes: np.ndarray, scores: np.ndarray, found: Found, grid: Sequence[Tile], shape: tuple[int, int]
) -> np.ndarray:
    """Whether a tile that sees an object's place well, and answers for it, did not find it: bool (N,)."""
    denied = np.zeros(len(boxes), bool)
    rows = _Rows(boxes, shape)
    for number, tile in enumerate(grid if len(boxes) else ()):
        near = rows.near(tile)
        near = near[~denied[near] & (depth_in(tile, boxes[near], shape) >= needed_depth(boxes[near]))]
        asked = near[belongs(tile, boxes[near] - _corner(tile), shape)]
        if not len(asked):
            continue
        first, end = np.searchsorted(found.sources, [number, number + 1])
        cut = int(first) + np.flatnonzero(found.cut[first:end])
        for one in asked:
            denied[one] = not _goes_on(boxes[one], scores[one] / 2, found.boxes[cut], found.scores[cut])
    return denied


def _goes_on(whole: np.ndarray, score: float, cut: np.ndarray, scores: np.ndarray) -> bool:
    """Whether what a tile cuts shows that an object goes on beyond it: it is larger than a tile."""
    return bool(((_shared_area(cut, whole) > COVERED_SHARE * _area(whole)) & (scores >= score)).any())


def _corner(tile: Tile) -> np.ndarray:
    """What brings boxes from a tile's pixels to the plane's: float32 (4,)."""
    return np.array([tile.outer[1].start, tile.outer[0].start] * 2, np.float32)


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of boxes float32 (N, 4), x0, y0, x1, y1, each with its own of ``others`` (N, 4) or all with one, (4,)."""
    both = _shared_area(boxes, others)
    iou: np.ndarray = both / np.maximum(_area(boxes) + _area(others) - both, 1e-6)
    return iou


def _shared_area(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], others[..., :2]), np.minimum(boxes[:, 2:], others[..., 2:])
    return _area(np.concatenate([low, high], axis=1))


def _area(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = np.prod((boxes[..., 2:] - boxes[..., :2]).clip(0), axis=-1)
    return area
