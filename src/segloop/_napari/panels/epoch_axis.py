"""The axis of epochs below a plot."""

from __future__ import annotations

import pyqtgraph as pg


class EpochAxis(pg.AxisItem):
    """A bottom axis with ticks at whole numbers only: there is no half epoch."""

    def __init__(self) -> None:
        super().__init__("bottom")

    def tickSpacing(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, float]]:
        """Return the spacings of ticks, the widest first, each with the offset of its first tick."""
        spacings = super().tickSpacing(minVal, maxVal, size)
        return [(spacing, offset) for spacing, offset in spacings if spacing >= 1] or [(1.0, 0.0)]
