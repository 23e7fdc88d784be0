"""An object between the slices on which it was drawn."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

OVERLAP = 0.5
"""Outlines whose IoU is lower are laid over each other, centre on centre, before they are blended: the blend of two
that hardly overlap would be thinner than either."""


def interpolate(first: np.ndarray, last: np.ndarray, between: int) -> np.ndarray:
    """Blend two outlines by their signed distances (Raya and Udupa 1990, shape-based interpolation).

    Parameters
    ----------
    first, last : bool (Y, X)
        The object on two slices; neither is empty.
    between : int
        Number of slices between the two.

    Returns
    -------
    bool (between, Y, X)
    """
    start, end = _center(first), _center(last)
    overlap = np.count_nonzero(first & last) / np.count_nonzero(first | last)
    aligned = overlap < OVERLAP
    middle = (start + end) / 2
    # a frame in which both fit, wherever they are moved
    room = int(np.ceil(np.abs(end - start).max())) + 1 if aligned else 0
    distances = []
    for mask, center in ((first, start), (last, end)):
        padded = np.pad(mask, room + 1)
        distance = _signed_distance(padded)
        distances.append(_moved(distance, middle - center) if aligned else distance)
    result = np.zeros((between, *first.shape), bool)
    for number in range(between):
        share = (number + 1) / (between + 1)
        blend = (1 - share) * distances[0] + share * distances[1]
        if aligned:
            blend = _moved(blend, start + share * (end - start) - middle)
        inner = tuple(slice(room + 1, room + 1 + side) for side in first.shape)
        result[number] = blend[inner] > 0
    return result


def gaps(present: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of slices that hold an object with nothing of it in between.

    Parameters
    ----------
    present : bool (Z,)
        Which slices hold the object.

    Returns
    -------
    list of (int, int)
        Ascending; the two of a pair are at least two slices apart.
    """
    places = np.flatnonzero(present)
    return [(int(low), int(high)) for low, high in itertools.pairwise(places) if high - low > 1]


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the outline, which runs between the pixels: positive inside."""
    inside, outside = (ndimage.distance_transform_edt(part) for part in (mask, ~mask))
    return np.asarray(np.where(mask, inside - 0.5, 0.5 - outside))


def _center(mask: np.ndarray) -> np.ndarray:
    return np.array([axis.mean() for axis in np.nonzero(mask)])


def _moved(distance: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.shift(distance, by, order=1, mode="nearest"))
