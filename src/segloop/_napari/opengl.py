"""The OpenGL context of a viewer's canvas, made current before napari deletes what it drew."""

from __future__ import annotations

import napari
from qtpy.QtWidgets import QOpenGLWidget


def make_current(viewer: napari.Viewer) -> None:
    """Make the canvas's context current, as it is while the canvas is painted.

    When a layer is removed, napari (0.9) has vispy carry out at once what waits to be deleted, in whatever context is
    current. Where that is another one, Mesa's llvmpipe goes on drawing with what is gone, and the process dies when the
    canvas changes its size.
    """
    window = getattr(viewer, "window", None)
    if window is not None and isinstance(canvas := window._qt_viewer.canvas.native, QOpenGLWidget):
        canvas.makeCurrent()
