"""Classes: a threshold that acts at once on the layer that is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from segloop._napari.live_class_layer import LiveClassLayer
from segloop._napari.panels.classes import ClassThresholdPanel
from segloop._napari.steps.live import LiveStep
from segloop._napari.steps.step import guarded


class ClassThresholdStep(LiveStep[LiveClassLayer]):
    """Joins the slider of the class threshold to the viewer."""

    def __init__(self, panel: ClassThresholdPanel, *args: Any) -> None:
        super().__init__(panel, args[0].live_classes, *args)
        self.panel = panel
        panel.moved.connect(self._on_moved)
        panel.reset_requested.connect(self.reset)

    def show_live(self, live: LiveClassLayer) -> None:
        """Show where the threshold of a layer is."""
        self.panel.show_threshold(live.live.threshold, live.start)
        self._count(live)

    def chosen(self, live: LiveClassLayer) -> dict[str, Any]:
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
        self._count(live)

    def _count(self, live: LiveClassLayer) -> None:
        data = live.layer.data
        self.panel.show_count(f"{np.count_nonzero(data) / max(1, data.size):.1%} is not background")
