"""Planes of a training set that are read when they are needed: of large sets, little is in memory at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from segloop.corrections import Entry, TrainingSet
from segloop.image import Image
from segloop.train.regions import iterate_planes

MOST_BYTES = 512 << 20
"""So much of what was read last stays in memory, at least one entry."""

MOST_ENTRIES = 200
"""So many entries stay open at a time: each holds a file."""

Plane = tuple[int, ...]
_Arrays = tuple[Image, dict[Plane, np.ndarray], dict[Plane, np.ndarray]]


@dataclass(frozen=True, eq=False)
class LazyArray:
    """An array that is read whenever it is indexed.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    read : callable
        Returns the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], np.ndarray]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part."""
        return self.read()[key]


class OpenedEntries:
    """Opens entries of a training set, and keeps those used last.

    Parameters
    ----------
    training_set : TrainingSet
    ndim : int
        2 to take stacks plane by plane, 3 for volumes.
    """

    def __init__(self, training_set: TrainingSet, ndim: int) -> None:
        self._set, self._ndim = training_set, ndim
        self._open: OrderedDict[str, tuple[int, _Arrays]] = OrderedDict()
        self._bytes = 0

    def image(self, entry: Entry, plane: Plane, block: Image) -> Image:
        """Return ``block``, the plane's image, such that its pixels are read when they are needed."""
        read = partial(self._pixels, entry, plane)
        return replace(block, data=LazyArray(block.shape, np.dtype(block.data.dtype), read))

    def labels(self, entry: Entry, plane: Plane, labels: np.ndarray) -> Any:
        """Return an array like ``labels``, the plane's labels, that is read when it is needed."""
        return LazyArray(labels.shape, labels.dtype, lambda: self._arrays(entry)[1][plane])

    def reviewed(self, entry: Entry, plane: Plane, reviewed: np.ndarray) -> Any:
        """Return an array like ``reviewed``, the plane's mask, that is read when it is needed."""
        return LazyArray(reviewed.shape, reviewed.dtype, lambda: self._arrays(entry)[2][plane])

    def _pixels(self, entry: Entry, plane: Plane) -> np.ndarray:
        image = self._arrays(entry)[0]
        for axis, number in zip(image.outer_axes(self._ndim), plane):
            image = image.take(axis, number)
        return image.data

    def _arrays(self, entry: Entry) -> _Arrays:
        if entry.id in self._open:
            self._open.move_to_end(entry.id)
            return self._open[entry.id][1]
        return self.take(entry, *self._set.read(entry))

    def take(self, entry: Entry, image: Image, labels: np.ndarray, reviewed: np.ndarray) -> _Arrays:
        """Keep what was read of an entry: a set that is small enough is not read again, whatever becomes of it."""
        planes = list(iterate_planes(image, labels, reviewed, self._ndim))
        arrays = (
            image.without_alpha(),
            {plane: own for plane, own, _ in planes},
            {plane: own for plane, _, own in planes},
        )
        # pixels are mapped, not read
        size = labels.nbytes + reviewed.nbytes
        self._open[entry.id] = (size, arrays)
        self._bytes += size
        while len(self._open) > 1 and (self._bytes > MOST_BYTES or len(self._open) > MOST_ENTRIES):
            self._bytes -= self._open.popitem(last=False)[1][0]
        return arrays
