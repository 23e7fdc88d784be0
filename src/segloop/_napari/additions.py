"""Additions: what adding a mask to a Labels layer would do to the objects that are there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from segloop._napari.areas import box_of, read, shaped
from segloop._napari.editing import Paint
from segloop._napari.features import ObjectOrigin
from segloop._napari.layers import Placement
from segloop._napari.ledger import Ledger
from segloop._napari.live_layer import LiveLayer
from segloop._napari.outlining import VOUCHED
from segloop.editing.changes import Box

if TYPE_CHECKING:
    from segloop.catalog import Area, Mask

MOSTLY = 0.5
"""A mask of which a larger share lies on objects shows what is there already; an object of the model of which a larger
share lies in what is added makes way for it."""

INSIDE = 0.8
"""Of several objects those make way for what a box gives of which this share lies in the box: not what crosses it."""

THIN = 0.4
"""What is left of a mask must be this thick, in shares of the mask itself: rims around objects are no objects."""

MOST_LOOKED_AT = 128
"""Rows, and columns, of a mask, to see how thick it is."""


@dataclass(frozen=True, eq=False)
class Addition:
    """What a mask would give, and whom it meets.

    Parameters
    ----------
    mask : Mask
        The pixels that it would get; none if it shows what is there already, or only a rim would be left of it.
    paints : tuple of Paint
        What takes away the objects that make way for it.
    same : tuple of int
        Objects that are the same thing as the mask, the one that covers most of it first. If there are any, nothing is
        to be added.
    others : tuple of int
        Further objects that lie in the mask and stay.
    replaced : tuple of int
        Objects of the model that are the same thing as the mask and make way for it.
    """

    mask: Mask
    paints: tuple[Paint, ...]
    same: tuple[int, ...]
    others: tuple[int, ...]
    replaced: tuple[int, ...] = ()


def plan_addition(
    ledger: Ledger,
    live: LiveLayer | None,
    place: Placement,
    mask: Mask,
    instead: Collection[int] = (),
    accepted: bool = False,
    drawn: Area | None = None,
) -> Addition:
    """Look what is in the way of a mask; nothing is changed.

    Parameters
    ----------
    ledger : Ledger
        Of the layer.
    live : LiveLayer or None
        Its candidates. Objects of the model that nobody touched or vouched for make way where they lie mostly under the
        mask; without candidates the table says which are the model's.
    place : Placement
    mask : Mask
        At least one pixel.
    instead : collection of int
        Objects that the mask is drawn in place of.
    accepted : bool
        Whether a person means this very mask, having seen it or drawn a box around it: then objects of the model make
        way though they are the same thing.
    drawn : Area, optional
        The box that was drawn: of several objects those stay that reach out of it.
    """
    layer, area, inside = ledger.layer, mask.area, mask.inside
    current = read(layer, place, area)
    size = int(np.count_nonzero(inside))
    numbers, counts = np.unique(current[inside], return_counts=True)
    shares = {int(n): int(count) for n, count in zip(numbers, counts) if n and int(n) not in instead}
    free, paints = current == 0, []
    for number in instead:
        free |= current == number
        paints.append(whole(ledger, place, number, mask))
    held = live.held() if live is not None else set()
    owns = {number: whole(ledger, place, number, mask) for number in shares}
    here = [n for n, count in shares.items() if count > MOSTLY * min(size, int(owns[n].mask.sum()))]
    stays = set(shares)
    if accepted or np.count_nonzero(inside & free) >= (1 - MOSTLY) * size:
        for number in here:
            own = int(owns[number].mask.sum())
            least = INSIDE if drawn is not None and len(here) > 1 else 0.0
            if np.count_nonzero(_part(current, area, drawn) == number) < least * own:
                continue
            if number not in held and _is_the_models(ledger, live, number) and shares[number] > MOSTLY * own:
                stays.discard(number)
                free |= current == number
                paints.append(owns[number])
    rest = inside & free
    if np.count_nonzero(rest) >= (1 - MOSTLY) * size and (not stays or _depth(rest) >= THIN * _depth(inside)):
        replaced = tuple(number for number in here if number not in stays)
        return Addition(type(mask)(area, rest), tuple(paints), (), tuple(sorted(stays)), replaced)
    met = sorted(stays, key=lambda number: -shares[number])
    same = tuple(number for number in met if number in here)
    return Addition(
        type(mask)(area, np.zeros_like(inside)), (), same, tuple(number for number in met if number not in here)
    )


def _is_the_models(ledger: Ledger, live: LiveLayer | None, number: int) -> bool:
    """Whether an object is as the model drew it, and nobody vouched for it."""
    if vouched(ledger, number):
        return False
    if live is not None:
        return live.live.object_of(number) is not None
    # after a restart, say, no candidates are there
    return (ledger.row(number) or {}).get("origin") == ObjectOrigin.MODEL


def vouched(ledger: Ledger, number: int) -> str:
    """Say how a person vouched for an object: "confirmed", for example; "" if she did not."""
    row = ledger.row(number) or {}
    origin = str(row.get("origin", ""))
    return origin if origin in VOUCHED else "reviewed" if row.get("reviewed") else ""


def whole(ledger: Ledger, place: Placement, number: int, mask: Mask) -> Paint:
    """What takes away an object, of which a pixel lies in a mask or its surroundings, from the mask's plane."""
    from segloop.catalog import Area

    found = np.argwhere(read(ledger.layer, place, mask.area) == number)
    if len(found):
        row, column = (int(n) for n in found[0] + [mask.area.rows.start, mask.area.columns.start])
        pixel = box_of(place, Area(mask.area.plane, slice(row, row + 1), slice(column, column + 1)))
        ledger.notice(number, [side.start for side in pixel])
    box, block = ledger.index.read(number, within=_plane(place, mask.area.plane))
    return Paint(box, block == number, 0)


def painted(place: Placement, mask: Mask, number: int) -> Paint:
    """What gives a mask's pixels a number."""
    return Paint(box_of(place, mask.area), shaped(mask.inside, place, mask.area), number)


def _plane(place: Placement, plane: int) -> Box:
    from segloop.catalog import Area

    sizes = dict(zip(place.axes, place.shape))
    return box_of(place, Area(plane, slice(0, sizes["Y"]), slice(0, sizes["X"])))


def _part(block: np.ndarray, area: Area, within: Area | None) -> np.ndarray:
    """The part of a block over ``area`` that lies within another, by default all of it."""
    if within is None:
        return block
    sides = zip((area.rows, area.columns), (within.rows, within.columns))
    return block[tuple(slice(max(0, w.start - a.start), max(0, w.stop - a.start)) for a, w in sides)]


def _depth(inside: np.ndarray) -> float:
    """How deep the innermost of a mask's pixels lies, in pixels; of large masks only some are looked at."""
    some = inside[tuple(slice(None, None, max(1, side // MOST_LOOKED_AT)) for side in inside.shape)]
    return float(ndimage.distance_transform_edt(np.pad(some, 1)).max(initial=0))
