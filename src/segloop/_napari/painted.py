"""Which pixels a person's edits gave a value, whatever value; what was undone does not count."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from napari.layers import Labels

from segloop._napari.history import Item, key_of, staged_item, undo_items


class Painted:
    """Follows the edits of one layer through its undo history, in which steps come, are undone, and are forgotten.

    Parameters
    ----------
    layer : Labels
        Not kept alive.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = weakref.ref(layer)
        self._shape = layer.data.shape
        self._known = undo_items(layer)
        # steps that the history has no room for any more: they cannot be undone
        self._forgotten: np.ndarray | None = None
        layer.events.paint.connect(self._on_paint)

    def close(self) -> None:
        """Follow no longer."""
        layer = self._layer()
        if layer is not None:
            layer.events.paint.disconnect(self._on_paint)

    @property
    def mask(self) -> np.ndarray | None:
        """The pixels: bool, the shape of the layer's data; None if nothing was painted."""
        layer = self._layer()
        items = [] if layer is None else [*undo_items(layer), *filter(None, [staged_item(layer)])]
        if not items:
            return self._forgotten
        mask = np.zeros(self._shape, bool) if self._forgotten is None else self._forgotten.copy()
        for item in items:
            _mark(mask, item)
        return mask

    def _on_paint(self, event: Any = None) -> None:
        layer = self._layer()
        if layer is None:
            return
        now = undo_items(layer)
        if self._known and len(now) == layer._undo_history.maxlen and key_of(self._known[0]) != key_of(now[0]):
            if self._forgotten is None:
                self._forgotten = np.zeros(self._shape, bool)
            _mark(self._forgotten, self._known[0])
        self._known = now


def _mark(mask: np.ndarray, item: Item) -> None:
    for atom in item:
        if not hasattr(atom, "slice_key"):
            mask[tuple(atom[0])] = True
        elif atom.mask is None:
            mask[atom.slice_key] = True
        else:
            mask[atom.slice_key] |= atom.mask
