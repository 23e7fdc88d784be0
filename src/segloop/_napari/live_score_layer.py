"""A Labels layer small enough to follow thresholds at once: what those of classes and of parted objects share."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.redrawn import Redrawn
from segloop._napari.scored_layer import Live, ScoredLayer


class LiveScoreLayer(ScoredLayer[Live]):
    """Draws all of a layer at each move of a threshold."""

    def __init__(self, layer: Labels, live: Live) -> None:
        super().__init__(layer, live)
        self._before: np.ndarray | None = None
        self._change = 0

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
            self._change = features.changed(self._change, box, drawn[0].before, drawn[0].after)
        return drawn

    def take_change(self) -> int:
        """What was told since this was last asked adds to the checksum of the layer, modulo 2**64."""
        change, self._change = self._change, 0
        return change

    def update_table(self) -> None:
        """Have the table of the layer follow its pixels."""
        raise NotImplementedError

    def show(self) -> None:
        """Have napari draw what changed."""
        self.layer.refresh(extent=False, thumbnail=False, highlight=False)
