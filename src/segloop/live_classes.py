"""Live classes: a class image that follows a threshold, around what a person did in it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

HALF = 127
"""The level, in 255ths, above which the best class wins in a run."""

LOWEST, HIGHEST = 0, 254


class LiveClasses:
    """Which pixels of a class image are background, as a threshold between it and all other classes decides.

    A pixel is of its best class if that has more than ``threshold`` of what it and background have together. What is
    shown does not depend on the way there, so moving the threshold back restores what was there.

    Parameters
    ----------
    scores : uint8 (K, ...)
        Of the classes, background first, in 255ths; K is at least 2.
    """

    def __init__(self, scores: np.ndarray) -> None:
        self._levels, self._best = map(np.ascontiguousarray, critical_levels(scores))
        self._level = HALF
        self._held: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held: two for each pixel, and one more where a person did something."""
        return self._levels.nbytes + self._best.nbytes + (0 if self._held is None else self._held.nbytes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the class image."""
        return self._levels.shape

    @property
    def threshold(self) -> float:
        """Where the threshold is, in (0, 1)."""
        return 0.5 if self._level == HALF else self._level / 255

    def reshaped(self, shape: tuple[int, ...]) -> LiveClasses:
        """The same for a class image whose pixels stand in another shape, in the same order. Nothing is copied."""
        other = copy.copy(self)
        other._levels, other._best = self._levels.reshape(shape), self._best.reshape(shape)
        other._held = None if self._held is None else self._held.reshape(shape)
        return other

    def hold(self, held: np.ndarray | None, data: np.ndarray) -> tuple[slice, ...] | None:
        """Say which pixels no threshold may change; those held no longer are brought up to date, in place.

        Parameters
        ----------
        held : bool, the shape of the class image, or None for none
            Not to be changed afterwards.
        data : integers
            The class image.

        Returns
        -------
        tuple of slice or None
            The box of what changed; None if nothing did.
        """
        before, self._held = self._held, held
        if before is None:
            return None
        free = before if held is None else before & ~held
        now = np.where(self._levels > self._level, self._best, 0)
        return _write(data, now, free & (data != now))

    def move(self, threshold: float, data: np.ndarray) -> tuple[slice, ...] | None:
        """Move the threshold, and bring the class image up to date, in place.

        Parameters
        ----------
        threshold : float in (0, 1)
        data : integers
            The class image.

        Returns
        -------
        tuple of slice or None
            The box of what changed; None if nothing did.
        """
        level = HALF if threshold == 0.5 else min(HIGHEST, max(LOWEST, int(threshold * 255)))
        before, self._level = self._level, level
        if level == before:
            return None
        low, high = sorted((before, level))
        # one comparison for both ends: what is below wraps round to large numbers
        changed = self._levels - np.uint8(low + 1) < np.uint8(high - low)
        if self._held is not None:
            changed &= ~self._held
        return _write(data, self._best if level < before else np.uint8(0), changed)


def critical_levels(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce scores to what a threshold needs: two bytes a pixel, however many classes there are.

    Parameters
    ----------
    scores : uint8 (K, ...)
        Of the classes, background first, in 255ths.

    Returns
    -------
    levels : uint8 (...)
        The share of the best class in it and background, in 255ths: above :data:`HALF` exactly where it is the greater.
    best : uint8 (...)
        The best class but background, the first of equal ones.
    """
    score, best = scores[1].copy(), np.ones(scores[1].shape, np.uint8)
    for number in range(2, len(scores)):
        np.putmask(best, scores[number] > score, number)
        np.maximum(score, scores[number], out=score)
    background = scores[0]
    total = score.astype(np.uint16) + background
    levels = (np.uint32(255) * score // np.maximum(total, 1)).astype(np.uint8)
    ahead = score > background
    return np.where(ahead, np.maximum(levels, HALF + 1), np.minimum(levels, HALF)).astype(np.uint8), best


def _write(data: np.ndarray, values: np.ndarray | np.uint8, changed: np.ndarray) -> tuple[slice, ...] | None:
    box = _bounds(changed)
    if box is not None:
        part = values[box] if isinstance(values, np.ndarray) else values
        np.copyto(data[box], part, where=changed[box], casting="unsafe")
    return box


def _bounds(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The box around what is true."""
    sides: list[slice] = []
    for axis in range(mask.ndim):
        others: Sequence[int] = [other for other in range(mask.ndim) if other != axis]
        along = np.flatnonzero(mask.any(axis=tuple(others)))
        if not len(along):
            return None
        sides.append(slice(int(along[0]), int(along[-1]) + 1))
    return tuple(sides)
