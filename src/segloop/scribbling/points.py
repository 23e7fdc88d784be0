"""Points: the painted pixels of a label image, as few numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from segloop.errors import LabelsError

LARGEST = 255
"""Number of a painted class: predictions are of 8 bits."""


@dataclass(frozen=True, eq=False)
class Points:
    """Painted pixels.

    Parameters
    ----------
    planes : int64 (N,)
        Number of the plane, counted over all axes of the label image but Y and X, in their order.
    rows, columns : int64 (N,)
        In image pixels.
    classes : int64 (N,)
        0…K-1.
    """

    planes: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def painted(self) -> tuple[int, ...]:
        """The classes of which something is painted, ascending."""
        return tuple(int(number) for number in np.unique(self.classes))

    def equals(self, other: Points) -> bool:
        """Whether the same pixels are painted in the same classes, in the same order."""
        pairs = zip(self._arrays(), other._arrays())
        return all(np.array_equal(own, theirs) for own, theirs in pairs)

    def take(self, index: np.ndarray) -> Points:
        """Return some of them, by their numbers."""
        return Points(*(array[index] for array in self._arrays()))

    def thinned(self, most: int) -> Points:
        """Return at most ``most`` of each class, evenly spread over those that there are, in their order."""
        kept = [spread(np.flatnonzero(self.classes == number), most) for number in self.painted]
        return self.take(np.sort(np.concatenate(kept))) if kept else self

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.planes, self.rows, self.columns, self.classes

    @classmethod
    def none(cls) -> Points:
        """Nothing painted."""
        return cls(*(np.zeros(0, np.int64) for _ in range(4)))

    @classmethod
    def joined(cls, parts: Iterable[Points]) -> Points:
        """Put several together."""
        arrays = list(zip(*(part._arrays() for part in parts)))
        return cls(*map(np.concatenate, arrays)) if arrays else cls.none()

    @classmethod
    def of(cls, scribbles: np.ndarray) -> Points:
        """Return the painted pixels of scribbles (..., Y, X): 0 where nothing is painted, class + 1 elsewhere.

        Raises
        ------
        LabelsError
            If these are not integers of at least two dimensions, or not from 0 to ``LARGEST``.
        """
        scribbles = np.asarray(scribbles)
        if scribbles.ndim < 2 or scribbles.dtype.kind not in "ui":
            raise LabelsError(
                f"scribbles of shape {scribbles.shape} and type {scribbles.dtype}; expected integers (..., Y, X)"
            )
        if scribbles.size and (scribbles.min() < 0 or scribbles.max() > LARGEST):
            raise LabelsError(
                f"scribbles from {scribbles.min()} to {scribbles.max()}; expected 0 where nothing is painted, and "
                f"classes from 1 to {LARGEST}"
            )
        places = np.flatnonzero(scribbles)
        plane, inside = np.divmod(places, scribbles.shape[-2] * scribbles.shape[-1])
        rows, columns = np.divmod(inside, scribbles.shape[-1])
        return cls(plane, rows, columns, scribbles.ravel()[places].astype(np.int64) - 1)


def spread(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the numbers, evenly spread over them."""
    return numbers if len(numbers) <= most else numbers[np.linspace(0, len(numbers) - 1, most).astype(int)]
