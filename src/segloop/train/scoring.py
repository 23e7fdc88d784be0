"""When a training is scored, and what is shown of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import numpy as np

from segloop.events import Event, FoundRegion, HeldOutFound
from segloop.train.fit import Clock
from segloop.train.held_out import HeldOutScores


class Scoring:
    """Scores often enough to draw a curve, and takes no more than about a tenth of the time."""

    def __init__(self, score: Callable[[], HeldOutScores], epochs: int, clock: Clock) -> None:
        self._score, self._epochs, self._clock = score, epochs, clock
        self.last: HeldOutScores | None = None
        self._ended, self._lasted = -math.inf, 0.0

    def due(self, epoch: int) -> bool:
        """Whether the epoch that ended is to be scored; the last one always is."""
        return epoch == self._epochs or self._clock() - self._ended >= 9 * self._lasted

    def score(self) -> float:
        """Score, and remember how long it took."""
        started = self._clock()
        self.last = self._score()
        self._ended = self._clock()
        self._lasted = self._ended - started
        return self.last.value


class Pictures:
    """What the last scoring saw: the regions with most to see, few enough to look at.

    ``kept`` are those shown "before" training and last, "after" it.
    """

    most = 4

    def __init__(self) -> None:
        self._regions: list[FoundRegion] = []
        self.kept: dict[str, tuple[FoundRegion, ...]] = {}

    def take(self, region: FoundRegion) -> None:
        """Remember what was found in a region."""
        self._regions.append(region)

    def shown(self, epoch: int) -> Generator[Event, None, None]:
        """Yield the regions, once, if there are any."""
        if self._regions:
            # the order does not depend on what was found: the same regions are seen in every epoch
            ordered = sorted(self._regions, key=lambda r: -np.count_nonzero(np.where(r.scored, r.reference, 0)))
            self._regions = []
            shown = tuple(ordered[: self.most])
            self.kept["after" if epoch else "before"] = shown
            yield HeldOutFound(epoch, shown)
