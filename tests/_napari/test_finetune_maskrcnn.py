"""Fine-tuning Mask R-CNN by mouse: from a result that was looked through to a model of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from segloop.corrections import TrainingSet
from segloop.samples import load_reference

PATIENCE = 300_000
LEFT = Qt.MouseButton.LeftButton
MODEL = "nuclei-maskrcnn"


@pytest.mark.slow
@pytest.mark.gui
def test_maskrcnn_learns_from_what_is_reviewed(open_dock, qtbot, errors):
    dock = open_dock(show=True)
    viewer, panel = dock._viewer, dock.finetune
    viewer.window.resize(1250, 900)
    viewer.open_sample("napari-segloop", "large-nuclei")
    assert dock.session.model == MODEL
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    layer = dock.correct_step.labels

    # corrected and looked through as a whole
    reference = np.asarray(load_reference("large-nuclei").data)
    layer.data_setitem(np.nonzero(np.ones_like(reference)), reference.ravel().astype(layer.data.dtype))
    dock.tabs.setCurrentIndex(1)
    dock.correct.whole.click()
    assert layer in dock.session.wholly_reviewed

    dock.tabs.setCurrentIndex(2)
    qtbot.waitUntil(panel.start.isEnabled, timeout=PATIENCE)
    assert panel.base.current() == MODEL
    for name, value in (("epochs", 1), ("crop", 128), ("batch", 1)):
        panel.form.fields[name].editor.setValue(value)
    panel.name.selectAll()
    qtbot.keyClicks(panel.name, "my-nuclei")
    qtbot.mouseClick(panel.start, LEFT)
    qtbot.waitUntil(lambda: "before" in panel.details.text(), timeout=PATIENCE)
    assert errors == []
    training_set = TrainingSet(dock.session.training_folder("instance"))
    (entry,) = training_set.entries
    np.testing.assert_array_equal(training_set.read(entry)[1], reference)
    assert list(panel.curves.loss_curve.getData()[0]) == [1]
    assert np.isfinite(panel.curves.loss_curve.getData()[1]).all()

    # better or not, it is used: and it finds objects
    if panel.keep.isVisible():
        qtbot.mouseClick(panel.keep, LEFT)
    qtbot.waitUntil(lambda: dock.session.model == "my-nuclei", timeout=PATIENCE)
    info = dock.session.find_model("my-nuclei")
    assert info.family == "maskrcnn" and info.parent == f"{MODEL}@1"
    dock.tabs.setCurrentIndex(0)
    qtbot.mouseClick(dock.segment.run, LEFT)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    again = viewer.layers["large-nuclei – my-nuclei"]
    assert len(np.unique(again.data)) > 10
    assert errors == []
