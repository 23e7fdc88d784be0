"""A Labels layer of classes too large to follow a threshold at once: what is on screen follows first, then the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import napari
import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.areas import box_of, read, shaped
from segloop._napari.history import key_of, staged_item, undo_items
from segloop._napari.layers import Placement, plane_on_screen
from segloop._napari.redrawn import Redrawn
from segloop._napari.scored_layer import ScoredLayer

if TYPE_CHECKING:
    from segloop.catalog import Area
    from segloop.live_strips import LiveStrips


MOST_UNTOLD = 1 << 26
"""Bytes of strips as they were before: so many are kept until others are told of them."""


class LiveStripLayer(ScoredLayer["LiveStrips"]):
    """Joins a large layer of classes to the scores that it was made from.

    As for ``LiveClassLayer``, what a threshold draws is no edit; but it is drawn by :meth:`advance`, a while at a time,
    and told by :meth:`tell`, a strip at a time.

    Parameters
    ----------
    layer : Labels
        In memory. Not kept alive.
    live : LiveStrips
        Of the layer's data as they are now.
    place : Placement
    """

    def __init__(self, layer: Labels, live: LiveStrips, place: Placement) -> None:
        super().__init__(layer, live)
        self.place, self.start = place, live.threshold
        self._edits: tuple[tuple[int, int], ...] = ()
        self._staged = 0
        self._held: tuple[np.ndarray, ...] = ()
        self._reviewed: np.ndarray | None = None
        self._drawn: dict[int, np.ndarray] = {}
        self._gained = np.zeros(0, np.int64)
        self._change = 0

    @property
    def is_done(self) -> bool:
        """Whether the threshold acts on the whole layer, and all that it drew was told."""
        return not self.live.is_due and not self._drawn

    @property
    def is_edited(self) -> bool:
        """False: strips that are still to be drawn go by what a person painted meanwhile, and count by themselves."""
        return False

    @property
    def is_full(self) -> bool:
        """Whether as much was drawn as may be before some of it is told."""
        return sum(strip.nbytes for strip in self._drawn.values()) >= MOST_UNTOLD

    @property
    def done(self) -> float:
        """Share of the layer on which the threshold acts."""
        return 1 - len(self.live.due(0, 0)) / max(1, len(self.live.strips))

    @property
    def share(self) -> float:
        """Share of pixels that are not background, but for edits that the table does not have yet."""
        table = features.by_label(self.layer.features)
        return float(table["area"].sum() + self._gained[1:].sum()) / max(1, self.layer.data.size)

    def keep_reviewed(self, mask: np.ndarray | None) -> None:
        """Let nothing change where a person painted, or looked everything through.

        Parameters
        ----------
        mask : bool, the shape of the layer's data, or None for nowhere
        """
        self._reviewed = mask
        self._look()

    def move(self, threshold: float) -> None:
        """Move the threshold; nothing is drawn yet."""
        self.live.move(threshold)

    def advance(self, viewer: napari.Viewer, seconds: float) -> None:
        """Draw for about so long, or until it is full, but one strip at least; those nearest to what is seen first."""
        until = time.monotonic() + seconds
        layer = self.layer
        # one may paint meanwhile
        if (self._edits, self._staged) != self._edits_now():
            self._look()
            self.live.look_again()
        shown = plane_on_screen(viewer, layer, self.place.axes, self.place.shape)
        rows = layer.corner_pixels[:, self.place.axes.index("Y")]
        plain, anything = self._is_plain(viewer), False
        for number in self.live.due(shown, int(rows.mean())):
            anything |= self._draw(number, shown if plain else -1)
            if time.monotonic() > until or self.is_full:
                break
        if anything and not plain:
            layer.refresh(extent=False, thumbnail=False, highlight=False)

    def tell(self) -> Redrawn | None:
        """What was drawn of a strip and not told yet; None if nothing is left."""
        while self._drawn:
            number, before = self._drawn.popitem()
            area = self.live.strips[number]
            after = read(self.layer, self.place, area).copy()
            if (before != after).any():
                both = (shaped(part, self.place, area) for part in (before, after))
                return Redrawn(box_of(self.place, area), *both)
        return None

    def settle(self) -> tuple[Redrawn, ...]:
        """Bring the table up to date; what was drawn is told by itself."""
        table = features.by_label(self.layer.features)
        gained = self._gained
        rows: dict[int, features.Row | None] = {
            number: {**dict(table.iloc[place]), "area": int(table["area"].iloc[place] + gained[number])}
            for place, number in enumerate(table["index"].astype(int).tolist())
            if number < len(gained) and gained[number]
        }
        self._gained = np.zeros(0, np.int64)
        if rows:
            self.layer.features = features.with_rows(self.layer.features, rows)
        return ()

    def take_change(self) -> int:
        """What was drawn since this was last asked adds to the checksum of the layer, modulo 2**64."""
        change, self._change = self._change, 0
        return change

    def _look(self) -> None:
        self._edits, self._staged = self._edits_now()
        self._held = tuple(mask for mask in (self._painted.mask, self._reviewed) if mask is not None)

    def _edits_now(self) -> tuple[tuple[tuple[int, int], ...], int]:
        """What tells whether a person painted since: the undo steps, and how far a stroke is that is going on."""
        return tuple(map(key_of, undo_items(self.layer))), len(staged_item(self.layer))

    def _held_in(self, area: Area) -> np.ndarray | None:
        held: np.ndarray | None = None
        for mask in self._held:
            part = mask[self.place.block(area.plane, area.rows, area.columns)]
            held = part if held is None else held | part
        return held if held is None or self.place.rows_first else held.T

    def _draw(self, number: int, shown: int) -> bool:
        """Bring a strip up to date; that part of the picture is sent to the screen if it is on the plane ``shown``."""
        area = self.live.strips[number]
        data = read(self.layer, self.place, area)
        before = data.copy()
        box = self.live.update(number, data, self._held_in(area))
        if box is None:
            return False
        self._drawn.setdefault(number, before)
        rows, columns = (
            slice(own.start + side.start, own.start + side.stop) for own, side in zip((area.rows, area.columns), box)
        )
        part = type(area)(area.plane, rows, columns)
        now, then = (shaped(values[box], self.place, part) for values in (data, before))
        self._change = features.changed(self._change, box_of(self.place, part), then, now)
        counts = (np.bincount(part[box].ravel(), minlength=len(self._gained)) for part in (data, before))
        self._gained = _sum(self._gained, *(sign * count for sign, count in zip((1, -1), counts)))
        if area.plane == shown and self.layer.visible:
            self.layer.events.labels_update(data=data[box], offset=(rows.start, columns.start))
        return True

    def _is_plain(self, viewer: napari.Viewer) -> bool:
        """Whether rows and columns are shown as such, and numbers as colours, which need no converting."""
        dims, layer = viewer.dims, self.layer
        straight = dims.ndisplay == 2 and tuple(dims.order[-2:]) == (dims.ndim - 2, dims.ndim - 1)
        return straight and self.place.axes.endswith("YX") and not layer.contour and layer.data.dtype.itemsize <= 2


def _sum(*counts: np.ndarray) -> np.ndarray:
    """Add arrays of different lengths."""
    total = np.zeros(max(map(len, counts)), np.int64)
    for count in counts:
        total[: len(count)] += count
    return total
