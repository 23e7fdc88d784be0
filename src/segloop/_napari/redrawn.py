"""What was drawn past a layer's undo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Redrawn:
    """A block of a layer that was drawn anew past the layer's undo.

    Parameters
    ----------
    box : tuple of slice
        In the layer's data.
    before, after : integers, the box's shape
        But for what a person painted meanwhile.
    """

    box: tuple[slice, ...]
    before: np.ndarray
    after: np.ndarray
