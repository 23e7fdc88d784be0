"""The status bar has room for napari's activity indicator before anything goes on."""

from __future__ import annotations

from napari.components import ViewerModel
from napari.utils import progress
from qtpy.QtWidgets import QApplication, QLabel

from segloop._napari.activity import keep_room


def test_the_indicator_has_its_room_before_the_first_progress_bar(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    keep_room(viewer)
    bar = viewer.window._qt_window.statusBar()
    (turning,) = (label for label in bar.findChildren(QLabel) if label.movie() is not None)
    room = turning.minimumSize()
    with progress(total=3) as shown:
        shown.update(1)
        QApplication.processEvents()
        size = turning.movie().currentPixmap().size()
    assert not size.isEmpty()
    assert room.width() >= size.width() and room.height() >= size.height()


def test_a_viewer_without_a_window_has_no_status_bar():
    keep_room(ViewerModel())
