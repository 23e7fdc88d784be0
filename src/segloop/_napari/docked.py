"""Docked: what napari shows in a dock, and what becomes of it when the dock is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QWidget


class Docked(QWidget):
    """A widget that ends when napari takes it out of its dock.

    napari only lets go of the widget. Left to Python's garbage collector, it would go on listening to the viewer for as
    long as that pleases, and then be taken apart together with the objects that Qt still asks while it deletes it,
    which crashes the program.
    """

    def changeEvent(self, event: QEvent | None) -> None:
        """Look whether the widget was taken out of its dock."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            # it may be on its way into another one
            QTimer.singleShot(0, self._end_unless_docked)

    def _end_unless_docked(self) -> None:
        if self.parent() is None:
            self.deleteLater()
