"""Docking: where a dock of SegLoop's opens in napari's window."""

from __future__ import annotations

from functools import partial
from typing import Any

import napari
from qtpy.QtCore import QObject, QRect, Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from segloop._napari.steps.step import timer

ROOM = 480
"""Screen pixels that the picture keeps; where less would be left, a dock floats."""


def show_models(viewer: napari.Viewer, beside: QWidget) -> Any:
    """Open the dock "Models", or bring it to the front, so that the dock that holds ``beside`` stays in sight.

    It opens between the picture and that dock; in a narrow window it floats over the picture.
    """
    own = _dock_of(beside)
    taken = 0 if own is None else own.width()
    window = None if own is None else own.parentWidget()
    before = [] if window is None else window.findChildren(QDockWidget)
    dock, panel = viewer.window.add_plugin_dock_widget("napari-segloop", "Models")
    # one that is there already stays where a person put it
    if own is not None and isinstance(window, QMainWindow) and dock not in before:
        width = max(panel.sizeHint().width(), panel.minimumWidth())
        picture = window.centralWidget()
        if picture is not None and picture.width() - width < ROOM:
            place = own.mapToGlobal(own.rect().topLeft())
            dock.setFloating(True)
            dock.setGeometry(QRect(place.x() - width - 8, place.y() + 24, width, own.height() - 32))
        else:
            # napari put it below
            window.splitDockWidget(dock, own, Qt.Orientation.Horizontal)
            # once the window is laid out anew: before, it gives room to neither
            resize = partial(window.resizeDocks, [dock, own], [width, taken], Qt.Orientation.Horizontal)
            timer(own, 0, resize).start()
            dock.visibilityChanged.connect(_GivingBack(own).on_visible)
    # it may be there already, closed, or behind another one
    dock.show()
    dock.raise_()
    return panel


class _GivingBack(QObject):
    """Gives the picture back what another dock had, once that is closed; goes with the dock that it keeps narrow."""

    def __init__(self, own: QDockWidget) -> None:
        super().__init__(own)
        self._own, self._width = own, own.width()
        self._closed = timer(self, 0, self._resize)

    def on_visible(self, visible: bool) -> None:
        """Take note that the other dock is shown, or hidden."""
        if not visible:
            # still as wide as beside it
            self._width = self._own.width()
            self._closed.start()

    def _resize(self) -> None:
        window = self._own.parentWidget()
        if isinstance(window, QMainWindow) and self._own.isVisible() and self._own.width() > self._width:
            window.resizeDocks([self._own], [self._width], Qt.Orientation.Horizontal)


def _dock_of(widget: QWidget) -> QDockWidget | None:
    owner: QWidget | None = widget
    while owner is not None and not isinstance(owner, QDockWidget):
        owner = owner.parentWidget()
    return owner
