"""The dock: the four steps of the loop as tabs, and one status line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from segloop._napari.docked import Docked
from segloop._napari.fields import MARGIN, TextLabel, line
from segloop._napari.folds import Fold
from segloop._napari.journal_notice import JournalNotice
from segloop._napari.panels.candidates import CandidateTools, ThresholdPanel
from segloop._napari.panels.classes import ClassThresholdPanel
from segloop._napari.panels.correct import CorrectPanel
from segloop._napari.panels.export import ExportPanel
from segloop._napari.panels.finetune import FinetunePanel
from segloop._napari.panels.parts import PartThresholdPanel
from segloop._napari.panels.scribble import ScribblePanel
from segloop._napari.panels.segment import SegmentPanel
from segloop._napari.theme import style_sheet

WIDTH = 320
BETWEEN_PAGES = 20
"""Milliseconds for the person between two pages that are filled."""
PASSING = ("good", "over")
"""Roles of what is told of something that ended, and that nobody needs to act on."""
TABS = (
    ("Segment", "Find the objects with a model."),
    ("Correct", "Put right what the model got wrong, and say what you have checked."),
    ("Fine-tune", "Turn your corrections into a better model."),
    ("Export", "Save labels and measurements."),
)


class Dock(Docked):
    """All that is seen; it does nothing itself."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("segloop")
        self.segment = SegmentPanel()
        self.correct = CorrectPanel()
        self.finetune = FinetunePanel()
        self.export = ExportPanel()
        # thresholds belong to what a run found; tools to what a person does with it, below the choice of layers
        self.thresholds, self.candidate_tools = ThresholdPanel(), CandidateTools()
        self.class_threshold = ClassThresholdPanel()
        self.segment.layout().addWidget(self.thresholds)
        self.segment.layout().addWidget(self.class_threshold)
        self.part_thresholds = PartThresholdPanel()
        self.segment.layout().addWidget(self.part_thresholds)
        self.without_thresholds = TextLabel("hint")
        self.segment.layout().addWidget(self.without_thresholds)
        self.correct.layout().insertWidget(3, self.candidate_tools)
        # another way into a training: for what no model knows yet
        self.scribble = ScribblePanel()
        self.scribble_fold = Fold("Scribble", "Paint a little of each class, also of classes that no model knows yet.")
        self.scribble_fold.add(self.scribble)
        self.finetune.layout().insertWidget(0, self.scribble_fold)
        self.finetune.layout().insertWidget(1, line())
        self.tabs = QTabBar()
        self.tabs.setObjectName("steps")
        self.tabs.setExpanding(True)
        self.tabs.setDrawBase(False)
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setElideMode(Qt.TextElideMode.ElideNone)
        self.pages = QStackedWidget()
        # what is in the window is laid out as a whole when a dock joins it: the pages are filled after that, one by one
        self._to_fill: list[tuple[QScrollArea, QWidget]] = []
        for (title, help), panel in zip(TABS, (self.segment, self.correct, self.finetune, self.export)):
            self.tabs.setTabToolTip(self.tabs.addTab(title), help)
            area = _scroll_area()
            self.pages.addWidget(area)
            self._to_fill.append((area, panel))
        self._fill_later = QTimer(self)
        self._fill_later.setSingleShot(True)
        self._fill_later.timeout.connect(self._fill_next)
        self.destroyed.connect(partial(_delete_panels, self._to_fill))
        self.notice = JournalNotice()
        self.status = TextLabel("hint")
        self.status.setToolTip("What happened last. The text can be selected and copied.")
        foot = QVBoxLayout()
        foot.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
        foot.addWidget(self.status)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.notice)
        layout.addWidget(self.tabs)
        layout.addWidget(self.pages, 1)
        layout.addWidget(line())
        layout.addLayout(foot)
        self.tabs.currentChanged.connect(self._show_page)
        self.tabs.tabBarClicked.connect(self._on_clicked)
        self.setMinimumWidth(WIDTH - 40)
        # all the height there is: else napari adds empty room below, more with each dock that is opened
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        """Ask for a width at which nothing is cut off."""
        return QSize(WIDTH, 620)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Begin to fill the pages."""
        super().showEvent(event)
        self._fill_later.start(0)

    def _on_clicked(self, number: int) -> None:
        if number != self.tabs.currentIndex():
            self.forget_what_is_over()

    def forget_what_is_over(self) -> None:
        """Let what ended well, or was cancelled, in one step not stand below another one."""
        if self.status.property("role") in PASSING:
            self.show_status("", "hint")

    def _show_page(self, number: int) -> None:
        self.pages.setCurrentIndex(number)
        if self._to_fill:
            self._fill_later.start(0)

    def _fill_next(self) -> None:
        """Fill the page that is seen, or the next one."""
        seen = self.pages.currentWidget()
        self._to_fill.sort(key=lambda page: page[0] is not seen)
        if self._to_fill:
            area, panel = self._to_fill.pop(0)
            area.setWidget(panel)
            self._fill_later.start(BETWEEN_PAGES)

    def show_status(self, text: str, role: str) -> None:
        """Show what happened last."""
        self.status.show_text(text, role)

    def show_waiting(self, text: str) -> None:
        """Show at once what the person waits for, though nothing else is painted meanwhile."""
        self.status.show_text(text, "hint")
        layout = self.layout()
        if layout is not None:
            layout.activate()
        self.status.repaint()

    def apply_theme(self, theme: str) -> None:
        """Take on the colours of a napari theme."""
        self.setStyleSheet(style_sheet(theme))


def _delete_panels(to_fill: Sequence[tuple[QScrollArea, QWidget]], _: object = None) -> None:
    """Delete those that were not put into a page: they belong to nobody."""
    for _area, panel in to_fill:
        panel.deleteLater()


def _scroll_area() -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area
