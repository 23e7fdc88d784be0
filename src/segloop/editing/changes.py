"""Changes of pixels: which objects lose some, which gain some, and where; without a look at each pixel by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

Box = tuple[slice, ...]
"""One slice with explicit bounds for each dimension."""


class Found(NamedTuple):
    """Pixels of a number, and a box that holds them: int64 (2, D), the first pixel and the end along each axis."""

    number: int
    area: int
    box: np.ndarray


@dataclass(frozen=True, eq=False)
class Change:
    """Pixels that were given other values.

    Parameters
    ----------
    box : tuple of slice
        Holds all of them.
    before : integers (N,)
        Their values before.
    after : integers (N,)
        Their values after.
    where : bool, the box's shape, or tuple of D integer arrays (N,), or None
        Which pixels of the box they are; or where they lie in the label image; or None if they are the whole box.
    """

    box: Box
    before: np.ndarray
    after: np.ndarray
    where: np.ndarray | tuple[np.ndarray, ...] | None

    @classmethod
    def in_box(cls, box: Box, mask: np.ndarray | None, before: np.ndarray, after: np.ndarray | int) -> Change:
        """Describe a change of the pixels of a box where ``mask`` is true; None stands for all of them.

        Parameters
        ----------
        box : tuple of slice
        mask : bool, the box's shape, or None
        before, after : integers
            One number for each pixel that changes, in the order of ``mask``, or one for all.
        """
        size = int(np.prod(_shape(box))) if mask is None else int(np.count_nonzero(mask))
        return cls(box, _spread(before, size), _spread(after, size), mask)

    @classmethod
    def at(cls, coordinates: tuple[np.ndarray, ...], before: np.ndarray, after: np.ndarray | int) -> Change:
        """Describe a change of single pixels."""
        coordinates = tuple(np.ravel(axis) for axis in coordinates)
        size = len(coordinates[0])
        box = tuple(slice(int(axis.min()), int(axis.max()) + 1) if size else slice(0, 0) for axis in coordinates)
        return cls(box, _spread(before, size), _spread(after, size), coordinates)

    def reversed(self) -> Change:
        """Return the change that takes this one back."""
        return Change(self.box, self.after, self.before, self.where)

    @cached_property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        """Where the pixels lie in the label image: D integer arrays (N,). Large, where many pixels change."""
        if isinstance(self.where, tuple):
            return self.where
        found = np.nonzero(np.ones(_shape(self.box), bool) if self.where is None else self.where)
        return tuple(axis + side.start for axis, side in zip(found, self.box))

    @cached_property
    def lost(self) -> list[tuple[int, int]]:
        """Numbers that lose pixels, background included, and how many."""
        return numbers_of(self.before)

    @cached_property
    def gained(self) -> list[Found]:
        """Numbers that gain pixels, background included, and where."""
        if not len(self.after):
            return []
        if (only := _only(self.after)) is not None:
            return [Found(only, len(self.after), np.array([[side.start, side.stop] for side in self.box]).T)]
        if isinstance(self.where, tuple):
            return [
                Found(number, area, _bounds([axis[self.after == number] for axis in self.where]))
                for number, area in numbers_of(self.after)
            ]
        return self._gained_in_box()

    def _gained_in_box(self) -> list[Found]:
        block = np.zeros(_shape(self.box), self.after.dtype)
        if self.where is None:
            block[:] = self.after.reshape(block.shape)
        else:
            block[self.where] = self.after
        start = np.array([side.start for side in self.box])
        found: dict[int, Found] = {}
        for plane in np.ndindex(block.shape[:-2]):
            for number, area, box in objects_of(block[plane]):
                whole = np.empty((2, block.ndim), np.int64)
                whole[0, :-2], whole[1, :-2], whole[:, -2:] = plane, np.add(plane, 1), box
                whole += start
                if number in found:
                    area, whole = found[number].area + area, around(found[number].box, whole)
                found[number] = Found(number, area, whole)
        background = len(self.after) - sum(one.area for one in found.values())
        if background:
            found[0] = Found(0, background, np.array([start, [side.stop for side in self.box]]))
        return list(found.values())


def numbers_of(values: np.ndarray) -> list[tuple[int, int]]:
    """Which numbers an array holds, and how often each, in ascending order.

    Label images are sorted by their runs of equal pixels, which are few.
    """
    if not values.size:
        return []
    if (only := _only(values)) is not None:
        return [(only, values.size)]
    flat = np.ravel(values)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    numbers, place = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(place, lengths).astype(np.int64)
    return list(zip(numbers.tolist(), counts.tolist()))


def objects_of(plane: np.ndarray) -> Iterator[Found]:
    """Yield the objects of a plane (Y, X), without background, from its runs of equal pixels."""
    width = plane.shape[1]
    flat = np.ascontiguousarray(plane).ravel()
    breaks = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=breaks[1:])
    breaks[::width] = True
    starts = np.flatnonzero(breaks)
    lengths = np.diff(starts, append=flat.size)
    values = flat[starts]
    kept = np.flatnonzero(values)
    kept = kept[np.argsort(values[kept], kind="stable")]
    starts, lengths, values = starts[kept], lengths[kept], values[kept]
    if not len(values):
        return
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    rows, columns = starts // width, starts % width
    low = np.stack([np.minimum.reduceat(rows, first), np.minimum.reduceat(columns, first)], 1)
    high = np.stack([np.maximum.reduceat(rows, first) + 1, np.maximum.reduceat(columns + lengths, first)], 1)
    yield from map(Found, values[first].tolist(), np.add.reduceat(lengths, first).tolist(), np.stack([low, high], 1))


def around(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the box around two boxes, each int64 (2, D)."""
    return np.array([np.minimum(one[0], other[0]), np.maximum(one[1], other[1])])


def _bounds(places: list[np.ndarray]) -> np.ndarray:
    return np.array([[axis.min() for axis in places], [axis.max() + 1 for axis in places]])


def _only(values: np.ndarray) -> int | None:
    """The one value that an array holds; None if it holds several."""
    first = values.flat[0]
    # what was spread from one value has no strides
    if not any(values.strides) or bool((values == first).all()):
        return int(first)
    return None


def _spread(values: np.ndarray | int, size: int) -> np.ndarray:
    return np.broadcast_to(np.ravel(values), (size,))


def _shape(box: Box) -> tuple[int, ...]:
    return tuple(side.stop - side.start for side in box)
