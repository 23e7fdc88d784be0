"""napari's activity: room for its indicator in the status bar."""

from __future__ import annotations

import napari
from qtpy.QtWidgets import QLabel


def keep_room(viewer: napari.Viewer) -> None:
    """Let the status bar be as high as it gets with the first progress bar.

    The indicator that turns while a bar is shown has no size before: with the first bar, at the start of a run, the
    status bar would grow by a pixel, and the whole canvas be resized and painted twice.
    """
    window = getattr(viewer, "window", None)
    if window is None:
        return
    for label in window._qt_window.statusBar().findChildren(QLabel):
        movie = label.movie()
        if movie is not None:
            label.setMinimumSize(movie.scaledSize())
