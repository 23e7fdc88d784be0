"""Regions: the properties of every object of a label image, at once or block by block, as memory allows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage
from skimage.measure import regionprops_table

from segloop.labels import consecutive

BLOCK = 2048
"""Side of the blocks that are looked at; an object with a longer side is not looked at as a whole."""

Box = tuple[slice, ...]
Read = Callable[[Box], np.ndarray]


def region_table(labels: np.ndarray, properties: Sequence[str]) -> dict[str, np.ndarray]:
    """Measure all objects of a label image that is in memory.

    Parameters
    ----------
    labels : unsigned integers (Y, X) or (Z, Y, X)
    properties : sequence of str
        Names that ``regionprops`` knows, "label" among them; lengths in pixels.

    Returns
    -------
    dict of columns, as ``regionprops_table`` names them
    """
    numbers, compact = consecutive(labels)
    found: dict[str, np.ndarray] = regionprops_table(compact, properties=properties)
    return found | {"label": numbers[found["label"] - 1]}


def region_table_in_blocks(read: Read, shape: Sequence[int], properties: Sequence[str]) -> dict[str, np.ndarray]:
    """As :func:`region_table`, for labels that are read block by block, and the objects' neighbourhoods again.

    Objects with a side longer than a block, such as classes, have area, centroid and box only; the rest is NaN.

    Parameters
    ----------
    read : callable
        Returns the labels of a box.
    shape : sequence of int
    properties : sequence of str
    """
    sums = _Sums(len(shape))
    for box in _boxes(shape):
        sums.add(read(box), box)
    numbers, bounds = sums.numbers(), sums.bounds()
    small = (bounds[:, 1] - bounds[:, 0]).max(axis=1, initial=0) <= BLOCK
    # those that begin in one block are looked at together
    begins = [tuple(corner) for corner in (bounds[:, 0] // BLOCK).tolist()]
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in np.flatnonzero(small).tolist():
        groups.setdefault(begins[row], []).append(row)
    tables = [sums.table(np.flatnonzero(~small), properties)] if not small.all() else []
    for rows in groups.values():
        low, high = bounds[rows, 0].min(axis=0), bounds[rows, 1].max(axis=0)
        window = read(tuple(slice(int(a), int(b)) for a, b in zip(low, high)))
        tables.append(_moved(region_table(np.where(np.isin(window, numbers[rows]), window, 0), properties), low))
    if not tables:
        return region_table(np.zeros((1,) * len(shape), np.uint8), properties)
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order = np.argsort(joined["label"], kind="stable")
    return {name: column[order] for name, column in joined.items()}


class _Sums:
    """Area, centroid and box of every label, added up over blocks."""

    def __init__(self, ndim: int) -> None:
        self._ndim = ndim
        self._rows: dict[int, tuple[int, np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(self, block: np.ndarray, box: Box) -> None:
        offset = np.array([side.start for side in box])
        numbers, compact = consecutive(block)
        if not len(numbers):
            return
        pixels = np.nonzero(compact)
        objects = compact[pixels] - 1
        areas = np.bincount(objects, minlength=len(numbers))
        sums = np.stack([np.bincount(objects, along, len(numbers)) for along in pixels], axis=1)
        for row, (number, place) in enumerate(zip(numbers.tolist(), ndimage.find_objects(compact))):
            low = np.array([side.start for side in place]) + offset
            high = np.array([side.stop for side in place]) + offset
            area, total = int(areas[row]), sums[row] + areas[row] * offset
            if number in self._rows:
                known = self._rows[number]
                area, total = area + known[0], total + known[1]
                low, high = np.minimum(low, known[2]), np.maximum(high, known[3])
            self._rows[number] = (area, total, low, high)

    def numbers(self) -> np.ndarray:
        return np.array(sorted(self._rows), np.uint64)

    def bounds(self) -> np.ndarray:
        """int64 (N, 2, D): first pixel and end of each box."""
        rows = [self._rows[number][2:] for number in sorted(self._rows)]
        return np.array(rows, np.int64).reshape(-1, 2, self._ndim)

    def table(self, rows: np.ndarray, properties: Sequence[str]) -> dict[str, np.ndarray]:
        numbers = self.numbers()[rows]
        known = [self._rows[number] for number in numbers.tolist()]
        area = np.array([row[0] for row in known], float)
        centroid = np.array([row[1] for row in known]) / area[:, None]
        edges = np.array([np.concatenate(row[2:]) for row in known])
        table = {"label": numbers, "area": area}
        table |= {f"centroid-{axis}": column for axis, column in enumerate(centroid.T)}
        table |= {f"bbox-{place}": column for place, column in enumerate(edges.T)}
        unknown = [name for name in properties if name not in ("label", "area", "centroid", "bbox")]
        return table | {name: np.full(len(rows), np.nan) for name in unknown}


def _boxes(shape: Sequence[int]) -> list[Box]:
    # depth is cut plane by plane
    sides = [1] * (len(shape) - 2) + [BLOCK, BLOCK]
    edges = [[slice(at, min(at + side, n)) for at in range(0, n, side)] for side, n in zip(sides, shape)]
    return list(itertools.product(*edges))


def _moved(table: dict[str, np.ndarray], offset: np.ndarray) -> dict[str, np.ndarray]:
    """Bring what was measured in a window to the coordinates of the whole."""
    moved = dict(table)
    for axis, start in enumerate(offset.tolist()):
        moved[f"centroid-{axis}"] = table[f"centroid-{axis}"] + start
        for place in (axis, axis + len(offset)):
            moved[f"bbox-{place}"] = table[f"bbox-{place}"] + start
    return moved
