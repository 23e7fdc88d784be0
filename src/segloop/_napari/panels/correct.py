"""The Correct panel: tools for a Labels layer, reviewed regions, and the way into the training set."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QWidget,
)

from segloop._napari.choosers import Chooser
from segloop._napari.fields import SPACING, Field, TextLabel, button, column, heading, line
from segloop._napari.panels.tools import ToolGrid
from segloop._napari.panels.tour import TourPanel

TASKS = {"instance": "Separate objects", "semantic": "Classes"}


class CorrectPanel(QWidget):
    """Labels to correct, tools, review, training set."""

    labels_chosen = Signal(object)
    image_chosen = Signal(object)
    task_chosen = Signal(object)
    whole_toggled = Signal(bool)
    plane_requested = Signal()
    region_requested = Signal()
    clear_requested = Signal()
    folder_chosen = Signal(object)
    add_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.labels = Chooser("Segment an image, or add a Labels layer")
        self.image = Chooser("Open an image first")
        self.task = Chooser("")
        self.task.show_items(list(TASKS), list(TASKS.values()), "instance")
        self.labels_field = Field(
            "Labels", self.labels, "The Labels layer to correct; from SegLoop or from anywhere else."
        )
        self.image_field = Field("Image", self.image, "The image that these labels belong to.")
        self.task_field = Field(
            "Numbers are",
            self.task,
            "Separate objects: each number is one object.\nClasses: each number is a kind of tissue or structure.",
        )
        self.object_text = TextLabel()
        # two lines, always: the buttons below must not move under the mouse
        self.object_text.setMinimumHeight(round(2.5 * self.object_text.fontMetrics().lineSpacing()))
        self.object_text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.tools = ToolGrid()

        self.tour = TourPanel()
        self.whole = QCheckBox("Whole image")
        self.whole.setToolTip("The whole image is reviewed: every object in it is marked now, and nothing else.")
        self.region = button(
            "Add region", "Draw rectangles around the parts that you have looked through and put right."
        )
        self.plane = button("Plane", "The plane on screen is reviewed as a whole.")
        self.clear = button("Clear", "Remove all reviewed regions.")
        self.share = QProgressBar()
        self.share.setRange(0, 1000)
        self.share.setToolTip("How much of the image you vouch for. Fine-tuning looks at nothing else.")

        self.folder_text = TextLabel()
        self.folder_text.setToolTip("Where corrected images are kept: a plain folder of TIFF files.")
        self.folder = QPushButton("Change …")
        self.folder.setToolTip("Choose another folder, or a new one, for corrected images.")
        self.add = button(
            "Add to training set",
            "Save the image, its labels and the reviewed regions for fine-tuning.\n"
            "Adding the same image again replaces what was saved.",
            "main",
        )
        self.reason = TextLabel("reason")

        vouched, regions = QHBoxLayout(), QHBoxLayout()
        vouched.setSpacing(SPACING)
        vouched.addWidget(self.whole)
        vouched.addWidget(self.share, 1)
        regions.setSpacing(SPACING)
        for tool in (self.region, self.plane, self.clear):
            regions.addWidget(tool)
        place = QHBoxLayout()
        place.setSpacing(SPACING)
        place.addWidget(self.folder_text, 1)
        place.addWidget(self.folder)

        layout = column(self)
        for part in (
            self.labels_field,
            self.image_field,
            self.task_field,
            self.tools,
            self.object_text,
            line(),
            heading("What have you checked?"),
            self.tour,
            vouched,
            regions,
            line(),
            place,
            self.add,
            self.reason,
        ):
            layout.addLayout(part) if isinstance(part, QHBoxLayout) else layout.addWidget(part)
        self._connect()

    def _connect(self) -> None:
        self.labels.chosen.connect(self.labels_chosen)
        self.image.chosen.connect(self.image_chosen)
        self.task.chosen.connect(self.task_chosen)
        self.whole.toggled.connect(self.whole_toggled)
        self.folder.clicked.connect(self._on_folder)
        for source, signal in (
            (self.region, self.region_requested),
            (self.plane, self.plane_requested),
            (self.clear, self.clear_requested),
            (self.add, self.add_requested),
        ):
            source.clicked.connect(signal)

    def show_share(self, share: float) -> None:
        """Show how much of the image is reviewed, in [0, 1]."""
        self.share.setValue(round(share * 1000))
        percent = f"{share:.0%}" if share in (0, 1) or share >= 0.01 else "less than 1%"
        self.share.setFormat(f"{percent} reviewed")

    def show_whole(self, whole: bool) -> None:
        """Show whether the whole image is reviewed. Nothing is emitted."""
        blocked = self.whole.blockSignals(True)
        self.whole.setChecked(whole)
        self.whole.blockSignals(blocked)

    def show_folder(self, folder: Path, images: int) -> None:
        """Show the training set in use and how many images it holds."""
        content = "empty" if not images else "1 image" if images == 1 else f"{images} images"
        self.folder_text.show_text(f"Training set: {folder.name} ({content})")
        self.folder_text.setToolTip(f"Corrected images are kept in the folder\n{folder}")
        self._folder = folder

    def show_ready(self, ready: bool) -> None:
        """Allow or forbid everything but the tools that needs labels and their image."""
        for widget in (
            self.whole,
            self.region,
            self.plane,
            self.clear,
            self.share,
            self.add,
            self.task_field,
        ):
            widget.setEnabled(ready)

    def _on_folder(self) -> None:
        start = next((p for p in (self._folder, *self._folder.parents) if p.is_dir()), Path.home())
        chosen = QFileDialog.getExistingDirectory(self, "Folder for corrected images", str(start))
        if chosen:
            self.folder_chosen.emit(Path(chosen))
