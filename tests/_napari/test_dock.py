"""The dock as a whole: explained, readable when narrow, in both themes, once per viewer."""

from __future__ import annotations

import time

import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLabel, QLineEdit, QPushButton, QTabBar

from segloop._napari.dock import WIDTH
from segloop._napari.plugin import SegloopDock
from segloop._napari.theme import DARK, LIGHT
from segloop.errors import LabelsError

PATIENCE = 60_000


def inputs(dock):
    kinds = (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox)
    for kind in kinds:
        for widget in dock.findChildren(kind):
            # Qt builds its own inputs from parts
            part = isinstance(widget.parent(), QAbstractSpinBox | QComboBox | QTabBar)
            if not part and not widget.objectName().startswith("qt_"):
                yield widget


def test_everything_is_explained(dock):
    dock.finetune.show_plots()
    unexplained = [w for w in inputs(dock) if not w.toolTip() and type(w).__module__.split(".")[0] != "pyqtgraph"]
    assert not [f"{type(w).__name__} {getattr(w, 'text', lambda: '')()}" for w in unexplained]
    assert all(dock.tabs.tabToolTip(number) for number in range(dock.tabs.count()))


@pytest.mark.parametrize("tab", range(4))
def test_no_text_is_cut_off_when_the_dock_is_narrow(qtbot, open_dock, tab, blobs):
    dock = open_dock(show=True)
    viewer = dock._viewer
    viewer.add_image(np.stack([blobs] * 6))
    viewer.add_labels(np.zeros((6, *blobs.shape), np.uint16))
    dock.parentWidget().setFixedWidth(WIDTH)
    dock.tabs.setCurrentIndex(tab)
    dock.segment.advanced.expand(animate=False)
    dock.finetune.advanced.expand(animate=False)
    qtbot.wait(100)
    panel = (dock.segment, dock.correct, dock.finetune, dock.export)[tab]
    assert panel.width() <= WIDTH
    for widget in panel.findChildren((QLabel, QPushButton)):
        if not widget.isVisible() or not widget.text() or type(widget).__module__.startswith("pyqtgraph"):
            continue
        words = widget.text().split() if isinstance(widget, QLabel) and widget.wordWrap() else [widget.text()]
        widest = max(widget.fontMetrics().horizontalAdvance(word) for word in words)
        assert widest <= widget.width(), widget.text()
        right = widget.mapTo(dock, widget.rect().topRight()).x()
        assert right <= dock.width(), widget.text()


@pytest.mark.parametrize("theme, colors", [("dark", DARK), ("light", LIGHT)])
def test_both_themes(dock, theme, colors):
    get_settings().appearance.theme = theme
    dock._viewer.theme = theme
    assert colors.error in dock.styleSheet()
    dock.finetune.show_plots()
    dock.finetune_step.recolor()
    get_settings().appearance.theme = "dark"


def test_two_viewers_have_docks_of_their_own(make_napari_viewer, qtbot, blobs):
    docks = []
    for name in ("first", "second"):
        viewer = make_napari_viewer()
        viewer.add_image(blobs, name=name)
        dock = SegloopDock(viewer)
        viewer.window.add_dock_widget(dock, name="SegLoop")
        docks.append(dock)
    qtbot.waitUntil(lambda: all(dock.segment.form is not None for dock in docks), timeout=PATIENCE)
    assert [dock.segment.image.currentText() for dock in docks] == ["first", "second"]
    docks[0].session.choose_model("nuclei-unet")
    assert docks[1].session.model == "nuclei-maskrcnn"


