"""What was edited in a Labels layer, by whatever tool: learned from napari's undo history and events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Labels

from segloop.corrections.journal_blocks import Blocks


class Touch:
    """Keeps count of the blocks of one layer that were edited and are still to be copied.

    Every edit of napari's, and every one by ``data_setitem``, is a step in the layer's undo history before anything
    else is heard of it; undoing moves steps. So the history is compared with what it was. A stroke that is still being
    drawn is in the history's stage. What is written into the array past the history can only be suspected, when the
    layer is drawn anew.

    Parameters
    ----------
    layer : Labels
        Not multiscale.
    """

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self.blocks = Blocks(tuple(int(n) for n in layer.data.shape), np.dtype(layer.data.dtype).str)
        self.touched: dict[int, None] = {}
        self.is_replaced = False
        self.suspected_at: float | None = None
        self.has_new_table = False
        self._data = layer.data
        self._steps = _steps(layer)
        self._staged: list[Any] = []
        layer.events.paint.connect(self._on_paint)
        layer.events.data.connect(self._on_data)
        layer.events.set_data.connect(self._on_drawn)
        layer.events.labels_update.connect(self._on_drawn)
        layer.events.features.connect(self._on_features)

    def close(self) -> None:
        """Listen no longer."""
        events = self.layer.events
        events.paint.disconnect(self._on_paint)
        events.data.disconnect(self._on_data)
        events.set_data.disconnect(self._on_drawn)
        events.labels_update.disconnect(self._on_drawn)
        events.features.disconnect(self._on_features)

    def forget(self) -> None:
        """Take the layer as it is for what there is."""
        self.blocks = Blocks(tuple(int(n) for n in self.layer.data.shape), np.dtype(self.layer.data.dtype).str)
        self.touched.clear()
        self.is_replaced = self.has_new_table = False
        self.suspected_at = None
        self._data = self.layer.data
        self._steps, self._staged = _steps(self.layer), []

    def look(self) -> int:
        """Look for edits since the last time; return how many steps were made, undone or done again."""
        before, now = self._steps, _steps(self.layer)
        for number in before.keys() ^ now.keys():
            self._touch(before.get(number) or now[number])
        self._steps = now
        staged = list(getattr(self.layer, "_staged_history", ()))
        known, held = {id(atom) for atom in self._staged}, {id(atom) for atom in staged}
        self._touch([atom for atom in staged if id(atom) not in known])
        if not known <= held:
            # drawn to its end, or given up: then the pixels are what they were before
            self._touch(self._staged)
        self._staged = staged
        return len(now.keys() - before.keys())

    @property
    def is_drawing(self) -> bool:
        """Whether a stroke was not at its end when it was last looked for."""
        return bool(self._staged)

    def copy(self, numbers: Sequence[int]) -> dict[int, np.ndarray]:
        """Copy blocks as they are now."""
        data = self.layer.data
        return {number: np.array(data[self.blocks.place(number)]) for number in numbers}

    def _touch(self, item: Sequence[Any]) -> None:
        for atom in item:
            box = getattr(atom, "slice_key", None)
            found = self.blocks.touching(box) if box is not None else self.blocks.holding(atom[0])
            self.touched.update(dict.fromkeys(found))

    def _on_paint(self, event: Any) -> None:
        # the history has room for a hundred steps, and a script may take more between two looks
        self._touch(event.value)

    def _on_data(self, event: Any = None) -> None:
        if self.layer.data is self._data:
            self._on_drawn()
        else:
            self.is_replaced = True

    def _on_drawn(self, event: Any = None) -> None:
        if self.suspected_at is None:
            self.suspected_at = time.monotonic()

    def _on_features(self, event: Any = None) -> None:
        self.has_new_table = True


def _steps(layer: Labels) -> dict[int, Any]:
    """The steps of the undo history by identity; napari makes a new object of each that it moves."""
    return {id(item): item for item in (*layer._undo_history, *layer._redo_history)}
