"""The Export panel: labels and measurements into files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QLineEdit, QPushButton, QWidget

from segloop._napari.choosers import Chooser
from segloop._napari.fields import Field, TextLabel, button, column


@dataclass(frozen=True, slots=True)
class Format:
    """A file format that labels can be exported to."""

    suffix: str
    title: str
    help: str


FORMATS = (
    Format(".tif", "TIFF label image", "Opens in Fiji with its pixel size, and everywhere else."),
    Format(".zip", "ImageJ ROIs", "One outline per object for Fiji's ROI Manager."),
    Format(".json", "COCO", "Objects with outlines, boxes, scores and classes for machine learning."),
    Format(".geojson", "GeoJSON", "Outlines for QuPath."),
    Format(".ome.zarr", "OME-Zarr", "A folder in the format for large images."),
    Format(".png", "PNG label image", "For 2D images of at most 65,535 objects; without a pixel size."),
    Format(
        ".csv",
        "Measurements table",
        "One row per object: size, position, intensity-free shape, score and class.",
    ),
)


class ExportPanel(QWidget):
    """Labels, format, file, Export."""

    labels_chosen = Signal(object)
    format_chosen = Signal(object)
    path_edited = Signal(str)
    export_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.labels = Chooser("Segment an image, or add a Labels layer")
        self.format = Chooser("")
        self.path = QLineEdit()
        self.path.setPlaceholderText("Choose a file …")
        self.browse = QPushButton("…")
        self.browse.setFixedWidth(28)
        self.browse.setToolTip("Choose where to save.")
        self.export = button("Export", "Write the file, and beside it how it was made (a .provenance.json).", "main")
        self.format_text = TextLabel()
        self.result = TextLabel("good")
        self.labels_field = Field("Labels", self.labels, "The Labels layer to export.")
        self.format_field = Field("Format", self.format, "What kind of file to write.")
        self.path_field = Field("File", self.path, "The file to write. The ending follows the format.", self.browse)

        layout = column(self)
        for widget in (
            self.labels_field,
            self.format_field,
            self.format_text,
            self.path_field,
            self.export,
            self.result,
        ):
            layout.addWidget(widget)
        self.show_formats(FORMATS)

        self.labels.chosen.connect(self.labels_chosen)
        self.format.chosen.connect(self._on_format)
        self.path.textEdited.connect(self.path_edited)
        self.browse.clicked.connect(self._on_browse)
        self.export.clicked.connect(self.export_requested)

    def show_formats(self, formats: tuple[Format, ...]) -> None:
        """Offer these formats."""
        self.format.show_items(formats, [f"{f.title} ({f.suffix})" for f in formats], None, [f.help for f in formats])
        self.format_text.show_text(formats[0].help)

    def choose_format(self, chosen: Format) -> None:
        """Show another format as the one chosen. Nothing is emitted."""
        self.format.setCurrentIndex(self.format.items().index(chosen))
        self.format_text.show_text(chosen.help)

    def show_path(self, path: Path) -> None:
        """Show where the file will go."""
        self.path.setText(str(path))
        self.path.setToolTip(str(path))

    def _on_format(self, chosen: Format) -> None:
        self.format_text.show_text(chosen.help)
        self.format_chosen.emit(chosen)

    def _on_browse(self) -> None:
        chosen: Format = self.format.current()
        path, _ = QFileDialog.getSaveFileName(
            self, "Export labels", self.path.text(), f"{chosen.title} (*{chosen.suffix})"
        )
        if path:
            self.path.setText(path)
            self.path_edited.emit(path)
