"""Drawing: label images of objects that are drawn where they are looked at, so that none needs to be held whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from segloop.candidates import Candidates, Chosen


class DrawnLabels:
    """A label image that draws a block when it is indexed (by slices and numbers).

    Parameters
    ----------
    candidates : Candidates
        With planes numbered over ``outer``.
    chosen : Chosen
    sizes : dict of str to int
        Length of each axis of the label image, in its order.
    """

    dtype = np.dtype(np.uint32)

    def __init__(self, candidates: Candidates, chosen: Chosen, sizes: dict[str, int]) -> None:
        self._candidates, self._chosen = candidates, chosen
        self._axes = "".join(sizes)
        self.shape = tuple(sizes.values())
        self._outer = tuple(n for axis, n in sizes.items() if axis not in "YX")

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        ranges, dropped = _ranges(index, self.shape)
        outer = [own for axis, own in zip(self._axes, ranges) if axis not in "YX"]
        rows, columns = (ranges[self._axes.index(axis)] for axis in "YX")
        out = np.zeros([len(own) for own in (*outer, rows, columns)], np.uint32)
        if out.size:
            row_slice, column_slice = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            for place in itertools.product(*(range(len(own)) for own in outer)):
                at = tuple(own[number] for own, number in zip(outer, place))
                plane = int(np.ravel_multi_index(at, self._outer)) if at else 0
                block = self._candidates.draw(self._chosen, plane, row_slice, column_slice)
                out[place] = block[:: rows.step, :: columns.step]
        now = "".join(axis for axis in self._axes if axis not in "YX") + "YX"
        out = out.transpose([now.index(axis) for axis in self._axes])
        return out[tuple(0 if drop else slice(None) for drop in dropped)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype=dtype)


def _ranges(index: Any, shape: Sequence[int]) -> tuple[list[range], list[bool]]:
    """What an index of slices, numbers and an ellipsis takes of each axis, and whether it drops the axis."""
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in given:
        place = given.index(Ellipsis)
        given[place : place + 1] = [slice(None)] * (len(shape) - len(given) + 1)
    given += [slice(None)] * (len(shape) - len(given))
    ranges, dropped = [], []
    for own, length in zip(given, shape, strict=True):
        if isinstance(own, slice):
            taken = range(*own.indices(length))
            if taken.step < 1:
                raise IndexError("labels that are drawn when indexed take no steps below 1")
            ranges.append(taken)
        else:
            ranges.append(range(length)[own : own + 1 or None])
            if not len(ranges[-1]):
                raise IndexError(f"index {own} is out of bounds for an axis of length {length}")
        dropped.append(not isinstance(own, slice))
    return ranges, dropped
