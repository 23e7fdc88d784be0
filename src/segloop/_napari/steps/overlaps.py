"""Overlaps: outlines of the parts of objects that lie under others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segloop._napari.layers import plane_on_screen
from segloop._napari.live_layer import LiveLayer
from segloop._napari.outlines import UNDER, Outlines
from segloop._napari.panels.candidates import CandidateTools
from segloop._napari.steps.step import Step, guarded, timer


class OverlapStep(Step):
    """Shows what is hidden on the plane on screen, while its button is down.

    Parameters
    ----------
    panel : CandidateTools
    live : callable
        Returns the candidates of the layer that is corrected, or None.
    *args
        As for ``Step``.
    """

    def __init__(self, panel: CandidateTools, live: Callable[[], LiveLayer | None], *args: Any) -> None:
        super().__init__(*args)
        self.panel, self._live = panel, live
        self._under = Outlines(self.viewer)
        self._redraw = timer(self, 100, self._show)
        panel.overlaps_toggled.connect(self._on_toggled)
        self.session.redrawn.connect(self.refresh)
        self.viewer.dims.events.current_step.connect(self.refresh)

    def release(self) -> None:
        """Leave nothing behind in the viewer; called when the dock is gone."""
        self.session.redrawn.disconnect(self.refresh)
        self.viewer.dims.events.current_step.disconnect(self.refresh)
        self._under.clear()

    def refresh(self, *_: Any) -> None:
        """Show what lies under others now, soon."""
        if self.panel.overlaps.isChecked():
            self._redraw.start()

    @guarded
    def _on_toggled(self, active: bool) -> None:
        self._under.clear()
        if active:
            self._show()

    @guarded
    def _show(self) -> None:
        live = self._live()
        if live is None or not self.panel.overlaps.isChecked():
            self._under.clear()
            return
        plane = plane_on_screen(self.viewer, live.layer, live.place.axes, live.place.shape)
        parts = live.overlaps((plane,))
        self._under.outline(live.layer, [part.mask for part in parts], UNDER, live.place.rows_first)
        count = len(parts)
        self.say(
            f"{count} {'object lies' if count == 1 else 'objects lie'} partly under others."
            if count
            else "No objects overlap here."
        )
