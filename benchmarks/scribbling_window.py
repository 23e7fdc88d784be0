"""Strokes of the mouse in a real napari, and when their prediction is on the canvas."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from journal import Heart, pump
from scipy import ndimage

STEPS = 8
"""Mouse moves of a stroke."""


@dataclass(frozen=True)
class Stroke:
    """Seconds from the release of the button to the first part and to all of the prediction; longest stall.

    ``cpu`` are the processor's seconds in all threads, drawing the window included.
    """

    first: float
    refreshed: float
    stall: float
    cpu: float


@dataclass(frozen=True)
class Measured:
    """All that was measured; ``shown`` are rows and columns on the screen."""

    opened: float
    strokes: tuple[Stroke, ...]
    moved: float
    shown: tuple[int, int]


def draw_strokes(pixels: np.ndarray, wanted: np.ndarray, classes: Sequence[str], count: int) -> Measured:
    """Open the image, scribble on it, move to another place."""
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    import napari
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    viewer = napari.Viewer()
    viewer.window.resize(1590, 990)
    viewer.add_image(pixels, name="field")
    _, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    step, panel = dock.scribble_step, dock.scribble
    pump(until=panel.start.isEnabled)
    dock.tabs.setCurrentIndex(2)
    dock.scribble_fold.expand(animate=False)
    viewer.scene.camera.zoom = viewer.window._qt_viewer.canvas.size[1] / 1000
    viewer.scene.camera.center = (0, 520, 520)
    pump(1)

    def rest(refreshes: int) -> None:
        timers = (step._after_stroke, step._after_move)
        pump(until=lambda: step.refreshes > refreshes and step.job is None and not any(t.isActive() for t in timers))

    panel.classes.show_classes(classes, 0)
    start = time.perf_counter()
    QTest.mouseClick(panel.start, Qt.MouseButton.LeftButton)
    rest(0)
    opened = time.perf_counter() - start
    heart = Heart()
    view = step._view()
    shown = (view.rows.stop - view.rows.start, view.columns.stop - view.columns.start)
    inside = np.zeros(wanted.shape, bool)
    inside[view.rows.start + 60 : view.rows.stop - 60, view.columns.start + 60 : view.columns.stop - 60] = True
    drawn: list[float] = []
    step.prediction.layer.events.labels_update.connect(lambda event: drawn.append(time.perf_counter()))
    strokes = []
    for number in range(count + len(classes)):
        name = number % len(classes)
        QTest.mouseClick(panel.classes.rows[name][0], Qt.MouseButton.LeftButton)
        free = (wanted == name) & inside & (step.layer.data == 0)
        depth = ndimage.distance_transform_edt(free)
        place = np.unravel_index(depth.argmax(), depth.shape)
        reach = max(2, int(depth.max() * 0.7))
        pump(0.3)
        before = step.refreshes
        drawn.clear()
        used = time.process_time()
        released = _drag(viewer, step.layer, (place[0], place[1] - reach), (place[0], place[1] + reach))
        rest(before)
        # of the first strokes there is nothing, or not all classes, to be predicted
        if number >= len(classes):
            used = time.process_time() - used
            strokes.append(Stroke(min(drawn) - released, max(drawn) - released, heart.longest(released), used))
    before, start = step.refreshes, time.perf_counter()
    viewer.scene.camera.center = (0, 1500, 1500)
    rest(before)
    moved = time.perf_counter() - start
    viewer.close()
    return Measured(opened, tuple(strokes), moved, shown)


def _drag(viewer: Any, layer: Any, start: Sequence[float], end: Sequence[float]) -> float:
    """Draw with the left button held; return when it was released."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas
    node = canvas.layer_to_visual[layer].node
    ends = [np.asarray(node.get_transform("visual", "canvas").map([x + 0.5, y + 0.5])[:2]) for y, x in (start, end)]
    held, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton

    def send(kind: Any, place: np.ndarray, button: Any, buttons: Any) -> None:
        local = QPointF(*map(float, place))
        spot = canvas.native.mapToGlobal(local)
        modifier = Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(canvas.native, QMouseEvent(kind, local, spot, button, buttons, modifier))
        QApplication.processEvents()

    send(QEvent.Type.MouseMove, ends[0], none, none)
    send(QEvent.Type.MouseButtonPress, ends[0], held, held)
    for share in np.linspace(0, 1, STEPS)[1:]:
        send(QEvent.Type.MouseMove, ends[0] * (1 - share) + ends[1] * share, none, held)
    released = time.perf_counter()
    send(QEvent.Type.MouseButtonRelease, ends[1], held, none)
    return released
