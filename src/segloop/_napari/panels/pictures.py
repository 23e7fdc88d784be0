"""Pictures of held-out regions: what the model finds, against what a person says is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QImage, QPainter, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget
from skimage.segmentation import find_boundaries

from segloop._napari.fields import TextLabel, column
from segloop.events import FoundRegion

CORRECTED = (111, 207, 127)
FOUND = (255, 140, 66)
BOTH = (255, 255, 255)
GAP = 4
COLUMNS = 3
"""So many pictures at most are side by side."""
LARGEST = 220
"""Screen pixels."""


class Pictures(QWidget):
    """Held-out regions side by side, each with the outlines of the corrected labels and of those that were found."""

    def __init__(self) -> None:
        super().__init__()
        self.caption = TextLabel("hint")
        self.grid = PictureGrid()
        self.grid.setToolTip(
            "Regions that the model does not learn from. Outlines: green is what you said is there, orange what the "
            "model finds, white where both agree. Click to enlarge them, and once more to make them small."
        )
        layout = column(self, margin=0)
        layout.addWidget(self.caption)
        layout.addWidget(self.grid)
        self.hide()

    def show_regions(self, epoch: int, regions: Sequence[FoundRegion]) -> None:
        """Show what was found after an epoch; 0 is before training."""
        when = f"after epoch {epoch}" if epoch else "before training"
        self.caption.show_text(f"Held out, {when}: green corrected, orange found, white both. Click to enlarge.")
        self.grid.show_pictures([outlined(region) for region in regions])
        self.show()


class PictureGrid(QWidget):
    """Pictures in rows, each scaled to its cell with its proportions kept."""

    def __init__(self) -> None:
        super().__init__()
        self._pictures: list[QPixmap] = []
        self._enlarged = False
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_pictures(self, pictures: Sequence[np.ndarray]) -> None:
        """Show RGB pictures, uint8 (Y, X, 3)."""
        self._pictures = [_pixmap(picture) for picture in pictures]
        self._fit()
        self.update()

    def mousePressEvent(self, event: object) -> None:
        """Show one picture a row, as wide as there is room, or several again."""
        self._enlarged = not self._enlarged
        self._fit()
        self.update()

    def resizeEvent(self, event: object) -> None:
        """Fit the height to the width."""
        self._fit()

    def _cells(self) -> list[QRect]:
        columns = 1 if self._enlarged else min(COLUMNS, max(1, len(self._pictures)))
        width = (self.width() - GAP * (columns - 1)) // columns
        if not self._enlarged:
            width = min(LARGEST, width)
        cells, top = [], 0
        for first in range(0, len(self._pictures), columns):
            row = self._pictures[first : first + columns]
            heights = [max(1, round(width * p.height() / p.width())) for p in row]
            scale = min(1.0, width / max(heights))
            for place, height in enumerate(heights):
                cells.append(QRect(place * (width + GAP), top, round(width * scale), round(height * scale)))
            top += round(max(heights) * scale) + GAP
        return cells

    def _fit(self) -> None:
        cells = self._cells()
        height = max((cell.bottom() for cell in cells), default=0) + 1
        if height != self.height():
            self.setFixedHeight(height)

    def paintEvent(self, event: object) -> None:
        """Paint the pictures."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        for cell, picture in zip(self._cells(), self._pictures):
            painter.drawPixmap(cell, picture)
        painter.end()


def outlined(region: FoundRegion) -> np.ndarray:
    """Draw the outlines of both labels over the image: uint8 (Y, X, 3); what is not scored is darker."""
    grey = np.where(region.scored, region.image, region.image // 2)
    box = _bounds(region.scored)
    picture = np.repeat(grey[box][..., np.newaxis], 3, axis=-1)
    corrected, found = (
        find_boundaries(np.asarray(labels[box]).astype(np.int32), mode="inner")
        for labels in (region.reference, region.found)
    )
    picture[corrected], picture[found], picture[corrected & found] = CORRECTED, FOUND, BOTH
    return np.ascontiguousarray(picture, np.uint8)


def _bounds(scored: np.ndarray, context: int = 8) -> tuple[slice, slice]:
    """The box around what is scored, with a little of what is beside it."""
    box = []
    for axis in (0, 1):
        where = np.flatnonzero(scored.any(axis=1 - axis))
        low, high = (int(where[0]), int(where[-1])) if len(where) else (0, scored.shape[axis] - 1)
        box.append(slice(max(0, low - context), min(scored.shape[axis], high + 1 + context)))
    return box[0], box[1]


def _pixmap(picture: np.ndarray) -> QPixmap:
    height, width = picture.shape[:2]
    image = QImage(picture.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    # a copy: Qt does not keep NumPy's memory alive
    return QPixmap.fromImage(image.copy()).scaled(
        2 * width, 2 * height, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.FastTransformation
    )
