"""Live classes: a class image that follows a threshold, around what a person did in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from segloop.compiled import compiled
from segloop.packing import Packed

HALF = 127
"""The level, in 255ths, above which the best class wins in a run."""

LOWEST, HIGHEST = 0, 254


class LiveClasses:
    """Which pixels of a class image are background, as a threshold between it and all other classes decides.

    A pixel is of its best class if that has more than ``threshold`` of what it and background have together. What is
    shown does not depend on the way there, so moving the threshold back restores what was there.

    Parameters
    ----------
    read : callable
        Gives the scores of the classes, background first, in 255ths: uint8 (K, ...); K is at least 2. Called when they
        are needed for the first time, and again after each :meth:`rest`.
    shape : tuple of int
        Of the class image.
    """

    def __init__(self, read: Callable[[], np.ndarray], shape: tuple[int, ...]) -> None:
        self._read, self.shape = read, shape
        self._open: tuple[np.ndarray, np.ndarray] | None = None
        self._level = HALF
        self._held: Packed | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held beside the scores while nothing moves."""
        return 0 if self._held is None else self._held.nbytes

    @property
    def threshold(self) -> float:
        """Where the threshold is, in (0, 1)."""
        return 0.5 if self._level == HALF else self._level / 255

    @property
    def is_open(self) -> bool:
        """Whether what only moves need is held."""
        return self._open is not None

    def reshaped(self, shape: tuple[int, ...]) -> LiveClasses:
        """The same for a class image whose pixels stand in another shape, in the same order."""
        read = self._read
        return LiveClasses(lambda: read().reshape(-1, *shape), shape)

    def warm_up(self) -> None:
        """Have everything compiled: the first move is not to wait."""
        critical_levels(np.zeros((2, 1), np.uint8))

    def rest(self) -> None:
        """Let go of what only moves need: two bytes a pixel, which are made from the scores again."""
        self._open = None

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
        last, self._held = self._held, None if held is None else Packed.of(held)
        if last is None:
            return None
        before = last.array()
        free = before if held is None else before & ~held
        if not free.any():
            return None
        levels, best = self._working
        now = np.where(levels > self._level, best, 0)
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
        levels, best = self._working
        changed = levels - np.uint8(low + 1) < np.uint8(high - low)
        if self._held is not None:
            changed &= ~self._held.array()
        return _write(data, best if level < before else np.uint8(0), changed)

    @property
    def _working(self) -> tuple[np.ndarray, np.ndarray]:
        if self._open is None:
            scores = self._read()
            flat = scores.reshape(len(scores), -1)
            self._open = tuple(part.reshape(scores.shape[1:]) for part in critical_levels(flat))
        return self._open


@compiled
def critical_levels(scores):  # type: ignore[no-untyped-def]
    """Reduce scores to what a threshold needs: two bytes a pixel, however many classes there are.

    Parameters
    ----------
    scores : uint8 (K, N)
        Of the classes, background first, in 255ths.

    Returns
    -------
    levels : uint8 (N,)
        The share of the best class in it and background, in 255ths: above :data:`HALF` exactly where it is the greater.
    best : uint8 (N,)
        The best class but background, the first of equal ones.
    """
    classes, count = scores.shape
    levels, best = np.empty(count, np.uint8), np.empty(count, np.uint8)
    for pixel in range(count):
        background, score, first = scores[0, pixel], scores[1, pixel], 1
        for number in range(2, classes):
            if scores[number, pixel] > score:
                score, first = scores[number, pixel], number
        best[pixel] = first
        share = np.uint32(255) * np.uint32(score) // max(np.uint32(score) + np.uint32(background), np.uint32(1))
        if score > background:
            levels[pixel] = max(share, np.uint32(HALF + 1))
        else:
            levels[pixel] = min(share, np.uint32(HALF))
    return levels, best


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
