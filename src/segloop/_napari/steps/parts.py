"""Parts: thresholds that part a semantic prediction anew, at once, on the layer that is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from segloop._napari.live_part_layer import LivePartLayer
from segloop._napari.panels.parts import PartThresholdPanel
from segloop._napari.steps.live import LiveStep
from segloop._napari.steps.step import guarded

LARGEST_AREA = 98
"""The slider of the smallest area ends at this percentile of the areas of the objects."""


class PartThresholdStep(LiveStep[LivePartLayer]):
    """Joins the sliders of parted objects to the viewer."""

    def __init__(self, panel: PartThresholdPanel, *args: Any) -> None:
        super().__init__(panel, args[0].live_parts, *args)
        self.panel = panel
        panel.moved.connect(self._on_moved)
        panel.reset_requested.connect(self.reset)

    def show_live(self, live: LivePartLayer) -> None:
        """Show where the thresholds of a layer are."""
        from segloop.live_parts import FOREGROUND, SEEDS

        now, start, areas = live.live.thresholds, live.start, live.live.areas
        self.panel.show_thresholds(
            (now.foreground, now.seeds, now.min_area),
            (start.foreground, start.seeds, start.min_area),
            (FOREGROUND, SEEDS),
            int(np.percentile(areas, LARGEST_AREA)) if len(areas) else 1,
        )
        self._count(live)

    def chosen(self, live: LivePartLayer) -> dict[str, Any]:
        """The thresholds as exports name them."""
        now = live.live.thresholds
        return {"foreground": now.foreground, "seeds": now.seeds, "min_area": now.min_area}

    @guarded
    def reset(self) -> None:
        """Go back to the thresholds of the run."""
        if self.live is not None:
            start = self.live.start
            self._on_moved(start.foreground, start.seeds, start.min_area)
            self.show_live(self.live)

    @guarded
    def _on_moved(self, foreground: float, seeds: float, min_area: int) -> None:
        live = self.live
        if live is None:
            return
        self.prepare(live)
        live.move(type(live.start)(foreground, seeds, min_area))
        self._count(live)

    def _count(self, live: LivePartLayer) -> None:
        shown = live.live.shown
        text = f"{shown} object{'s' * (shown != 1)} of the model"
        self.panel.show_count(text if live.live.complete else f"{text}; the layer cannot hold more numbers")
