"""Which objects a label image holds, how large they are and where, kept up to date from what changes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from segloop.editing.changes import Box, Change, around, objects_of
from segloop.errors import LabelsError

BLOCK_PIXELS = 1 << 20
"""Scanned at once: some five milliseconds, so that a window can do it in between."""

SEEK_STEP = 64
"""Pixels: how far around a pixel its object is sought at first."""


class ObjectIndex:
    """Area and place of each object of a label image.

    The image is scanned once, block by block, whenever there is time (``advance``); what changes meanwhile or later is
    followed by ``follow``. Boxes may be larger than their objects after edits; ``read`` makes them tight again.

    Parameters
    ----------
    data : array (…, Y, X) of integers
        NumPy, zarr or dask; only sliced, never copied as a whole. 0 is background.
    block_pixels : int
        Scanned at once.
    """

    def __init__(self, data: Any, block_pixels: int = BLOCK_PIXELS) -> None:
        self._data = data
        self._areas: dict[int, int] = {}
        self._boxes: dict[int, np.ndarray] = {}
        self._sought: dict[int, np.ndarray] = {}
        self.shape = tuple(int(n) for n in data.shape)
        self._block = _block_shape(data, self.shape, block_pixels)
        self._grid = tuple(-(-n // side) for n, side in zip(self.shape, self._block))
        self._scanned = np.zeros(self._grid, bool)
        self._waiting = itertools.product(*map(range, self._grid))
        self.complete = self._scanned.size == 0

    def __contains__(self, number: object) -> bool:
        return number in self._areas

    def __len__(self) -> int:
        return len(self._areas)

    @property
    def numbers(self) -> list[int]:
        """The numbers in use, in ascending order; those found so far while the scan goes on."""
        return sorted(self._areas)

    @property
    def areas(self) -> Mapping[int, int]:
        """Pixels of each object, by number; of those found so far while the scan goes on."""
        return MappingProxyType(self._areas)

    @property
    def largest(self) -> int:
        """The largest number in use; 0 if there is none."""
        return max(self._areas, default=0)

    def smallest_free(self) -> int:
        """The smallest positive number that is not in use."""
        return next(number for number in itertools.count(1) if number not in self._areas)

    def area(self, number: int) -> int:
        """Pixels of an object; 0 if there is none of this number."""
        return self._areas.get(number, 0)

    def box(self, number: int) -> Box | None:
        """A box that holds the object, possibly a larger one than needed; None if there is no such object."""
        found = self._boxes.get(number) if self.complete else self._sought.get(number, self._boxes.get(number))
        return None if found is None else tuple(slice(int(low), int(high)) for low, high in found.T)

    def advance(self, seconds: float) -> bool:
        """Scan for about so long, one block at least. Return whether all is scanned."""
        end = time.perf_counter() + seconds
        while not self.complete:
            self._scan_block()
            if time.perf_counter() > end:
                break
        return self.complete

    def finish(self) -> None:
        """Scan what is not scanned yet."""
        while not self.complete:
            self._scan_block()

    def follow(self, change: Change) -> None:
        """Take note of pixels that were given other values, after they were."""
        if not self.complete:
            change = self._seen(change)
        for number, area in change.lost:
            self._lose(number, area)
        for number, area, box in change.gained:
            self._gain(number, area, box)

    def _seen(self, change: Change) -> Change:
        """The part of a change that lies in blocks scanned already: others are going to be seen as they are by then."""
        for number in set(self._sought).intersection(found.number for found in change.gained):
            (box,) = (found.box for found in change.gained if found.number == number)
            self._sought[number] = around(self._sought[number], box)
        coordinates = change.coordinates
        seen = self._scanned[tuple(axis // side for axis, side in zip(coordinates, self._block))]
        return Change.at(tuple(axis[seen] for axis in coordinates), change.before[seen], change.after[seen])

    def seek(self, number: int, pixel: Sequence[int]) -> None:
        """Find an object from one of its pixels, so that it can be read before all is scanned.

        What does not hang together with that pixel may be missed. Nothing happens if the pixel is another object's.
        """
        if self.complete or not number:
            return
        low, high = np.array(pixel), np.array(pixel) + 1
        limits, reach = np.array(self.shape), np.full(len(self.shape), SEEK_STEP)
        reach[:-2] = 1
        low, high = np.maximum(low - reach, 0), np.minimum(high + reach, limits)
        while True:
            found = np.nonzero(np.asarray(self._data[tuple(map(slice, low, high))]) == number)
            if not len(found[0]):
                return
            first = np.array([axis.min() for axis in found]) + low
            last = np.array([axis.max() + 1 for axis in found]) + low
            below, above = (first == low) & (low > 0), (last == high) & (high < limits)
            if not (below | above).any():
                self._sought[number] = np.array([first, last])
                return
            reach *= 2
            low = np.where(below, np.maximum(low - reach, 0), low)
            high = np.where(above, np.minimum(high + reach, limits), high)

    def rebase(self, data: Any) -> None:
        """Go on with another array that holds the same numbers, such as a copy of a wider type."""
        self._data = data

    def continues(self, data: Any) -> bool:
        """Whether ``data`` is the array that is followed."""
        return data is self._data

    def read(self, number: int, margin: int = 0, within: Box | None = None) -> tuple[Box, np.ndarray]:
        """Read the block around an object.

        Parameters
        ----------
        number : int
        margin : int
            Pixels around the object that are read with it, as far as the image goes; along its last two axes.
        within : tuple of slice, optional
            Part of the image to which reading is confined, such as one plane.

        Returns
        -------
        box : tuple of slice
        block : array, a copy

        Raises
        ------
        LabelsError
            If there is no such object, or none of it within that part.
        """
        if number not in self._sought:
            self.finish()
        box = self.box(number)
        if box is None:
            raise LabelsError(f"there is no object {number}; click the one that is meant")
        region = box if within is None else tuple(_common(side, limit) for side, limit in zip(box, within))
        block = np.asarray(self._data[region]) if all(side.stop > side.start for side in region) else np.zeros(0)
        found = np.nonzero(block == number)
        if not len(found[0]):
            raise LabelsError(f"object {number} is not on this slice; go to one that it is on, or choose all slices")
        if within is None and self.complete:
            tight = np.array([[axis.min() for axis in found], [axis.max() + 1 for axis in found]])
            self._boxes[number] = tight + [side.start for side in region]
        sides = []
        for axis, side, size, places in zip(range(len(region)), region, self.shape, found):
            room = margin if axis >= len(region) - 2 else 0
            low, high = side.start + int(places.min()) - room, side.start + int(places.max()) + 1 + room
            sides.append(slice(max(0, low), min(size, high)))
        around = tuple(sides)
        return around, np.array(self._data[around])

    def _scan_block(self) -> None:
        place = next(self._waiting)
        start = [n * side for n, side in zip(place, self._block)]
        box = tuple(slice(low, min(low + side, n)) for low, side, n in zip(start, self._block, self.shape))
        block = np.asarray(self._data[box])
        for plane in np.ndindex(block.shape[:-2]):
            self._add_plane(block[plane], [low + n for low, n in zip(start, plane)], start[-2:])
        self._scanned[place] = True
        self.complete = bool(self._scanned.all())

    def _add_plane(self, plane: np.ndarray, leading: list[int], corner: list[int]) -> None:
        for number, area, own in objects_of(plane):
            box = np.empty((2, len(self.shape)), np.int64)
            box[0, :-2], box[1, :-2], box[:, -2:] = leading, np.add(leading, 1), own + corner
            self._gain(number, area, box)

    def _gain(self, number: int, count: int, box: np.ndarray) -> None:
        if not number:
            return
        self._areas[number] = self._areas.get(number, 0) + count
        known = self._boxes.get(number)
        self._boxes[number] = box if known is None else around(known, box)

    def _lose(self, number: int, count: int) -> None:
        if not number or number not in self._areas:
            return
        self._areas[number] -= count
        if self._areas[number] <= 0:
            del self._areas[number], self._boxes[number]


def _common(side: slice, limit: slice) -> slice:
    return slice(max(side.start, limit.start), min(side.stop, limit.stop))


def _block_shape(data: Any, shape: tuple[int, ...], pixels: int) -> tuple[int, ...]:
    """Blocks that are whole rows of a NumPy array, or whole chunks of any other, of about so many pixels."""
    chunks = getattr(data, "chunks", None)
    if chunks is None:
        chunks = (*(1,) * (len(shape) - 1), shape[-1])
    else:
        # dask gives the sizes of all chunks, zarr that of each
        chunks = tuple(part[0] if isinstance(part, tuple) else part for part in chunks)
    block = [max(1, min(int(side), n)) for side, n in zip(chunks, shape)]
    for axis in reversed(range(len(shape))):
        room = max(1, pixels // int(np.prod(block)))
        block[axis] = min(block[axis] * room, max(1, shape[axis]))
    return tuple(block)
