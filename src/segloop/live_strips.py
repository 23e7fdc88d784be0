"""Live strips: a class image too large to follow a threshold at once, brought up to date strip by strip."""

from __future__ import annotations

from functools import partial

import numpy as np

from segloop.candidates import ClassScores
from segloop.catalog import Area
from segloop.live_classes import LiveClasses

MOST_OPEN = 48
"""So many strips of up to a megapixel, two bytes for each pixel, stay unpacked while a threshold moves."""


class LiveStrips:
    """What :class:`segloop.live_classes.LiveClasses` does, for strips of the planes of a class image.

    Scores are read from where they are kept, in memory or in a file, one strip at a time. After :meth:`move` the caller
    brings up to date what is :attr:`due`, in any order and as fast as he likes; the result does not depend on it.

    Parameters
    ----------
    found : ClassScores
        Of P planes or volumes. Packed in the beginning, which takes a while.
    """

    def __init__(self, found: ClassScores) -> None:
        found.pack()
        width = found.shape[-1]
        self.strips: tuple[Area, ...] = tuple(
            Area(plane, rows, slice(0, width)) for plane, rows in found.strip_places()
        )
        """Planes are counted as ``ClassScores.plane`` does."""
        self._live = [
            LiveClasses(partial(found.strip, number), (area.rows.stop - area.rows.start, width))
            for number, area in enumerate(self.strips)
        ]
        self.threshold = 0.5
        """Where the threshold is, in (0, 1)."""
        self._due: set[int] = set()
        self._open: dict[int, None] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held beside the scores while nothing moves."""
        return sum(live.nbytes for live in self._live)

    @property
    def is_due(self) -> bool:
        """Whether some strips are not up to date."""
        return bool(self._due)

    def due(self, plane: int, row: int) -> list[int]:
        """Numbers of the strips that are not up to date, those near a row of a plane first."""

        def distance(number: int) -> tuple[int, int]:
            area = self.strips[number]
            return abs(area.plane - plane), max(area.rows.start - row, row - area.rows.stop + 1, 0)

        return sorted(self._due, key=distance)

    def warm_up(self) -> None:
        """Have everything compiled: the first move is not to wait."""
        if self._live:
            self._live[0].warm_up()

    def move(self, threshold: float) -> None:
        """Move the threshold in (0, 1); all strips that are not where it is are due."""
        self.threshold = threshold
        self.look_again()

    def look_again(self) -> None:
        """Take note that other pixels are held now: all strips are due."""
        self._due = set(range(len(self.strips)))

    def update(self, number: int, data: np.ndarray, held: np.ndarray | None) -> tuple[slice, ...] | None:
        """Bring a strip up to date, in place.

        Parameters
        ----------
        number : int
        data : integers (rows, columns)
            The strip's pixels.
        held : bool (rows, columns) or None for nowhere
            Pixels that no threshold may change. Not to be changed afterwards.

        Returns
        -------
        tuple of slice or None
            The box in the strip that holds all that changed; None if nothing did.
        """
        live = self._live[number]
        freed = live.hold(held if held is not None and held.any() else None, data)
        moved = live.move(self.threshold, data)
        self._due.discard(number)
        if live.is_open:
            self._open.pop(number, None)
            self._open[number] = None
            while len(self._open) > MOST_OPEN:
                oldest = next(iter(self._open))
                del self._open[oldest]
                self._live[oldest].rest()
        boxes = [box for box in (freed, moved) if box is not None]
        if not boxes:
            return None
        return tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes))

    def rest(self) -> None:
        """Let go of what only moves need."""
        for number in self._open:
            self._live[number].rest()
        self._open.clear()
