"""The 2D planes of label images, for formats that know planes only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from segloop.labels import Labels

ORDER = "TZYX"
"""The order of axes in the files written."""


def in_file_order(labels: Labels) -> tuple[np.ndarray, str]:
    """Return the array with its axes in the order T, Z, Y, X, and those axes."""
    axes = file_axes(labels)
    return np.asarray(labels).transpose([labels.axes.index(axis) for axis in axes]), axes


def file_axes(labels: Labels) -> str:
    """The axes in the order of the files written."""
    return "".join(axis for axis in ORDER if axis in labels.axes)


def file_shape(labels: Labels) -> tuple[int, ...]:
    """The shape in the order of the files written."""
    return tuple(labels.shape[labels.axes.index(axis)] for axis in file_axes(labels))


def is_lazy(labels: Labels) -> bool:
    """Whether the labels may not fit in memory, and are to be read block by block."""
    return not isinstance(labels.data, np.ndarray)


def read_block(labels: Labels, position: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
    """Read a block of a plane at ``position`` along the outer axes in file order: unsigned integers (rows, columns)."""
    at: dict[str, Any] = dict(zip(file_axes(labels), [*position, rows, columns]))
    block = np.asarray(labels.data[tuple(at[axis] for axis in labels.axes)])
    return block if labels.axes.index("Y") < labels.axes.index("X") else block.T


def positions(labels: Labels) -> Iterator[tuple[int, ...]]:
    """Iterate over the planes of a label image: positions along the outer axes in file order."""
    return itertools.product(*(range(n) for n in file_shape(labels)[:-2]))


def tiles_of(height: int, width: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Cut a plane into blocks of ``side`` pixels, row by row; the last ones may be smaller."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))


def planes(labels: Labels) -> Iterator[tuple[dict[str, int], np.ndarray]]:
    """Iterate over the planes of a label image.

    Yields
    ------
    position : dict
        Number of the plane along T and Z, from 0; empty for a 2D image.
    plane : unsigned integers (Y, X)
    """
    array, axes = in_file_order(labels)
    outer = axes[:-2]
    for index in itertools.product(*(range(n) for n in array.shape[:-2])):
        yield dict(zip(outer, index)), array[index]


def plane_name(position: dict[str, int]) -> str:
    """Return a part of a name for a plane, such as "_t0003_z0010"; "" for 2D images."""
    return "".join(f"_{axis.lower()}{number:04d}" for axis, number in position.items())
