"""Marks drawn over a layer while a tool is used: points and a line. They are no layer, and nothing is saved of them."""

from __future__ import annotations

from typing import Any

import napari
import numpy as np
from napari.layers import Layer

COLOR = "#ffe14d"
"""Seen on dark images and on labels of nearly any colour."""


class Marks:
    """Draws over one layer at a time, in the pixels of its last two dimensions.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._points: Any = None
        self._line: Any = None

    def show(self, layer: Layer, points: np.ndarray, line: np.ndarray) -> None:
        """Show points, float (N, 2), and a line through float (M, 2): Y and X, in pixels of ``layer``."""
        node = self._node(layer)
        if node is None:
            return
        if self._points is None or self._points.parent is not node:
            self.clear()
            self._make(node)
        self._points.visible = len(points) > 0
        if len(points):
            self._points.set_data(
                self._placed(layer, points), face_color=COLOR, edge_color="black", edge_width=1.5, size=11
            )
        self._line.visible = len(line) > 1
        if len(line) > 1:
            self._line.set_data(self._placed(layer, line), color=COLOR)

    def clear(self) -> None:
        """Show nothing any more."""
        for visual in (self._points, self._line):
            if visual is not None:
                visual.parent = None
        self._points = self._line = None

    def _node(self, layer: Layer) -> Any:
        window = getattr(self._viewer, "window", None)
        if window is None:
            return None
        visual = window._qt_viewer.canvas.layer_to_visual.get(layer)
        return None if visual is None else visual.node

    def _make(self, node: Any) -> None:
        from vispy.scene.visuals import Line, Markers

        self._points, self._line = Markers(parent=node), Line(parent=node, width=3, method="agg")
        for order, visual in ((1001, self._points), (1000, self._line)):
            visual.order = order
            visual.set_gl_state("translucent", depth_test=False)

    @staticmethod
    def _placed(layer: Layer, corners: np.ndarray) -> np.ndarray:
        # textures of a layer too large for the graphics card are coarser than its pixels
        scale = np.asarray(layer._transforms["tile2data"].scale)[-2:]
        return np.asarray((np.asarray(corners, float) + 0.5) / scale, np.float32)[:, ::-1].copy()
