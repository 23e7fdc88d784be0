"""The notice above the tabs: corrections that can be restored, and a disk that takes no more."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QGridLayout, QWidget

from segloop._napari.fields import SPACING, TextLabel, button, column


class JournalNotice(QFrame):
    """Takes no room as long as there is nothing to say."""

    restore_requested = Signal()
    discard_requested = Signal()
    later_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self.trouble = TextLabel("error")
        self.title = TextLabel("heading")
        self.text = TextLabel("hint")
        self.restore = button("Restore", "Bring the labels back exactly as they were, onto their image.", "main")
        self.discard = button(
            "Discard", "These corrections are not wanted any more. They stay on the disk for 30 days, then they go."
        )
        self.later = button("Later", "Ask again when napari is started the next time.")
        self._buttons = QWidget()
        grid = QGridLayout(self._buttons)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(SPACING)
        grid.addWidget(self.restore, 0, 0, 1, 2)
        grid.addWidget(self.discard, 1, 0)
        grid.addWidget(self.later, 1, 1)
        layout = column(self)
        for part in (self.trouble, self.title, self.text, self._buttons):
            layout.addWidget(part)
        self.restore.clicked.connect(self.restore_requested)
        self.discard.clicked.connect(self.discard_requested)
        self.later.clicked.connect(self.later_requested)
        self.show_nothing()

    def show_offer(self, title: str, text: str, restore: str) -> None:
        """Offer something to be restored; ``restore`` is what the button says."""
        self.title.show_text(title)
        self.text.show_text(text)
        self.restore.setText(restore)
        self._buttons.show()
        self.allow(True)
        self.show()

    def show_nothing(self) -> None:
        """Offer nothing."""
        self.title.show_text("")
        self.text.show_text("")
        self._buttons.hide()
        self.setVisible(bool(self.trouble.text()))

    def show_trouble(self, text: str) -> None:
        """Say why nothing can be saved at present; "" when it can be again."""
        self.trouble.show_text(text)
        self.setVisible(bool(text or self.title.text()))

    def allow(self, allowed: bool) -> None:
        """Let the buttons be pressed, or not while something is under way."""
        for each in (self.restore, self.discard, self.later):
            each.setEnabled(allowed)
