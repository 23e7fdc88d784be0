"""What the last box or click drew: another one on the same thing draws it anew, since it was not good enough."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Labels

from segloop._napari.areas import read
from segloop._napari.layers import Placement
from segloop._napari.ledger import Ledger

if TYPE_CHECKING:
    from segloop.catalog import Mask

SAME = 0.5
"""Masks that share more than this of the smaller one mean the same thing."""


@dataclass(frozen=True, eq=False)
class Filled:
    """An object that a box or a click gave.

    Parameters
    ----------
    layer : weak reference to Labels
    label : int
    mask : Mask
        All its pixels.
    """

    layer: weakref.ref[Labels]
    label: int
    mask: Mask

    def is_meant_by(self, mask: Mask, ledger: Ledger, place: Placement) -> bool:
        """Whether a mask on the ledger's layer means this object, and nobody has changed it since."""
        layer, own = ledger.layer, self.mask
        if self.layer() is not layer or own.area.plane != mask.area.plane:
            return False
        count = int(own.inside.sum())
        if ledger.index.complete and ledger.index.area(self.label) != count:
            return False
        if not (read(layer, place, own.area)[own.inside] == self.label).all():
            return False
        shared = int((read(layer, place, mask.area) == self.label)[mask.inside].sum())
        return shared > SAME * min(count, int(mask.inside.sum()))
