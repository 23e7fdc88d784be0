"""What is shown of work that tells of itself often: painted once, when the window's turn comes."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QVBoxLayout, QWidget

from segloop._napari.fields import TextLabel
from segloop._napari.panels.progress import ProgressRow


class Paintings(QObject):
    """Counts how often a widget is painted."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def test_progress_is_painted_when_it_is_the_windows_turn_and_not_at_each_event(qtbot):
    row = ProgressRow("Stop", "")
    qtbot.addWidget(row)
    row.begin("")
    with qtbot.waitExposed(row):
        row.resize(400, 40)
    qtbot.wait(50)
    paintings = Paintings(row.bar)
    for epoch in range(100):
        row.advance(epoch, 100, f"Epoch {epoch}")
    assert paintings.count == 0
    qtbot.waitUntil(lambda: paintings.count > 0)
    assert paintings.count < 5 and row.bar.value() == 99


def test_curves_of_many_epochs_told_of_together_are_drawn_once(qtbot, monkeypatch):
    pg = pytest.importorskip("pyqtgraph")
    from segloop._napari.panels.curves import Curves

    curves = Curves()
    qtbot.addWidget(curves)
    for _ in curves.build():
        pass
    curves.begin(50)
    drawn = []
    real = pg.PlotDataItem.setData
    monkeypatch.setattr(pg.PlotDataItem, "setData", lambda item, *data: drawn.append(len(data[0])) or real(item, *data))
    for epoch in range(1, 51):
        curves.add_epoch(epoch, 1 / epoch, 1 - 1 / epoch)
    assert not drawn
    qtbot.waitUntil(lambda: drawn == [50, 50])
    qtbot.wait(50)
    assert drawn == [50, 50] and list(curves.loss_curve.getData()[0]) == list(range(1, 51))


def test_text_is_never_a_window_of_its_own(qtbot):
    label = TextLabel("heading", "What is shown")
    assert not label.isVisible()
    label.show_text("")
    label.show_text("What is shown now")
    assert not label.isVisible()
    panel = QWidget()
    qtbot.addWidget(panel)
    silent = TextLabel("hint")
    layout = QVBoxLayout(panel)
    layout.addWidget(label)
    layout.addWidget(silent)
    with qtbot.waitExposed(panel):
        panel.show()
    assert label.isVisible() and not silent.isVisible()
    silent.show_text("Now")
    label.show_text("")
    assert silent.isVisible() and not label.isVisible()
