"""Outlines of pixels drawn over a layer. They are no layer, and nothing is saved of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.layers import Labels

from segloop._napari.marks import Marks

if TYPE_CHECKING:
    from segloop.catalog import Mask

ADD = "#5dff8f"
"""What a click would add."""

REMOVE = "#ff5c5c"
"""What a click would remove."""

SELECTED = "#ffffff"
"""What tools act on."""

UNDER = "#ff9df5"
"""Parts that lie under other objects."""


class Outlines(Marks):
    """Draws outlines of masks along the borders of their pixels, over one layer at a time.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer)
        self._edges: Any = None

    def outline(self, layer: Labels, masks: Sequence[Mask], color: str, rows_first: bool = True) -> None:
        """Show the outlines of masks, and nothing else; masks are of the plane on screen."""
        node = self._node(layer)
        parts = [outline_segments(mask) for mask in masks]
        segments = np.concatenate([np.empty((0, 2, 2)), *parts])
        if node is None or not len(segments):
            self.clear()
            return
        if self._edges is None or self._edges.parent is not node:
            self.clear()
            self._edges = _line(node)
        corners = self._placed(layer, segments.reshape(-1, 2))
        self._edges.set_data(corners if rows_first else corners[:, ::-1].copy(), color=color, connect="segments")

    def clear(self) -> None:
        """Show nothing any more."""
        super().clear()
        if self._edges is not None:
            self._edges.parent = None
        self._edges = None

    @property
    def shown(self) -> bool:
        """Whether there is an outline."""
        return self._edges is not None


def outline_segments(mask: Mask) -> np.ndarray:
    """The borders between pixels inside and outside: float (N, 2, 2), N lines from (row, column) to (row, column).

    Pixel (0, 0) has its centre at 0, 0.
    """
    padded = np.pad(mask.inside, 1)
    across = np.argwhere(padded[1:] != padded[:-1])
    down = np.argwhere(padded[:, 1:] != padded[:, :-1])
    corner = np.array([mask.area.rows.start, mask.area.columns.start]) - 1
    level = across[:, None] + np.array([[0.5, -0.5], [0.5, 0.5]])
    upright = down[:, None] + np.array([[-0.5, 0.5], [0.5, 0.5]])
    segments: np.ndarray = np.concatenate([level, upright]) + corner
    return segments


def _line(node: Any) -> Any:
    from vispy.scene.visuals import Line

    line = Line(parent=node, width=2.5, method="gl", antialias=True)
    line.order = 999
    line.set_gl_state("translucent", depth_test=False)
    return line
