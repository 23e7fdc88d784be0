"""Seams: putting the instances of overlapping tiles together, so that none is cut or doubled where tiles meet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segloop.candidates import Candidates, rasterize
from segloop.models.protocol import Instances
from segloop.tiling import Tile

TOUCH = 2.0
"""A box that ends within this many pixels of a tile's border counts as cut by it."""

COVERED = 0.5
"""A cut piece of whose box this share lies in the box of a whole object is a part of that object."""

SAME = 0.5
"""Cut pieces of two tiles whose masks agree by this IoU in what both tiles see are one object."""


def join_instances(
    tiles: Sequence[Tile], found: Sequence[Instances], shape: tuple[int, int], halo: int, plane: int
) -> Candidates:
    """Turn the instances of all tiles of one plane into candidates in the plane's coordinates.

    Whole objects are kept from every tile that sees them off its border; the same object from two tiles is
    resolved where candidates are pasted, since the lesser one lies under the better. Objects that a tile's border cuts
    are dropped if another tile sees them whole. What remains is larger than the overlap of the tiles: the pieces are
    joined where they agree.

    Parameters
    ----------
    tiles, found : sequences of equal length
    shape : (int, int)
        Y, X of the plane, in the tiles' pixels.
    halo : int
        Of the tiles. Objects centred within half of it to a cut border are seen better by a neighbour.
    plane : int
        Written into the candidates.
    """
    boxes, scores, classes, masks, sources, cut = [], [], [], [], [], []
    for number, (tile, own) in enumerate(zip(tiles, found, strict=True)):
        keep = _inside(tile, own.boxes, shape, halo / 2)
        offset = np.array([tile.outer[1].start, tile.outer[0].start] * 2, np.float32)
        boxes.append(own.boxes[keep] + offset)
        scores.append(own.scores[keep])
        classes.append(own.classes[keep])
        masks.append(np.rint(own.masks[keep] * 255).astype(np.uint8))
        sources.append(np.full(int(keep.sum()), number))
        cut.append(_touching(tile, own.boxes[keep], shape))
    all_boxes, all_cut = np.concatenate(boxes).reshape(-1, 4), np.concatenate(cut)
    all_masks, all_sources = np.concatenate(masks), np.concatenate(sources)
    all_scores = np.concatenate(scores).copy()
    objects = np.arange(len(all_boxes))
    keep = ~all_cut
    pieces = np.flatnonzero(all_cut)
    pieces = pieces[~_covered(all_boxes[pieces], all_boxes[~all_cut])]
    keep[pieces] = True
    for group in _groups(pieces, tiles, all_sources, all_boxes, all_masks, shape):
        objects[group] = group[0]
        all_scores[group] = all_scores[group].max()
    return Candidates(
        boxes=all_boxes[keep].astype(np.float32),
        scores=all_scores[keep].astype(np.float32),
        classes=np.concatenate(classes)[keep].astype(np.int64),
        masks=all_masks[keep],
        objects=np.unique(objects[keep], return_inverse=True)[1].astype(np.int64),
        planes=np.full(int(keep.sum()), plane, np.int64),
        shape=(1, *shape),
    )


def stack_candidates(parts: Sequence[Candidates], shape: tuple[int, int], zoom: float) -> Candidates:
    """Put the candidates of P planes together, in image pixels: ``shape`` is Y, X of the image, ``zoom`` the tiles'."""
    offsets = np.cumsum([0, *(int(part.objects.max(initial=-1)) + 1 for part in parts)])
    boxes = np.concatenate([part.boxes for part in parts]) / np.float32(zoom)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, shape[1])
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, shape[0])
    return Candidates(
        boxes=boxes,
        scores=np.concatenate([part.scores for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        masks=np.concatenate([part.masks for part in parts]),
        objects=np.concatenate([part.objects + offset for part, offset in zip(parts, offsets)]),
        planes=np.concatenate([part.planes for part in parts]),
        shape=(len(parts), *shape),
    )


def _inside(tile: Tile, boxes: np.ndarray, shape: tuple[int, int], margin: float) -> np.ndarray:
    """Whether each box is centred in the plane and away from the tile's cut borders, or reaches from there inwards."""
    keep = np.ones(len(boxes), bool)
    for axis, (low_cut, high_cut) in zip((0, 1), tile.cut_sides(shape)):
        low, high = boxes[:, 1 - axis], boxes[:, 3 - axis]
        start, stop = tile.outer[axis].start, tile.outer[axis].stop
        keep &= (low + high) / 2 + start < shape[axis]
        # a large cut object may be centred near the border and yet be needed: it reaches far inwards
        if low_cut:
            keep &= ((low + high) / 2 >= margin) | (high >= 2 * margin)
        if high_cut:
            keep &= ((low + high) / 2 <= stop - start - margin) | (low <= stop - start - 2 * margin)
    return keep


def _touching(tile: Tile, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    touching = np.zeros(len(boxes), bool)
    for axis, (low_cut, high_cut) in zip((0, 1), tile.cut_sides(shape)):
        length = tile.outer[axis].stop - tile.outer[axis].start
        if low_cut:
            touching |= boxes[:, 1 - axis] <= TOUCH
        if high_cut:
            touching |= boxes[:, 3 - axis] >= length - TOUCH
    return touching


def _covered(pieces: np.ndarray, whole: np.ndarray) -> np.ndarray:
    covered = np.zeros(len(pieces), bool)
    for index, (x0, y0, x1, y1) in enumerate(pieces):
        width = np.minimum(x1, whole[:, 2]) - np.maximum(x0, whole[:, 0])
        height = np.minimum(y1, whole[:, 3]) - np.maximum(y0, whole[:, 1])
        share = width.clip(0) * height.clip(0) / max(1e-6, (x1 - x0) * (y1 - y0))
        covered[index] = bool((share > COVERED).any())
    return covered


def _groups(
    pieces: np.ndarray,
    tiles: Sequence[Tile],
    sources: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray,
    shape: tuple[int, int],
) -> list[np.ndarray]:
    """Group the cut pieces that are one object, by single linkage."""
    parent = {int(index): int(index) for index in pieces}

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    drawn = {int(index): rasterize(masks[index], boxes[index], shape) for index in pieces}
    for place, first in enumerate(map(int, pieces)):
        for second in map(int, pieces[place + 1 :]):
            if sources[first] != sources[second] and _agree(
                drawn[first], drawn[second], tiles[sources[first]], tiles[sources[second]]
            ):
                parent[root(second)] = root(first)
    groups: dict[int, list[int]] = {}
    for index in parent:
        groups.setdefault(root(index), []).append(index)
    return [np.asarray(group) for group in groups.values()]


def _agree(first: tuple, second: tuple, tile: Tile, other: Tile) -> bool:
    """Whether two masks agree in the area that both tiles see."""
    common = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(tile.outer, other.outer))
    if any(side.stop <= side.start for side in common):
        return False
    parts = []
    for (rows, columns), mask in (first, second):
        canvas = np.zeros(tuple(side.stop - side.start for side in common), bool)
        top, left = max(rows.start, common[0].start), max(columns.start, common[1].start)
        bottom, right = min(rows.stop, common[0].stop), min(columns.stop, common[1].stop)
        if bottom > top and right > left:
            canvas[
                top - common[0].start : bottom - common[0].start,
                left - common[1].start : right - common[1].start,
            ] = mask[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start]
        parts.append(canvas)
    union = int((parts[0] | parts[1]).sum())
    return union > 0 and int((parts[0] & parts[1]).sum()) / union >= SAME
