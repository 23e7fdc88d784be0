"""A tour: which regions of one Labels layer were shown, which are left, and what of their things is still there."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from segloop._napari.pace import Pace

if TYPE_CHECKING:
    from segloop.route import Region, Route

NEARLY_ALL = 0.99
"""Share of a region's pixels that must be reviewed: regions drawn by hand need not be exact to the pixel."""


class Tour:
    """Leads through the regions of a layer.

    Parameters
    ----------
    layer : Labels
        Not kept alive.
    route : Route
        Through its data as they are now.
    """

    def __init__(self, layer: Labels, route: Route) -> None:
        self._layer = weakref.ref(layer)
        self._data = weakref.ref(layer.data) if isinstance(layer.data, np.ndarray) else None
        self.route = route
        self.pace = Pace()
        self.current: int | None = None
        self._skipped: set[int] = set()
        self._reviewed = np.zeros(len(route.regions), bool)
        self._objects = np.array([region.objects for region in route.regions], int)

    @property
    def region(self) -> Region | None:
        """The region being looked at."""
        return None if self.current is None else self.route.regions[self.current]

    @property
    def extent(self) -> tuple[slice, slice]:
        """Rows and columns that the region and all its things take up."""
        region = self.region
        if region is None:
            raise ValueError("no region is being looked at; call advance() first")
        boxes = self.route.doubts.boxes[list(region.things)]
        corners = np.array([region.rows.start, region.columns.start, region.rows.stop, region.columns.stop])
        top, left = np.vstack([boxes, corners])[:, :2].min(axis=0).tolist()
        bottom, right = np.vstack([boxes, corners])[:, 2:].max(axis=0).tolist()
        return slice(top, bottom), slice(left, right)

    @property
    def object_side(self) -> float:
        """Longer side of the box of a typical object, in pixels."""
        boxes = self.route.doubts.boxes[self.route.doubts.labels > 0]
        return float(np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1))) if len(boxes) else 12.0

    @property
    def regions(self) -> tuple[int, int]:
        """Regions that are reviewed, and all."""
        return int(self._reviewed.sum()), len(self._reviewed)

    @property
    def objects(self) -> tuple[int, int]:
        """Objects in regions that are reviewed, and all."""
        return int(self._objects[self._reviewed].sum()), int(self._objects.sum())

    @property
    def time_left(self) -> str:
        """Time that the rest will take, in words; "" if nothing is known yet."""
        return self.pace.left(int((~self._reviewed).sum()))

    def is_over(self) -> bool:
        """Whether the layer has been given other data since."""
        layer = self._layer()
        return layer is None or (self._data is not None and self._data() is not layer.data)

    def follow(self, reviewed: np.ndarray) -> None:
        """Take note of what is reviewed; ``reviewed`` : bool, the shape of the layer's data."""
        planes = reviewed.reshape(-1, *reviewed.shape[-2:])
        for number, region in enumerate(self.route.regions):
            inside = planes[region.plane, region.rows, region.columns]
            self._reviewed[number] = np.count_nonzero(inside) >= NEARLY_ALL * inside.size

    def advance(self) -> bool:
        """Go to the first region that is neither reviewed nor skipped; the one being looked at is skipped.

        When only skipped ones are left, they come again. Returns False, and is nowhere, when all is reviewed.
        """
        if self.current is not None:
            self._skipped.add(self.current)
        waiting = np.flatnonzero(~self._reviewed)
        fresh = [number for number in waiting.tolist() if number not in self._skipped]
        if not fresh:
            self._skipped.clear()
            fresh = waiting.tolist()
        self.current = fresh[0] if fresh else None
        self.pace.start()
        return self.current is not None

    def gone(self, plane: np.ndarray) -> set[int]:
        """Things of the region that need no look any more: objects removed, hidden ones that were accepted.

        ``plane`` : integers (Y, X), the layer's data there.
        """
        region, doubts = self.region, self.route.doubts
        gone = set()
        for thing in () if region is None else region.things:
            top, left, bottom, right = doubts.boxes[thing].tolist()
            crop = np.asarray(plane[top:bottom, left:right])
            label = int(doubts.labels[thing])
            if (label and not (crop == label).any()) or (not label and np.count_nonzero(crop) > crop.size / 2):
                gone.add(thing)
        return gone
