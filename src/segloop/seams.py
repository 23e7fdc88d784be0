"""Seams: putting the instances of overlapping tiles together, so that none is cut or doubled where tiles meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segloop.agreement import connected, connected_apart, meeting, rearrange, shared_pixels
from segloop.candidates import Candidates
from segloop.models.protocol import Instances
from segloop.painting import pixel_regions
from segloop.retakes import TOUCH, GridView, box_iou, depth_in, needed_depth, plan_retakes, worthwhile
from segloop.tiling import Tile, belongs

SAME = 0.5
"""Instances of one class from two tiles whose masks agree by this IoU, in what both tiles see, are one object."""

ALIKE = 0.8
"""If they agree by less than this, only if they are about equally sure: a thing may be taken for this or for that."""

NEAR = 0.25
"""Boxes that agree less than this are not looked at further."""

COVERED = 0.5
"""A cut piece of which a larger share lies in a whole object, at least half as sure, is a part of that object."""

PART = 0.8
"""A piece of which this share, in what both tiles see, lies in a piece of another tile is of the same object."""


class Joiner:
    """Takes the instances of the tiles of one plane as they come, and joins them into candidates.

    What comes out does not depend on the order in which the tiles come. Tiles that come after :meth:`retakes` was
    called are those it asked for: they answer for the objects that no tile of the grid sees well.

    Parameters
    ----------
    shape : (int, int)
        Y, X of the plane, in the tiles' pixels.
    plane : int
        Written into the candidates.
    """

    def __init__(self, shape: tuple[int, int], plane: int) -> None:
        self._shape, self._plane = shape, plane
        self._tiles: list[Tile] = []
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._count = 0
        self._first: GridView | None = None
        # one array that grows: the masks are nearly all of the memory
        self._masks = np.empty((0, 28, 28), np.uint8)

    def add(self, tile: Tile, found: Instances) -> None:
        """Take what was found in a tile, in its pixels; of what other tiles see better nothing is kept.

        Masks may also be uint8, in 255ths.
        """
        keep = np.flatnonzero(belongs(tile, found.boxes, self._shape))
        offset = np.array([tile.outer[1].start, tile.outer[0].start] * 2, np.float32)
        boxes = found.boxes[keep].astype(np.float32) + offset
        if self._first:
            own = self._first.take(tile, boxes, found.scores[keep])
            keep, boxes = keep[own], boxes[own]
        masks = found.masks[keep]
        if masks.dtype != np.uint8:
            masks = np.rint(masks * 255).astype(np.uint8)
        if not self._count:
            self._masks = np.empty((0, *masks.shape[1:]), np.uint8)
        first, self._count = self._count, self._count + len(keep)
        if self._count > len(self._masks):
            self._masks.resize((max(self._count, len(self._masks) * 5 // 4), *masks.shape[1:]), refcheck=False)
        self._masks[first : self._count] = masks
        self._tiles.append(tile)
        self._parts.append((boxes, found.scores[keep].astype(np.float32), found.classes[keep].astype(np.int64)))

    @property
    def smallest_tile(self) -> tuple[int, int]:
        """Y, X of the smallest tile of the grid: where memory ran short, that of what fitted."""
        return min(tile.shape[0] for tile in self._tiles), min(tile.shape[1] for tile in self._tiles)

    def retakes(
        self, divisor: int, score: float, longest: float = math.inf, size: tuple[int, int] | None = None
    ) -> list[Tile]:
        """Tiles around what none of the grid sees well; to be called once, after all.

        Parameters
        ----------
        divisor : int
            Of the tiles' starts.
        score, longest : float
            Objects below the one, or longer than the other, are not worth a tile. If ``longest`` is 0 none is, and
            nothing is denied either.
        size : (int, int), optional
            Y, X of the tiles, by default the smallest of the grid.
        """
        # what is not worth a tile may still be denied by another one, whatever else is on the plane
        if longest <= 0 or not any(
            (depth_in(tile, boxes, self._shape) < needed_depth(boxes)).any()
            for tile, (boxes, _, _) in zip(self._tiles, self._parts)
        ):
            return []
        pieces = self._gather()
        best, rest, objects = _resolve(pieces, np.arange(self._count))
        owners = np.full(self._count, -1)
        owners[best] = best
        owners[rest] = objects[rest]
        self._first = first = GridView(owners, pieces, self._tiles, self._shape)
        asked = np.flatnonzero(worthwhile(first.boxes, first.scores, score, longest))
        return plan_retakes(first.boxes[asked], first.depth[asked], size or self.smallest_tile, divisor, self._shape)

    def join(self) -> Candidates:
        """Join all that was taken, which may be nothing; to be called once."""
        if not self._count:
            none = np.zeros(0, np.int64)
            boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
            return Candidates(boxes, scores, none, self._masks, none, none, (1, *self._shape))
        pieces = self._gather()
        indices = np.arange(len(pieces.boxes))
        if self._first and self._first.has_news:
            indices = np.concatenate([self._first.left(), indices[self._first.grid_pieces :]])
        best, rest, objects = _resolve(pieces, indices)
        scores = pieces.scores.copy()
        np.maximum.at(scores, objects[rest], pieces.scores[rest])
        scores[rest] = scores[objects[rest]]
        keep = np.sort(np.concatenate([best, rest]))
        return Candidates(
            boxes=pieces.boxes[keep],
            scores=scores[keep],
            classes=pieces.classes[keep],
            masks=_only(pieces.masks, keep),
            objects=np.unique(objects[keep], return_inverse=True)[1].astype(np.int64),
            planes=np.full(len(keep), self._plane, np.int64),
            shape=(1, *self._shape),
        )

    def _gather(self) -> _Pieces:
        if not self._tiles:
            none = np.zeros(0, np.float32)
            self._tiles.append(Tile((slice(0, 0),) * 2, (slice(0, 0),) * 2))
            self._parts.append((none.reshape(0, 4), none, none.astype(np.int64)))
        grid = self._first.grid_tiles if self._first else len(self._tiles)
        order = sorted(range(len(self._tiles)), key=lambda place: (place >= grid, _frame(self._tiles[place])))
        lengths = np.array([len(boxes) for boxes, _, _ in self._parts])
        starts = np.cumsum(lengths) - lengths
        self._masks.resize((self._count, *self._masks.shape[1:]), refcheck=False)
        if order != sorted(order):
            places = np.concatenate([np.arange(starts[place], starts[place] + lengths[place]) for place in order])
            rearrange(self._masks.reshape(self._count, -1), places)
        self._tiles = [self._tiles[place] for place in order]
        self._parts = [self._parts[place] for place in order]
        boxes, scores, classes = (np.concatenate([part[k] for part in self._parts]) for k in range(3))
        sources = np.repeat(np.arange(len(self._tiles)), lengths[order])
        depth = np.concatenate(
            [depth_in(tile, own, self._shape) for tile, (own, _, _) in zip(self._tiles, self._parts)]
        )
        frames = np.array([_frame(tile) for tile in self._tiles], np.int64)
        return _Pieces(boxes, scores, classes, self._masks, sources, frames, depth <= TOUCH, depth, self._shape)


def join_instances(tiles: Sequence[Tile], found: Sequence[Instances], shape: tuple[int, int], plane: int) -> Candidates:
    """Turn the instances of all tiles of one plane into candidates in the plane's coordinates.

    Instances of different tiles that agree are one object. Where a tile sees it whole, off its borders, the one
    that is farthest from a border is taken, with its score: what a network says there depends least on where the tile
    ends. An object that no tile sees whole is larger than the overlap of the tiles: its pieces are kept and form one
    object, with the best of their scores.

    Parameters
    ----------
    tiles, found : sequences of equal length
        In any order: the result is the same.
    shape : (int, int)
        Y, X of the plane, in the tiles' pixels.
    plane : int
        Written into the candidates.
    """
    joiner = Joiner(shape, plane)
    for tile, own in zip(tiles, found, strict=True):
        joiner.add(tile, own)
    return joiner.join()


def stack_candidates(parts: Sequence[Candidates], shape: tuple[int, int]) -> Candidates:
    """Put the candidates of P planes together and bring them to image pixels; ``shape`` is Y, X of the image."""
    offsets = np.cumsum([0, *(int(part.objects.max(initial=-1)) + 1 for part in parts)])
    height, width = parts[0].shape[1:]
    # boxes may reach past the end of the image, where tiles are padded; cutting them there would squeeze their masks
    pixel = np.array([shape[1] / width, shape[0] / height] * 2, np.float32)
    return Candidates(
        boxes=np.concatenate([part.boxes for part in parts]) * pixel,
        scores=np.concatenate([part.scores for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        masks=np.concatenate([part.masks for part in parts]) if len(parts) > 1 else parts[0].masks,
        objects=np.concatenate([part.objects + offset for part, offset in zip(parts, offsets)]),
        planes=np.concatenate([part.planes for part in parts]),
        shape=(len(parts), *shape),
    )


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The instances of all tiles in the plane's coordinates, and what their tile says of them.

    ``sources`` is the tile's number, ``cut`` whether a border of the tile cuts the instance, ``depth`` the distance of
    its box to the nearest such border; ``frames`` int64 (T, 4) is what each tile sees: first row, first column, end
    row, end column.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    sources: np.ndarray
    frames: np.ndarray
    cut: np.ndarray
    depth: np.ndarray
    shape: tuple[int, int]

    def shared(self, pairs: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """Pixels in a window of the first mask of each pair, of the second, and of both: int64 (P, 3)."""
        return shared_pixels(self.boxes, self.masks, pairs, windows, self.shape)

    def common(self, pairs: np.ndarray) -> np.ndarray:
        """What the tiles of both of a pair see: int64 (P, 4), first row, first column, end row, end column."""
        first, second = (self.frames[self.sources[pairs[:, side]]] for side in (0, 1))
        return np.concatenate(
            [np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])], axis=1
        )

    def near(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs, of ``indices``, of one class from two tiles whose boxes meet where both tiles see.

        Returns the pairs int64 (P, 2), what both tiles see (P, 4), and the IoU there of the boxes (P,).
        """
        pairs = indices[meeting(self.boxes[indices], self.sources[indices], self.shape)]
        pairs = pairs[self.classes[pairs[:, 0]] == self.classes[pairs[:, 1]]]
        common = self.common(pairs)
        low, high = common[:, [1, 0, 1, 0]].astype(np.float32), common[:, [3, 2, 3, 2]].astype(np.float32)
        first, second = (self.boxes[pairs[:, side]].clip(low, high) for side in (0, 1))
        iou = box_iou(first, second)
        some = iou > 0
        return pairs[some], common[some], iou[some]


