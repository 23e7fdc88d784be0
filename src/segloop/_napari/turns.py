"""Turns: what takes the main thread long, done in steps between which the window answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from qtpy.QtCore import QObject, QTimer

BETWEEN = 15
"""Milliseconds for the person, and for what is to be painted, between two steps."""


class Turns(QObject):
    """Calls functions one after the other, each in a turn of its own of the event loop.

    Parameters
    ----------
    parent : QObject
        When it goes, what is left is not done.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._steps: deque[Callable[[], object]] = deque()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(BETWEEN)
        self._timer.timeout.connect(self._next)

    @property
    def left(self) -> bool:
        """Whether there is something that was not done yet."""
        return bool(self._steps)

    def begin(self, steps: Iterable[Callable[[], object]]) -> None:
        """Do these after what is left: the first of them in the next turn."""
        self._steps.extend(steps)
        self._timer.start()

    def stop(self) -> None:
        """Forget what is left."""
        self._timer.stop()
        self._steps.clear()

    def _next(self) -> None:
        if self._steps:
            step = self._steps.popleft()
            if self._steps:
                self._timer.start()
            step()
