"""Jobs: long work beside the window.

A job runs a generator of events in another thread and tells of it by Qt signals, which arrive in the main
thread. It is told to stop by closing the generator between two events. The generator must not touch a layer,
a widget or the session: it gets frozen copies.
"""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import WorkerBase, WorkerBaseSignals
from napari.utils import progress
from qtpy.QtCore import QObject, QThreadPool, Signal

from segloop._napari.llvm import keep_triton_out
from segloop.errors import SegloopError
from segloop.events import Event, SegmentStarted, TileDone

LONGEST_WAIT = 2.0
"""Seconds for which work waits at most for the window."""

Work = Callable[[], Generator[Event, None, Any]]


@dataclass(frozen=True, slots=True)
class Done:
    """The work ended; ``result`` is what the generator returned."""

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The work ended with an error."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The work was told to stop, and the generator is closed."""


class EventWorkerSignals(WorkerBaseSignals):
    """The worker's signals; they cross from its thread to the main thread."""

    happened = Signal(object)
    ended = Signal(object)


class EventWorker(WorkerBase[None]):
    """Runs a generator of events to its end, or until it is told to quit.

    superqt's own generator worker returns RuntimeErrors silently (torch's out-of-memory and shape errors are
    RuntimeErrors) and leaves the generator open when told to quit.

    Parameters
    ----------
    work : callable
        Makes the generator; called in the worker's thread, so that slow imports happen there.
    """

    def __init__(self, work: Work) -> None:
        super().__init__(SignalsClass=EventWorkerSignals)
        self._work = work
        self.told_to_stop = threading.Event()
        self.bar_is_made = threading.Event()

    def quit(self) -> None:
        """Tell the work to stop at its next event."""
        super().quit()
        self.told_to_stop.set()
        self.bar_is_made.set()

    def run(self) -> None:
        """Run the work; called by Qt in the worker's thread.

        The base class wraps the work into ``warnings.catch_warnings``, which is process-wide: two workers
        that overlap would leave the filters of the one that ended last but began first. So it is not called
        here.
        """
        pool = QThreadPool.globalInstance()
        # training lasts minutes: it must not take one of the pool's few threads from everyone else
        pool.releaseThread()
        self._running = True
        try:
            outcome = self.work()
        finally:
            self._running = False
            pool.reserveThread()
        # when the program is ending, Qt has deleted the signals, and there is nobody left to tell; an error that
        # left this method would abort the process
        with suppress(RuntimeError):
            self.signals.ended.emit(outcome)
            self.signals.finished.emit()
            self.signals._finished.emit(self)

    def work(self) -> Done | Failed | Cancelled:
        """Drain the generator and say how it ended; every exception becomes a ``Failed``."""
        try:
            with closing(self._work()) as events:
                while not self.told_to_stop.is_set():
                    try:
                        event = next(events)
                    except StopIteration as stop:
                        return Done(stop.value)
                    self.signals.happened.emit(event)
                    if isinstance(event, SegmentStarted):
                        # beside a network at work it would take napari several times as long, and be felt
                        self.bar_is_made.wait(LONGEST_WAIT)
            return Cancelled()
        except Exception as error:
            return Cancelled() if self.told_to_stop.is_set() else Failed(error)


