"""Regions: the measurements of every object of a label image, added up block by block.

The quantities are those of scikit-image's ``regionprops``, to rounding. It looks at one object after another, in
Python, and needs the whole image at once; here, pixels add to sums of their object as they come.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from segloop.labels import consecutive

BLOCK = 2048
"""Side, in rows and columns, of the blocks that are read."""

REACH = 2
"""The perimeter at a pixel depends on pixels this far away."""

Box = tuple[slice, ...]
Read = Callable[[Box], np.ndarray]


def region_table(read: Read, shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Measure all objects of a label image that is read block by block.

    Parameters
    ----------
    read : callable
        Returns the labels of a box, unsigned integers.
    shape : sequence of int
        Y, X or Z, Y, X.

    Returns
    -------
    dict of columns
        ``label``, ``area`` (pixels), ``centroid-0`` …, ``bbox-0`` …; in planes also ``perimeter``,
        ``eccentricity``, ``axis_major_length``, ``axis_minor_length`` and ``orientation``. Sorted by label.
    """
    from segloop.io.region_sums import add_block, merge

    ndim = len(shape)
    depth = (1,) * (3 - ndim)
    numbers, sums, perimeters = [], [], []
    for box in _boxes(shape):
        # a frame of the neighbours' pixels, which count for the perimeter only
        outer = tuple(
            slice(max(0, side.start - REACH), min(n, side.stop + REACH)) if ndim == 2 else side
            for side, n in zip(box, shape)
        )
        present, compact = consecutive(read(outer))
        if not len(present):
            continue
        volume = np.ascontiguousarray(compact.reshape(*depth, *compact.shape), np.int64)
        start = np.array([*(0 for _ in depth), *(side.start for side in outer)], np.int64)
        inner = np.array(
            [(0, 1)] * len(depth) + [(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer)], np.int64
        )
        own, length = add_block(volume, start, inner, len(present))
        some = own[:, 0] > 0
        numbers.append(present[some])
        sums.append(own[some])
        perimeters.append(length[some])
    if not numbers:
        numbers, sums, perimeters = [np.zeros(0, np.uint64)], [np.zeros((0, 16), np.int64)], [np.zeros(0)]
    label, group = np.unique(np.concatenate(numbers), return_inverse=True)
    total, second, perimeter = merge(
        np.concatenate(sums), np.concatenate(perimeters), group.astype(np.int64), len(label)
    )
    return _columns(label, total, second, perimeter, ndim)


def _columns(
    label: np.ndarray, total: np.ndarray, second: np.ndarray, perimeter: np.ndarray, ndim: int
) -> dict[str, np.ndarray]:
    """``total`` int64 (N, 16) and ``second`` float64 (N, 3), as ``region_sums`` lays them out."""
    first = 3 - ndim
    area = total[:, 0].astype(float)
    origin = total[:, 7:10]
    columns: dict[str, np.ndarray] = {"label": label, "area": area}
    mean = total[:, 1:4] / area[:, None]
    for axis in range(ndim):
        columns[f"centroid-{axis}"] = origin[:, first + axis] + mean[:, first + axis]
    for axis in range(ndim):
        columns[f"bbox-{axis}"] = total[:, 10 + first + axis]
        columns[f"bbox-{axis + ndim}"] = total[:, 13 + first + axis]
    if ndim != 2:
        return columns
    rows = second[:, 0] / area - mean[:, 1] ** 2
    across = second[:, 1] / area - mean[:, 1] * mean[:, 2]
    along = second[:, 2] / area - mean[:, 2] ** 2
    # eigenvalues of the tensor of inertia
    middle = (rows + along) / 2
    spread = np.sqrt(((rows - along) / 2) ** 2 + across**2)
    large, small = np.maximum(middle + spread, 0), np.maximum(middle - spread, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["eccentricity"] = np.where(large > 0, np.sqrt(1 - small / large), 0.0)
    columns["axis_major_length"], columns["axis_minor_length"] = 4 * np.sqrt(large), 4 * np.sqrt(small)
    level = np.where(across > 0, np.pi / 4, -np.pi / 4)
    columns["orientation"] = np.where(rows == along, level, 0.5 * np.arctan2(2 * across, rows - along))
    columns["perimeter"] = perimeter
    return columns


def _boxes(shape: Sequence[int]) -> list[Box]:
    # depth is read plane by plane
    sides = [1] * (len(shape) - 2) + [BLOCK, BLOCK]
    edges = [[slice(at, min(at + side, n)) for at in range(0, n, side)] for side, n in zip(sides, shape)]
    return list(itertools.product(*edges))
