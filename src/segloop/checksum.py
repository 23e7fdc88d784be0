"""Checksums of label images that follow what changes in a part of them, without a look at the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from segloop.compiled import compiled
from segloop.painting import frozen

_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def checksum(labels: np.ndarray, box: Sequence[slice] = ()) -> int:
    """A number that changes when any pixel changes.

    It is the sum of all pixels, each weighed by an odd number that belongs to its place. Hence it adds up: what is in a
    box before and after a change, subtracted, is what the change makes of the checksum of the whole image
    (:func:`changed`).

    Parameters
    ----------
    labels : integers (...)
        Of one dimension or more, in any layout.
    box : sequence of slice, optional
        Where the pixels lie, if they are a part of an image; one for each dimension.

    Returns
    -------
    int in [0, 2**64)

    Notes
    -----
    Weights are products of one number for each dimension: outputs of the generator SplitMix64 (Steele, Lea & Flood,
    Fast Splittable Pseudorandom Number Generators, 2014), made odd, so that no change of one pixel is lost.
    """
    if not labels.size:
        return 0
    starts = [side.start for side in box] if box else [0] * labels.ndim
    *leading, last = (_weights(axis, start, size) for axis, (start, size) in enumerate(zip(starts, labels.shape)))
    along = np.ones(1, np.uint64)
    for weights in leading:
        along = np.multiply.outer(along, weights).ravel()
    values = np.ascontiguousarray(labels).view(f"u{labels.dtype.itemsize}")
    rows = frozen(values.reshape(math.prod(labels.shape[:-1]), -1), values.dtype.type)
    return int(_weigh(rows, frozen(along, np.uint64), frozen(last, np.uint64)))


def changed(number: int, box: Sequence[slice], before: np.ndarray, after: np.ndarray) -> int:
    """The checksum of an image of which a box, that held ``before``, holds ``after``; ``number`` is what it was."""
    return (number + checksum(after, box) - checksum(before, box)) % 2**64


def _weights(axis: int, start: int, size: int) -> np.ndarray:
    """Odd numbers for places along an axis: uint64 (size,)."""
    places = np.arange(start + 1, start + size + 1, dtype=np.uint64) + np.uint64(axis << 48)
    mixed = places * _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    weights: np.ndarray = (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
    return weights


@compiled
def _weigh(rows, along, across):  # type: ignore[no-untyped-def]
    """Sum of the values of ``rows``, unsigned (N, M), weighed by uint64 (N,) and (M,)."""
    total = np.uint64(0)
    for row in range(len(rows)):
        own = np.uint64(0)
        for column in range(rows.shape[1]):
            own += np.uint64(rows[row, column]) * across[column]
        total += own * along[row]
    return total
