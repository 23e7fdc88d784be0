"""The painted pixels of a scribble layer, kept count of block by block, so that no stroke makes one look at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from segloop._napari.journal_touch import Touch
from segloop._napari.layers import Placement

if TYPE_CHECKING:
    from segloop.scribbling import Points


class PaintedPoints:
    """Follows a scribble layer through its undo history.

    Parameters
    ----------
    layer : Labels
        0 where nothing is painted, class + 1 elsewhere.
    place : Placement
        Of the labels of its image.

    Attributes
    ----------
    focus : tuple of float
        Row and column about which something was painted last.
    """

    def __init__(self, layer: Labels, place: Placement) -> None:
        self.layer = layer
        self.focus = (0.0, 0.0)
        self._place = place
        self._touch = Touch(layer)
        self._blocks: dict[int, Points] = {}
        self._read(range(len(self._touch.blocks)))

    def close(self) -> None:
        """Follow no longer."""
        self._touch.close()

    def look(self) -> bool:
        """Look at what was painted since the last time; return whether anything was."""
        touch = self._touch
        touch.look()
        if touch.is_replaced:
            touch.forget()
            self._blocks.clear()
            self._read(range(len(touch.blocks)))
            return True
        numbers = list(touch.touched)
        touch.touched.clear()
        self._read(numbers)
        return bool(numbers)

    @property
    def is_painting(self) -> bool:
        """Whether a stroke is being drawn."""
        return self._touch.is_drawing

    def points(self) -> Points:
        """All that is painted."""
        from segloop.scribbling import Points

        return Points.joined(self._blocks[number] for number in sorted(self._blocks))

    def _read(self, numbers: range | list[int]) -> None:
        from segloop.scribbling import Points

        axes = self._place.axes
        outer = [number for number, axis in enumerate(axes) if axis not in "CYX"]
        sizes = [self._place.shape[number] for number in outer]
        for number in numbers:
            box = self._touch.blocks.place(number)
            values = np.asarray(self.layer.data[box])
            at = np.nonzero(values)
            self._blocks.pop(number, None)
            if not len(at[0]):
                continue
            places = [own + side.start for own, side in zip(at, box)]
            planes = (
                np.ravel_multi_index([places[n] for n in outer], sizes) if outer else np.zeros(len(at[0]), np.int64)
            )
            rows, columns = places[axes.index("Y")], places[axes.index("X")]
            self._blocks[number] = Points(planes, rows, columns, values[at].astype(np.int64) - 1)
            self.focus = (float(rows.mean()), float(columns.mean()))
