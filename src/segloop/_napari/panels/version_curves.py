"""Curves of one or two versions' trainings, over the same axes."""

from __future__ import annotations

import math

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QSizePolicy, QWidget

from segloop._napari.fields import column
from segloop._napari.panels.epoch_axis import EpochAxis
from segloop._napari.theme import colors as theme_colors
from segloop.versions import Version

HEIGHT = 110


class VersionCurves(QWidget):
    """Loss and held-out score per epoch: a full line for the version chosen, a broken one for that beside it."""

    def __init__(self) -> None:
        super().__init__()
        layout = column(self, margin=0)
        self.loss = self._plot("Loss per epoch", "How wrong the model was on what it learned from.")
        self.score = self._plot("Held-out score per epoch", "How good it was on regions kept out of training.")
        for plot in (self.loss, self.score):
            layout.addWidget(plot)

    def show_versions(self, versions: tuple[Version, ...], theme: str) -> None:
        """Draw the curves of versions in the colours of a napari theme; without a curve there is no plot."""
        colors, napari = theme_colors(theme), get_theme(theme)
        for plot, color, places in ((self.loss, colors.warning, (0, 1)), (self.score, colors.good, (0, 2))):
            plot.clear()
            plot.setBackground(napari.background.as_hex())
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(colors.line)
                plot.getAxis(side).setTextPen(napari.text.as_hex())
            label = plot.plotItem.titleLabel
            label.setText(label.text, color=napari.text.as_hex())
            anything = False
            pens = (pg.mkPen(color, width=2), pg.mkPen(colors.faint, width=1, style=pg.QtCore.Qt.PenStyle.DashLine))
            for version, pen in zip(versions, pens):
                points = [(row[places[0]], row[places[1]]) for row in version.curve if math.isfinite(row[places[1]])]
                if plot is self.score and math.isfinite(version.before):
                    points.insert(0, (0, version.before))
                anything = anything or bool(version.curve and points)
                plot.plot([x for x, _ in points], [y for _, y in points], pen=pen)
            plot.setVisible(anything)

    def _plot(self, title: str, help: str) -> pg.PlotWidget:
        plot = pg.PlotWidget(axisItems={"bottom": EpochAxis()})
        plot.setFixedHeight(HEIGHT)
        plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        plot.setMouseEnabled(x=False, y=False)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.getAxis("left").setWidth(40)
        plot.setToolTip(f"{help} Full line: the version chosen; broken line: the one beside it.")
        plot.setTitle(title, size="9pt")
        return plot
