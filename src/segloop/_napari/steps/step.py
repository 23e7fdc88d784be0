"""What all steps share: the way to the status line, and that no error leaves the dock dead."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import napari
import napari.layers
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from segloop._napari.jobs import Job, Work, explain
from segloop._napari.session import Session
from segloop._napari.watch import LayerWatch
from segloop.errors import SegloopError

logger = logging.getLogger(__name__)


class Step(QObject):
    """One step of the loop.

    Parameters
    ----------
    session : Session
    viewer : napari.Viewer
    watch : LayerWatch
        Of ``viewer``.
    parent : QObject
        Owns the step, and with it its jobs.
    """

    said = Signal(str, str)

    def __init__(self, session: Session, viewer: napari.Viewer, watch: LayerWatch, parent: QObject) -> None:
        super().__init__(parent)
        self.session = session
        self.viewer = viewer
        self.watch = watch

    def say(self, text: str, role: str = "hint") -> None:
        """Write into the status line, as "hint", "good", "warning", "error", or "over" for what was cancelled."""
        self.said.emit(text, role)

    def fail(self, error: Exception) -> None:
        """Tell the user of an error in the status line; as a notification of napari's where that is not seen.

        What was not foreseen is a notification in any case.
        """
        text, foreseen = explain(error), isinstance(error, SegloopError)
        if not foreseen:
            logger.error("unexpected error", exc_info=error)
        self.say(text, "error")
        if not (foreseen and self._is_seen()):
            show_error(text)

    def _is_seen(self) -> bool:
        """Whether the dock is on screen, and not behind another one."""
        owner: QObject | None = self
        while owner is not None and not isinstance(owner, QWidget):
            owner = owner.parent()
        return owner is not None and owner.isVisible() and not owner.visibleRegion().isEmpty()

    def finished_labels(self) -> list[napari.layers.Labels]:
        """Return the viewer's Labels layers, the topmost first, without scribbles and what a run is still drawing."""
        hidden = (self.session.unfinished, self.session.scribbles)
        return [n for n in self.watch.of_type(napari.layers.Labels) if not any(n in layers for layers in hidden)]

    def begin(
        self, title: str, work: Work, done: Callable[[Any], None], event: Callable[[Any], None] | None = None
    ) -> Job:
        """Start a job; ``done`` gets its result, errors are told to the user."""
        job = Job(title, work, self)
        job.done.connect(done)
        job.failed.connect(self.fail)
        if event is not None:
            job.happened.connect(event)
        job.start()
        return job


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Tell the user of any error in a slot of a step, instead of letting it escape into Qt."""

    @functools.wraps(method)
    def slot(self: Step, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            self.fail(error)

    return slot


def timer(parent: QObject, milliseconds: int, slot: Callable[[], None]) -> QTimer:
    """Return a timer that calls ``slot`` once, so long after it was last started."""
    made = QTimer(parent)
    made.setSingleShot(True)
    made.setInterval(milliseconds)
    made.timeout.connect(slot)
    return made
