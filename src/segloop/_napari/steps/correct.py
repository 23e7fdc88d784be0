"""Correct: which Labels layer is corrected, and the tools that napari lacks."""

from __future__ import annotations

import weakref
from typing import Any

import napari.layers
import numpy as np
from qtpy.QtCore import Signal

from segloop._napari import editing, features
from segloop._napari.keys import KeyRing
from segloop._napari.layers import Placement, fits, guess_layer_axes
from segloop._napari.merging import MergeTool
from segloop._napari.panels.correct import CorrectPanel
from segloop._napari.session import Origin
from segloop._napari.steps.step import Step, guarded, timer
from segloop.errors import ImageError

LARGEST_TABLE = 1 << 26
"""Above so many pixels the table of objects is not brought up to date after each edit: it would be felt."""

LARGEST_SAMPLE = 1024
"""Side of the piece of a foreign layer that is looked at to guess what its numbers mean."""


class CorrectStep(Step):
    """Joins the upper part of the Correct panel to the viewer."""

    labels_used = Signal()

    def __init__(self, panel: CorrectPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self._connected: napari.layers.Labels | None = None
        self._merging = MergeTool(editing.merge_objects)
        self._merging.target_changed.connect(self._on_target)
        self._keys = KeyRing(self)
        self._edited = timer(self, 300, self._follow_edits)
        panel.labels_chosen.connect(self._on_labels)
        panel.image_chosen.connect(self._on_image)
        panel.task_chosen.connect(self._on_task)
        panel.new_requested.connect(self.new_object)
        panel.delete_requested.connect(self.delete_object)
        panel.merge_toggled.connect(self._on_merge)
        panel.fill_requested.connect(self.fill_holes)
        panel.undo_requested.connect(self.undo)
        panel.redo_requested.connect(self.redo)
        self.watch.layers_changed.connect(self._on_layers)
        self.watch.active_changed.connect(self._on_active)
        self.session.axes_changed.connect(self._on_axes)
        self._on_layers()

    @property
    def labels(self) -> napari.layers.Labels | None:
        """The Labels layer chosen."""
        return self.panel.labels.current()

    @property
    def origin(self) -> Origin:
        """What is known of the Labels layer chosen."""
        return self.session.origins[self.labels]

    # choices

    @guarded
    def _on_layers(self) -> None:
        layers = self.finished_labels()
        active, before = self.watch.active, self._connected
        current = active if active in layers else before
        self.panel.labels.show_items(layers, [layer.name for layer in layers], current)
        self._use(self.labels)

    @guarded
    def _on_active(self, layer: Any) -> None:
        if layer is not self.labels and layer in self.finished_labels():
            self._on_layers()

    @guarded
    def _on_axes(self) -> None:
        layer = self.labels
        if layer is not None and not self.origin.model:
            self._adopt(layer, self.watch.of_type(napari.layers.Image))
            self._use(layer)

    @guarded
    def _on_labels(self, _: Any) -> None:
        self._use(self.labels)

    def _use(self, layer: napari.layers.Labels | None) -> None:
        """Take up a Labels layer, from SegLoop or from elsewhere."""
        if layer is not self._connected:
            self._disconnect()
            if layer is not None:
                layer.events.paint.connect(self._on_paint)
                layer.events.selected_label.connect(self._show_object)
            self._connected = layer
            self._keys.bind(layer)
        images = self.watch.of_type(napari.layers.Image)
        if layer is not None:
            if layer not in self.session.origins or self.origin.image() not in images:
                self._adopt(layer, images)
            self.panel.task.show_items(*self._task_items(), self.origin.task)
        current = self.origin.image() if layer is not None else None
        self.panel.image.show_items(images, [image.name for image in images], current)
        self._check()
        self._show_object()

    def _task_items(self) -> tuple[list[str], list[str]]:
        items = self.panel.task.items()
        return items, [self.panel.task.itemText(number) for number in range(len(items))]

    def _adopt(self, layer: napari.layers.Labels, images: list[napari.layers.Image]) -> None:
        """Take a layer from elsewhere as a draft: find the image that it fits, guess what its numbers mean."""
        origin = self.session.origins.get(layer)
        image = next((image for image in images if self._fits(layer, image)), None)
        axes = self._axes(image) if image is not None else ""
        if origin is None:
            origin = Origin(weakref.ref(layer), "", task=_guess_task(layer))
            self.session.origins[layer] = origin
        if image is not None:
            self.session.update_origin(layer, image=weakref.ref(image), axes=axes)

    def _axes(self, image: napari.layers.Image) -> str:
        return self.session.axes.get(image) or guess_layer_axes(image)

    def _fits(self, layer: napari.layers.Labels, image: napari.layers.Image) -> bool:
        try:
            return fits(layer, Placement.of(image, self._axes(image)))
        except ImageError:
            return False

    @guarded
    def _on_image(self, image: Any) -> None:
        if self.labels is not None:
            self.session.update_origin(self.labels, image=weakref.ref(image), axes=self._axes(image))
        self._check()

    @guarded
    def _on_task(self, task: str) -> None:
        if self.labels is not None:
            self.session.update_origin(self.labels, task=task)
        self.labels_used.emit()

    def _check(self) -> None:
        """Mark what does not fit together."""
        layer, image = self.labels, self.panel.image.current()
        reason = ""
        if layer is not None and layer.multiscale:
            reason = "napari cannot edit multiscale labels; use the finest level as a layer of its own."
        elif layer is not None and image is not None and not self._fits(layer, image):
            shape = tuple(layer.data.shape)
            reason = (
                f"These labels of shape {shape} do not fit the image with axes {self._axes(image)}. "
                "Choose their image, or correct its axes under Segment."
            )
        self.panel.image_field.show_reason(reason)
        self.panel.plane.setVisible(layer is not None and layer.ndim > 2)
        self.panel.show_ready(layer is not None and not layer.multiscale)
        self.labels_used.emit()

    def _disconnect(self) -> None:
        layer = self._connected
        self._merging.stop()
        self.panel.show_merging(False)
        if layer is not None:
            layer.events.paint.disconnect(self._on_paint)
            layer.events.selected_label.disconnect(self._show_object)
            self._keys.bind(None)

    def release(self) -> None:
        """Give the layer back as it was: no keys, no clicks; called when the dock is gone."""
        layer, self._connected = self._connected, None
        self._merging.stop()
        self._keys.bind(None)
        if layer is not None:
            layer.events.paint.disconnect(self._on_paint)
            layer.events.selected_label.disconnect(self._show_object)

    # tools

    @guarded
    def new_object(self) -> None:
        """Take the next free number and the brush."""
        layer = self.labels
        layer.selected_label = editing.next_free_label(layer)
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"

    @guarded
    def delete_object(self) -> None:
        """Delete the selected object."""
        editing.delete_object(self.labels, self.labels.selected_label)
        self.say(f"Object {self.labels.selected_label} is deleted.")

    @guarded
    def fill_holes(self) -> None:
        """Fill the holes of the selected object."""
        filled = editing.fill_holes(self.labels, self.labels.selected_label)
        number = self.labels.selected_label
        self.say(f"Object {number}: {filled} pixels filled." if filled else f"Object {number} has no holes.")

    @guarded
    def undo(self) -> None:
        """Take back the last edit of the layer."""
        self.labels.undo()
        self._edited.start()

    @guarded
    def redo(self) -> None:
        """Do the last edit that was taken back again."""
        self.labels.redo()
        self._edited.start()

    def toggle_merging(self) -> None:
        """Start or end the merge tool."""
        self.panel.merge.toggle()

    @guarded
    def _on_merge(self, active: bool) -> None:
        self._merging.stop()
        if active and self.labels is not None:
            self.viewer.layers.selection.active = self.labels
            self._merging.start(self.labels)
            self.say("Click the object that others are to join.")
        else:
            self.say("")

    def _on_target(self, number: int) -> None:
        self.say(f"Now click the objects that belong to object {number}. Click Merge again to end.")

    def _on_paint(self, event: Any = None) -> None:
        self._edited.start()

    @guarded
    def _follow_edits(self) -> None:
        layer = self.labels
        if layer is None or layer.multiscale or layer.data.size > LARGEST_TABLE:
            return
        data, origin = np.asarray(layer.data), self.origin
        if origin.task == "semantic" and origin.classes:
            touched = features.checksum(data) != origin.untouched
            layer.features = features.class_features(data, origin.classes, "edited" if touched else "model")
        else:
            layer.features = features.follow_edits(layer.features, data, next(iter(origin.classes), "object"))
        self._show_object()

    def _show_object(self, event: Any = None) -> None:
        layer = self.labels
        if layer is None:
            self.panel.object_text.show_text("")
            return
        number = layer.selected_label
        table = layer.features
        row = table[table["index"] == number] if "index" in table else table[:0]
        parts = [f"Selected: {number}"]
        if len(row):
            values = row.iloc[0]
            parts += [str(values["class"])] if values.get("class") else []
            score = values.get("score", np.nan)
            parts += [f"score {score:.2f}"] if np.isfinite(score) else []
            parts += [f"{values['area']:.0f} pixels"] if "area" in values else []
            parts += [str(values["origin"])] if values.get("origin") else []
        self.panel.object_text.show_text(" · ".join(parts))


def _guess_task(layer: napari.layers.Labels) -> str:
    """Guess from a piece of a layer whether its numbers are objects or classes; the guess is shown."""
    from segloop.labels import look_like_instances

    data = layer.data[0] if layer.multiscale else layer.data
    middle = tuple(n // 2 for n in data.shape[:-2])
    sides = tuple(slice(max(0, n // 2 - LARGEST_SAMPLE // 2), n // 2 + LARGEST_SAMPLE // 2) for n in data.shape[-2:])
    plane = np.asarray(data[(*middle, *sides)])
    return "instance" if look_like_instances(plane) or not plane.any() else "semantic"
