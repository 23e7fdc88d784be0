"""Route: the regions of an image that a person looks through, first those where most is found for the effort.

Planes are cut into parts with about equally many things, so that each is about the same work; the cuts run between
objects where they can. Where they cannot, the region is larger than its part: it holds the things it asks about whole.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segloop.candidates import Candidates, ClassScores, rasterize
from segloop.doubt import Doubts, examine, uncertain_pixels
from segloop.events import Event, PlaneExamined

THINGS = 1
"""Most things in a part, unless they lie too close together to be parted."""

SPAN = 8.0
"""Longest side of a part, in diameters of typical objects: so much can be seen at a glance."""

LEAST_SIDE = 16
"""No part is narrower than this, in pixels, but where a plane is."""

LEAST_SPAN = 2.0
"""The same in diameters of typical objects: an object and its surroundings are looked at together anyway."""

ARRIVING = 6
"""Glances that going to a region takes: a key and making out where one is, 1.6 s, to a quarter of a second for each
thing (Card, Moran & Newell, The Psychology of Human-Computer Interaction, 1983)."""

MARGIN = 0.1
"""Of a region around a thing that a cut runs through, in diameters of typical objects."""


@dataclass(frozen=True)
class Region:
    """A rectangle of a plane. All of them cover every plane; they may overlap a little.

    Parameters
    ----------
    plane : int
    rows, columns : slice
        In pixels.
    things : tuple of int
        Positions in the doubts of those that it is about, the most doubtful first; no other region is about them.
    objects : int
        How many of them are objects that are shown.
    expected : float
        How many things are probably wrong: the sum of their probabilities.
    """

    plane: int
    rows: slice
    columns: slice
    things: tuple[int, ...]
    objects: int
    expected: float

    @property
    def effort(self) -> int:
        """What looking at it takes, in glances: going there, and one at each thing."""
        return ARRIVING + len(self.things)


@dataclass(frozen=True, eq=False)
class Route:
    """Where to look, and why.

    Parameters
    ----------
    regions : tuple of Region
        In the order of looking.
    doubts : Doubts
        What the regions' things are.
    classes : bool
        Whether the labels are classes: regions hold no things then, and ``expected`` is the share of their pixels that
        is probably wrong.
    """

    regions: tuple[Region, ...]
    doubts: Doubts
    classes: bool

    def why(self, region: Region, gone: Collection[int] = ()) -> str:
        """Say in words what may be wrong in a region, but for the things in ``gone``; a line for each, at most two."""
        if self.classes:
            return f"The model is not sure of the class of {region.expected:.0%} of these pixels"
        left = [thing for thing in region.things if thing not in gone]
        left = [thing for thing in left if self.doubts.evidence[thing].max() >= 0.1] or left[:1]
        lines = [self.doubts.why(thing) for thing in left[:2]]
        if len(left) > 2:
            lines.append(f"and {len(left) - 2} more to look at")
        return "\n".join(lines) or "Nothing was found here: is anything missing?"


def route_events(
    labels: Any,
    found: Candidates | ClassScores | None,
    classes: bool = False,
    vouched: Collection[int] = frozenset(),
    rejected: Collection[int] = (),
    cleared: np.ndarray | None = None,
) -> Generator[Event, None, Route]:
    """Look through labels, an event per plane; the generator returns the :class:`Route`.

    Parameters
    ----------
    labels : unsigned integers (..., Y, X)
        NumPy's, or any array that gives planes when indexed.
    found : Candidates or ClassScores, optional
        What the model found in these planes, in their order; passed over if it is of another shape.
    classes : bool
        Whether the numbers are classes, not objects.
    vouched : collection of int
        Objects that a person drew, edited or confirmed.
    rejected : collection of int
        Candidates that a person removed, by their place among ``found``: she is not asked about them again, nor about
        others of the same thing.
    cleared : bool (..., Y, X), optional
        Pixels that a person made background; she is not asked about what lies mostly there.
    """
    leading, shape = labels.shape[:-2], (math.prod(labels.shape[:-2]), *labels.shape[-2:])
    if _planes_of(found) != shape:
        found = None
    parts, shares = [], []
    for plane in range(shape[0]):
        if classes:
            uncertain = uncertain_pixels(found, plane) if isinstance(found, ClassScores) else np.zeros(shape[1:])
            shares.append(np.pad(uncertain, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.float64).cumsum(axis=1))
        else:
            place = np.unravel_index(plane, leading) if leading else ()
            dismissed = None if cleared is None else np.asarray(cleared[place])
            if rejected and isinstance(found, Candidates):
                drawn = _drawn(found, rejected, plane)
                dismissed = drawn if dismissed is None else dismissed | drawn
            parts.append(examine(np.asarray(labels[place]), plane, found, vouched, dismissed))
        yield PlaneExamined(plane + 1, shape[0])
    doubts = Doubts.joined(parts)
    regions = plan_route(doubts, shape)
    if classes:
        weighed = [replace(region, expected=_mean(shares[region.plane], region)) for region in regions]
        regions = sorted(weighed, key=lambda region: -region.expected)
    return Route(tuple(regions), doubts, classes)


def _drawn(found: Candidates, numbers: Collection[int], plane: int) -> np.ndarray:
    """Where the masks of some candidates lie on a plane: bool (Y, X)."""
    drawn = np.zeros(found.shape[1:], bool)
    for number in numbers:
        if found.planes[number] == plane:
            (rows, columns), inside = rasterize(found.masks[number], found.boxes[number], drawn.shape)
            drawn[rows, columns] |= inside
    return drawn


def _planes_of(found: Candidates | ClassScores | None) -> tuple[int, ...]:
    match found:
        case Candidates():
            return found.shape
        case ClassScores():
            planes, _, *shape = found.shape
            return planes * math.prod(shape[:-2]), shape[-2], shape[-1]
        case _:
            return ()


def _mean(sums: np.ndarray, region: Region) -> float:
    """Mean of a plane within a region, from the sums of all that lies above and to the left of each pixel."""
    top, bottom, left, right = region.rows.start, region.rows.stop, region.columns.start, region.columns.stop
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return max(0.0, float(total)) / ((bottom - top) * (right - left))


def plan_route(doubts: Doubts, shape: tuple[int, int, int], things: int = THINGS) -> list[Region]:
    """Cut planes into regions, and put those first in which most is probably wrong for the effort of looking at them.

    Parameters
    ----------
    doubts : Doubts
        Of all planes.
    shape : (int, int, int)
        P, Y, X.
    things : int
        Most things in a region, at least 1.
    """
    probability = doubts.probability
    centers = (doubts.boxes[:, :2] + doubts.boxes[:, 2:]) / 2
    shown = doubts.labels > 0
    sides = (doubts.boxes[:, 2:] - doubts.boxes[:, :2]).max(axis=1)
    typical = _typical_side(sides[shown]) if shown.any() else max(shape[1:]) / SPAN / 4
    least = max(LEAST_SIDE, round(LEAST_SPAN * typical)) if shown.any() else LEAST_SIDE
    longest = max(4 * LEAST_SIDE, round(SPAN * typical))
    margin = max(1, round(MARGIN * typical))
    regions = []
    for plane in range(shape[0]):
        waiting = [(0, 0, shape[1], shape[2], np.flatnonzero(doubts.planes == plane))]
        while waiting:
            top, left, bottom, right, members = waiting.pop()
            cut = _cut((top, left, bottom, right), doubts.boxes[members], centers[members], things, least, longest)
            if cut is None:
                order = members[np.argsort(-probability[members], kind="stable")]
                count, expected = int(shown[order].sum()), float(probability[order].sum())
                whole = members[sides[members] <= longest]
                rows, columns = _around((top, left, bottom, right), doubts.boxes[whole], margin, shape[1:])
                regions.append(Region(plane, rows, columns, tuple(order.tolist()), count, expected))
                continue
            axis, place = cut
            below = centers[members, axis] < place
            ends, starts = [bottom, right], [top, left]
            ends[axis] = starts[axis] = place
            waiting.append((*starts, bottom, right, members[~below]))
            waiting.append((top, left, *ends, members[below]))
    return sorted(regions, key=lambda region: -region.expected / region.effort)


def _typical_side(sides: np.ndarray) -> float:
    """The side at which half of the area is in smaller objects: specks, however many, do not count."""
    ordered = np.sort(sides.astype(np.float64))
    covered = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(covered, covered[-1] / 2)])


def _around(
    part: tuple[int, int, int, int], boxes: np.ndarray, margin: int, shape: tuple[int, int]
) -> tuple[slice, slice]:
    """Rows and columns of a part of a plane, and of all boxes that reach beyond it."""
    out = (boxes[:, :2] < part[:2]).any(axis=1) | (boxes[:, 2:] > part[2:]).any(axis=1)
    low = np.vstack([boxes[out, :2] - margin, [part[:2]]]).min(axis=0).clip(0)
    high = np.minimum(np.vstack([boxes[out, 2:] + margin, [part[2:]]]).max(axis=0), shape)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def _cut(
    region: tuple[int, int, int, int], boxes: np.ndarray, centers: np.ndarray, things: int, least: int, longest: int
) -> tuple[int, int] | None:
    """Where to cut a region in two: axis and first pixel of the second part; None if it stays whole.

    Of the cuts that leave each part a third of the things, the one that runs through the fewest; of these, the one
    nearest the middle.
    """
    starts, sides = np.array(region[:2]), np.array(region[2:]) - np.array(region[:2])
    if len(boxes) <= things:
        if sides.max() <= longest:
            return None
        axis = int(sides.argmax())
        if not len(boxes):
            return axis, int(starts[axis] + sides[axis] // 2)
    best: tuple[float, float, int, int] | None = None
    share = max(1, len(boxes) // 3) if len(boxes) > things else 0
    for axis in (0, 1):
        if sides[axis] < 2 * least or (len(boxes) <= things and sides[axis] <= longest):
            continue
        low, high = starts[axis] + least, starts[axis] + sides[axis] - least
        middle = starts[axis] + sides[axis] / 2
        places = np.unique(np.clip(np.concatenate([boxes[:, axis], boxes[:, axis + 2], [middle]]), low, high))
        below = np.searchsorted(np.sort(centers[:, axis]), places)
        through = np.searchsorted(np.sort(boxes[:, axis]), places) - np.searchsorted(
            np.sort(boxes[:, axis + 2]), places, side="right"
        )
        fitting = (below >= share) & (len(boxes) - below >= share)
        if share and not fitting.any():
            continue
        offset = np.abs(places - middle) / sides[axis]
        for number in np.flatnonzero(fitting):
            option = (float(through[number]), float(offset[number]), axis, int(places[number]))
            if best is None or option < best:
                best = option
    return None if best is None else best[2:]
