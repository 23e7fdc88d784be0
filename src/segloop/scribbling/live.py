"""Live prediction: scribbles in, the classes of what is on screen out; as little as possible is computed twice."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segloop.errors import ImageError
from segloop.events import Event, LabelsDone, TileDone
from segloop.image import Image
from segloop.models.protocol import Segmenter
from segloop.planning import Plan, network_image
from segloop.resample import resize_region
from segloop.scribbling.description import HALO, Description, check, describe
from segloop.scribbling.head import Head, fit_head
from segloop.scribbling.points import Points, spread
from segloop.scribbling.shelf import Key, Shelf
from segloop.tiling import Tile

SIDE = 448
"""Of a tile in network pixels: half a second's work, after which stale work can be given up."""

MEMORY = 1 << 29
"""Bytes of descriptions that are kept: about 4 million pixels."""

MOST_POINTS = 2500
"""Of each class in each tile: a filled area says no more than its samples."""

MOST_FITTED = 5000
"""Of each class."""


@dataclass(frozen=True, slots=True)
class View:
    """What is to be predicted.

    Parameters
    ----------
    plane : int
        Counted over all axes of the label image but Y and X, in their order.
    rows, columns : slice
        In image pixels.
    focus : tuple of float
        Row and column of where the person is at work: what lies near is predicted first.
    """

    plane: int
    rows: slice
    columns: slice
    focus: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What came of one refresh.

    Parameters
    ----------
    classes : tuple of int
        Those that the prediction tells apart; empty if fewer than two are painted, when nothing is predicted.
    complete : bool
        Whether all of the view was predicted; False if it needs more memory than may be kept.
    seconds : float
    described : int
        Tiles for which the network had to be run.
    """

    classes: tuple[int, ...]
    complete: bool
    seconds: float
    described: int


class LivePrediction:
    """Predicts parts of one image from scribbles. For one thread at a time.

    Parameters
    ----------
    model : Segmenter
        2D and Describing; its own classes do not matter.
    image : Image
        As the model takes it: of one channel if it takes one; copied by whoever calls, if somebody may change it.
    memory : int
        Bytes of descriptions that are kept.

    Raises
    ------
    ModelError
        If the model cannot learn from scribbles.
    ImageError
        If the image does not fit the model, or has pixels that are not finite.
    """

    def __init__(self, model: Segmenter, image: Image, memory: int = MEMORY) -> None:
        check(model)
        self.model = model
        self.image = network_image(image, model.spec, None)
        spec = model.spec
        shape = self.image.spatial_shape()[-2:]
        scaled = tuple(max(1, round(n * spec.zoom)) for n in shape)
        divisor = model.divisor
        side = SIDE // divisor * divisor
        statistics = spec.normalization.fit(self.image)
        self._plan = Plan(spec, statistics, shape, scaled, side, HALO, divisor)
        if self._plan.is_blank:
            raise ImageError("the image has one intensity only; there is nothing that could be told apart")
        self._tiles = self._plan.tiles()
        self.shelf = Shelf(memory)
        self._planes = math.prod(self.image.sizes[axis] for axis in self.image.outer_axes(2))
        self._parted: dict[Key, Points] = {}
        self._samples: dict[Key, tuple[Points, Tensor]] = {}
        self._head: tuple[Points, Head] | None = None
        self._largest = 1
        self._weights = torch.ones(0)

    def refresh_events(self, points: Points, view: View) -> Generator[Event, None, Refreshed]:
        """Predict what is in view from what is painted anywhere in the image.

        Yields ``TileDone`` after each tile for which the network was run, and ``LabelsDone`` for each part that is
        predicted: uint8, class + 1. Closing the generator between two events gives up stale work; what the network has
        computed by then is kept.

        Parameters
        ----------
        points : Points
            Inside the image.
        view : View
            May reach beyond the image.

        Raises
        ------
        ImageError
            If the view has no pixel of the image, or a point lies outside it.
        """
        start = time.perf_counter()
        self._check(points)
        wanted = self._in_view(view)
        fresh = 0
        head = None
        if len(points.painted) > 1:
            changed = self._changed(points)
            for done, key in enumerate(changed):
                description = self.shelf.get(key)
                if description is None:
                    description = self._describe(key)
                    fresh += 1
                    yield TileDone(done + 1, len(changed))
                self._sample(key, self._parted[key], description)
            head = self._fit(points)
        shown = 0
        for number in self._ready_first(view.plane, wanted):
            if shown and shown >= self.shelf.limit // self._largest:
                break
            description = self.shelf.get((view.plane, number))
            if description is None:
                description = self._describe((view.plane, number))
                fresh += 1
                yield TileDone(shown + 1, len(wanted))
            shown += 1
            if head is not None:
                yield self._predict(head, view, number, description)
        classes = head.classes if head is not None else ()
        return Refreshed(classes, shown == len(wanted), time.perf_counter() - start, fresh)

    # which tiles

    def _check(self, points: Points) -> None:
        rows, columns = self._plan.shape
        outside = (points.rows >= rows) | (points.columns >= columns) | (points.planes >= self._planes)
        if outside.any():
            raise ImageError(
                f"{int(outside.sum())} of the painted pixels lie outside the image ({self._planes} planes of "
                f"{rows} × {columns} pixels); scribbles must lie on their image"
            )

    def _in_view(self, view: View) -> list[int]:
        """Numbers of the tiles in view, those nearest to the focus first."""
        near = []
        for number, tile in enumerate(self._tiles):
            region = self._region(tile)
            if all(
                own.start < seen.stop and seen.start < own.stop for own, seen in zip(region, (view.rows, view.columns))
            ):
                away = sum(max(own.start - at, 0, at - own.stop) ** 2 for own, at in zip(region, view.focus))
                near.append((away, number))
        if not near:
            raise ImageError("nothing of the image is in view; move it back onto the screen")
        return [number for _, number in sorted(near)]

    def _ready_first(self, plane: int, wanted: Sequence[int]) -> list[int]:
        return sorted(wanted, key=lambda number: (plane, number) not in self.shelf)

    def _changed(self, points: Points) -> list[Key]:
        """Tiles in which the painted pixels are others than when they were last looked at."""
        edges = [sorted({self._region(tile)[axis].start for tile in self._tiles}) for axis in (0, 1)]
        row, column = (np.searchsorted(e, at, "right") - 1 for e, at in zip(edges, (points.rows, points.columns)))
        numbers = row * len(edges[1]) + column
        code = points.planes * len(self._tiles) + numbers
        self._parted = {}
        for one in np.unique(code):
            key = (int(one) // len(self._tiles), int(one) % len(self._tiles))
            self._parted[key] = points.take(np.flatnonzero(code == one)).thinned(MOST_POINTS)
        self._samples = {key: kept for key, kept in self._samples.items() if key in self._parted}
        return [
            key
            for key, own in self._parted.items()
            if key not in self._samples or not self._samples[key][0].equals(own)
        ]

    def _region(self, tile: Tile) -> tuple[slice, slice]:
        rows, columns = self._plan.image_region(tile.inner)
        return rows, columns

    # what is known of them

    def _describe(self, key: Key) -> Description:
        plane, number = key
        block = self.image
        outer = self.image.outer_axes(2)
        at = np.unravel_index(plane, [self.image.sizes[axis] for axis in outer]) if outer else ()
        for axis, place in zip(outer, at):
            block = block.take(axis, int(place))
        description = describe(self.model, self._plan, block, self._tiles[number])
        self._largest = max(self._largest, description.nbytes)
        self._weights = description.weights
        self.shelf.put(key, description)
        return description

    def _sample(self, key: Key, own: Points, description: Description) -> None:
        places = (
            (at + 0.5) * (scaled / shape) - 0.5
            for at, scaled, shape in zip((own.rows, own.columns), self._plan.scaled, self._plan.shape)
        )
        self._samples[key] = own, description.at(*places)

    def _fit(self, points: Points) -> Head:
        """The head for what is painted; the one there was if nothing has changed."""
        if self._head is None or not self._head[0].equals(points):
            keys = sorted(self._samples)
            parts = Points.joined(self._samples[key][0] for key in keys)
            values = torch.cat([self._samples[key][1] for key in keys])
            chosen = np.concatenate([spread(np.flatnonzero(parts.classes == n), MOST_FITTED) for n in parts.painted])
            self._head = points, fit_head(values[torch.from_numpy(chosen)], parts.classes[chosen], self._weights)
        return self._head[1]

    def _predict(self, head: Head, view: View, number: int, description: Description) -> LabelsDone:
        """Predict what is in view of a tile."""
        region = [
            slice(max(own.start, seen.start), min(own.stop, seen.stop))
            for own, seen in zip(self._region(self._tiles[number]), (view.rows, view.columns))
        ]
        rows, columns = (
            slice(math.floor(side.start * scaled / n) - 1, math.ceil(side.stop * scaled / n) + 1)
            for side, scaled, n in zip(region, self._plan.scaled, self._plan.shape)
        )
        part = description.cropped(rows, columns)
        scores = head.score_map(part)
        if self._plan.scaled == self._plan.shape:
            inside = [slice(side.start - own.start, side.stop - own.start) for side, own in zip(region, part.window)]
            scores = scores[:, inside[0], inside[1]]
        else:
            scores = resize_region(scores, part.window, self._plan.scaled, region, self._plan.shape)
        names = np.array(head.classes, np.uint8) + 1
        return LabelsDone(view.plane, region[0], region[1], names[scores.argmax(axis=0)])
