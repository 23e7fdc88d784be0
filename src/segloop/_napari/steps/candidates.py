"""Candidates: thresholds that act at once on the layer that is looked at."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from segloop._napari.live_layer import LiveLayer
from segloop._napari.panels.candidates import ThresholdPanel
from segloop._napari.steps.live import LiveStep
from segloop._napari.steps.step import guarded, timer

LARGEST_AREA = 98
"""The slider of the smallest area ends at this percentile of the areas of the candidates."""


class ThresholdStep(LiveStep[LiveLayer]):
    """Joins the threshold sliders to the viewer."""

    def __init__(self, panel: ThresholdPanel, *args: Any) -> None:
        super().__init__(panel, args[0].live, *args)
        self.panel = panel
        panel.moved.connect(self._on_moved)
        panel.reset_requested.connect(self.reset)
        self._recount = timer(self, 50, self._on_recount)
        self._followed: weakref.WeakSet[Any] = weakref.WeakSet()

    def show_live(self, live: LiveLayer) -> None:
        """Show where the thresholds of a layer are."""
        if live.layer not in self._followed:
            # the table follows each edit, and each that is taken back
            live.layer.events.features.connect(self._on_edited)
            self._followed.add(live.layer)
        now = live.live.thresholds
        found, start = live.live.candidates, live.start
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        areas = 0.8 * sides.prod(axis=1)
        self.panel.show_thresholds(
            (now.score, now.overlap, now.min_area, now.outline),
            (start.score, start.overlap, start.min_area, start.outline),
            float(found.scores.min(initial=1)),
            int(np.percentile(areas, LARGEST_AREA)) if len(areas) else 1,
        )
        self._count(live)

    def release(self) -> None:
        """Follow the layers no longer; called when the dock is gone."""
        super().release()
        for layer in self._followed:
            layer.events.features.disconnect(self._on_edited)
        self._followed.clear()

    def chosen(self, live: LiveLayer) -> dict[str, Any]:
        """The thresholds as exports name them."""
        now = live.live.thresholds
        return {"score": now.score, "overlap": now.overlap, "min_area": now.min_area, "outline": now.outline}

    @guarded
    def reset(self) -> None:
        """Go back to the thresholds of the run."""
        if self.live is not None:
            start = self.live.start
            self._on_moved(start.score, start.overlap, start.min_area, start.outline)
            self.show_live(self.live)

    @guarded
    def _on_moved(self, score: float, overlap: float, min_area: int, outline: float) -> None:
        live = self.live
        if live is None:
            return
        self.prepare(live)
        live.move(type(live.start)(score, overlap, min_area, outline))
        self._count(live)

    def _on_edited(self, event: Any = None) -> None:
        self._recount.start()

    @guarded
    def _on_recount(self) -> None:
        if self.live is not None:
            self._count(self.live)

    def _count(self, live: LiveLayer) -> None:
        ledger = self.session.ledgers.get(live.layer)
        shown = live.live.shown if ledger is None else live.shown(ledger.index.area)
        text = f"{shown} of {len(live.live)} candidates"
        self.panel.show_count(text if live.live.complete else f"{text}; the layer cannot hold more numbers")
