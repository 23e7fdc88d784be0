"""Classes: a threshold that acts at once on the layer that is looked at."""

from __future__ import annotations

import logging
import time
from typing import Any

import napari.layers
import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QApplication

from segloop._napari.history import is_being_painted
from segloop._napari.live_class_layer import LiveClassLayer
from segloop._napari.live_strip_layer import LiveStripLayer
from segloop._napari.panels.classes import ClassThresholdPanel
from segloop._napari.steps.live import SETTLED, LiveStep
from segloop._napari.steps.step import guarded, timer

logger = logging.getLogger(__name__)

AT_ONCE, A_WHILE = 0.03, 0.02
"""Seconds for which a large layer is drawn at a move of the slider, and at a time after it."""


TELLING = 0.25
"""Seconds, while a person waits, until she is told again how far it is."""


class ClassThresholdStep(LiveStep[LiveClassLayer | LiveStripLayer]):
    """Joins the slider of the class threshold to the viewer."""

    waiting = Signal(str)

    def __init__(self, panel: ClassThresholdPanel, *args: Any) -> None:
        super().__init__(panel, args[0].live_classes, *args)
        self.panel = panel
        panel.moved.connect(self._on_moved)
        panel.reset_requested.connect(self.reset)
        self._rest_of_it: LiveStripLayer | None = None
        self._going_on = timer(self, 0, self._go_on)

    def show_live(self, live: LiveClassLayer | LiveStripLayer) -> None:
        """Show where the threshold of a layer is."""
        self.panel.show_threshold(live.live.threshold, live.start)
        self._count(live)

    def chosen(self, live: LiveClassLayer | LiveStripLayer) -> dict[str, Any]:
        """The threshold as exports name it."""
        return {"class": live.live.threshold}

    @guarded
    def reset(self) -> None:
        """Go back to the threshold of the run."""
        if self.live is not None:
            self._on_moved(self.live.start)
            self.show_live(self.live)

    def release(self) -> None:
        """Draw and tell what is left, since nobody will go on with it; called when the dock is gone."""
        super().release()
        try:
            self._complete()
        except Exception as error:
            logger.error("a class threshold was not drawn to its end", exc_info=error)

    def bring_up_to_date(self, layer: napari.layers.Labels) -> None:
        """Have all drawn and told that the threshold is still to draw of a layer.

        Raises
        ------
        Exception
            Whatever kept some of it from being drawn.
        """
        super().bring_up_to_date(layer)
        live = self._joined.get(layer)
        if isinstance(live, LiveStripLayer) and live.fits and (live is self._rest_of_it or not live.is_done):
            self._follow(live)
            self._complete()

    @guarded
    def _on_moved(self, threshold: float) -> None:
        live = self.live
        if live is None:
            return
        if not isinstance(live, LiveStripLayer):
            self._finish_other(live)
            self.prepare(live)
            live.move(threshold)
        else:
            self._follow(live)
            live.move(threshold)
            if live.is_full:
                # room for what is on screen
                self._tell(live, 0)
            self._step(live, AT_ONCE)
            self._going_on.start(0)
        self._count(live)

    def _use(self, layer: napari.layers.Labels | None) -> None:
        another = layer is not self._layer
        super()._use(layer)
        live = self.live
        if another and isinstance(live, LiveStripLayer) and live.fits and not live.is_done:
            # it was let go: by an error, or when it was taken out of the viewer
            self._follow(live)

    def _follow(self, live: LiveStripLayer) -> None:
        """Draw a large layer from now on, a while at a time, also when another layer is looked at."""
        if live is self._rest_of_it:
            return
        self._finish_other(live)
        self.prepare(live)
        # it settles when all is drawn
        self._settled.stop()
        self._rest_of_it = live
        self._going_on.start(0)

    @guarded
    def _finish_other(self, live: LiveClassLayer | LiveStripLayer) -> None:
        """Complete another layer that is still being drawn: one moves at a time."""
        if self._rest_of_it is not live:
            self._complete()

    def _complete(self) -> None:
        """Draw and tell all that is left, while the person waits and sees how far it is."""
        begun = told = time.monotonic()
        try:
            while (live := self._rest_of_it) is not None:
                self._step(live, A_WHILE)
                if time.monotonic() - told > TELLING and self._rest_of_it is not None:
                    if told == begun:
                        QApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)
                    told = time.monotonic()
                    self.waiting.emit(f"The threshold is drawn to its end first: {live.done:.0%} …")
        finally:
            if told != begun:
                QApplication.restoreOverrideCursor()
                self.say("")

    @guarded
    def _go_on(self) -> None:
        live = self._rest_of_it
        if live is None:
            return
        if live.fits and is_being_painted(live.layer):
            # what it would draw could be under the brush
            self._going_on.start(SETTLED)
            return
        was_due = live.live.is_due
        try:
            self._step(live, A_WHILE)
        finally:
            if live is self.live:
                self._count(live)
        if self._rest_of_it is not None:
            # time to paint, and to move the slider on, before all of it is told
            self._going_on.start(SETTLED if was_due and not live.live.is_due else 0)

    def _step(self, live: LiveStripLayer, seconds: float) -> None:
        """Draw some more of a large layer; when all is drawn, tell others of it, strip by strip."""
        try:
            if not live.fits or live.layer not in self.watch or self._joined.get(live.layer) is not live:
                self._let_go()
            elif live.live.is_due and not live.is_full:
                live.advance(self.viewer, seconds)
            elif not live.is_done:
                self._tell(live, seconds)
            else:
                self._rest_of_it = None
                self.settle(live)
                if live is not self.live:
                    live.rest()
        except Exception:
            self._let_go()
            raise

    def _tell(self, live: LiveStripLayer, seconds: float) -> None:
        """Tell others of what was drawn for about so long, of a strip at least."""
        until = time.monotonic() + seconds
        while (drawn := live.tell()) is not None:
            self.session.redrawn.emit(live.layer, (drawn,))
            if time.monotonic() > until:
                break

    def _let_go(self) -> None:
        self._rest_of_it, self._moving = None, False

    def _count(self, live: LiveClassLayer | LiveStripLayer) -> None:
        if isinstance(live, LiveStripLayer):
            text = f"{live.share:.1%} is not background"
            ended = "" if live is self._rest_of_it else ", then stopped"
            self.panel.show_count(f"{live.done:.0%} done{ended}: {text}" if live.live.is_due else text)
            return
        data = live.layer.data
        self.panel.show_count(f"{np.count_nonzero(data) / max(1, data.size):.1%} is not background")
