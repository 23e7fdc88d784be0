"""Outlines along pixel edges: polygons that hold exactly the pixels of an object.

A vertex (x, y) is the corner between pixels: pixel (row, column) is the square from (column, row) to
(column + 1, row + 1). Filling an outline, a pixel belonging to it when its centre does, gives back the mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from skimage.measure import label as connected_components

from segloop.labels import bounding_boxes, consecutive

Ring = np.ndarray
"""int64 (N, 2): x, y of the vertices, not closed; consecutive edges are at right angles."""


@dataclass(frozen=True, eq=False, slots=True)
class Outline:
    """One object of a plane.

    Parameters
    ----------
    label : int
        Its number.
    pieces : tuple of tuple of Ring
        Per connected piece (pixels that share an edge) its outer ring and then its holes. Outer rings run
        clockwise on the screen (y down), holes the other way. Rings meet at single vertices at most, so that
        each piece is a valid polygon in the sense of OGC simple features.
    """

    label: int
    pieces: tuple[tuple[Ring, ...], ...]


def trace(plane: np.ndarray) -> Iterator[Outline]:
    """Iterate over the outlines of the objects of a plane, unsigned integers (Y, X), by rising label."""
    numbers, compact = consecutive(plane)
    for index, box in bounding_boxes(compact).items():
        pieces = connected_components(compact[box] == index, connectivity=1)
        rows, columns = box
        corner = np.array([columns.start, rows.start])
        yield Outline(
            int(numbers[index - 1]),
            tuple(
                tuple(ring + corner for ring in _rings(pieces == piece)) for piece in range(1, int(pieces.max()) + 1)
            ),
        )


def _rings(mask: np.ndarray) -> list[Ring]:
    """The rings of one connected piece, the outer one first.

    Parameters
    ----------
    mask : ndarray
        bool (Y, X), one piece.
    """
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    stride = mask.shape[1] + 1
    starts, ends = [], []
    # Each edge between a pixel of the piece and one outside it, directed so that the piece lies to its right.
    for neighbour, start, end in (
        (padded[:-2, 1:-1], (0, 0), (0, 1)),  # above: go right
        (padded[1:-1, 2:], (0, 1), (1, 1)),  # right: go down
        (padded[2:, 1:-1], (1, 1), (1, 0)),  # below: go left
        (padded[1:-1, :-2], (1, 0), (0, 0)),  # left: go up
    ):
        rows, columns = np.nonzero(inside & ~neighbour)
        starts.append((rows + start[0]) * stride + columns + start[1])
        ends.append((rows + end[0]) * stride + columns + end[1])
    leaving: dict[int, list[int]] = {}
    for vertex, following in zip(np.concatenate(starts).tolist(), np.concatenate(ends).tolist()):
        leaving.setdefault(vertex, []).append(following)

    rings = []
    while leaving:
        vertex = first = next(iter(leaving))
        step = 0
        path = []
        while True:
            path.append(vertex)
            choices = leaving[vertex]
            following = choices[0]
            if len(choices) == 2:
                # Two pixels of the piece meet here at their corners only. Turning left, from one to the
                # other, parts the outer ring from the hole that the piece closes around: both stay simple.
                left = {1: -stride, -stride: -1, -1: stride, stride: 1}.get(step)
                following = choices[1] if left is not None and choices[1] - vertex == left else choices[0]
            choices.remove(following)
            if not choices:
                del leaving[vertex]
            step, vertex = following - vertex, following
            if vertex == first and (first not in leaving or _closes(step, leaving[first][0] - first, stride)):
                break
        rings.append(_corners(np.array(path), stride))
    # Clockwise on the screen is positive with y down: only the outer ring is.
    return sorted(rings, key=lambda ring: _signed_area(ring) < 0)


def _closes(step: int, remaining: int, stride: int) -> bool:
    """Whether a ring that comes back to its first vertex ends there rather than crosses it once more."""
    left = {1: -stride, -stride: -1, -1: stride, stride: 1}[step]
    return remaining != left


def _corners(path: np.ndarray, stride: int) -> Ring:
    """Keep the vertices at which the direction changes."""
    before, after = path - np.roll(path, 1), np.roll(path, -1) - path
    corners: np.ndarray = path[before != after]
    rows, columns = corners // stride, corners % stride
    return np.stack([columns, rows], axis=1).astype(np.int64)


def _signed_area(ring: Ring) -> float:
    x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)
