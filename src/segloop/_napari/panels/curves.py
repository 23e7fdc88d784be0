"""Live curves of a training: loss, and score on the held-out regions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from segloop._napari.fields import SPACING
from segloop._napari.panels.epoch_axis import EpochAxis
from segloop._napari.theme import colors as theme_colors

HEIGHT = 110

SCORES = (-0.04, 1.04)
"""The axis of scores, which lie between 0 and 1, with room for the points."""

FIRST = 20
"""So many epochs are shown at most, until it is known how many there will be."""


class Curves(QWidget):
    """Two plots, side by side, over the epochs; empty until they are built."""

    def __init__(self) -> None:
        super().__init__()
        self._loss: list[tuple[float, float]] = []
        self._score: list[tuple[float, float]] = []
        self._epochs = 0
        # once for all epochs that are told of together, as after the dock was opened anew
        self._draw_later = QTimer(self)
        self._draw_later.setSingleShot(True)
        self._draw_later.timeout.connect(self._draw)

    def build(self) -> Iterator[None]:
        """Build the plots, a pause between them: each takes long enough to be felt together with the other one."""
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACING)
        self.loss_plot, self.loss_curve = self._plot(
            "Loss", "How wrong the model is on what it learns from, epoch by epoch. It should fall."
        )
        layout.addWidget(self.loss_plot)
        yield
        self.score_plot, self.score_curve = self._plot(
            "Held-out score",
            "How good it is on regions kept out of training, epoch by epoch, from 0 to 1. It should rise.",
        )
        self.score_plot.setLimits(yMin=SCORES[0], yMax=SCORES[1])
        self.loss_plot.setLimits(yMin=0)
        self.before = pg.InfiniteLine(angle=0, movable=False)
        self.before.setVisible(False)
        self.score_plot.addItem(self.before)
        layout.addWidget(self.score_plot)

    def _plot(self, title: str, help: str) -> tuple[pg.PlotWidget, pg.PlotDataItem]:
        plot = pg.PlotWidget(axisItems={"bottom": EpochAxis()})
        plot.setFixedHeight(HEIGHT)
        plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        plot.setMouseEnabled(x=False, y=False)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.getAxis("left").setWidth(34)
        plot.setToolTip(help)
        plot.setTitle(title, size="9pt")
        return plot, plot.plot([], [], symbol="o", symbolSize=4)

    def recolor(self, theme: str) -> None:
        """Draw in the colours of a napari theme."""
        colors, napari = theme_colors(theme), get_theme(theme)
        background, text = napari.background.as_hex(), napari.text.as_hex()
        for plot, curve, color in (
            (self.loss_plot, self.loss_curve, colors.warning),
            (self.score_plot, self.score_curve, colors.good),
        ):
            plot.setBackground(background)
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(colors.line)
                plot.getAxis(side).setTextPen(text)
            plot.plotItem.titleLabel.setText(plot.plotItem.titleLabel.text, color=text)
            curve.setPen(pg.mkPen(color, width=2))
            curve.setSymbolBrush(color)
            curve.setSymbolPen(None)
        self.before.setPen(pg.mkPen(colors.faint, width=1, style=pg.QtCore.Qt.PenStyle.DashLine))

    def begin(self, epochs: int) -> None:
        """Empty the plots for a training of so many epochs."""
        self._loss, self._score = [], []
        self._draw()
        self.before.setVisible(False)
        self._show_epochs(min(epochs, FIRST))
        for plot in (self.loss_plot, self.score_plot):
            # until there is something to be seen
            plot.hide()

    def expect(self, epochs: int) -> None:
        """Make room for so many epochs: as many as the time is likely to allow."""
        if epochs != self._epochs:
            self._show_epochs(epochs)

    def _show_epochs(self, epochs: int) -> None:
        self._epochs = epochs
        self._draw_later.start(0)

    def show_before(self, score: float) -> None:
        """Mark the score of the model before training with a dashed line."""
        if math.isfinite(score):
            self.before.setPos(score)
            self.before.setVisible(True)
            self._add(self._score, 0, score)

    def show_after(self, score: float) -> None:
        """Mark the score of the trained model at the last epoch, where the plots end now."""
        if self._loss:
            self.expect(self._loss[-1][0])
            self._add(self._score, self._loss[-1][0], score)

    def add_epoch(self, epoch: int, loss: float, score: float) -> None:
        """Draw one more epoch; a score that is NaN is left out."""
        self._add(self._loss, epoch, loss)
        self._add(self._score, epoch, score)

    def _add(self, points: list[tuple[float, float]], x: float, y: float) -> None:
        if math.isfinite(y):
            if points and points[-1][0] == x:
                points.pop()
            points.append((x, y))
            self._draw_later.start(0)
        # a loss tells something by its fall only
        self.loss_plot.setVisible(len(self._loss) > 1)
        self.score_plot.setVisible(bool(self._score))

    def _draw(self) -> None:
        for points, curve in ((self._loss, self.loss_curve), (self._score, self.score_curve)):
            curve.setData([x for x, _ in points], [y for _, y in points])
        for plot in (self.loss_plot, self.score_plot):
            plot.setXRange(0, self._epochs, padding=0.04)
