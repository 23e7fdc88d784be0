"""Candidates: thresholds that act at once, and the overlaps of objects, for the layer that is looked at."""

from __future__ import annotations

from typing import Any

import napari.layers
import numpy as np
from qtpy.QtCore import Signal

from segloop._napari import features
from segloop._napari.live_layer import LiveLayer
from segloop._napari.panels.candidates import ThresholdPanel
from segloop._napari.reviewed import region_mask
from segloop._napari.steps.step import Step, guarded, timer

SETTLED = 150
"""Milliseconds after the last move of a slider, when the table of objects follows."""

LARGEST_AREA = 98
"""The slider of the smallest area ends at this percentile of the areas of the candidates."""


class ThresholdStep(Step):
    """Joins the threshold sliders to the viewer."""

    shown = Signal()

    def __init__(self, panel: ThresholdPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self._layer: napari.layers.Labels | None = None
        self._ours = False
        self._settled = timer(self, SETTLED, self._settle)
        self._moving = False
        panel.moved.connect(self._on_moved)
        panel.reset_requested.connect(self.reset)
        self.watch.layers_changed.connect(self._on_layers)
        self.watch.active_changed.connect(self._on_active)

    @property
    def live(self) -> LiveLayer | None:
        """The layer that the sliders act on, with its candidates."""
        return None if self._layer is None else self.session.live.get(self._layer)

    @guarded
    def _on_layers(self) -> None:
        active = self.watch.active
        known = [layer for layer in self.finished_labels() if layer in self.session.live]
        self._use(active if active in known else self._layer if self._layer in known else next(iter(known), None))

    @guarded
    def _on_active(self, layer: Any) -> None:
        if isinstance(layer, napari.layers.Labels) and layer in self.watch:
            self._on_layers()

    def _use(self, layer: napari.layers.Labels | None) -> None:
        if layer is not self._layer:
            self.finish()
        self._layer = layer
        live = self.live
        self.panel.setVisible(live is not None)
        if live is not None:
            self._show(live)

    def _show(self, live: LiveLayer) -> None:
        now = live.live.thresholds
        found, start = live.live.candidates, live.start
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        areas = 0.8 * sides.prod(axis=1)
        self.panel.show_thresholds(
            (now.score, now.overlap, now.min_area),
            (start.score, start.overlap, start.min_area),
            float(found.scores.min(initial=1)),
            int(np.percentile(areas, LARGEST_AREA)) if len(areas) else 1,
        )
        self._count(live)

    def _count(self, live: LiveLayer) -> None:
        text = f"{live.live.shown} of {len(live.live)} candidates"
        self.panel.show_count(text if live.live.complete else f"{text}; the layer cannot hold more numbers")

    @guarded
    def reset(self) -> None:
        """Go back to the thresholds of the run."""
        if self.live is not None:
            start = self.live.start
            self._on_moved(start.score, start.overlap, start.min_area)
            self._show(self.live)

    @guarded
    def _on_moved(self, score: float, overlap: float, min_area: int) -> None:
        live = self.live
        if live is None:
            return
        if not self._moving:
            self._begin(live)
        live.move(type(live.start)(score, overlap, min_area))
        self._count(live)
        self._settled.start()

    def _begin(self, live: LiveLayer) -> None:
        """Look once, before sliders move, at what a person did."""
        self._moving = True
        layer = live.layer
        if ledger := self.session.ledgers.get(layer):
            ledger.flush()
        if not live.fits:
            raise ValueError(f"the layer {layer.name!r} has another shape than its candidates; segment the image again")
        regions = self.session.region_layer(layer)
        if layer in self.session.wholly_reviewed:
            live.keep_reviewed(np.ones(layer.data.shape, bool))
        else:
            live.keep_reviewed(region_mask(regions, layer.data.shape) if regions is not None else None)
        origin = self.session.origins[layer]
        self._ours = features.checksum(np.asarray(layer.data)) == origin.untouched

    def finish(self) -> None:
        """Bring what follows the pixels up to date now; called before they are used."""
        if self._settled.isActive():
            self._settled.stop()
            self._settle()

    @guarded
    def _settle(self) -> None:
        self._moving = False
        live = self.live
        if live is None:
            return
        layer, drawn = live.layer, live.settle()
        now = live.live.thresholds
        origin = self.session.origins[layer]
        chosen = {"score": now.score, "overlap": now.overlap, "min_area": now.min_area}
        provenance = {**origin.provenance, "thresholds": chosen}
        changes: dict[str, Any] = {"provenance": provenance}
        if self._ours:
            # what thresholds draw is the model's as much as what the run drew
            changes["untouched"] = features.checksum(np.asarray(layer.data))
        self.session.update_origin(layer, **changes)
        layer.metadata["segloop"] = provenance
        if drawn:
            self.session.redrawn.emit(layer, drawn)
        self.shown.emit()
