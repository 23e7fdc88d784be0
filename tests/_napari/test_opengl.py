"""OpenGL: what was drawn for a layer is deleted where it was drawn."""

from __future__ import annotations

import numpy as np
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext


def test_a_layer_goes_while_the_context_of_the_canvas_is_current(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((64, 64), np.uint8))
    layer = viewer.add_labels(np.eye(64, dtype=np.uint16))
    viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    qtbot.wait(200)
    own = viewer.window._qt_viewer.canvas.native.context()
    other, surface = QOpenGLContext(), QOffscreenSurface()
    surface.create()
    assert own is not None and other.create() and other.makeCurrent(surface)
    current = []
    viewer.layers.events.removed.connect(lambda event: current.append(QOpenGLContext.currentContext()))
    viewer.layers.remove(layer)
    assert current == [own]
    assert not viewer.window._qt_viewer.canvas.layer_to_visual.get(layer)
