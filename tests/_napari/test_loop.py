"""The whole loop, by mouse and keyboard, on a real image in a real window with a bundled model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.layers import Labels, Shapes
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from segloop import io, store
from segloop.corrections import TrainingSet
from segloop.metrics import instance_scores
from segloop.samples import load_reference

PATIENCE = 300_000
LEFT = Qt.MouseButton.LeftButton
MODEL = "nuclei-maskrcnn"


class Person:
    """Clicks and drags in the window."""

    def __init__(self, qtbot, viewer, dock) -> None:
        self.qtbot, self.viewer, self.dock = qtbot, viewer, dock
        self.canvas = viewer.window._qt_viewer.canvas.native

    def go_to(self, tab: str) -> None:
        tabs = self.dock.tabs
        number = next(n for n in range(tabs.count()) if tabs.tabText(n) == tab)
        self.qtbot.mouseClick(tabs, LEFT, pos=tabs.tabRect(number).center())
        assert self.dock.pages.currentIndex() == number

    def press(self, button) -> None:
        assert button.isEnabled() and button.isVisible()
        self.qtbot.mouseClick(button, LEFT)

    def wait_for(self, step) -> None:
        self.qtbot.waitUntil(lambda: step.job is None, timeout=PATIENCE)

    def drag(self, start, end) -> None:
        """Drag on the canvas from one world position (y, x) to another."""
        begin, stop = self._at(start), self._at(end)
        self._send(QEvent.Type.MouseMove, begin, Qt.MouseButton.NoButton)
        self._send(QEvent.Type.MouseButtonPress, begin, LEFT)
        for part in (0.25, 0.5, 0.75, 1):
            self._send(QEvent.Type.MouseMove, begin + (stop - begin) * part, LEFT)
        self._send(QEvent.Type.MouseButtonRelease, stop, Qt.MouseButton.NoButton)

    def _send(self, kind, at, held) -> None:
        # QTest's moves do not say that a button is held
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else LEFT
        place, screen = QPointF(at), QPointF(self.canvas.mapToGlobal(at))
        QApplication.sendEvent(
            self.canvas, QMouseEvent(kind, place, screen, button, held, Qt.KeyboardModifier.NoModifier)
        )
        self.qtbot.wait(20)

    def _at(self, world) -> QPoint:
        y, x = world
        _, center_y, center_x = self.viewer.scene.camera.center
        zoom = self.viewer.scene.camera.zoom / self.canvas.devicePixelRatioF()
        middle = self.canvas.rect().center()
        return QPoint(middle.x() + round((x - center_x) * zoom), middle.y() + round((y - center_y) * zoom))


@pytest.mark.slow
@pytest.mark.gui
def test_the_loop(make_napari_viewer, qtbot, tmp_path, errors):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 850)
    (image,) = viewer.open_sample("napari-segloop", "large-nuclei")
    image.scale, image.units = (0.5, 0.5), ("um", "um")
    viewer.reset_view()
    _, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    person = Person(qtbot, viewer, dock)
    qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=PATIENCE)
    before = image.data.copy()

    # segment: one click
    assert dock.segment.model.current() == MODEL
    person.press(dock.segment.run)
    person.wait_for(dock.segment_step)
    assert errors == []
    labels = viewer.layers[f"large-nuclei – {MODEL}"]
    assert isinstance(labels, Labels) and labels.editable
    np.testing.assert_array_equal(labels.scale, image.scale)
    assert labels.units == image.units
    assert labels.axis_labels == image.axis_labels
    found = len(labels.features)
    assert f"{found} objects in " in dock.status.text()
    assert set(labels.features["label"]) == set(np.unique(labels.data)) - {0}
    assert set(labels.features["class"]) == {"nucleus"}
    assert set(labels.features["origin"]) == {"model"}
    assert labels.features["score"].between(0, 1).all()
    areas = np.bincount(labels.data.ravel())[labels.features["label"]]
    np.testing.assert_array_equal(labels.features["area"], areas)
    scores = instance_scores(load_reference("large-nuclei").data, labels.data)
    assert scores.f1(0.5) > 0.5
    # no key and no stroke changes an object that nobody chose
    assert labels.selected_label == found + 1

    # correct: a new object with the brush
    person.go_to("Correct")
    person.press(dock.correct.tools.buttons["new_object"])
    number = labels.selected_label
    assert number == found + 1
    person.drag((20, 20), (20, 40))
    painted = labels.data == number
    assert painted.any() and painted[40, 60]
    qtbot.waitUntil(lambda: number in set(labels.features["label"]), timeout=PATIENCE)
    assert labels.features.set_index("label").loc[number, "origin"] == "added"
    edited = labels.data.copy()

    # review: a rectangle drawn by hand, twice undone by nothing
    person.press(dock.correct.region)
    (regions,) = [layer for layer in viewer.layers if isinstance(layer, Shapes)]
    person.drag((2, 2), (176, 176))
    qtbot.waitUntil(lambda: len(regions.data) == 1, timeout=PATIENCE)
    qtbot.waitUntil(lambda: dock.correct.share.value() > 800, timeout=PATIENCE)

    # into the training set
    person.press(dock.correct.add)
    person.wait_for(dock.review_step)
    training_set = TrainingSet(dock.session.training_folder("instance"))
    (entry,) = training_set.entries
    stored, stored_labels, reviewed = training_set.read(entry)
    np.testing.assert_array_equal(stored.data, before)
    np.testing.assert_array_equal(stored_labels, edited)
    assert 0.8 < reviewed.mean() < 1
    assert stored.unit == "micrometer" and dict(stored.pixel_size) == {"Y": 0.5, "X": 0.5}

    # fine-tune for a moment; better or not, use the result
    person.go_to("Fine-tune")
    qtbot.waitUntil(lambda: "to learn from" in dock.finetune.uses.text(), timeout=PATIENCE)
    for name, value in (("epochs", 2), ("crop", 128), ("batch", 2)):
        dock.finetune.form.fields[name].editor.setValue(value)
    dock.finetune.name.selectAll()
    qtbot.keyClicks(dock.finetune.name, "mine")
    person.press(dock.finetune.start)
    # what is reviewed is added first; then another process trains
    qtbot.waitUntil(lambda: "before" in dock.finetune.details.text(), timeout=PATIENCE)
    assert errors == []
    assert "after" in dock.finetune.details.text()
    if dock.finetune.keep.isVisible():
        person.press(dock.finetune.keep)
        qtbot.waitUntil(lambda: dock.session.model == "mine", timeout=PATIENCE)
    assert dock.session.model == "mine"
    info = dock.session.find_model("mine")
    assert info.parent == f"{MODEL}@1" and info.path.is_relative_to(store.home())

    # segment again, with the new model: what was edited stays
    person.go_to("Segment")
    assert dock.segment.model.current() == "mine"
    assert dock.segment.image.currentText() == "large-nuclei"
    person.press(dock.segment.run)
    person.wait_for(dock.segment_step)
    assert errors == []
    again = viewer.layers["large-nuclei – mine"]
    assert again is not labels
    np.testing.assert_array_equal(labels.data, edited)
    np.testing.assert_array_equal(again.scale, image.scale)

    # export what was corrected
    person.go_to("Export")
    dock.export.labels.setCurrentIndex(dock.export.labels.items().index(labels))
    dock.export.labels.activated.emit(dock.export.labels.currentIndex())
    dock.export.path.selectAll()
    qtbot.keyClicks(dock.export.path, str(tmp_path / "nuclei.tif"))
    person.press(dock.export.export)
    person.wait_for(dock.export_step)
    assert errors == []
    exported = io.read_labels(tmp_path / "nuclei.tif")
    np.testing.assert_array_equal(exported.data, edited)
    assert exported.pixel_size == pytest.approx({"Y": 0.5, "X": 0.5})
    assert exported.unit == "micrometer"
    provenance = json.loads((tmp_path / "nuclei.tif.provenance.json").read_text())
    assert provenance["model"]["name"] == MODEL
    assert provenance["edited"] == [number]
    np.testing.assert_array_equal(image.data, before)
