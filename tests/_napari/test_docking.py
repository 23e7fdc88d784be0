"""Where the dock Models opens: beside the loop, which stays in sight."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

PATIENCE = 60_000


@pytest.fixture
def window(make_napari_viewer, qtbot, segloop_home):
    """Opens a window of a width, with the dock as the menu opens it, at Fine-tune."""

    def open_it(width):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(width, 800)
        around, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
        qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=PATIENCE)
        dock.tabs.setCurrentIndex(2)
        qtbot.waitUntil(dock.finetune.versions.isVisible, timeout=PATIENCE)
        viewer.window.resize(width, 800)
        qtbot.wait(100)
        return viewer, around, dock

    return open_it


def is_in_sight(widget) -> bool:
    return widget.isVisible() and not widget.visibleRegion().isEmpty()


@pytest.mark.parametrize("width", [1500, 1000])
def test_the_loop_stays_in_sight_beside_the_models(window, qtbot, width):
    viewer, around, dock = window(width)
    before = around.width()
    qtbot.mouseClick(dock.finetune.versions, Qt.MouseButton.LeftButton)
    models, _ = viewer.window.add_plugin_dock_widget("napari-segloop", "Models")
    qtbot.waitUntil(lambda: is_in_sight(models), timeout=PATIENCE)
    assert is_in_sight(dock.finetune.start) and not around.parentWidget().tabifiedDockWidgets(around)
    if width < 1200:
        assert models.isFloating()
        place = around.rect().translated(around.mapToGlobal(around.rect().topLeft()))
        assert not models.frameGeometry().intersects(place)
    else:
        qtbot.waitUntil(lambda: abs(around.width() - before) < 10, timeout=PATIENCE)
        assert not models.isFloating() and models.geometry().right() < around.geometry().left()
        assert models.geometry().top() == around.geometry().top()


def test_where_she_put_it_it_stays(window, qtbot):
    viewer, _, dock = window(1500)
    dock.finetune.versions.click()
    models, _ = viewer.window.add_plugin_dock_widget("napari-segloop", "Models")
    QApplication.processEvents()
    models.setFloating(True)
    models.hide()
    dock.finetune.versions.click()
    assert models.isFloating() and models.isVisible()


def test_what_the_models_took_goes_back_to_the_picture(window, qtbot):
    viewer, around, dock = window(1500)
    picture, before = around.parentWidget().centralWidget(), around.width()
    wide = picture.width()
    for _ in range(2):
        dock.finetune.versions.click()
        models, _ = viewer.window.add_plugin_dock_widget("napari-segloop", "Models")
        qtbot.waitUntil(lambda: picture.width() < wide - 100 and abs(around.width() - before) < 10, timeout=PATIENCE)
        # as its x does
        models.destroyOnClose()
        qtbot.waitUntil(lambda: picture.width() == wide and around.width() == before, timeout=PATIENCE)


def test_one_that_she_opened_herself_is_not_moved(window, qtbot):
    viewer, around, dock = window(1500)
    models, _ = viewer.window.add_plugin_dock_widget("napari-segloop", "Models")
    main = around.parentWidget()
    main.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, models)
    qtbot.wait(100)
    dock.finetune.versions.click()
    qtbot.wait(100)
    assert main.dockWidgetArea(models) == Qt.DockWidgetArea.LeftDockWidgetArea and is_in_sight(models)
