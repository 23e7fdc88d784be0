"""The two layers of scribbling: what is painted, and below it what is predicted, to be looked at only."""

from __future__ import annotations

import napari
import napari.layers
import numpy as np
from napari.utils.events import EventEmitter

from segloop._napari import features
from segloop._napari.layers import Placement, plane_on_screen
from segloop._napari.session import Session
from segloop.events import LabelsDone

OPACITY = 0.4
"""The image must be seen through the prediction."""

BRUSH = 7
"""Width of the brush on the screen, in its pixels."""


def find_scribbles(viewer: napari.Viewer, image: napari.layers.Image, place: Placement) -> napari.layers.Labels | None:
    """The layer that was painted on an image before, if it is there still."""
    for layer in reversed(viewer.layers):
        named = layer.name == _name(image) and isinstance(layer, napari.layers.Labels)
        if named and not layer.multiscale and tuple(layer.data.shape) == place.shape:
            return layer
    return None


def new_scribbles(image: napari.layers.Image, place: Placement) -> napari.layers.Labels:
    """An empty layer to paint on an image."""
    empty = np.zeros(place.shape, np.uint8)
    return napari.layers.Labels(
        empty, name=_name(image), colormap=features.class_colors(), opacity=1.0, **place.keywords()
    )


def show_below(viewer: napari.Viewer, image: napari.layers.Image, scribbles: napari.layers.Labels) -> None:
    """Move an image below its scribbles, where it hides neither them nor the prediction."""
    layers = viewer.layers
    if layers.index(image) > layers.index(scribbles):
        active = layers.selection.active
        layers.move(layers.index(image), layers.index(scribbles))
        layers.selection.active = active


def take_brush(viewer: napari.Viewer, layer: napari.layers.Labels) -> None:
    """Select the layer and its brush, of a size that suits what is seen."""
    viewer.layers.selection.active = layer
    step = float(np.abs(layer.scale[-1])) * viewer.scene.camera.zoom
    layer.brush_size = int(np.clip(round(BRUSH / max(step, 1e-6)), 1, 40))
    layer.mode = "paint"


def strokes_of(layer: napari.layers.Labels) -> tuple[EventEmitter, ...]:
    """Return the events that tell of something painted, by whatever tool."""
    return layer.events.paint, layer.events.labels_update, layer.events.set_data


def drop_class(layer: napari.layers.Labels, number: int) -> None:
    """Take all strokes of a class away, and count those after it anew; this cannot be undone."""
    table = np.arange(256, dtype=np.uint8)
    table[number + 1] = 0
    table[number + 2 :] -= 1
    # new data begin a new history: what was done before cannot be undone with other numbers
    layer.data = table[layer.data]
    layer._reset_history()


def _name(image: napari.layers.Image) -> str:
    return f"{image.name} – scribbles"


class PredictionLayer:
    """Shows a prediction right below the scribbles.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    place : Placement
    scribbles : Labels
    name : str
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        place: Placement,
        scribbles: napari.layers.Labels,
        name: str,
    ) -> None:
        self._viewer, self._place = viewer, place
        self.layer = napari.layers.Labels(
            np.zeros(place.shape, np.uint8),
            name=name,
            colormap=features.class_colors(),
            opacity=OPACITY,
            **place.keywords(),
        )
        self.layer.editable = False
        # nothing can be done with it: no other step offers it, no journal follows it
        session.unfinished.add(self.layer)
        self._is_empty = True
        active = viewer.layers.selection.active
        viewer.layers.insert(viewer.layers.index(scribbles), self.layer)
        viewer.layers.selection.active = active

    @property
    def is_there(self) -> bool:
        """Whether the person has not removed it."""
        return self.layer in self._viewer.layers

    def remove(self) -> None:
        """Take it away."""
        if self.is_there:
            self._viewer.layers.remove(self.layer)

    def clear(self) -> None:
        """Show nothing."""
        if not self._is_empty and self.is_there:
            self.layer.data = np.zeros(self._place.shape, np.uint8)
            self._is_empty = True

    def draw(self, event: LabelsDone) -> None:
        """Show what is predicted of a part of a plane."""
        if not self.is_there:
            return
        layer, place = self.layer, self._place
        block = event.labels if place.rows_first else event.labels.T
        layer.data[place.block(event.plane, event.rows, event.columns)] = block
        self._is_empty = False
        if not layer.visible:
            return
        if self._is_plain() and event.plane == plane_on_screen(self._viewer, layer, place.axes, layer.data.shape):
            # what napari does for a stroke of the brush: only this part of the picture is sent to the screen
            layer.events.labels_update(data=event.labels, offset=(event.rows.start, event.columns.start))
        else:
            layer.refresh(extent=False, thumbnail=False, highlight=False)

    def _is_plain(self) -> bool:
        dims = self._viewer.dims
        straight = dims.ndisplay == 2 and tuple(dims.order[-2:]) == (dims.ndim - 2, dims.ndim - 1)
        return straight and self._place.axes.endswith("YX") and not self.layer.contour