def _frame(tile: Tile) -> tuple[int, int, int, int]:
    """What a tile sees: first row, first column, end row, end column."""
    rows, columns = tile.outer
    return rows.start, columns.start, rows.stop, columns.stop


def _resolve(pieces: _Pieces, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of some pieces, those seen whole, those that form objects with others, and for each piece one of its object."""
    # two of one tile are never the same
    group = connected_apart(pieces.sources, _same(pieces, indices))
    # of each group the deepest whole one; if none is whole, all
    whole = indices[~pieces.cut[indices]]
    whole = whole[np.lexsort((whole, -pieces.scores[whole], -pieces.depth[whole], group[whole]))]
    best = whole[np.flatnonzero(np.diff(group[whole], prepend=-1))]
    seen_whole = np.zeros(len(pieces.boxes), bool)
    seen_whole[group[best]] = True
    rest = indices[~seen_whole[group[indices]]]
    rest = rest[~_covered(pieces, rest, np.sort(best))]
    # pieces that agree, and parts of each other, form one object
    objects = np.arange(len(pieces.boxes))
    links = np.concatenate([_links(group, rest), _parts(pieces, rest)])
    objects[rest] = connected(len(objects), links)[rest]
    return best, rest, objects


def _same(pieces: _Pieces, indices: np.ndarray) -> np.ndarray:
    """Pairs that are one object, of two tiles each, the best agreement first: int64 (P, 2)."""
    pairs, common, boxes_iou = pieces.near(indices)
    pairs, common = pairs[boxes_iou >= NEAR], common[boxes_iou >= NEAR]
    own, its, both = pieces.shared(pairs, common).T
    iou = both / np.maximum(own + its - both, 1)
    low, high = np.sort(pieces.scores[pairs], axis=1).T
    same = (iou >= SAME) & ((iou >= ALIKE) | (low >= high / 2))
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -iou))
    return pairs[order[same[order]]]


def _covered(pieces: _Pieces, rest: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Whether each of the cut pieces ``rest`` is a part of one of the objects ``whole``: bool (N,)."""
    indices = np.concatenate([rest, whole])
    pairs = meeting(pieces.boxes[indices], np.arange(len(indices)) >= len(rest), pieces.shape)
    piece, other = rest[pairs[:, 0]], indices[pairs[:, 1]]
    sure = pieces.scores[other] >= pieces.scores[piece] / 2
    pairs, piece, other = pairs[sure], piece[sure], other[sure]
    own, _, both = pieces.shared(np.stack([piece, other], axis=1), pixel_regions(pieces.boxes[piece], pieces.shape)).T
    covered = np.zeros(len(rest), bool)
    covered[pairs[both > COVERED * own, 0]] = True
    return covered


def _parts(pieces: _Pieces, rest: np.ndarray) -> np.ndarray:
    """Pairs of cut pieces of which one lies in the other, where both tiles see, and that are about equally sure."""
    pairs, common, _ = pieces.near(rest)
    low, high = np.sort(pieces.scores[pairs], axis=1).T
    pairs, common = pairs[low >= high / 2], common[low >= high / 2]
    own, its, both = pieces.shared(pairs, common).T
    return pairs[(both > 0) & (both >= PART * np.minimum(own, its))]


def _only(masks: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """``masks[keep]``, with ``keep`` in ascending order, in the memory of ``masks``, which is not to be used again."""
    for start in range(0, len(keep), 4096):
        some = keep[start : start + 4096]
        masks[start : start + len(some)] = masks[some]
    masks.resize((len(keep), *masks.shape[1:]), refcheck=False)
    return masks


def _links(group: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Pairs that connect those of ``indices`` that are of one group: int64 (P, 2)."""
    ordered = indices[np.argsort(group[indices], kind="stable")]
    same = group[ordered[1:]] == group[ordered[:-1]]
    return np.stack([ordered[:-1][same], ordered[1:][same]], axis=1)
