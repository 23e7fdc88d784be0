"""The Models panel: all models and their versions, two of them side by side, and what can be done with one."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from segloop._napari import version_words as words
from segloop._napari.choosers import Chooser
from segloop._napari.docked import Docked
from segloop._napari.fields import MARGIN, SPACING, Field, TextLabel, button, column, line
from segloop._napari.panels.pictures import PictureGrid, outlined
from segloop._napari.theme import colors, style_sheet
from segloop.events import FoundRegion
from segloop.store import ModelInfo
from segloop.versions import Version

WIDTH = 340
ROW_HEIGHT = 22
MOST_ROWS = 12
"""Screen pixels, and so many rows of the list are seen without scrolling."""
_LABEL = Qt.ItemDataRole.UserRole
_MODEL = Qt.ItemDataRole.UserRole + 1


class ModelsPanel(Docked):
    """Signals up, calls down: it knows neither viewer nor disk."""

    version_chosen = Signal(str)
    other_chosen = Signal(object)
    use_requested = Signal()
    delete_requested = Signal()
    deletion_confirmed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("segloop-models")
        self.list = QTreeWidget()
        self.list.setHeaderLabels(["Version", "Score", "Saved"])
        self.list.setToolTip("Your models and their versions, the newest first. Choose one to look at it.")
        self.list.setAccessibleName("Models and their versions")
        self.list.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setIndentation(14)
        self.list.setUniformRowHeights(True)
        header = self.list.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for section in (1, 2):
            header.setSectionResizeMode(section, QHeaderView.ResizeMode.ResizeToContents)
        self.about = TextLabel("hint")
        self.damage = TextLabel("error")
        self.use = button("Use this version", "From now on the model's name means this version.", "main")
        self.delete = button("Delete …", "Delete this version from the disk. What was made from it stays as it is.")
        self.reason = TextLabel("hint")
        self.question = TextLabel("warning")
        self.confirm = button("Delete it", "Delete it for good.")
        self.keep = button("Keep it", "Delete nothing.")
        self.other = Chooser("No other version")
        self.other_field = Field("Compare with", self.other, "Another version, to be laid beside the one chosen.")
        self.table = VersionTable()
        self.scored_by = TextLabel("hint")
        self.caution = TextLabel("warning")
        self.place = TextLabel("hint")
        self.place.setToolTip("The version's folder: weights, model.json with the record of its training, pictures.")
        self.curves: QWidget | None = None
        plots = QWidget()
        self.plots_place = column(plots, margin=0)
        self.pictures = VersionPictures()
        self.status = TextLabel("hint")

        inner = QWidget()
        page = column(inner)
        page.addWidget(self.list)
        page.addWidget(self.about)
        page.addWidget(self.damage)
        page.addLayout(_row(self.use, self.delete))
        page.addWidget(self.reason)
        page.addWidget(self.question)
        page.addLayout(_row(self.confirm, self.keep))
        for widget in (self.other_field, self.table, self.scored_by, self.caution, plots, self.pictures, self.place):
            page.addWidget(widget)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        foot = QVBoxLayout()
        foot.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
        foot.addWidget(self.status)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(area, 1)
        layout.addWidget(line())
        layout.addLayout(foot)
        self.setMinimumWidth(WIDTH)
        self.ask("")
        self._damaged = QColor("red")

        self.list.currentItemChanged.connect(self._on_current)
        self.list.itemExpanded.connect(self._fit_list)
        self.list.itemCollapsed.connect(self._fit_list)
        self.other.chosen.connect(self.other_chosen)
        self.use.clicked.connect(self.use_requested)
        self.delete.clicked.connect(self.delete_requested)
        self.confirm.clicked.connect(self.deletion_confirmed)
        self.keep.clicked.connect(lambda: self.ask(""))

    def show_models(self, models: Sequence[tuple[ModelInfo, tuple[Version, ...]]], chosen: str) -> None:
        """Show models with their versions; the version ``chosen`` ("name@version") stays chosen. Nothing is emitted."""
        with QSignalBlocker(self.list):
            folded = {
                item.data(0, _MODEL) for item in map(self.list.topLevelItem, range(self.list.topLevelItemCount()))
                if item is not None and item.childCount() and not item.isExpanded()
            }  # fmt: skip
            self.list.clear()
            for info, versions in models:
                self._add_model(info, versions, chosen, info.name not in folded)
        self._fit_list()

    def _add_model(self, info: ModelInfo, versions: tuple[Version, ...], chosen: str, expanded: bool) -> None:
        model = QTreeWidgetItem([words.headline(info)])
        self.list.addTopLevelItem(model)
        model.setFirstColumnSpanned(True)
        model.setData(0, _MODEL, info.name)
        if info.bundled:
            items = [(model, versions[0])]
        else:
            items = [(QTreeWidgetItem(model, list(words.summary_of(v))), v) for v in versions]
            model.setData(0, _LABEL, next(v.label for v in versions if v.in_use))
        for item, version in items:
            item.setData(0, _LABEL, version.label)
            item.setToolTip(0, version.damage)
            font = item.font(0)
            font.setBold(version.in_use and not version.bundled)
            item.setFont(0, font)
            if version.damage:
                item.setForeground(0, QBrush(self._damaged))
            if version.label == chosen:
                self.list.setCurrentItem(item)
        model.setExpanded(expanded)

    def _fit_list(self) -> None:
        """Give the list the height that its rows take, up to a limit."""
        models = [item for n in range(self.list.topLevelItemCount()) if (item := self.list.topLevelItem(n)) is not None]
        rows = len(models) + sum(item.childCount() for item in models if item.isExpanded())
        self.list.setFixedHeight((1 + min(max(rows, 3), MOST_ROWS)) * ROW_HEIGHT + 8)

    def show_actions(self, use: bool, delete: bool, reason: str) -> None:
        """Allow what can be done with the version chosen, and say why something cannot."""
        self.use.setEnabled(use)
        self.delete.setEnabled(delete)
        self.reason.show_text(reason)

    def ask(self, question: str) -> None:
        """Ask before deleting; "" asks nothing."""
        self.question.show_text(question)
        self.confirm.setVisible(bool(question))
        self.keep.setVisible(bool(question))

    def apply_theme(self, theme: str) -> None:
        """Take on the colours of a napari theme."""
        self.setStyleSheet(f"{style_sheet(theme)} QTreeWidget::item {{ height: {ROW_HEIGHT}px; }}")
        self._damaged = QColor(colors(theme).error)

    def show_status(self, text: str, role: str) -> None:
        """Show what happened last."""
        self.status.show_text(text, role)

    def _on_current(self, item: QTreeWidgetItem | None, _: object) -> None:
        if item is not None:
            self.version_chosen.emit(item.data(0, _LABEL))


class VersionTable(QWidget):
    """Rows of texts, a column for each version."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(2 * SPACING)
        self._grid.setVerticalSpacing(3)
        self.rows: dict[str, tuple[str, ...]] = {}

    def show_rows(self, heads: Sequence[str], rows: Sequence[words.Row]) -> None:
        """Show rows under the names of the versions."""
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        self.rows = {row.name: row.texts for row in rows}
        for place, head in enumerate(heads, 1):
            self._grid.addWidget(TextLabel("heading", head), 0, place)
            self._grid.setColumnStretch(place, 1)
        self._grid.setColumnStretch(2, 1 if len(heads) > 1 else 0)
        for number, row in enumerate(rows, 1):
            name = QLabel(row.name)
            name.setToolTip(row.help)
            self._grid.addWidget(name, number, 0, Qt.AlignmentFlag.AlignTop)
            for place, text in enumerate(row.texts, 1):
                cell = TextLabel("", text or "–")
                cell.setToolTip(row.help)
                self._grid.addWidget(cell, number, place, Qt.AlignmentFlag.AlignTop)


class VersionPictures(QWidget):
    """Held-out regions of one or two versions, under captions."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.groups = [(TextLabel("hint"), PictureGrid()) for _ in range(2)]
        layout = column(self, margin=0)
        for caption, grid in self.groups:
            grid.setToolTip(
                "Regions that the model did not learn from. Outlines: green is what you said is there, orange what the "
                "model finds, white where both agree."
            )
            layout.addWidget(caption)
            layout.addWidget(grid)
        self.show_groups([])

    def show_groups(self, shown: Sequence[tuple[str, Sequence[FoundRegion]]]) -> None:
        """Show up to two captions with their regions; a caption without regions is left out."""
        filled = [(caption, regions) for caption, regions in shown if regions]
        for place, (label, grid) in enumerate(self.groups):
            caption, regions = filled[place] if place < len(filled) else ("", ())
            label.show_text(caption)
            grid.show_pictures([outlined(region) for region in regions])
            grid.setVisible(bool(regions))
        self.setVisible(bool(filled))


def _row(*widgets: QWidget) -> QHBoxLayout:
    layout = QHBoxLayout()
    layout.setSpacing(SPACING)
    for widget in widgets:
        layout.addWidget(widget)
    return layout