def test_pages_are_filled_one_by_one_that_in_sight_first(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    dock = SegloopDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegLoop")
    dock.tabs.setCurrentIndex(2)
    pages = [dock.pages.widget(n) for n in range(4)]
    assert not any(page.widget() for page in pages)
    filled = []
    qtbot.waitUntil(lambda: filled.append([page.widget() is not None for page in pages]) or all(filled[-1]))
    assert [page.widget() for page in pages] == [dock.segment, dock.correct, dock.finetune, dock.export]
    assert next(state for state in filled if any(state))[2]


def test_a_dock_closed_before_its_pages_are_filled_leaves_nothing(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    dock = SegloopDock(viewer)
    gone = []
    for widget in (dock, dock.segment, dock.correct, dock.finetune, dock.export):
        widget.destroyed.connect(gone.append)
    dock.deleteLater()
    qtbot.waitUntil(lambda: len(gone) == 5)


def test_opening_takes_a_moment_only(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    begun = time.monotonic()
    dock = SegloopDock(viewer)
    assert time.monotonic() - begun < 1
    viewer.window.add_dock_widget(dock, name="SegLoop")
    qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=PATIENCE)


@pytest.mark.gui
def test_a_dock_opened_again_has_all_the_height(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 900)
    heights = []
    for _ in range(3):
        wrapper, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
        qtbot.waitUntil(lambda dock=dock: dock.segment.form is not None, timeout=PATIENCE)
        qtbot.wait(50)
        heights.append(dock.pages.height())
        # as the cross of its title bar does
        wrapper.destroyOnClose()
        qtbot.wait(50)
    assert heights[0] > 600
    assert heights[1:] == [heights[0]] * 2


@pytest.mark.parametrize("name", ["SegLoop", "Models"])
def test_a_closed_dock_ends_at_once(make_napari_viewer, qtbot, name):
    """Whoever still holds on to it: nothing of it may listen to the viewer, or wait for the garbage collector."""
    viewer = make_napari_viewer()
    listeners = len(viewer.layers.events.inserted.callbacks), len(viewer.events.theme.callbacks)
    wrapper, dock = viewer.window.add_plugin_dock_widget("napari-segloop", name)
    with qtbot.waitSignal(dock.destroyed):
        wrapper.destroyOnClose()
    assert (len(viewer.layers.events.inserted.callbacks), len(viewer.events.theme.callbacks)) == listeners


def test_a_dock_that_is_moved_lives_on(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    wrapper, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    viewer.window.remove_dock_widget(wrapper)
    viewer.window.add_dock_widget(dock, name="moved")
    qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=PATIENCE)
    dock.tabs.setCurrentIndex(1)
    assert dock.pages.currentIndex() == 1


def test_success_is_forgotten_with_the_tab_and_foreseen_errors_pop_up_only_where_they_are_not_seen(
    qtbot, open_dock, monkeypatch
):
    dock, shown = open_dock(show=True), []
    monkeypatch.setattr("segloop._napari.steps.step.show_error", shown.append)
    qtbot.waitUntil(lambda: not dock.visibleRegion().isEmpty(), timeout=10_000)
    dock.show_status("x.tif is written.", "good")
    qtbot.mouseClick(dock.tabs, Qt.MouseButton.LeftButton, pos=dock.tabs.tabRect(1).center())
    assert dock.tabs.currentIndex() == 1 and dock.status.text() == ""
    dock.correct_step.fail(LabelsError("draw it with the brush"))
    assert dock.status.text() == "draw it with the brush" and shown == []
    dock.parentWidget().hide()
    dock.correct_step.fail(LabelsError("draw it with the brush"))
    assert shown == ["draw it with the brush"]


def test_what_went_well_is_not_told_of_layers_that_are_gone(dock, blobs):
    layer = dock._viewer.add_image(blobs)
    dock.show_status("94 objects in 2 s.", "good")
    dock._viewer.add_image(blobs)
    assert dock.status.text() == "94 objects in 2 s."
    dock._viewer.layers.remove(layer)
    assert dock.status.text() == ""
    dock.show_status("The disk is full.", "error")
    dock._viewer.layers.clear()
    assert dock.status.text() == "The disk is full."


def test_nobody_is_invited_to_open_an_image_once_there_is_one(dock, blobs):
    assert dock.status.text().startswith("Open an image")
    dock._viewer.add_image(blobs)
    assert dock.status.text() == ""


def test_the_score_that_a_model_asks_for_is_said(dock):
    score = dock.segment.form.fields["score"].editor
    for model, text in (("nuclei-maskrcnn", "(0.40)"), ("objects-maskrcnn", "(0.30)"), ("nuclei-unet", "")):
        dock.session.choose_model(model)
        assert score.text() == f"Automatic {text}".strip()
