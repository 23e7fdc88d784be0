"""Classes: a threshold that acts at once on the layer that is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from segloop._napari.live_class_layer import LiveClassLayer
from segloop._napari.live_strip_layer import LiveStripLayer
from segloop._napari.panels.classes import ClassThresholdPanel
from segloop._napari.steps.live import SETTLED, LiveStep
from segloop._napari.steps.step import guarded, timer

AT_ONCE, A_WHILE = 0.03, 0.02
"""Seconds for which a large layer is drawn at a move of the slider, and at a time after it."""


class ClassThresholdStep(LiveStep[LiveClassLayer | LiveStripLayer]):
    """Joins the slider of the class threshold to the viewer."""

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

    @guarded
    def _on_moved(self, threshold: float) -> None:
        live = self.live
        if live is None:
            return
        self.prepare(live)
        live.move(threshold)
        if isinstance(live, LiveStripLayer):
            live.advance(self.viewer, AT_ONCE)
            self._settled.stop()
            self._rest_of_it = live
            self._going_on.start(0)
        self._count(live)

    def finish(self) -> None:
        """Draw and tell all that is left at once; called before another layer takes the place of this one."""
        while self._rest_of_it is not None:
            self._go_on()
        self._going_on.stop()
        super().finish()

    @guarded
    def _go_on(self) -> None:
        """Draw some more of a large layer; when all is drawn, tell others of it, strip by strip."""
        live = self._rest_of_it
        if live is None or not live.fits or self._joined.get(live.layer) is not live:
            self._rest_of_it = None
        elif live.live.is_due:
            live.advance(self.viewer, A_WHILE)
            # time to paint, and to move the slider on
            self._going_on.start(0 if live.live.is_due else SETTLED)
        elif not live.is_done:
            drawn = live.tell()
            if drawn is not None:
                self.session.redrawn.emit(live.layer, (drawn,))
            self._going_on.start(0)
        else:
            self._rest_of_it = None
            self.settle(live)
        if live is not None and live is self.live:
            self._count(live)

    def _count(self, live: LiveClassLayer | LiveStripLayer) -> None:
        if isinstance(live, LiveStripLayer):
            text = f"{live.share:.1%} is not background"
            self.panel.show_count(f"{live.done:.0%} done: {text}" if live.live.is_due else text)
            return
        data = live.layer.data
        self.panel.show_count(f"{np.count_nonzero(data) / max(1, data.size):.1%} is not background")
