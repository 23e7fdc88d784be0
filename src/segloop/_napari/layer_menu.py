"""A button with a menu of layers, several of which can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QMenu, QPushButton, QSizePolicy, QStyle, QStyleOptionButton, QStylePainter


class LayerMenu(QPushButton):
    """Shows the names of the layers chosen; a click opens a menu with all of them. One is always chosen."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._layers: list[Any] = []
        self._always: Any = None
        self._names = ""
        self._menu = QMenu(self)
        self.setMenu(self._menu)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_layers(self, layers: Sequence[Any], always: Any, chosen: Sequence[Any]) -> None:
        """Offer layers, in their order. Nothing is emitted.

        Parameters
        ----------
        layers : sequence of layers
        always : layer
            The one of them that cannot be left out.
        chosen : sequence of layers
            Those of them that are chosen; ``always`` is, in any case.
        """
        self._layers, self._always = list(layers), always
        self._menu.clear()
        for layer in layers:
            action = self._menu.addAction(layer.name)
            action.setCheckable(True)
            action.setChecked(layer is always or any(layer is other for other in chosen))
            action.setEnabled(layer is not always)
            action.triggered.connect(self._on_triggered)
        self._show_names()

    def current(self) -> list[Any]:
        """Return the layers chosen, in their order."""
        return [layer for layer, action in zip(self._layers, self._menu.actions()) if action.isChecked()]

    def text(self) -> str:
        """Return what is written on the button, not shortened."""
        return self._names

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the button; names that are too long are shortened in their middle."""
        option = QStyleOptionButton()
        self.initStyleOption(option)
        painter = QStylePainter(self)
        indicator = self.style().pixelMetric(QStyle.PixelMetric.PM_MenuButtonIndicator, option, self)
        option.text = self.fontMetrics().elidedText(
            self._names, Qt.TextElideMode.ElideMiddle, self.width() - indicator - 16
        )
        painter.drawControl(QStyle.ControlElement.CE_PushButton, option)

    def _on_triggered(self) -> None:
        self._show_names()
        self.chosen.emit(self.current())

    def _show_names(self) -> None:
        names = [layer.name for layer in self.current()]
        self._names = " + ".join(names)
        self.setToolTip("\n".join(f"Channel {number}: {name}" for number, name in enumerate(names)))
        self.update()
