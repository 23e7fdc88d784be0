"""Progress of long work, on stderr: a bar in a terminal, elsewhere a line now and then while a model learns."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Any

from segloop.cli.reports import note, tell
from segloop.events import EpochDone, Event, Notice, Scored, SegmentStarted, TileDone, TrainingStarted

SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Shows events as they come; call it with each one, inside ``with``.

    Parameters
    ----------
    title : str
    of_image : bool
        The title is the name of an image, of which notices tell: it stands before those that do not name it.
    quiet : bool
        Neither bar nor lines. Notices are always written.
    """

    def __init__(self, title: str, quiet: bool = False, of_image: bool = False) -> None:
        self._title = title
        self._of_image = of_image
        self._visible = sys.stderr.isatty() and not quiet
        self._lines = not self._visible and not quiet
        self._told = -math.inf
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> ProgressBar:
        if self._visible:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:g}/{task.total:g}{task.fields[more]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Notice(message=message):
                note(f"{self._title}: {message}" if self._of_image and self._title not in message else message)
            case SegmentStarted(tiles=tiles):
                self._start(tiles)
            case TileDone(done=done, tiles=tiles, expected=expected, at_seams=at_seams):
                self._show(done, "  objects at seams" if at_seams else "", total=tiles + expected)
            case TrainingStarted(epochs=epochs):
                self._start(epochs)
                self._tell_now_and_then("training")
            case EpochDone(epoch=epoch, loss=loss, score=score):
                held_out = "" if math.isnan(score) else f", held out {score:.3f}"
                self._show(epoch, f"  loss {loss:.3f}{held_out}")
                self._tell_now_and_then(f"epoch {epoch}, loss {loss:.3f}{held_out}")
            case Scored(stage=stage, score=score):
                self._write(f"{self._title}: held-out score {stage} {score:.3f}")

    def _start(self, total: float) -> None:
        if self._progress is not None:
            self._task = self._progress.add_task(self._title, total=total, more="")

    def _show(self, done: float, more: str = "", total: float | None = None) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, **({"more": more} if more else {}))

    def _tell_now_and_then(self, text: str) -> None:
        if self._lines and time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            tell(f"{self._title}: {text}")

    def _write(self, text: str) -> None:
        if self._progress is not None:
            self._progress.console.print(text)
