"""Groups that fold."""

from __future__ import annotations

from qtpy.QtCore import QMargins
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QWidget
from superqt import QCollapsible


class Fold(QCollapsible):
    """A group that opens and closes by its title.

    Parameters
    ----------
    title : str
    help : str
        Tooltip of the title.
    """

    def __init__(self, title: str, help: str) -> None:
        # arrows as text take the theme's colour; superqt's icons keep the one they were made with
        super().__init__("", expandedIcon=QIcon(), collapsedIcon=QIcon())
        self._title = title
        self.setDuration(0)
        self.layout().setContentsMargins(QMargins(0, 0, 0, 0))
        self.content().layout().setContentsMargins(QMargins(0, 4, 0, 0))
        button = self.toggleButton()
        button.setToolTip(help)
        # superqt sets a style of its own, which would go before the dock's
        button.setStyleSheet("")
        self.toggled.connect(self._show_arrow)
        self._show_arrow(False)

    def add(self, widget: QWidget) -> None:
        """Put a widget into the group."""
        self.addWidget(widget)

    def _show_arrow(self, expanded: bool) -> None:
        self.setText(f"{'▾' if expanded else '▸'}  {self._title}")
