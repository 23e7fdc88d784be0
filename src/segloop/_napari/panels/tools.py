"""The tools of the Correct panel: a compact grid of buttons, each with its key."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QGridLayout,
    QHeaderView,
    QInputDialog,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from segloop._napari.choosers import Chooser
from segloop._napari.fields import SPACING, button
from segloop._napari.tools import MORE_KEYS, TOOLS, Group, Use, show_key

NEW_CLASS = "New class …"
COLUMNS = 12
"""Of the grid: two, three and four buttons share out a row evenly."""


class ToolGrid(QWidget):
    """Buttons for all tools, the class of the selected object, undo, and the table of keys."""

    pressed = Signal(str)
    toggled = Signal(str, bool)
    class_chosen = Signal(str)
    undo_requested = Signal()
    redo_requested = Signal()
    range_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        self.classes = Chooser("")
        self.classes.setToolTip("The class of the selected objects. Key: C for the next one.")
        self.classes.setAccessibleName("Class")
        self.all_slices = QCheckBox("Tools act on all slices")
        self.all_slices.setToolTip(
            "Ticked: tools change an object on all its slices.\nNot ticked: on the slice on screen only."
        )
        self.undo = button("Undo", "Take back the last edit of this layer.\nKey: Ctrl+Z")
        self.redo = button("Redo", "Do the edit again.\nKey: Ctrl+Shift+Z")
        self.keys = button("Keys …", "All keys, in a table.")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(SPACING - 2)
        for row, group in enumerate((Group.OBJECT, Group.SHAPE, Group.PARTS, Group.SLICES)):
            tools = [tool for tool in TOOLS if tool.group is group]
            span = COLUMNS // len(tools)
            for place, tool in enumerate(tools):
                made = self.buttons[tool.name] = button(tool.title, tool.tip, "tool")
                made.setCheckable(tool.use is Use.CLICKS)
                made.setMinimumWidth(30)
                grid.addWidget(made, row, place * span, 1, span)
        grid.addWidget(self.all_slices, 4, 0, 1, COLUMNS)
        self._class_name = QLabel("Class")
        grid.addWidget(self._class_name, 5, 0, 1, 2)
        grid.addWidget(self.classes, 5, 2, 1, COLUMNS - 2)
        for place, made in enumerate((self.undo, self.redo, self.keys)):
            made.setProperty("role", "tool")
            grid.addWidget(made, 6, place * 4, 1, 4)
        self._connect()
        self.show_stack(False)
        self.show_classes([], None)

    def _connect(self) -> None:
        for tool in TOOLS:
            made = self.buttons.get(tool.name)
            if made is None:
                continue
            if tool.use is Use.CLICKS:
                made.toggled.connect(lambda active, name=tool.name: self.toggled.emit(name, active))
            else:
                made.clicked.connect(lambda _=False, name=tool.name: self.pressed.emit(name))
        self.undo.clicked.connect(self.undo_requested)
        self.redo.clicked.connect(self.redo_requested)
        self.keys.clicked.connect(self.show_keys)
        self.all_slices.toggled.connect(self.range_changed)
        self.classes.chosen.connect(self._on_class)

    def show_active(self, name: str) -> None:
        """Show which tool has the mouse; "" for none. Nothing is emitted."""
        for tool in TOOLS:
            if tool.use is Use.CLICKS:
                with QSignalBlocker(self.buttons[tool.name]):
                    self.buttons[tool.name].setChecked(tool.name == name)

    def show_stack(self, stack: bool) -> None:
        """Show what is for stacks only, or hide it."""
        for tool in TOOLS:
            if tool.group is Group.SLICES:
                self.buttons[tool.name].setVisible(stack)
        self.all_slices.setVisible(stack)

    def show_classes(self, names: list[str], current: str | None) -> None:
        """Show the classes that the selected object can have; None: no object is selected."""
        self.classes.show_items([*names, NEW_CLASS] if names else [], [*names, NEW_CLASS], current)
        self.classes.setEnabled(bool(names) and current is not None)

    def show_usable(self, reasons: Mapping[str, str], undo: bool) -> None:
        """Allow the tools, but those for which there is a reason not to, by name; the reason is their tooltip."""
        for tool in TOOLS:
            made = self.buttons.get(tool.name)
            if made is not None:
                reason = reasons.get(tool.name, "")
                made.setEnabled(not reason)
                made.setToolTip(f"{tool.tip}\n\n{reason}" if reason else tool.tip)
        for made in (self.undo, self.redo):
            made.setEnabled(undo)

    def show_keys(self) -> QDialog:
        """Open the table of keys."""
        dialog = KeyTable(self)
        dialog.show()
        return dialog

    def _on_class(self, name: str) -> None:
        if name == NEW_CLASS:
            name, accepted = QInputDialog.getText(self, "New class", "Name of the class:")
            if not accepted or not name.strip():
                return
        self.class_chosen.emit(name.strip())


class KeyTable(QDialog):
    """All keys for corrections, SegLoop's and napari's."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("SegLoop: keys")
        rows = [(show_key(tool.key), tool.title.strip("◂▸ "), tool.help) for tool in TOOLS]
        rows += MORE_KEYS
        self.table = QTableWidget(len(rows), 3)
        self.table.setHorizontalHeaderLabels(["Key", "Tool", "What it does"])
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setWordWrap(True)
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                self.table.setItem(row, column, QTableWidgetItem(text))
        header = self.table.horizontalHeader()
        for column in (0, 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("These keys work while the Labels layer is selected and the canvas has the keyboard."))
        layout.addWidget(self.table)
        self.resize(640, 620)
