"""A Labels layer of objects parted from scores that are kept: thresholds and the person decide what it shows."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.painted import Painted
from segloop._napari.redrawn import Redrawn
from segloop._napari.touched import Touched

if TYPE_CHECKING:
    from segloop.live_parts import LiveParts, PartThresholds

MODEL = "model"


class LivePartLayer:
    """Joins a layer to the scores that its objects were parted from.

    What thresholds draw is no edit: it is not in the layer's undo history, which stays a person's own. Moving a
    threshold back is its undo.

    Parameters
    ----------
    layer : Labels
        In memory. Not kept alive.
    live : LiveParts
        Of the layer's data as they are now.
    class_name : str
        Of the objects.
    """

    def __init__(self, layer: Labels, live: LiveParts, class_name: str) -> None:
        self._layer = weakref.ref(layer)
        self.live, self.start = live, live.start
        self._class = class_name
        self._shape = tuple(layer.data.shape)
        self._painted, self._touched = Painted(layer), Touched(layer)
        self._before: np.ndarray | None = None
        self._held: set[int] = set()
        self._taken = 0

    def close(self) -> None:
        """Let go of the layer."""
        self._painted.close()
        self._touched.close()

    @property
    def layer(self) -> Labels:
        """The layer."""
        layer = self._layer()
        if layer is None:
            raise ReferenceError("the layer of these scores is gone")
        return layer

    @property
    def fits(self) -> bool:
        """Whether the layer still has the shape that its scores are for."""
        layer = self._layer()
        if layer is None or not isinstance(layer.data, np.ndarray) or not layer.data.flags.c_contiguous:
            return False
        return layer.data.shape == self._shape

    def keep_reviewed(self, mask: np.ndarray | None) -> None:
        """Let nothing change where a person painted or looked everything through, and no object that she touched.

        Parameters
        ----------
        mask : bool, the shape of the layer's data, or None for nowhere
        """
        data, table = self.layer.data, self.layer.features
        self._before = data.copy()
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
            layer.refresh(extent=False, thumbnail=False, highlight=False)
        return changed

    def settle(self) -> tuple[Redrawn, ...]:
        """What was drawn since the last time; the table of objects is brought up to date."""
        before, self._before = self._before, None
        data = self.layer.data
        if before is None:
            return ()
        rows = np.flatnonzero((before != data).any(axis=tuple(range(1, data.ndim))))
        if not len(rows):
            return ()
        # whole rows: the sides do not matter, and finding them takes as long again
        box = (slice(int(rows[0]), int(rows[-1]) + 1), *(slice(0, n) for n in data.shape[1:]))
        self._update_table()
        return (Redrawn(box, before[box], data[box].copy()),)

    def _update_table(self) -> None:
        import pandas as pd

        layer, shown = self.layer, self.live.table()
        table = features.by_label(layer.features)
        own = table[table["index"].isin(self._held)]
        rows = {number: row for number, row in shown.items() if number not in self._held}
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
