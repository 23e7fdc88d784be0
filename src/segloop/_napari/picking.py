"""Tools with which objects are added from the canvas: pointing at candidates, and drawing boxes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from napari.layers import Labels

from segloop._napari.marks import Marks
from segloop._napari.pointing import Click, Clicking, Pointing

SLIP = 4.0
"""Pixels on the screen; a box that is smaller is a click."""


class Picking(Clicking):
    """Tells which pixel the pointer is over, and of clicks.

    Parameters
    ----------
    marks : Marks
    moved : callable
        Called with the pixel, one number for each dimension of the layer.
    clicked : callable
        Called with the click.
    """

    def __init__(
        self, marks: Marks, moved: Callable[[tuple[int, ...]], None], clicked: Callable[[Click], None]
    ) -> None:
        super().__init__(marks, clicked)
        self._moved = moved

    def start(self, layer: Labels) -> None:
        """Take the mouse on ``layer``."""
        super().start(layer)
        layer.mouse_move_callbacks.append(self._on_move)

    def stop(self) -> None:
        """Give the mouse back to napari."""
        if self.layer is not None:
            self.layer.mouse_move_callbacks.remove(self._on_move)
        super().stop()

    def _on_move(self, layer: Labels, event: Any) -> None:
        self._moved(tuple(int(n) for n in np.rint(layer.world_to_data(event.position))))


class Boxing(Pointing):
    """Tells of boxes that are drawn, and of clicks.

    Parameters
    ----------
    marks : Marks
    drawn : callable
        Called with two corners of the box, float (2, D), in pixels of the layer; with twice the same for a click.
    """

    pans = False

    def __init__(self, marks: Marks, drawn: Callable[[np.ndarray], None]) -> None:
        super().__init__(marks)
        self._drawn = drawn

    def _on_drag(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        if event.button != 1:
            return
        start, pressed = np.asarray(layer.world_to_data(event.position)), np.asarray(event.pos, float)
        end, moved = start, 0.0
        yield
        while event.type == "mouse_move":
            end = np.asarray(layer.world_to_data(event.position))
            moved = float(np.abs(np.asarray(event.pos) - pressed).max())
            (y0, x0), (y1, x1) = start[-2:], end[-2:]
            self.marks.show(layer, np.empty((0, 2)), np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0], [y0, x0]]))
            yield
        self.marks.clear()
        self._drawn(np.stack([start, end if moved > SLIP else start]))