class Job(QObject):
    """One piece of work, seen from the main thread.

    Tiles are counted in napari's activity dock. Epochs are not: each step of napari's bar lays out the whole window
    anew, and a training has a bar of its own.

    Exactly one of ``done``, ``failed`` and ``cancelled`` is emitted, then ``ended``. Nothing is emitted once
    the job (or its parent) is deleted; the work is then told to stop.

    Parameters
    ----------
    title : str
        Shown in napari's activity dock while tiles are counted.
    work : callable
        Makes the generator of events.
    parent : QObject
        Owns the job: when it goes, the work stops.
    """

    happened = Signal(object)
    done = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, title: str, work: Work, parent: QObject) -> None:
        super().__init__(parent)
        self.title = title
        self.is_running = False
        self._activity: progress | None = None
        self._steps = 0
        self._advancing = False
        self._worker = EventWorker(work)
        self._worker.signals.happened.connect(self._on_event)
        self._worker.signals.ended.connect(self._on_ended)
        self._stop = self._worker.told_to_stop
        self._made = self._worker.bar_is_made
        # not the worker's method: Qt has deleted the worker when its last events are still on their way here
        self._deleted = threading.Event()
        self.destroyed.connect(self._stop.set)
        self.destroyed.connect(self._made.set)
        self.destroyed.connect(self._deleted.set)

    def start(self) -> None:
        """Start the work."""
        keep_triton_out()
        self.is_running = True
        self._worker.start()

    def cancel(self) -> None:
        """Tell the work to stop at its next event."""
        self._worker.quit()

    def _on_event(self, event: Event) -> None:
        if self._stop.is_set() or self._deleted.is_set():
            return
        self.happened.emit(event)
        match event:
            case SegmentStarted(tiles=total):
                self._open_activity(total)
                self._made.set()
            case TileDone(tiles=tiles, expected=expected):
                self._advance_activity(tiles + expected)

    def _on_ended(self, outcome: Done | Failed | Cancelled) -> None:
        if self._deleted.is_set():
            return
        self.is_running = False
        self._close_activity()
        # closing the bar lets Qt events in
        if self._deleted.is_set():
            return
        match outcome:
            case Done(result) if not self._stop.is_set():
                self.done.emit(result)
            case Failed(error):
                self.failed.emit(error)
            case _:
                self.cancelled.emit()
        self.ended.emit()
        self.deleteLater()

    def _open_activity(self, total: int) -> None:
        self._close_activity()
        # tqdm would print a bar to the terminal too, and fail where there is none
        activity = progress(total=total, desc=self.title, file=io.StringIO())
        # making the bar lets Qt events in as well: short work may have ended, and the job be deleted, meanwhile
        if self._deleted.is_set() or not self.is_running:
            activity.close()
            return
        self._activity = activity
        # a dock that is closed while the work runs must not leave a bar behind
        self.destroyed.connect(self._activity.close)

    def _advance_activity(self, total: int) -> None:
        # napari's bar lets Qt events in when it moves: this may be called again from within itself, or the job deleted
        self._steps += 1
        if self._advancing:
            return
        self._advancing = True
        if self._activity is not None and self._activity.total != total:
            self._activity.total = total
        while self._steps and self._activity is not None and not self._deleted.is_set():
            steps, self._steps = self._steps, 0
            self._activity.update(steps)
        self._advancing = False

    def _close_activity(self) -> None:
        if self._activity is not None:
            self.destroyed.disconnect(self._activity.close)
            self._activity.close()
            self._activity = None


class Countdown:
    """Time left, from the time that the steps so far have taken."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def left(self, done: int, total: int, limit: float = math.inf) -> str:
        """Return the time left in words, such as "12 s left"; "" when there is nothing to go by yet.

        Parameters
        ----------
        done, total : int
            Steps.
        limit : float
            Seconds from the start after which the work ends in any case.
        """
        elapsed = time.monotonic() - self._start
        if not done or elapsed < 1:
            return ""
        return f"{in_words(max(0, min(elapsed / done * (total - done), limit - elapsed)))} left"


def in_words(seconds: float) -> str:
    """Write a duration for people: "0.4 s", "12 s", "3 min", "1 h 20 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def explain(error: Exception) -> str:
    """Say what went wrong in one line for the user; errors that are not SegLoop's are named by their type."""
    text = " ".join(str(error).split())
    if isinstance(error, SegloopError) and text:
        return text
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return "There was not enough memory. Close other programs, or choose a smaller tile under Advanced settings."
    return f"Unexpected error ({type(error).__name__}): {text or 'no further description'}"
