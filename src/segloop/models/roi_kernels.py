"""RoIAlign's inner loops, compiled by numba (and kept on disk, so that only the first use compiles).

The mean of P × P bilinear samples in a cell is a weighted sum over rows of weighted sums over columns: each cell has at
most 2·P rows and 2·P columns that count ("taps"). The kernels release the interpreter's lock and run in plain threads,
each with its own boxes or channels; numba's own parallel loops may not be entered from two threads at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from segloop.compiled import compiled

SMALL = 8
"""Fewer boxes than this are not worth a second thread."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How a box is sampled; see :func:`segloop.models.roi_align.roi_align`."""

    cells: int
    scale: float
    points: int
    aligned: bool


def pool(feature: np.ndarray, boxes: np.ndarray, grid: Grid, out: np.ndarray) -> None:
    """Fill ``out`` (N, cells, cells, C) from ``feature`` (H, W, C): both float32, or both bfloat16's bits in uint16."""
    kernel = _pool_bits if feature.dtype == np.uint16 else _pool

    def some_boxes(some: slice) -> None:
        kernel(feature, boxes[some], grid.cells, np.float32(grid.scale), grid.points, grid.aligned, out[some])

    if len(boxes):
        _in_threads(some_boxes, len(boxes))


def spread(gradient: np.ndarray, boxes: np.ndarray, grid: Grid, out: np.ndarray) -> None:
    """Add the gradient of :func:`pool`, float32 (N, cells, cells, C), to ``out``, float32 (H, W, C)."""

    def some_channels(some: slice) -> None:
        scale = np.float32(grid.scale)
        _spread(gradient[..., some], boxes, grid.cells, scale, grid.points, grid.aligned, out[..., some])

    # threads share channels out, not boxes: no two add to one number, and sums have one order
    if len(boxes):
        _in_threads(some_channels, out.shape[2])


@cache
def _pool_of(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "segloop-roi-align")


