"""A Labels layer of classes whose scores are kept: a threshold and the person decide together what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.live_score_layer import LiveScoreLayer

if TYPE_CHECKING:
    from segloop.live_classes import LiveClasses


class LiveClassLayer(LiveScoreLayer["LiveClasses"]):
    """Joins a layer of classes to the scores that it was made from."""

    def __init__(self, layer: Labels, live: LiveClasses) -> None:
        super().__init__(layer, live)
        self.start = live.threshold

    def keep_reviewed(self, mask: np.ndarray | None) -> None:
        """Let nothing change where a person painted, or looked everything through.

        Parameters
        ----------
        mask : bool, the shape of the layer's data, or None for nowhere
        """
        painted = self._painted.mask
        held = painted if mask is None else mask if painted is None else painted | mask
        self.begin()
        if self.live.hold(held, self.layer.data) is not None:
            self.show()

    def move(self, threshold: float) -> bool:
        """Let the threshold act; returns whether any pixel changed. What was done is kept until :meth:`settle`."""
        changed = self.live.move(threshold, self.layer.data) is not None
        if changed:
            self.show()
        return changed

    def update_table(self) -> None:
        """Areas of the classes."""
        layer = self.layer
        table = features.by_label(layer.features)
        areas = np.bincount(layer.data.ravel())
        rows: dict[int, features.Row | None] = {
            number: {**dict(table.iloc[place]), "area": int(areas[number]) if number < len(areas) else 0}
            for place, number in enumerate(table["index"].astype(int).tolist())
        }
        layer.features = features.with_rows(table, rows)
