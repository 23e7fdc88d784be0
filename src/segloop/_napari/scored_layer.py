"""A Labels layer that was made from scores which are kept: what all that follow thresholds on them have in common."""

from __future__ import annotations

import weakref
from typing import Generic, Protocol, TypeVar

import numpy as np
from napari.layers import Labels

from segloop._napari.painted import Painted


class Resting(Protocol):
    """Follows thresholds from scores that it unpacks while they move."""

    def rest(self) -> None:
        """Let go of what only moves need."""
        ...


Live = TypeVar("Live", bound=Resting)


class ScoredLayer(Generic[Live]):
    """Joins a layer to the scores that it was made from.

    What thresholds draw is no edit: it is not in the layer's undo history, which stays a person's own. Moving a
    threshold back is its undo.

    Parameters
    ----------
    layer : Labels
        In memory. Not kept alive.
    live : LiveClasses, LiveParts or LiveStrips
        Of the layer's data as they are now.
    """

    def __init__(self, layer: Labels, live: Live) -> None:
        self._layer = weakref.ref(layer)
        self.live = live
        self._shape = tuple(layer.data.shape)
        self._painted = Painted(layer)

    def close(self) -> None:
        """Let go of the layer."""
        self._painted.close()

    @property
    def layer(self) -> Labels:
        """The layer."""
        layer = self._layer()
        if layer is None:
            raise ReferenceError("the layer of these scores is gone")
        return layer

    @property
    def fits(self) -> bool:
        """Whether the layer still has the shape that its scores are for."""
        layer = self._layer()
        if layer is None or not isinstance(layer.data, np.ndarray) or not layer.data.flags.c_contiguous:
            return False
        return layer.data.shape == self._shape

    def rest(self) -> None:
        """Pack the scores away until a threshold moves again."""
        self.live.rest()
