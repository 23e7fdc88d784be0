"""Pace: how long a person takes for a region, and how long the rest will take at that."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from segloop._napari.jobs import in_words

FEWEST = 3
"""Regions that must be done before anything is said."""

LONGEST = 120.0
"""Seconds: who takes longer over a region is likely to have gone for a coffee."""


class Pace:
    """Takes the time of each region.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: list[float] = []
        self._shown = clock()

    def start(self) -> None:
        """A region is shown."""
        self._shown = self._clock()

    def stop(self) -> None:
        """The region is done."""
        self._taken.append(min(LONGEST, self._clock() - self._shown))

    def left(self, regions: int) -> str:
        """Return how long so many regions will take, in words, by the median so far; "" after too few to tell."""
        if len(self._taken) < FEWEST or not regions:
            return ""
        return in_words(median(self._taken) * regions)
