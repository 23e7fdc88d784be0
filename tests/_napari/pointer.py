"""A person's hand on the canvas: clicks, strokes and keys as Qt delivers them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

LEFT, NO_BUTTON = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton


class Hand:
    """Points at pixels of a layer.

    Parameters
    ----------
    viewer : napari.Viewer
        Shown.
    qtbot : QtBot
    """

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self._viewer, self._qtbot = viewer, qtbot

    @property
    def canvas(self) -> Any:
        return self._viewer.window._qt_viewer.canvas.native

    def click(self, layer: Any, y: float, x: float, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        """Click on a pixel with the left button."""
        place = self._place(layer, y, x)
        self._send(QEvent.Type.MouseMove, place, NO_BUTTON, NO_BUTTON, modifier)
        self._send(QEvent.Type.MouseButtonPress, place, LEFT, LEFT, modifier)
        self._send(QEvent.Type.MouseButtonRelease, place, LEFT, NO_BUTTON, modifier)

    def drag(self, layer: Any, *corners: tuple[float, float], steps: int = 8) -> None:
        """Draw with the left button held, from corner to corner."""
        places = [self._place(layer, *corner) for corner in corners]
        self._send(QEvent.Type.MouseMove, places[0], NO_BUTTON, NO_BUTTON)
        self._send(QEvent.Type.MouseButtonPress, places[0], LEFT, LEFT)
        for start, end in itertools.pairwise(places):
            for share in np.linspace(0, 1, steps + 1)[1:]:
                self._send(QEvent.Type.MouseMove, start * (1 - share) + end * share, NO_BUTTON, LEFT)
        self._send(QEvent.Type.MouseButtonRelease, places[-1], LEFT, NO_BUTTON)

    def key(self, key: Any, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        """Press a key while the canvas has the keyboard."""
        self.canvas.setFocus()
        self._qtbot.keyClick(self.canvas, key, modifier)
        QApplication.processEvents()

    def _place(self, layer: Any, y: float, x: float) -> np.ndarray:
        QApplication.processEvents()
        node = self._viewer.window._qt_viewer.canvas.layer_to_visual[layer].node
        return np.asarray(node.get_transform("visual", "canvas").map([x + 0.5, y + 0.5])[:2])

    def _send(
        self, kind: Any, place: Any, button: Any, held: Any, modifier: Any = Qt.KeyboardModifier.NoModifier
    ) -> None:
        local = QPointF(float(place[0]), float(place[1]))
        event = QMouseEvent(kind, local, self.canvas.mapToGlobal(local), button, held, modifier)
        QApplication.sendEvent(self.canvas, event)
        QApplication.processEvents()
