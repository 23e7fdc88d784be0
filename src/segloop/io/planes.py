"""The 2D planes of label images, for formats that know planes only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from segloop.labels import Labels

ORDER = "TZYX"
"""The order of axes in the files written."""


def in_file_order(labels: Labels) -> tuple[np.ndarray, str]:
    """Return the array with its axes in the order T, Z, Y, X, and those axes."""
    axes = "".join(axis for axis in ORDER if axis in labels.axes)
    return labels.data.transpose([labels.axes.index(axis) for axis in axes]), axes


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
