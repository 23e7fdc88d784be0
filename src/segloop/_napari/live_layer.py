"""A Labels layer whose candidates are kept: thresholds and the person decide together what it shows."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.areas import box_of, read, shaped
from segloop._napari.layers import Placement
from segloop._napari.recent_edits import RecentEdits
from segloop._napari.redrawn import Redrawn
from segloop._napari.touched import Touched

if TYPE_CHECKING:
    from segloop.catalog import Area
    from segloop.live_labels import Hidden, LiveLabels, Thresholds
    from segloop.segmentation import SegmentSettings
    from segloop.store import ModelInfo

MODEL = "model"


class LiveLayer:
    """Joins a layer to the candidates that it was drawn from.

    What thresholds draw is no edit: it is not in the layer's undo history, which stays a person's own. Moving a
    threshold back is its undo. Since objects that the history is about are held, undoing an edit finds everything as it
    was.

    Parameters
    ----------
    layer : Labels
        Not kept alive.
    live : LiveLabels
        Of the layer's data as they are now.
    place : Placement
    model : ModelInfo
        That found the candidates.
    settings : SegmentSettings
        With which it did.
    """

    def __init__(
        self, layer: Labels, live: LiveLabels, place: Placement, model: ModelInfo, settings: SegmentSettings
    ) -> None:
        self._layer = weakref.ref(layer)
        self.live, self.place, self.model, self.settings = live, place, model, settings
        self.start: Thresholds = live.thresholds
        self.touched = Touched(layer)
        self._before: dict[tuple[int, ...], tuple[Area, np.ndarray]] = {}
        self._reviewed: np.ndarray | None = None
        self._vouched: set[int] = set()
        self._change = 0
        self._recent = RecentEdits(layer)
        layer.events.paint.connect(self._on_paint)

    def close(self) -> None:
        """Let go of the layer."""
        self.touched.close()
        layer = self._layer()
        if layer is not None:
            layer.events.paint.disconnect(self._on_paint)

    @property
    def layer(self) -> Labels:
        """The layer."""
        layer = self._layer()
        if layer is None:
            raise ReferenceError("the layer of these candidates is gone")
        return layer

    @property
    def fits(self) -> bool:
        """Whether the layer still has the shape that its candidates are for."""
        layer = self._layer()
        return layer is not None and not layer.multiscale and tuple(layer.data.shape) == self.place.shape

    @property
    def is_edited(self) -> bool:
        """Whether a person edited the layer since thresholds began to move."""
        return bool(self._before) and bool(self._recent.found())

    def read(self, area: Area) -> np.ndarray:
        """The pixels of an area (rows, columns)."""
        return read(self.layer, self.place, area)

    def keep_reviewed(self, mask: np.ndarray | None) -> None:
        """Let nothing change where a person looked everything through.

        Parameters
        ----------
        mask : bool, the shape of the layer's data, or None for nowhere
        """
        self._reviewed = mask if mask is not None and mask.any() else None
        data = self.layer.data
        self._vouched = set() if self._reviewed is None else {int(n) for n in np.unique(np.asarray(data)[mask]) if n}

    def held(self) -> set[int]:
        """Numbers of objects that a person edited, added, confirmed or removed."""
        table = self.layer.features
        labels = self.touched.labels() | self._vouched
        if "index" in table and "origin" in table:
            labels |= {int(label) for label in table["index"][table["origin"] != MODEL]}
        return labels

    def rejected(self) -> tuple[int, ...]:
        """The candidates of objects that a person removed: not to be asked about again."""
        catalog, found = self.live.catalog, []
        for label in sorted(self.touched.labels()):
            number = self.live.object_of(label)
            if number is not None and not (self.read(catalog.area(number)) == label).any():
                found += catalog.pieces(number).tolist()
        return tuple(found)

    def move(self, thresholds: Thresholds) -> bool:
        """Let thresholds act; returns whether any pixel changed. What was done is kept until :meth:`settle`."""
        layer, held = self.layer, self.held()
        if not self._before:
            self._recent.begin()
        table = layer.features
        taken = max([0, *held, int(table["index"].max()) if "index" in table and len(table) else 0])
        changed = False
        walls, closed = self._walls(), None
        if self._reviewed is not None:
            walls, closed = walls + self._reviewed_walls(), self._read_reviewed
        for area in self.live.change(thresholds, held, walls, self.read, taken, closed):
            block = self.read(area)
            before = None if area.bounds in self._before else block.copy()
            part = self.live.redraw(area, block)
            if part is None:
                continue
            if before is not None:
                self._before[area.bounds] = area, before
            if not isinstance(layer.data, np.ndarray):
                self._write(area, block, part)
            changed = True
        if changed:
            layer.refresh(extent=False, thumbnail=False, highlight=False)
        return changed

    def _write(self, area: Area, block: np.ndarray, part: tuple[slice, slice]) -> None:
        """Write the part of a block that changed into an array that gives copies."""
        rows, columns = (
            slice(own.start + side.start, own.start + side.stop) for own, side in zip((area.rows, area.columns), part)
        )
        changed = block[part] if self.place.rows_first else block[part].T
        self.layer.data[self.place.block(area.plane, rows, columns)] = changed

    def rest(self) -> None:
        """Nothing is packed away: candidates take little memory as they are."""

    def settle(self) -> tuple[Redrawn, ...]:
        """What was drawn since the last time; the table of objects is brought up to date."""
        done = []
        for area, before in self._before.values():
            box, now = box_of(self.place, area), shaped(self.read(area), self.place, area)
            # what a person painted meanwhile is hers
            then, after = shaped(before, self.place, area), self._recent.without(box, now)
            if (then != after).any():
                done.append(Redrawn(box, then, after))
                self._change = features.changed(self._change, done[-1].box, done[-1].before, done[-1].after)
        self._before.clear()
        self._update_table()
        return tuple(done)

    def take_change(self) -> int:
        """What was told since this was last asked adds to the checksum of the layer, modulo 2**64."""
        change, self._change = self._change, 0
        return change

    def shown(self, area_of: Callable[[int], int]) -> int:
        """How many of the candidates are shown; ``area_of`` gives the pixels of a number in the layer now."""
        count = self.live.shown
        for label in self.touched.labels():
            number = self.live.object_of(label)
            if number is not None:
                count += (area_of(label) > 0) - self.live.counts(number)
        return count

    def overlaps(self, planes: tuple[int, ...] = ()) -> list[Hidden]:
        """Parts of objects that lie under others."""
        return self.live.hidden_parts(self.read, planes)

    def spot(self, position: tuple[int, ...]) -> tuple[int, int, int] | None:
        """Plane, row and column of a pixel of the layer; None outside of it."""
        place = self.place
        if any(not 0 <= n < size for n, size in zip(position, place.shape)):
            return None
        outer = [number for number, axis in enumerate(place.axes) if axis not in "CYX"]
        at = [position[number] for number in outer]
        plane = int(np.ravel_multi_index(at, [place.shape[number] for number in outer])) if outer else 0
        return plane, position[place.axes.index("Y")], position[place.axes.index("X")]

    def row(self, number: int, label: int, area: int, origin: str) -> dict[str, Any]:
        """The row that an object has in the table of the layer."""
        names = ("", *self.model.classes)
        return {
            "index": label,
            "label": label,
            "class": names[self.live.catalog.object_class(number)],
            "score": self.live.catalog.score(number),
            "area": area,
            "origin": origin,
            "reviewed": False,
        }

    def _update_table(self) -> None:
        import pandas as pd

        layer, held = self.layer, self.held()
        table = layer.features
        own = table[table["index"].isin(held)] if "index" in table else table[:0]
        names = np.asarray(["", *self.model.classes], object)
        shown = pd.DataFrame(self.live.table(self.read), columns=["label", "score", "class", "area"])
        shown = shown[~shown["label"].isin(held)]
        shown = shown.assign(
            **{"index": shown["label"], "class": names[shown["class"].astype(int)], "origin": MODEL, "reviewed": False}
        )[list(features.COLUMNS)]
        joined = pd.concat([part for part in (shown, own) if len(part)] or [shown], ignore_index=True)
        layer.features = joined.sort_values("index", ignore_index=True)

    def _walls(self) -> list[Area]:
        """Where a person painted."""
        from segloop.catalog import Area

        axes = self.place.axes
        outer = [axis for axis in axes if axis not in "CYX"]
        sizes = [self.place.shape[axes.index(axis)] for axis in outer]
        walls: dict[tuple[int, ...], Area] = {}
        for edit in self.touched.edits():
            side = dict(zip(axes, edit.box))
            for at in itertools.product(*(range(side[axis].start, side[axis].stop) for axis in outer)):
                plane = int(np.ravel_multi_index(at, sizes)) if outer else 0
                area = Area(plane, side["Y"], side["X"])
                walls[area.bounds] = area
        return list(walls.values())

    def _read_reviewed(self, area: Area) -> np.ndarray:
        assert self._reviewed is not None
        block = self._reviewed[self.place.block(area.plane, area.rows, area.columns)]
        return block if self.place.rows_first else block.T

    def _reviewed_walls(self) -> list[Area]:
        from segloop.catalog import Area

        walls = []
        for plane in range(self.live.candidates.shape[0]):
            mask = self._read_reviewed(Area(plane, slice(None), slice(None)))
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows):
                walls.append(Area(plane, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)))
        return walls

    def _on_paint(self, event: Any) -> None:
        edits = self.touched.edits()
        if edits:
            self.live.forget(edits[-1].labels)
