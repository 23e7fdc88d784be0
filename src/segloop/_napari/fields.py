"""Rows of a form: a label, an input, and below it the reason when the input cannot be used."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from segloop._napari.theme import LABEL_WIDTH, MARGIN, SPACING


def set_property(widget: QWidget, name: str, value: str) -> None:
    """Set a property that the style sheet looks at, and let the style take note of it."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        # one that was never shown is given its style then, and a dock consists of a hundred
        if widget.testAttribute(Qt.WidgetAttribute.WA_WState_Polished):
            widget.style().unpolish(widget)
            widget.style().polish(widget)


class TextLabel(QLabel):
    """Text that wraps, can be selected, and takes no room when empty.

    Parameters
    ----------
    role : str
        Colour: "hint", "over", "reason", "error", "good", "warning", "heading" or "" for ordinary text.
    """

    def __init__(self, role: str = "hint", text: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setIndent(0)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        set_property(self, "role", role)
        self.show_text(text)

    def show_text(self, text: str, role: str = "") -> None:
        """Show ``text``, in another role if given; an empty text hides the label."""
        if role:
            set_property(self, "role", role)
        self.setText(text)
        if text and self.isWindow():
            # not put into a panel yet, with which it is shown; alone it would be a window of its own for a moment
            self.setAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        else:
            self.setVisible(bool(text))


class Field(QWidget):
    """One input of a form.

    Parameters
    ----------
    label : str
        Short; "" for an input that explains itself.
    editor : QWidget
        The input.
    help : str
        Tooltip of label and input.
    beside : QWidget, optional
        A small button right of the input.
    """

    def __init__(self, label: str, editor: QWidget, help: str, beside: QWidget | None = None) -> None:
        super().__init__()
        self.editor = editor
        self._name = QLabel(label)
        self._name.setFixedWidth(LABEL_WIDTH)
        self._name.setWordWrap(True)
        self._name.setIndent(0)
        self._reason = TextLabel("reason")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(SPACING)
        grid.setVerticalSpacing(2)
        if label:
            grid.addWidget(self._name, 0, 0)
        else:
            grid.setColumnMinimumWidth(0, LABEL_WIDTH)
        grid.addWidget(editor, 0, 1)
        if beside is not None:
            grid.addWidget(beside, 0, 2)
        grid.addWidget(self._reason, 1, 1, 1, 1 if beside is None else 2)
        grid.setColumnStretch(1, 1)
        editor.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for widget in (self._name, editor):
            widget.setToolTip(help)
        if label:
            editor.setAccessibleName(label)

    def show_reason(self, reason: str) -> None:
        """Mark the input as unusable and say why; "" takes the mark away."""
        set_property(self.editor, "invalid", "true" if reason else "false")
        self._reason.show_text(reason)

    @property
    def reason(self) -> str:
        """Why the input cannot be used; "" if it can."""
        return self._reason.text()


def button(text: str, help: str, role: str = "") -> QPushButton:
    """Return a push button; the role "main" is for the one button that a panel is about."""
    made = QPushButton(text)
    made.setToolTip(help)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    made.setMinimumWidth(40)
    if role:
        made.setProperty("role", role)
    return made


def column(parent: QWidget, margin: int = MARGIN) -> QVBoxLayout:
    """Lay out a widget as a column with the dock's spacing."""
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(SPACING)
    layout.setAlignment(Qt.AlignmentFlag.AlignTop)
    return layout


def line() -> QFrame:
    """Return a thin horizontal line between groups."""
    made = QFrame()
    made.setProperty("role", "line")
    return made


def heading(text: str) -> TextLabel:
    """Return the heading of a group."""
    return TextLabel("heading", text)
