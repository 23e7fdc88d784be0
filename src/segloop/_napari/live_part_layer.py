"""A Labels layer of objects parted from scores that are kept: thresholds and the person decide what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.live_score_layer import LiveScoreLayer
from segloop._napari.touched import Touched

if TYPE_CHECKING:
    from segloop.live_parts import LiveParts, PartThresholds

MODEL = "model"


class LivePartLayer(LiveScoreLayer["LiveParts"]):
    """Joins a layer to the scores that its objects were parted from; ``class_name`` is that of the objects."""

    def __init__(self, layer: Labels, live: LiveParts, class_name: str) -> None:
        super().__init__(layer, live)
        self.start = live.start
        self._class = class_name
        self._touched = Touched(layer)
        self._held: set[int] = set()
        self._taken = 0

    def close(self) -> None:
        """Let go of the layer."""
        super().close()
        self._touched.close()

    def keep_reviewed(self, mask: np.ndarray | None) -> None:
        """Let nothing change where a person painted or looked everything through, and no object that she touched.

        Parameters
        ----------
        mask : bool, the shape of the layer's data, or None for nowhere
        """
        data, table = self.layer.data, self.layer.features
        self.begin()
        held = self._touched.labels()
        if "index" in table and "origin" in table:
            held |= {int(label) for label in table["index"][table["origin"] != MODEL]}
        if mask is not None and mask.any():
            held |= {int(number) for number in np.unique(data[mask]) if number}
        self._taken = int(data.max(initial=0))
        lookup = np.zeros(self._taken + 1, bool)
        lookup[[label for label in held if 0 < label <= self._taken]] = True
        shut: np.ndarray | None = lookup[data] if lookup.any() else None
        for more in (self._painted.mask, mask):
            if more is not None:
                shut = more.copy() if shut is None else shut | more
        self._held = held
        self.live.hold(shut, held)

    def move(self, thresholds: PartThresholds) -> bool:
        """Let thresholds act; returns whether any pixel changed. What was done is kept until :meth:`settle`."""
        layer = self.layer
        changed = self.live.move(thresholds, layer.data, self._taken) is not None
        if changed:
            self.show()
        return changed

    def update_table(self) -> None:
        """The objects of the model anew, and those that a person touched as they are."""
        import pandas as pd

        layer, shown = self.layer, self.live.table()
        table = features.by_label(layer.features)
        # also what she painted since they began to move
        held = self._held | self._touched.labels()
        own = table[table["index"].isin(held)]
        if held != self._held:
            areas = np.bincount(layer.data.ravel(), minlength=1 + max(held, default=0))
            own = own.assign(area=areas[own["index"]])
            own = own[own["area"] > 0]
        rows = {number: row for number, row in shown.items() if number not in held}
        numbers = np.fromiter(rows, np.int64, len(rows))
        made = pd.DataFrame(
            {
                "index": numbers,
                "label": numbers,
                "class": self._class,
                "score": [score for score, _ in rows.values()],
                "area": np.fromiter((area for _, area in rows.values()), np.int64, len(rows)),
                "origin": MODEL,
                "reviewed": False,
            }
        )
        joined = pd.concat([part for part in (made, own) if len(part)] or [made], ignore_index=True)
        layer.features = joined.sort_values("index", ignore_index=True)
