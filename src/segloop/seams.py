"""Seams: putting the instances of overlapping tiles together, so that none is cut or doubled where tiles meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segloop.candidates import Candidates, Region, rasterize
from segloop.models.protocol import Instances
from segloop.tiling import Tile

TOUCH = 2.0
"""A box that ends within this many pixels of a tile's border counts as cut by it."""

SAME = 0.5
"""Instances of one class from two tiles whose masks agree by this IoU, in what both tiles see, are one object."""

NEAR = 0.25
"""Boxes that agree less than this are not looked at further."""

COVERED = 0.5
"""A cut piece of which a larger share lies in a whole object, at least half as sure, is a part of that object."""

PART = 0.8
"""A piece of which this share, in what both tiles see, lies in a piece of another tile is of the same object."""


def join_instances(tiles: Sequence[Tile], found: Sequence[Instances], shape: tuple[int, int], plane: int) -> Candidates:
    """Turn the instances of all tiles of one plane into candidates in the plane's coordinates.

    Instances of different tiles that agree are one object. Where a tile sees it whole, off its borders, the one
    that is farthest from a border is taken, with the best score that any tile gave. An object that no tile sees
    whole is larger than the overlap of the tiles: its pieces are kept and form one object.

    Parameters
    ----------
    tiles, found : sequences of equal length
    shape : (int, int)
        Y, X of the plane, in the tiles' pixels.
    plane : int
        Written into the candidates.
    """
    pieces = _gather(tiles, found, shape)
    keep = np.zeros(len(pieces.boxes), bool)
    scores = pieces.scores.copy()
    links = _Links(len(keep))
    for first, second in _same(pieces, tiles):
        links.join(first, second)
    for group in links.groups(np.arange(len(keep))):
        if len(whole := group[~pieces.cut[group]]):
            best = whole[np.lexsort((-pieces.scores[whole], -pieces.depth[whole]))[0]]
            keep[best] = True
            scores[best] = pieces.scores[whole].max()
        else:
            keep[group] = True
    whole, rest = np.flatnonzero(keep & ~pieces.cut), np.flatnonzero(keep & pieces.cut)
    covered = np.array([pieces.is_covered(int(piece), whole, scores) for piece in rest], bool)
    keep[rest[covered]] = False
    rest = rest[~covered]
    for first, second in _parts(pieces, tiles, rest):
        links.join(first, second)
    objects = np.arange(len(keep))
    for group in links.groups(rest):
        objects[group] = group[0]
        scores[group] = scores[group].max()
    return Candidates(
        boxes=pieces.boxes[keep],
        scores=scores[keep],
        classes=pieces.classes[keep],
        masks=pieces.masks[keep],
        objects=np.unique(objects[keep], return_inverse=True)[1].astype(np.int64),
        planes=np.full(int(keep.sum()), plane, np.int64),
        shape=(1, *shape),
    )


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
        masks=np.concatenate([part.masks for part in parts]),
        objects=np.concatenate([part.objects + offset for part, offset in zip(parts, offsets)]),
        planes=np.concatenate([part.planes for part in parts]),
        shape=(len(parts), *shape),
    )


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The instances of all tiles in the plane's coordinates, and what their tile says of them.

    ``sources`` is the tile's number, ``cut`` whether a border of the tile cuts the instance, ``depth`` the distance of
    its box to the nearest such border. ``drawn`` holds masks on pixels, once they were needed.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    sources: np.ndarray
    cut: np.ndarray
    depth: np.ndarray
    shape: tuple[int, int]
    drawn: dict[int, tuple[Region, np.ndarray]]

    def draw(self, index: int) -> tuple[Region, np.ndarray]:
        """The mask of an instance on the plane's pixels: a region and bool of its shape."""
        if index not in self.drawn:
            self.drawn[index] = rasterize(self.masks[index], self.boxes[index], self.shape)
        return self.drawn[index]

    def shared(self, first: int, second: int, common: Region) -> tuple[int, int, int]:
        """Pixels in ``common`` of the first mask, of the second, and of both."""
        a, b = self._crop(first, common), self._crop(second, common)
        region = tuple(slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a[0], b[0]))
        both = 0
        if all(side.stop > side.start for side in region):
            cropped = [part[_relative(region, place)] for place, part in (a, b)]
            both = int(np.count_nonzero(cropped[0] & cropped[1]))
        return int(np.count_nonzero(a[1])), int(np.count_nonzero(b[1])), both

    def _crop(self, index: int, common: Region) -> tuple[tuple[slice, ...], np.ndarray]:
        region, mask = self.draw(index)
        inner = tuple(
            slice(min(max(s.start, c.start), s.stop), max(min(s.stop, c.stop), s.start)) for s, c in zip(region, common)
        )
        return inner, mask[_relative(inner, region)]

    def is_covered(self, piece: int, whole: np.ndarray, scores: np.ndarray) -> bool:
        """Whether a cut piece is a part of one of the whole objects."""
        sure = whole[scores[whole] >= scores[piece] / 2]
        near = sure[_overlap(self.boxes[[piece]], self.boxes[sure])[0] > 0]
        region = self.draw(piece)[0]
        for other in map(int, near):
            own, _, both = self.shared(piece, other, region)
            if both > COVERED * own:
                return True
        return False


