"""A Labels layer whose scores are kept: what the layers of classes and of parted objects have in common."""

from __future__ import annotations

import weakref
from typing import Generic, Protocol, TypeVar

import numpy as np
from napari.layers import Labels

from segloop._napari.painted import Painted
from segloop._napari.redrawn import Redrawn


class Resting(Protocol):
    """Follows thresholds from scores that it unpacks while they move."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the label image."""
        ...

    def rest(self) -> None:
        """Let go of what only moves need."""
        ...


Live = TypeVar("Live", bound=Resting)


class LiveScoreLayer(Generic[Live]):
    """Joins a layer to the scores that it was made from.

    What thresholds draw is no edit: it is not in the layer's undo history, which stays a person's own. Moving a
    threshold back is its undo.

    Parameters
    ----------
    layer : Labels
        In memory. Not kept alive.
    live : LiveClasses or LiveParts
        Of the layer's data as they are now.
    """

    def __init__(self, layer: Labels, live: Live) -> None:
        self._layer = weakref.ref(layer)
        self.live = live
        self._shape = tuple(layer.data.shape)
        self._painted = Painted(layer)
        self._before: np.ndarray | None = None

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

    @property
    def before(self) -> np.ndarray | None:
        """The layer's data from before the sliders moved; None while they rest."""
        return self._before

    @property
    def cleared(self) -> np.ndarray | None:
        """Pixels that a person made background: bool, the shape of the layer's data; None if she made none."""
        painted = self._painted.mask
        return None if painted is None else painted & (self.layer.data == 0)

    def settle(self) -> tuple[Redrawn, ...]:
        """What was drawn since the last time; the table is brought up to date."""
        before, self._before = self._before, None
        data = self.layer.data
        rows = [] if before is None else np.flatnonzero((before != data).any(axis=tuple(range(1, data.ndim))))
        drawn: tuple[Redrawn, ...] = ()
        if before is not None and len(rows):
            # whole rows: the sides do not matter, and finding them takes as long again
            box = (slice(int(rows[0]), int(rows[-1]) + 1), *(slice(0, n) for n in data.shape[1:]))
            self.update_table()
            drawn = (Redrawn(box, before[box], data[box].copy()),)
        return drawn

    def rest(self) -> None:
        """Pack the scores away until a slider moves again."""
        self.live.rest()

    def update_table(self) -> None:
        """Have the table of the layer follow its pixels."""
        raise NotImplementedError

    def show(self) -> None:
        """Have napari draw what changed."""
        self.layer.refresh(extent=False, thumbnail=False, highlight=False)
