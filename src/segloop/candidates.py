"""Candidates: all that a model found, kept, so that thresholds can be applied again without running it again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Candidates:
    """What an instance model found in a stack of P planes: N pieces, forming objects.

    Nearly always an object is one piece; one that is larger than a tile is several, with the same object number.

    Parameters
    ----------
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in image pixels.
    scores : float32 (N,) in [0, 1]
        Of the object: equal for its pieces.
    classes : int64 (N,)
        1…K.
    masks : uint8 (N, M, M)
        Probability in 255ths, on M × M cells laid over the box.
    objects : int64 (N,)
        Object number, 0…; unique over all planes.
    planes : int64 (N,)
    shape : (int, int, int)
        P, Y, X.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    objects: np.ndarray
    planes: np.ndarray
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def paste(self, score: float, overlap: float, min_area: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the objects into label images, box by box, the best score on top.

        Parameters
        ----------
        score : float in [0, 1]
            Objects below it are left out.
        overlap : float in [0, 1]
            Objects of which a larger share lies under better ones are left out: mostly the same object found twice.
        min_area : int
            Objects with fewer visible pixels are left out.

        Returns
        -------
        labels : uint32 (P, Y, X)
            1…L, planes in order and in each plane from the best score down.
        chosen : int64 (L,)
            Index of a candidate of object 1…L, for its score and class.
        """
        labels = np.zeros(self.shape, np.uint32)
        chosen: list[int] = []
        # stable order: planes, then scores, then first come; the result does not depend on ties
        order = np.lexsort((np.arange(len(self)), self.objects, -self.scores, self.planes))
        order = order[self.scores[order] >= score]
        for pieces in np.split(order, np.flatnonzero(np.diff(self.objects[order])) + 1):
            if len(pieces) and self._draw(pieces, labels, len(chosen) + 1, overlap, min_area):
                chosen.append(int(pieces[0]))
        return labels, np.asarray(chosen, np.int64)

    def _draw(self, pieces: np.ndarray, labels: np.ndarray, number: int, overlap: float, min_area: int) -> bool:
        plane = labels[self.planes[pieces[0]]]
        drawn = [rasterize(self.masks[index], self.boxes[index], plane.shape) for index in pieces]
        if len(drawn) == 1:
            region, mask = drawn[0]
        else:
            region, mask = _union(drawn)
        target = plane[region]
        free = mask & (target == 0)
        visible, whole = int(free.sum()), int(mask.sum())
        if visible < max(1, min_area) or whole - visible > overlap * whole:
            return False
        target[free] = number
        return True


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What a semantic model found. ``scores`` : uint8 (P, K, [Z], Y, X), probability in 255ths, P planes or volumes."""

    scores: np.ndarray


Region = tuple[slice, slice]


def rasterize(mask: np.ndarray, box: np.ndarray, shape: tuple[int, ...]) -> tuple[Region, np.ndarray]:
    """Draw a box's mask onto the pixels whose centres lie in the box.

    Parameters
    ----------
    mask : uint8 (M, M)
        Probability in 255ths; 0 outside the box. Cell centres lie at half-integers of the box divided by M.
    box : float32 (4,)
        x0, y0, x1, y1; not rounded, since snapping boxes to whole pixels moves outlines by up to half a pixel.
    shape : (int, int)
        Y, X of the plane.

    Returns
    -------
    region : (slice, slice)
        Rows and columns in the plane.
    inside : bool, shaped like the region
        Probability, interpolated bilinearly, of at least one half.
    """
    x0, y0, x1, y1 = (float(edge) for edge in box)
    rows, columns = _pixels(y0, y1, shape[0]), _pixels(x0, x1, shape[1])
    vertical = _weights(rows, y0, y1, mask.shape[0])
    horizontal = _weights(columns, x0, x1, mask.shape[1])
    return (rows, columns), vertical @ mask.astype(np.float32) @ horizontal.T >= 127.5


def _pixels(low: float, high: float, length: int) -> slice:
    start = min(max(0, int(np.floor(low))), length)
    return slice(start, max(start, min(length, int(np.ceil(high)))))


def _weights(pixels: slice, low: float, high: float, cells: int) -> np.ndarray:
    """Bilinear weights of the cells (columns) for each pixel centre (rows)."""
    centers = (np.arange(pixels.start, pixels.stop, dtype=np.float32) + 0.5 - low) * (
        cells / max(high - low, 1e-6)
    ) - 0.5
    return np.clip(1 - np.abs(centers[:, None] - np.arange(cells, dtype=np.float32)), 0, 1)


def _union(drawn: list[tuple[Region, np.ndarray]]) -> tuple[Region, np.ndarray]:
    low = [min(region[axis].start for region, _ in drawn) for axis in (0, 1)]
    high = [max(region[axis].stop for region, _ in drawn) for axis in (0, 1)]
    mask = np.zeros((high[0] - low[0], high[1] - low[1]), bool)
    for region, part in drawn:
        mask[tuple(slice(side.start - a, side.stop - a) for side, a in zip(region, low))] |= part
    return (slice(low[0], high[0]), slice(low[1], high[1])), mask
