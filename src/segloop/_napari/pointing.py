"""Tools that work by clicks and strokes on the canvas. One at a time has the mouse; napari gets it back after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from segloop._napari.marks import Marks

NO_POINTS = np.empty((0, 2))


@dataclass(frozen=True, eq=False)
class Click:
    """A click on a Labels layer.

    Parameters
    ----------
    number : int
        The object under the pointer; 0 for background.
    position : tuple of int
        The pixel, one number for each dimension of the layer.
    modifiers : frozenset of str
        Keys held, such as "Shift".
    """

    number: int
    position: tuple[int, ...]
    modifiers: frozenset[str] = frozenset()


class Pointing(ABC):
    """A tool that has the mouse while it is active; it ends by itself when another mode of the layer is chosen.

    Parameters
    ----------
    marks : Marks
    """

    ended = Signal()
    pans = True
    """Whether dragging moves the camera meanwhile."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.layer: Labels | None = None

    @property
    def active(self) -> bool:
        """Whether it has the mouse."""
        return self.layer is not None

    def start(self, layer: Labels) -> None:
        """Take the mouse on ``layer``."""
        self.stop()
        for other in tools_on(layer):
            other.stop()
        layer.mode = "pan_zoom"
        layer.mouse_pan = self.pans
        self.layer = layer
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.events.mode.connect(self._on_mode)

    def stop(self) -> None:
        """Give the mouse back to napari."""
        layer, self.layer = self.layer, None
        if layer is None:
            return
        layer.mouse_drag_callbacks.remove(self._on_drag)
        layer.events.mode.disconnect(self._on_mode)
        if layer.mode == "pan_zoom":
            layer.mouse_pan = True
        self.marks.clear()
        self.ended.emit()

    @abstractmethod
    def _on_drag(self, layer: Labels, event: Any) -> Generator[None, None, None]: ...

    def _on_mode(self, event: Any = None) -> None:
        if self.layer is not None and self.layer.mode != "pan_zoom":
            self.stop()


class Clicking(Pointing):
    """Calls ``clicked`` for each click with the left button that is no drag.

    Parameters
    ----------
    marks : Marks
    clicked : callable
        Called with the click.
    """

    def __init__(self, marks: Marks, clicked: Callable[[Click], None]) -> None:
        super().__init__(marks)
        self._clicked = clicked

    def _on_drag(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        yield from watch_click(layer, event, self._clicked)


class Stroking(Pointing):
    """Calls ``drawn`` with each line that is drawn.

    Parameters
    ----------
    marks : Marks
    drawn : callable
        Called with the line, float (N, D), N ≥ 2: pixels of the layer.
    """

    pans = False

    def __init__(self, marks: Marks, drawn: Callable[[np.ndarray], None]) -> None:
        super().__init__(marks)
        self._drawn = drawn

    def _on_drag(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        if event.button != 1:
            return
        line = [np.asarray(layer.world_to_data(event.position))]
        yield
        while event.type == "mouse_move":
            point = np.asarray(layer.world_to_data(event.position))
            if np.abs(point - line[-1]).max() > 0:
                line.append(point)
                self.marks.show(layer, NO_POINTS, np.array(line)[:, -2:])
            yield
        self.marks.clear()
        if len(line) > 1:
            self._drawn(np.array(line))


def tools_on(layer: Labels) -> list[Pointing]:
    """Return the tools that have the mouse on a layer: one at most, but while another takes it."""
    owners = (getattr(callback, "__self__", None) for callback in layer.mouse_drag_callbacks)
    return [owner for owner in owners if isinstance(owner, Pointing)]


def watch_click(layer: Labels, event: Any, clicked: Callable[[Click], None]) -> Generator[None, None, None]:
    """Call ``clicked`` if what began with this event turns out to be a click of the left button, not a drag."""
    if event.button != 1:
        return
    start, dragged = np.asarray(event.pos, float), False
    yield
    while event.type == "mouse_move":
        # a hand that clicks moves a little
        dragged = dragged or float(np.abs(np.asarray(event.pos) - start).max()) > 3
        yield
    if dragged:
        return
    value = layer.get_value(
        event.position, view_direction=event.view_direction, dims_displayed=event.dims_displayed, world=True
    )
    position = tuple(int(n) for n in np.rint(layer.world_to_data(event.position)))
    modifiers = frozenset(getattr(key, "name", str(key)) for key in event.modifiers)
    clicked(Click(int(value or 0), position, modifiers))
