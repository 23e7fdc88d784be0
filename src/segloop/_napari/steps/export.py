"""Export: labels and measurements into files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import napari.layers
import numpy as np

from segloop._napari import features, work
from segloop._napari.exports import layer_provenance, layer_to_labels
from segloop._napari.jobs import Job
from segloop._napari.panels.export import FORMATS, ExportPanel, Format
from segloop._napari.steps.step import Step, guarded
from segloop.errors import FileError


class ExportStep(Step):
    """Joins the Export panel to the viewer."""

    def __init__(self, panel: ExportPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self.job: Job | None = None
        self._folder: Path | None = None
        self._typed = False
        panel.show_formats(FORMATS)
        panel.labels_chosen.connect(self._on_labels)
        panel.format_chosen.connect(self._on_format)
        panel.path_edited.connect(self._on_path)
        panel.export_requested.connect(self.export)
        self.watch.layers_changed.connect(self._on_layers)
        self.watch.active_changed.connect(self._on_active)
        self._on_layers()

    @property
    def labels(self) -> napari.layers.Labels | None:
        """The Labels layer chosen."""
        return self.panel.labels.current()

    @guarded
    def _on_layers(self) -> None:
        layers = self.finished_labels()
        active, before = self.watch.active, self.labels
        current = active if active in layers else before
        self.panel.labels.show_items(layers, [layer.name for layer in layers], current)
        if self.labels is not before:
            self._typed = False
            self.panel.result.show_text("")
        self._propose()

    @guarded
    def _on_active(self, layer: Any) -> None:
        if layer is not self.labels and layer in self.finished_labels():
            self._on_layers()

    @guarded
    def _on_labels(self, _: Any) -> None:
        self._typed = False
        self.panel.result.show_text("")
        self._propose()

    @guarded
    def _on_format(self, chosen: Format) -> None:
        from segloop import io

        path = self._path()
        if self._typed and path is not None:
            self.panel.show_path(path.with_name(f"{io.stem_of(path)}{chosen.suffix}"))
        self._propose()

    def _on_path(self, text: str) -> None:
        from segloop import io

        self.panel.result.show_text("")
        self._typed = True
        path = Path(text).expanduser()
        known = next((f for f in self.panel.format.items() if text.strip() and f.suffix == io.suffix_of(path)), None)
        if known is not None:
            self.panel.choose_format(known)
        if path.parent.is_dir() and text.strip():
            self._folder = path.parent
        self._allow()

    def _propose(self) -> None:
        """Propose a file: beside the image, named like the layer."""
        layer = self.labels
        if layer is not None and not self._typed:
            stem = re.sub(r"[^\w.-]+", "_", layer.name.replace(" – ", "_")).strip("_.") or "labels"
            chosen: Format = self.panel.format.current()
            self.panel.show_path((self._folder or self._image_folder() or Path.home()) / f"{stem}{chosen.suffix}")
        self._allow()

    def _image_folder(self) -> Path | None:
        origin = self.session.origins.get(self.labels)
        image = origin.image() if origin is not None else None
        source = Path(str(image.source.path)) if image is not None and image.source.path else None
        return source.parent if source is not None and source.parent.is_dir() else None

    def _path(self) -> Path | None:
        text = self.panel.path.text().strip()
        return Path(text).expanduser() if text else None

    def _allow(self) -> None:
        path = self._path()
        reason = ""
        if self.labels is not None:
            from segloop import io

            if path is None:
                reason = "Choose a file."
            elif (taken := _nearest(path)) is not None and not taken.is_dir():
                reason = f"{taken} is a file, not a folder; choose another folder."
            elif io.suffix_of(path) not in io.SAVE_SUFFIXES:
                ending = io.suffix_of(path) or "(none)"
                reason = f"The ending {ending} is no format; expected {self.panel.format.current().suffix}."
        self.panel.path_field.show_reason(reason)
        more = ""
        if path is not None and not reason and path.exists():
            more = " (replaces the file)"
        elif path is not None and not reason and not path.parent.is_dir():
            more = " (makes the folder)"
        self.panel.export.setText(f"Export{more}")
        self.panel.export.setEnabled(self.labels is not None and not reason and self.job is None)

    @guarded
    def export(self) -> None:
        """Write the file."""
        layer, path = self.labels, self._path()
        if self.job is not None or layer is None or path is None:
            return
        self.session.bring_up_to_date(layer)
        origin = self.session.origins.get(layer)
        labels = layer_to_labels(layer, origin)
        self.session.saving.emit(layer)
        table = features.to_objects(layer.features)
        hidden = self._hidden(layer, labels) if path.suffix == ".json" else ()
        self.panel.export.setEnabled(False)
        self.panel.result.show_text("")
        self.say(f"Writing {path.name} …")
        work_to_do = partial(work.export_labels, labels, path, table, layer_provenance(layer, origin), hidden)
        self.job = self.begin(f"SegLoop: {path.name}", work_to_do, partial(self._on_done, layer))
        self.job.ended.connect(self._on_ended)

    def _on_done(self, layer: napari.layers.Labels, path: Path) -> None:
        from segloop import io

        if io.suffix_of(path) != ".csv":
            self.session.saved.emit(layer)
        self._typed = True
        self.panel.result.show_text(f"Written: {path}")
        self.say(f"{path.name} is written.", "good")

    def _hidden(self, layer: napari.layers.Labels, labels: Any) -> tuple[Any, ...]:
        """Parts of objects that lie under others, where the candidates tell of them."""
        from segloop.io import HiddenPart

        live = self.session.live.get(layer)
        if live is None or not live.fits:
            return ()
        outer = [axis for axis in labels.axes if axis not in "YX"]
        sizes = [labels.data.shape[labels.axes.index(axis)] for axis in outer]
        parts = []
        for part in live.overlaps():
            area = part.mask.area
            position = dict(zip(outer, map(int, np.unravel_index(area.plane, sizes)))) if outer else {}
            parts.append(HiddenPart(part.label, position, area.rows.start, area.columns.start, part.mask.inside))
        return tuple(parts)

    def fail(self, error: Exception) -> None:
        """Tell the user of an error, at the file if it is about the file."""
        if isinstance(error, FileError):
            self.panel.path_field.show_reason(str(error))
        super().fail(error)

    def _on_ended(self) -> None:
        self.job = None
        reason = self.panel.path_field.reason
        self._allow()
        if reason:
            self.panel.path_field.show_reason(reason)


def _nearest(path: Path) -> Path | None:
    """The nearest of the folders around ``path`` that is there; it may turn out to be a file."""
    return next((folder for folder in path.parents if folder.exists()), None)