class _Links:
    """Which instances are one object: a forest, joined by its roots."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, first: int, second: int) -> None:
        self._parent[self.root(second)] = self.root(first)

    def groups(self, indices: np.ndarray) -> list[np.ndarray]:
        """``indices``, parted by object."""
        groups: dict[int, list[int]] = {}
        for index in map(int, indices):
            groups.setdefault(self.root(index), []).append(index)
        return [np.asarray(group) for group in groups.values()]


def _gather(tiles: Sequence[Tile], found: Sequence[Instances], shape: tuple[int, int]) -> _Pieces:
    columns: dict[str, list[np.ndarray]] = {}
    for number, (tile, own) in enumerate(zip(tiles, found, strict=True)):
        keep = np.flatnonzero(_belongs(tile, own.boxes, shape))
        depth = _depth(tile, own.boxes[keep], shape)
        for name, column in {
            "boxes": own.boxes[keep].astype(np.float32)
            + np.array([tile.outer[1].start, tile.outer[0].start] * 2, np.float32),
            "scores": own.scores[keep].astype(np.float32),
            "classes": own.classes[keep].astype(np.int64),
            "masks": np.rint(own.masks[keep] * 255).astype(np.uint8),
            "sources": np.full(len(keep), number),
            "cut": depth <= TOUCH,
            "depth": depth,
        }.items():
            columns.setdefault(name, []).append(column)
    return _Pieces(**{name: np.concatenate(parts) for name, parts in columns.items()}, shape=shape, drawn={})


def _belongs(tile: Tile, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Whether each box has a pixel in the plane and is not far outside the tile's inner part, where others see better.

    That is, whether it is centred less than half of the tile's margin from its inner part, or reaches into it.
    """
    keep = np.ones(len(boxes), bool)
    for axis, (low_cut, high_cut) in zip((0, 1), tile.cut_sides(shape)):
        low, high = boxes[:, 1 - axis], boxes[:, 3 - axis]
        outer, local = tile.outer[axis], tile.local[axis]
        keep &= low + outer.start < shape[axis] - 0.5
        if low_cut:
            keep &= ((low + high) / 2 >= local.start / 2) | (high >= local.start)
        if high_cut:
            length = outer.stop - outer.start
            keep &= ((low + high) / 2 <= (length + local.stop) / 2) | (low <= local.stop)
    return keep


def _depth(tile: Tile, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Distance of each box to the nearest border of the tile that lies inside the plane; infinite without one."""
    depth = np.full(len(boxes), np.inf, np.float32)
    for axis, (low_cut, high_cut) in zip((0, 1), tile.cut_sides(shape)):
        if low_cut:
            depth = np.minimum(depth, boxes[:, 1 - axis])
        if high_cut:
            depth = np.minimum(depth, tile.outer[axis].stop - tile.outer[axis].start - boxes[:, 3 - axis])
    return depth


def _neighbours(tiles: Sequence[Tile], sources: np.ndarray) -> Iterator[tuple[int, int, Region]]:
    """Pairs of tiles in which something was found, and the region that both see."""
    used = np.unique(sources)
    edges = np.array([[(side.start, side.stop) for side in tiles[number].outer] for number in used]).reshape(-1, 2, 2)
    for place, number in enumerate(used):
        low = np.maximum(edges[place, :, 0], edges[place + 1 :, :, 0])
        high = np.minimum(edges[place, :, 1], edges[place + 1 :, :, 1])
        for other in np.flatnonzero((high > low).all(axis=1)):
            rows, columns = (slice(int(low[other, axis]), int(high[other, axis])) for axis in (0, 1))
            yield int(number), int(used[place + 1 + other]), (rows, columns)


def _near(pieces: _Pieces, indices: np.ndarray, tile: int, other: int, common: Region) -> tuple[np.ndarray, np.ndarray]:
    """Pairs, of ``indices``, of one class from two tiles whose boxes meet where both tiles see; and the boxes' IoU."""
    sides = [indices[pieces.sources[indices] == number] for number in (tile, other)]
    low = np.array([common[1].start, common[0].start] * 2, np.float32)
    high = np.array([common[1].stop, common[0].stop] * 2, np.float32)
    first, second = (pieces.boxes[own].clip(low, high) for own in sides)
    both = _overlap(first, second)
    areas = [(own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1]) for own in (first, second)]
    iou = both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-6)
    iou[pieces.classes[sides[0]][:, None] != pieces.classes[sides[1]][None]] = 0
    rows, columns = np.nonzero(iou)
    return np.stack([sides[0][rows], sides[1][columns]], axis=1), iou[rows, columns]


def _same(pieces: _Pieces, tiles: Sequence[Tile]) -> Iterator[tuple[int, int]]:
    """Pairs that are one object, of two tiles each: the best agreement first, nothing used twice."""
    everything = np.arange(len(pieces.boxes))
    for tile, other, common in _neighbours(tiles, pieces.sources):
        agreements = []
        pairs, boxes_iou = _near(pieces, everything, tile, other, common)
        for first, second in pairs[boxes_iou >= NEAR].tolist():
            own, its, both = pieces.shared(first, second, common)
            if both and both / (own + its - both) >= SAME:
                agreements.append((-both / (own + its - both), first, second))
        taken: set[int] = set()
        for _, first, second in sorted(agreements):
            if first not in taken and second not in taken:
                taken |= {first, second}
                yield first, second


def _parts(pieces: _Pieces, tiles: Sequence[Tile], indices: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of cut pieces of which one lies in the other, where both tiles see, and that are about equally sure."""
    for tile, other, common in _neighbours(tiles, pieces.sources[indices]):
        for first, second in _near(pieces, indices, tile, other, common)[0].tolist():
            scores = sorted((pieces.scores[first], pieces.scores[second]))
            own, its, both = pieces.shared(first, second, common)
            if both and both >= PART * min(own, its) and scores[0] >= scores[1] / 2:
                yield first, second


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area shared by each two boxes: float32 (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.prod((high - low).clip(0), axis=2)


def _relative(region: Sequence[slice], to: Sequence[slice]) -> tuple[slice, ...]:
    return tuple(slice(side.start - origin.start, side.stop - origin.start) for side, origin in zip(region, to))
