"""A Labels layer small enough to follow thresholds at once: what those of classes and of parted objects share."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.recent_edits import RecentEdits
from segloop._napari.redrawn import Redrawn
from segloop._napari.scored_layer import Live, ScoredLayer


class LiveScoreLayer(ScoredLayer[Live]):
    """Draws all of a layer at each move of a threshold."""

    def __init__(self, layer: Labels, live: Live) -> None:
        super().__init__(layer, live)
        self._before: np.ndarray | None = None
        self._change = 0
        self._recent = RecentEdits(layer)

    @property
    def is_edited(self) -> bool:
        """Whether a person edited the layer since thresholds began to move."""
        return self._before is not None and bool(self._recent.found())

    @property
    def cleared(self) -> np.ndarray | None:
        """Pixels that a person made background: bool, the shape of the layer's data; None if she made none."""
        painted = self._painted.mask
        return None if painted is None else painted & (self.layer.data == 0)

    def settle(self) -> tuple[Redrawn, ...]:
        """What was drawn since the last time; the table is brought up to date."""
        before, self._before = self._before, None
        if before is None:
            return ()
        drawn = self.layer.data
        if self._recent.found():
            # what a person painted meanwhile is hers
            drawn = self._recent.without(tuple(slice(0, size) for size in drawn.shape), drawn)
        rows = np.flatnonzero((before != drawn).any(axis=tuple(range(1, drawn.ndim))))
        if not len(rows):
            return ()
        # whole rows: the sides do not matter, and finding them takes as long again
        box = (slice(int(rows[0]), int(rows[-1]) + 1), *(slice(0, size) for size in drawn.shape[1:]))
        self.update_table()
        told = Redrawn(box, before[box], drawn[box].copy())
        self._change = features.changed(self._change, box, told.before, told.after)
        return (told,)

    def take_change(self) -> int:
        """What was told since this was last asked adds to the checksum of the layer, modulo 2**64."""
        change, self._change = self._change, 0
        return change

    def begin(self) -> None:
        """Keep what is there before thresholds move."""
        self._before = self.layer.data.copy()
        self._recent.begin()

    def update_table(self) -> None:
        """Have the table of the layer follow its pixels."""
        raise NotImplementedError

    def show(self) -> None:
        """Have napari draw what changed."""
        self.layer.refresh(extent=False, thumbnail=False, highlight=False)
