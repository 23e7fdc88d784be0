"""The learning curve: held-out score of each version of a model over the number of objects it learned from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QSizePolicy, QWidget

from segloop._napari.fields import TextLabel, column
from segloop._napari.theme import colors as theme_colors

if TYPE_CHECKING:
    from segloop.trainings import LearningCurve

HEIGHT = 140


class LearningPlot(QWidget):
    """A plot with a bar of one standard error for each version, and a sentence on whether more annotation pays."""

    def __init__(self) -> None:
        super().__init__()
        self.plot = pg.PlotWidget()
        self.plot.setFixedHeight(HEIGHT)
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.getAxis("left").setWidth(40)
        self.plot.setLimits(yMin=-0.04, yMax=1.04)
        self.plot.setToolTip(
            "Held-out score of each version, with its standard error. At 0: the model from which the first one began."
        )
        self.bars = pg.ErrorBarItem()
        self.plot.addItem(self.bars)
        self.curve = self.plot.plot([], [], symbol="o", symbolSize=6)
        self.verdict = TextLabel("")
        self.verdict.setToolTip(
            "From a line through the newest versions over the logarithm of the number. More no longer pays when, with "
            "95% certainty, twice as many would add less than 0.01 to the score."
        )
        layout = column(self, margin=0)
        layout.addWidget(self.plot)
        layout.addWidget(self.verdict)

    def recolor(self, theme: str) -> None:
        """Draw in the colours of a napari theme."""
        colors, napari = theme_colors(theme), get_theme(theme)
        self.plot.setBackground(napari.background.as_hex())
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setPen(colors.line)
            self.plot.getAxis(side).setTextPen(napari.text.as_hex())
        self.curve.setPen(pg.mkPen(colors.good, width=2))
        self.curve.setSymbolBrush(colors.good)
        self.curve.setSymbolPen(None)
        self.bars.setData(pen=pg.mkPen(colors.faint, width=1))

    def show_curve(self, curve: LearningCurve) -> None:
        """Show a curve of at least one version."""
        x = np.array([point.amount for point in curve.points], float)
        y = np.array([point.score for point in curve.points])
        error = np.nan_to_num(np.array([point.error for point in curve.points]))
        self.bars.setData(x=x, y=y, height=2 * error, beam=0.0)
        start = [] if math.isnan(curve.start) else [(0.0, curve.start)]
        line = np.array([*start, *zip(x, y)])
        self.curve.setData(line[:, 0], line[:, 1])
        self.plot.setXRange(0, float(x.max()) * 1.05, padding=0)
        self.plot.setLabel("bottom", f"corrected {curve.unit}")
        self.verdict.show_text(curve.verdict())
