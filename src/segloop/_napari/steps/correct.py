"""Correct: which Labels layer is corrected, and the tools that napari lacks."""

from __future__ import annotations

import weakref
from typing import Any

import napari.layers
import numpy as np
from qtpy.QtCore import Signal

from segloop._napari.layers import Placement, fits, guess_layer_axes
from segloop._napari.panels.correct import CorrectPanel
from segloop._napari.session import Origin
from segloop._napari.steps.step import Step, guarded
from segloop._napari.steps.tools import ToolStep
from segloop.errors import ImageError

LARGEST_SAMPLE = 1024
"""Side of the piece of a foreign layer that is looked at to guess what its numbers mean."""


class CorrectStep(Step):
    """Joins the upper part of the Correct panel to the viewer."""

    labels_used = Signal()

    def __init__(self, panel: CorrectPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self._connected: napari.layers.Labels | None = None
        self.tools = ToolStep(panel.tools, *args)
        self.tools.said.connect(self.said)
        self.tools.selected.connect(self._show_object)
        panel.labels_chosen.connect(self._on_labels)
        panel.image_chosen.connect(self._on_image)
        panel.task_chosen.connect(self._on_task)
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
            self.tools.use(None)
            self._connected = layer
        images = self.watch.of_type(napari.layers.Image)
        if layer is not None:
            if layer not in self.session.origins or self.origin.image() not in images:
                self._adopt(layer, images)
            self.panel.task.show_items(*self._task_items(), self.origin.task)
            self.tools.use(None if layer.multiscale else layer)
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
        self._use(self.labels)

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
        ready = layer is not None and not layer.multiscale
        self.panel.show_ready(ready)
        self.tools.show_usable(ready)
        self.labels_used.emit()

    def release(self) -> None:
        """Give the layer back as it was: no keys, no clicks; called when the dock is gone."""
        self.tools.release()
        self._connected = None

    def _show_object(self, event: Any = None) -> None:
        layer = self.labels
        if layer is None:
            self.panel.object_text.show_text("")
            return
        self.tools.show_classes()
        numbers = self.tools.numbers or [layer.selected_label]
        ledger = self.session.ledgers.get(layer)
        values = None if ledger is None else ledger.row(numbers[0])
        parts = [f"Selected: {', '.join(map(str, numbers))}"]
        if values is not None and len(numbers) == 1:
            parts += [str(values["class"])] if values.get("class") else []
            score = values.get("score", np.nan)
            parts += [f"score {score:.2f}"] if np.isfinite(score) else []
            parts += [f"{values['area']:.0f} pixels"] if "area" in values else []
            parts += [str(values["origin"])] if values.get("origin") else []
        elif ledger is not None and len(numbers) == 1 and self.session.origins[layer].task == "instance":
            parts.append("free, for a new object")
        self.panel.object_text.show_text(" · ".join(parts))


def _guess_task(layer: napari.layers.Labels) -> str:
    """Guess from a piece of a layer whether its numbers are objects or classes; the guess is shown."""
    from segloop.labels import look_like_instances

    data = layer.data[0] if layer.multiscale else layer.data
    middle = tuple(n // 2 for n in data.shape[:-2])
    sides = tuple(slice(max(0, n // 2 - LARGEST_SAMPLE // 2), n // 2 + LARGEST_SAMPLE // 2) for n in data.shape[-2:])
    plane = np.asarray(data[(*middle, *sides)])
    return "instance" if look_like_instances(plane) or not plane.any() else "semantic"
