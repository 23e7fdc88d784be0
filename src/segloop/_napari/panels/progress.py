"""Progress of a job: a bar, what it is at, and a button that ends it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from segloop._napari.fields import SPACING


class ProgressRow(QWidget):
    """A progress bar with its text inside and a button beside it; hidden while nothing runs.

    Parameters
    ----------
    end : str
        Text of the button.
    help : str
        Tooltip of the button.
    """

    end_requested = Signal()

    def __init__(self, end: str, help: str) -> None:
        super().__init__()
        self._end = end
        self.bar = QProgressBar()
        self.button = QPushButton(end)
        self.button.setToolTip(help)
        self.button.clicked.connect(self._on_clicked)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACING)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.button)
        self.hide()

    def begin(self, text: str) -> None:
        """Show the row, with no end in sight yet."""
        self.bar.setRange(0, 0)
        self.bar.setFormat(text)
        self.button.setText(self._end)
        self.button.setEnabled(True)
        self.show()

    def advance(self, done: int, total: int, text: str) -> None:
        """Show how far the work is."""
        # else Qt paints the bar, and with it the whole window, before it returns: many events in a row would be felt
        self.bar.setUpdatesEnabled(False)
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        self.bar.setFormat(text)
        self.bar.setUpdatesEnabled(True)

    def finish(self) -> None:
        """Hide the row."""
        self.hide()

    def _on_clicked(self) -> None:
        self.button.setEnabled(False)
        self.bar.setFormat("Stopping …")
        self.end_requested.emit()
