"""A Labels layer of classes whose scores are kept: a threshold and the person decide together what it shows."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.painted import Painted
from segloop._napari.redrawn import Redrawn

if TYPE_CHECKING:
    from segloop.live_classes import LiveClasses


class LiveClassLayer:
    """Joins a layer to the scores that it was made from.

    What the threshold draws is no edit: it is not in the layer's undo history, which stays a person's own. Moving it
    back is its undo.

    Parameters
    ----------
    layer : Labels
        In memory. Not kept alive.
    live : LiveClasses
        Of the shape of the layer's data.
    """

    def __init__(self, layer: Labels, live: LiveClasses) -> None:
        self._layer = weakref.ref(layer)
        self.live = live
        self.start = live.threshold
        self._painted = Painted(layer)
        self._before: np.ndarray | None = None

    def close(self) -> None:
        """Let go of the layer."""
        self._painted.close()

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
        return layer is not None and isinstance(layer.data, np.ndarray) and layer.data.shape == self.live.shape

    def keep_reviewed(self, mask: np.ndarray | None) -> None:
        """Let nothing change where a person painted, or looked everything through.

        Parameters
        ----------
        mask : bool, the shape of the layer's data, or None for nowhere
        """
        painted = self._painted.mask
        held = painted if mask is None else mask if painted is None else painted | mask
        self._before = self.layer.data.copy()
        if self.live.hold(held, self.layer.data) is not None:
            self._show()

    def move(self, threshold: float) -> bool:
        """Let the threshold act; returns whether any pixel changed. What was done is kept until :meth:`settle`."""
        changed = self.live.move(threshold, self.layer.data) is not None
        if changed:
            self._show()
        return changed

    def settle(self) -> tuple[Redrawn, ...]:
        """What was drawn since the last time; the table of classes is brought up to date."""
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
        layer = self.layer
        table = features.by_label(layer.features)
        areas = np.bincount(layer.data.ravel())
        rows: dict[int, features.Row | None] = {
            number: {**dict(table.iloc[place]), "area": int(areas[number]) if number < len(areas) else 0}
            for place, number in enumerate(table["index"].astype(int).tolist())
        }
        layer.features = features.with_rows(table, rows)

    def _show(self) -> None:
        self.layer.refresh(extent=False, thumbnail=False, highlight=False)
