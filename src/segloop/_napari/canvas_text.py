"""Text on the canvas, in a box that holds all of it."""

from __future__ import annotations

import textwrap

from napari.components.overlays import TextOverlay
from qtpy.QtGui import QFont, QFontMetricsF, QGuiApplication

SIZE = 10
"""Points."""

DRAWN = 256
"""Points in which napari has letters painted, before they are scaled down."""

LINE = 80
"""Letters in a line."""

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Ordinary spaces at the ends of lines are not measured."""

BACK = (0.0, 0.0, 0.0, 0.7)
"""Behind the text; napari makes its own choice fainter at each change."""


def write(overlay: TextOverlay, text: str) -> str:
    """Write into an overlay of the canvas; "" hides it. Return what it holds by then."""
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, LINE)]
    overlay.text = "\n".join(map(padded, lines))
    overlay.box_color = BACK
    overlay.font_size = SIZE
    overlay.box = bool(lines)
    overlay.visible = bool(lines)
    return str(overlay.text)


def padded(line: str) -> str:
    """Add spaces that are not broken at to a line, until napari makes the box as wide as the letters are.

    It measures letters of the size that is asked for, which are rounded to whole pixels, and paints large ones scaled
    down, which are not.
    """
    family = QGuiApplication.font().family()
    measured, drawn = (QFontMetricsF(QFont(family, size)) for size in (SIZE, DRAWN))
    width = drawn.horizontalAdvance(line) * SIZE / DRAWN
    while measured.horizontalAdvance(line) < width:
        line += NO_BREAK
    return line
