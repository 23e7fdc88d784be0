"""Plots over epochs: their ticks."""

from __future__ import annotations

import pytest

from segloop._napari.panels.curves import Curves
from segloop._napari.panels.version_curves import VersionCurves


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 60])
def test_ticks_stand_at_whole_epochs(qtbot, epochs):
    curves, versions = Curves(), VersionCurves()
    list(curves.build())
    for widget, plot in ((curves, curves.loss_plot), (curves, curves.score_plot), (versions, versions.loss)):
        qtbot.addWidget(widget)
        ticks = plot.getAxis("bottom").tickValues(0, epochs, 300)
        values = [value for _, level in ticks for value in level]
        assert values and all(value == int(value) for value in values)
        assert 0 in values and 1 <= max(values) <= epochs
