"""Combo boxes that choose a layer or a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QStyle, QStyleOptionComboBox, QStylePainter

from segloop._napari.session import UNNAMED
from segloop.store import ModelInfo


class Chooser(QComboBox):
    """A combo box over Python objects, which can be filled anew without losing what is chosen.

    Parameters
    ----------
    nothing : str
        Shown when there is nothing to choose from.
    """

    chosen = Signal(object)

    def __init__(self, nothing: str) -> None:
        super().__init__()
        self._nothing = nothing
        self._items: list[Any] = []
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.activated.connect(self._on_activated)
        self.show_items([], [], None)

    def show_items(self, items: Sequence[Any], names: Sequence[str], current: Any, tips: Sequence[str] = ()) -> None:
        """Show other items. Nothing is emitted.

        Parameters
        ----------
        items : sequence
            What can be chosen.
        names, tips : sequence of str
            The text of each item, and its tooltip.
        current : object
            The item that is chosen; the first one if it is not among them.
        """
        with QSignalBlocker(self):
            self.clear()
            self._items = list(items)
            self.addItems(list(names) if items else [self._nothing])
            for number, tip in enumerate(tips):
                self.setItemData(number, tip, Qt.ItemDataRole.ToolTipRole)
            self.setEnabled(bool(items))
            place = next((n for n, item in enumerate(self._items) if item is current or item == current), 0)
            self.setCurrentIndex(place)

    def current(self) -> Any:
        """Return the item chosen, or None if there is nothing to choose from."""
        return self._items[self.currentIndex()] if self._items else None

    def items(self) -> list[Any]:
        """Return all items."""
        return list(self._items)

    def paintEvent(self, event: Any) -> None:
        """Draw the box; a name that is too long is shortened in its middle, since names often differ at the end."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        room = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, room.width() - 2
        )
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the dock: scrolling over a combo box must not choose something else."""
        event.ignore()

    def _on_activated(self, *_: int) -> None:
        self.chosen.emit(self.current())


class ModelChooser(Chooser):
    """Chooses a model by name."""

    opening = Signal()

    def __init__(self) -> None:
        super().__init__("No model installed")

    def showPopup(self) -> None:
        """Tell that the list is about to be seen, so that models made elsewhere can be shown, too."""
        self.opening.emit()
        super().showPopup()

    def show_models(self, models: Sequence[ModelInfo], current: str) -> None:
        """Show the models, each with what it finds."""
        self.show_items(
            [info.name for info in models],
            [info.name for info in models],
            current,
            [describe_model(info) for info in models],
        )


def describe_model(info: ModelInfo) -> str:
    """Say in a sentence or two what a model finds and where it comes from."""
    if info.task == "instance":
        # a model of one unnamed class has nothing to say of it
        named = "" if info.classes == UNNAMED else f" ({', '.join(info.classes)})"
        found = f"Finds single objects{named}."
    else:
        found = f"Gives every pixel a class ({', '.join(info.classes)})."
    channels = (
        "grey or colour images"
        if info.channels == 3
        else f"images of {info.channels} channel{'s' * (info.channels > 1)}"
    )
    where = "bundled with SegLoop" if info.bundled else f"your own, version {info.version}"
    parent = f", fine-tuned from {info.parent}" if info.parent else ""
    return f"{found} For {channels}; {where}{parent}."
