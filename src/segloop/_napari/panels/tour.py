"""The tour through the regions that are probably wrong: where to look next, why, and how far a person has come."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QWidget

from segloop._napari.fields import SPACING, TextLabel, button, column


class TourPanel(QWidget):
    """Two buttons, the reasons for doubt, and progress."""

    next_requested = Signal()
    right_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.next = button(
            "Review next",
            "Go to the region in which most is probably wrong, and say why.\n"
            "The most doubtful object there is selected: the tools and their keys act on it. Key: J",
        )
        self.right = button(
            "Region is right",
            "Everything in the region shown is right now: mark it as reviewed, and go to the next. Key: K",
        )
        self.why = TextLabel("warning")
        self.bar = QProgressBar()
        self.bar.setToolTip("Regions that you have marked as reviewed, of all regions of this image.")
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACING)
        buttons.addWidget(self.next)
        buttons.addWidget(self.right)
        layout = column(self, margin=0)
        layout.addLayout(buttons)
        for part in (self.why, self.bar):
            layout.addWidget(part)
        self.next.clicked.connect(self.next_requested)
        self.right.clicked.connect(self.right_requested)
        self.show_usable(False, False)
        self.show_nothing()

    def show_usable(self, ready: bool, somewhere: bool) -> None:
        """Allow to go on where there are labels, and to vouch for a region where one is shown."""
        self.next.setEnabled(ready)
        self.right.setEnabled(ready and somewhere)

    def show_nothing(self) -> None:
        """Show that no tour has begun."""
        self.why.show_text("")
        self.bar.hide()

    def show_why(self, text: str, role: str = "warning") -> None:
        """Show the reasons to look at the region on screen."""
        self.why.show_text(text, role)

    def show_progress(self, regions: tuple[int, int], objects: tuple[int, int], left: str) -> None:
        """Show how much is reviewed.

        Parameters
        ----------
        regions, objects : (int, int)
            Reviewed, and all.
        left : str
            Time left, in words; "" if nothing is known yet.
        """
        self.bar.setRange(0, max(1, regions[1]))
        self.bar.setValue(regions[0])
        parts = [f"{regions[0]} of {regions[1]} regions"]
        parts += [f"{objects[0]} of {objects[1]} objects"] if objects[1] else []
        parts += [f"{left} left"] if left else []
        self.bar.setFormat(" · ".join(parts))
        self.bar.show()
