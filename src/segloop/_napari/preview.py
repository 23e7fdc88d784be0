"""Labels as they come, in a layer that is to be looked at only, until the run is done."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import napari.layers
import numpy as np
from qtpy.QtCore import QObject, QTimer

from segloop._napari import features
from segloop._napari.layers import plane_on_screen
from segloop._napari.turns import Turns
from segloop.events import LabelsDone

if TYPE_CHECKING:
    from segloop._napari.results import Run
    from segloop._napari.session import Session
    from segloop._napari.work import Canvas

TICK = 120
"""Milliseconds between two looks at what came: each makes napari draw its canvas once."""

SLOW_TICK = 1000
"""The same where napari has to prepare the whole picture anew: in 3D, for contours, in a turned view."""

LARGEST = np.iinfo(np.uint16).max


class Preview(QObject):
    """Shows the labels of one run as they come.

    The layer is made when the first labels come, and not again when the person removes it; in steps, since napari takes
    long for each. While it is shown, an earlier result of the same model is hidden.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    run : Run
    parent : QObject

    Attributes
    ----------
    drawn : threading.Event
        Set when the layer is made, with the first labels. Until then the worker had better wait: napari takes a while
        to make a layer, and much longer beside a network at work.
    """

    def __init__(self, viewer: napari.Viewer, session: Session, run: Run, parent: QObject) -> None:
        super().__init__(parent)
        self.drawn = threading.Event()
        self._viewer = viewer
        self._session = session
        self._run = run
        self._canvas: Canvas | None = None
        self._layer: napari.layers.Labels | None = None
        self._hidden: napari.layers.Labels | None = None
        self._waiting: deque[LabelsDone] = deque()
        self._overlays: list[Any] = []
        self._arriving = Turns(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._draw)

    def prepare(self, canvas: Canvas) -> None:
        """Take the array that the labels are to be drawn into."""
        self._canvas = canvas

    def take(self, event: LabelsDone) -> bool:
        """Take labels of a block; they are shown soon. Return whether they are the first."""
        if self._canvas is None:
            return False
        first = self._layer is None
        if first:
            self._show()
        self._waiting.append(event)
        if not self._arriving.left and not self._timer.isActive():
            self._timer.start(TICK if self._is_plain() else SLOW_TICK)
        return first

    def finish(self) -> napari.layers.Labels | None:
        """Show no more; return the layer if it is still there. Whoever calls this fills it or removes it."""
        if self._arriving.left and self._layer in self._viewer.layers:
            self._appear()
            for overlay in self._overlays:
                overlay.visible = True
        self._arriving.stop()
        self._overlays.clear()
        self.drawn.set()
        self._timer.stop()
        self._waiting.clear()
        self._canvas = None
        layer, self._layer, self._hidden = self._layer, None, None
        if layer is None:
            return None
        self._session.unfinished.discard(layer)
        return layer if layer in self._viewer.layers else None

    def remove(self) -> None:
        """Show no more, and leave the viewer as if nothing had been shown."""
        self._arriving.stop()
        hidden, layer = self._hidden, self.finish()
        if layer is not None:
            self._viewer.layers.remove(layer)
        if hidden is not None:
            hidden.visible = True

    def _show(self) -> None:
        """Add the layer, not seen yet; what is selected stays selected: the person may be at work on it."""
        run, viewer = self._run, self._viewer
        colors = {"colormap": features.class_colors()} if self._canvas.classes else {}
        self._layer = layer = napari.layers.Labels(
            run.place.to_layer(self._canvas.labels),
            name=f"coming: {run.title}",
            visible=False,
            **colors,
            **run.place.keywords(),
        )
        layer.editable = False
        # what is drawn for tools takes napari nearly as long as the layer
        self._overlays = [overlay for overlay in layer._overlays.values() if overlay.visible]
        for overlay in self._overlays:
            overlay.visible = False
        self._session.unfinished.add(layer)
        # selected and given up again at once, it would take half as long again
        viewer.layers._activate_on_insert = False
        try:
            viewer.add_layer(layer)
        finally:
            viewer.layers._activate_on_insert = True
        tools = [partial(setattr, overlay, "visible", True) for overlay in self._overlays]
        self._arriving.begin([self._appear, self._draw, *tools, self._arrive])

    def _appear(self) -> None:
        """Have the layer painted, in place of an earlier result."""
        run, layer, viewer = self._run, self._layer, self._viewer
        if layer.visible or layer not in viewer.layers:
            return
        image = run.image()
        earlier = None if image is None else self._session.result_of(image, run.model.name, list(viewer.layers))
        if earlier is not None and earlier.visible:
            earlier.visible, self._hidden = False, earlier
        layer.visible = True

    def _arrive(self) -> None:
        self.drawn.set()
        if self._waiting:
            self._timer.start(0)

    def _draw(self) -> None:
        layer = self._layer
        if layer not in self._viewer.layers:
            self._waiting.clear()
            return
        plain, shown = self._is_plain(), plane_on_screen(self._viewer, layer, self._run.place.axes, layer.data.shape)
        while self._waiting:
            event = self._waiting.popleft()
            block = _as_shown(event.labels)
            part = layer.data[self._run.place.block(event.plane, event.rows, event.columns)]
            part[:] = block if self._run.place.rows_first else block.T
            if plain and event.plane == shown and layer.visible:
                # what napari does for a stroke of the brush: only this part of the picture is sent to the screen
                layer.events.labels_update(data=block, offset=(event.rows.start, event.columns.start))
        if not plain:
            layer.refresh(extent=False, thumbnail=False, highlight=False)

    def _is_plain(self) -> bool:
        """Whether rows and columns are shown as such, and numbers as colours."""
        dims = self._viewer.dims
        straight = dims.ndisplay == 2 and tuple(dims.order[-2:]) == (dims.ndim - 2, dims.ndim - 1)
        return straight and self._run.place.axes.endswith("YX") and not self._layer.contour


def _as_shown(labels: np.ndarray) -> np.ndarray:
    """Turn numbers into such as the layer can hold; what is beyond them begins again, as its colours would."""
    if labels.dtype.itemsize > 2:
        labels = np.where(labels > LARGEST, (labels - 1) % LARGEST + 1, labels)
    return labels.astype(np.uint16)
