"""A window with labels to correct, and a hand on its canvas."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

PATIENCE = 60_000
CONTROL = Qt.KeyboardModifier.ControlModifier

spec = importlib.util.spec_from_file_location("pointer", Path(__file__).parents[1] / "pointer.py")
pointer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pointer)


@pytest.fixture
def plane() -> np.ndarray:
    """A ring, two squares side by side, a dumbbell, and an object at the border."""
    labels = np.zeros((96, 128), np.uint8)
    labels[20:40, 20:40] = 1
    labels[25:30, 25:30] = 0
    labels[50:80, 70:90] = 2
    labels[50:80, 90:110] = 3
    y, x = np.mgrid[:96, :128]
    labels[(y - 20) ** 2 + (x - 70) ** 2 < 100] = 4
    labels[(y - 20) ** 2 + (x - 86) ** 2 < 100] = 4
    labels[60:70, 0:10] = 5
    return labels


@pytest.fixture
def show(open_dock, qtbot, errors):
    """Show labels from elsewhere in a window with the dock; returns the viewer, their layer, and a hand."""

    def show_them(labels):
        window = open_window(open_dock, labels)
        window.hand = pointer.Hand(window.viewer, qtbot)
        return window

    return show_them


@pytest.fixture
def drawn(show, plane):
    return show(plane)


@pytest.fixture
def stacked(show, plane):
    stack = np.zeros((6, *plane.shape), np.uint8)
    stack[1] = plane
    return show(stack)


class Window:
    def __init__(self, dock, layer):
        self.dock, self.layer, self.hand = dock, layer, None
        self.viewer, self.grid, self.step = dock._viewer, dock.correct.tools, dock.correct_step.tools

    def pixels(self) -> np.ndarray:
        return np.array(self.layer.data)

    def table(self) -> pd.DataFrame:
        self.step.ledger.flush()
        return self.layer.features.set_index("index")

    def undo(self) -> None:
        self.hand.key(Qt.Key.Key_Z, CONTROL)

    def stroke_around(self, top, left, bottom, right) -> None:
        """Draw a stroke around a box."""
        corners = (top, left), (top, right), (bottom, right), (bottom, left), (top, left)
        self.hand.drag(self.layer, *corners)

    def outline(self, qtbot) -> set[tuple[float, float]]:
        """Corners of the outline of what is selected, row and column, in pixels of the layer."""
        qtbot.waitUntil(lambda: not self.step._outlining.isActive(), timeout=PATIENCE)
        edges = self.step._outlines._edges
        return set() if edges is None else {(float(y) - 0.5, float(x) - 0.5) for x, y in edges.pos[:, :2]}


def open_window(open_dock, labels):
    dock = open_dock(show=True)
    viewer = dock._viewer
    names = {"axis_labels": ("z", "y", "x")} if labels.ndim == 3 else {}
    viewer.add_image(np.zeros(labels.shape, np.uint8), name="cells", **names)
    layer = viewer.add_labels(labels.copy(), name="draft", **names)
    dock.tabs.setCurrentIndex(1)
    if labels.ndim == 3:
        viewer.dims.set_current_step(0, 1)
    end = time.monotonic() + 60
    while not dock.session.ledgers[layer]._reconciled and time.monotonic() < end:
        QApplication.processEvents()
    viewer.reset_view()
    QApplication.processEvents()
    return Window(dock, layer)
