"""The merge tool: click an object, then those that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari.layers import Labels
from psygnal import Signal


class MergeTool:
    """Merges objects by clicks on the canvas while it is active; the layer's own undo takes each merge back.

    Parameters
    ----------
    merge : callable
        Called with the layer, the object that stays and the object that joins it.
    """

    target_changed = Signal(int)

    def __init__(self, merge: Callable[[Labels, int, int], None]) -> None:
        self._merge = merge
        self._layer: Labels | None = None
        self._target = 0

    @property
    def active(self) -> bool:
        """Whether clicks merge."""
        return self._layer is not None

    def start(self, layer: Labels) -> None:
        """Let clicks on ``layer`` merge."""
        self.stop()
        self._layer, self._target = layer, 0
        layer.mode = "pan_zoom"
        layer.mouse_drag_callbacks.append(self._on_drag)

    def stop(self) -> None:
        """Give the clicks back to napari."""
        if self._layer is not None:
            self._layer.mouse_drag_callbacks.remove(self._on_drag)
            self._layer = None

    def click(self, number: int) -> None:
        """Take a click on an object: the first one is the object that stays, the others join it."""
        if self._layer is None or not number:
            return
        if not self._target:
            self._target = number
            self._layer.selected_label = number
            self.target_changed.emit(number)
        elif number != self._target:
            self._merge(self._layer, self._target, number)

    def _on_drag(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        dragged = False
        yield
        while event.type == "mouse_move":
            dragged = True
            yield
        if not dragged:
            value = layer.get_value(
                event.position,
                view_direction=event.view_direction,
                dims_displayed=event.dims_displayed,
                world=True,
            )
            self.click(int(value or 0))