def _in_threads(work: Callable[[slice], Any], count: int) -> None:
    """Run ``work`` on slices of 0…count, one per thread of torch."""
    threads = min(torch.get_num_threads(), max(1, count // SMALL))
    edges = [count * part // threads for part in range(threads + 1)]
    parts = [slice(low, high) for low, high in itertools.pairwise(edges)]
    if threads == 1:
        work(parts[0])
    else:
        list(_pool_of(threads).map(work, parts))


@compiled
def _taps(low, high, cells, points, aligned, length, places, weights):  # type: ignore[no-untyped-def]
    """Rows (or columns) that count for each cell, and their weights; returns the least and largest of them.

    ``places`` int64 and ``weights`` float32, both (cells, 2 * points); what is not used has weight 0 and a valid place.
    """
    size = high - low
    if not aligned:
        size = max(size, np.float32(1.0))
    least, largest = length - 1, 0
    step = size / np.float32(cells)
    share = np.float32(1.0) / np.float32(points)
    for cell in range(cells):
        for point in range(points):
            at = low + np.float32(cell) * step + (np.float32(point) + np.float32(0.5)) * step / np.float32(points)
            counts = share
            # more than one cell outside the map: the sample counts as 0
            if at < np.float32(-1.0) or at > np.float32(length):
                counts = np.float32(0.0)
            at = min(max(at, np.float32(0.0)), np.float32(length - 1))
            floor = int(at)
            above = min(floor + 1, length - 1)
            part = at - np.float32(floor)
            places[cell, 2 * point], places[cell, 2 * point + 1] = floor, above
            weights[cell, 2 * point] = counts * (np.float32(1.0) - part)
            weights[cell, 2 * point + 1] = counts * part
            least, largest = min(least, floor), max(largest, above)
        # samples close together share rows: one tap for each row
        for tap in range(1, 2 * points):
            for other in range(tap):
                if places[cell, other] == places[cell, tap] and weights[cell, tap] != 0:
                    weights[cell, other] += weights[cell, tap]
                    weights[cell, tap] = np.float32(0.0)
    return least, largest


@compiled
def _edges(low, high, scale, aligned):  # type: ignore[no-untyped-def]
    """Ends of a box along one axis, in pixels of the map."""
    offset = np.float32(0.5) if aligned else np.float32(0.0)
    return low * scale - offset, high * scale - offset


@compiled
def _pool(feature, boxes, cells, scale, points, aligned, out):  # type: ignore[no-untyped-def]
    height, width, channels = feature.shape
    row_places, row_weights = np.empty((cells, 2 * points), np.int64), np.empty((cells, 2 * points), np.float32)
    column_places, column_weights = np.empty_like(row_places), np.empty_like(row_weights)
    line = np.empty((width, channels), np.float32)
    for box in range(len(boxes)):
        top, bottom = _edges(boxes[box, 1], boxes[box, 3], scale, aligned)
        left, right = _edges(boxes[box, 0], boxes[box, 2], scale, aligned)
        _taps(top, bottom, cells, points, aligned, height, row_places, row_weights)
        first, last = _taps(left, right, cells, points, aligned, width, column_places, column_weights)
        for i in range(cells):
            line[first : last + 1] = 0
            for tap in range(2 * points):
                weight = row_weights[i, tap]
                if weight != 0:
                    row = feature[row_places[i, tap]]
                    for x in range(first, last + 1):
                        for c in range(channels):
                            line[x, c] += weight * row[x, c]
            for j in range(cells):
                target = out[box, i, j]
                target[:] = 0
                for tap in range(2 * points):
                    weight = column_weights[j, tap]
                    if weight != 0:
                        source = line[column_places[j, tap]]
                        for c in range(channels):
                            target[c] += weight * source[c]


@compiled
def _pool_bits(feature, boxes, cells, scale, points, aligned, out):  # type: ignore[no-untyped-def]
    """As ``_pool``, for bfloat16 given and returned as bits: the upper half of a float32's."""
    height, width, channels = feature.shape
    row_places, row_weights = np.empty((cells, 2 * points), np.int64), np.empty((cells, 2 * points), np.float32)
    column_places, column_weights = np.empty_like(row_places), np.empty_like(row_weights)
    line = np.empty((width, channels), np.float32)
    target = np.empty(channels, np.float32)
    bits = target.view(np.uint32)
    wide = np.empty((width, channels), np.uint32)
    floats = wide.view(np.float32)
    for box in range(len(boxes)):
        top, bottom = _edges(boxes[box, 1], boxes[box, 3], scale, aligned)
        left, right = _edges(boxes[box, 0], boxes[box, 2], scale, aligned)
        _taps(top, bottom, cells, points, aligned, height, row_places, row_weights)
        first, last = _taps(left, right, cells, points, aligned, width, column_places, column_weights)
        for i in range(cells):
            line[first : last + 1] = 0
            for tap in range(2 * points):
                weight = row_weights[i, tap]
                if weight != 0:
                    row = feature[row_places[i, tap]]
                    for x in range(first, last + 1):
                        for c in range(channels):
                            wide[x, c] = np.uint32(row[x, c]) << np.uint32(16)
                        for c in range(channels):
                            line[x, c] += weight * floats[x, c]
            for j in range(cells):
                target[:] = 0
                for tap in range(2 * points):
                    weight = column_weights[j, tap]
                    if weight != 0:
                        source = line[column_places[j, tap]]
                        for c in range(channels):
                            target[c] += weight * source[c]
                for c in range(channels):
                    # to the nearest, ties to even
                    half = np.uint32(0x7FFF) + ((bits[c] >> np.uint32(16)) & np.uint32(1))
                    out[box, i, j, c] = np.uint16((bits[c] + half) >> np.uint32(16))


@compiled
def _spread(gradient, boxes, cells, scale, points, aligned, out):  # type: ignore[no-untyped-def]
    height, width, channels = out.shape
    row_places, row_weights = np.empty((cells, 2 * points), np.int64), np.empty((cells, 2 * points), np.float32)
    column_places, column_weights = np.empty_like(row_places), np.empty_like(row_weights)
    line = np.empty((width, channels), np.float32)
    for box in range(len(boxes)):
        top, bottom = _edges(boxes[box, 1], boxes[box, 3], scale, aligned)
        left, right = _edges(boxes[box, 0], boxes[box, 2], scale, aligned)
        _taps(top, bottom, cells, points, aligned, height, row_places, row_weights)
        first, last = _taps(left, right, cells, points, aligned, width, column_places, column_weights)
        for i in range(cells):
            line[first : last + 1] = 0
            for j in range(cells):
                source = gradient[box, i, j]
                for tap in range(2 * points):
                    weight = column_weights[j, tap]
                    if weight != 0:
                        target = line[column_places[j, tap]]
                        for c in range(channels):
                            target[c] += weight * source[c]
            for tap in range(2 * points):
                weight = row_weights[i, tap]
                if weight != 0:
                    row = out[row_places[i, tap]]
                    for x in range(first, last + 1):
                        for c in range(channels):
                            row[x, c] += weight * line[x, c]
