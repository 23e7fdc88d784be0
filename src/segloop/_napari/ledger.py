"""The ledger of a Labels layer: which objects it holds, and where each came from, true after every edit.

It reads what napari's undo history says was changed, by whatever tool, and never looks at the whole layer again after
one scan in the background.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from segloop._napari import features
from segloop._napari.features import ObjectOrigin, Row
from segloop._napari.history import Item, add_empty_step, changes_of, key_of, redo_items, undo_items
from segloop.editing.changes import Change
from segloop.editing.index import ObjectIndex

LARGEST_COUNTED = 1 << 24
"""Below this, numbers are counted in an array with a place for each."""


@dataclass(frozen=True, eq=False)
class _Record:
    """What an undo step did to the table; it holds the step, so that its key stays its own."""

    item: Item
    before: dict[int, Row | None]
    after: dict[int, Row | None]


class Ledger:
    """Follows the edits of one layer.

    Its table has a row for each object. The layer's features are brought up to date by ``flush``, which whoever listens
    to ``stale`` calls soon after.

    Parameters
    ----------
    layer : Labels
        Not multiscale. Not kept alive.
    classes : tuple of str
        The names of label values, background first, if the layer holds classes; else the classes that objects can have.
    semantic : bool
        Whether the numbers are classes.
    """

    stale = Signal()

    def __init__(self, layer: Labels, classes: tuple[str, ...] = (), semantic: bool = False) -> None:
        self._layer = weakref.ref(layer)
        self.classes, self.semantic = classes, semantic
        self.index = ObjectIndex(layer.data)
        self._rows: dict[int, Row | None] = {}
        self._places: dict[int, int] = {}
        self._table: Any = None
        self._records: dict[tuple[int, int], _Record] = {}
        self._given: dict[int, Row] = {}
        self._known = undo_items(layer)
        self._reconciled = False
        self._reviewed: np.ndarray | None = None
        self._wholly_reviewed = False
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self.sync)
        layer.events.data.connect(self._on_data)

    @property
    def layer(self) -> Labels:
        """The layer that is followed."""
        layer = self._layer()
        if layer is None:
            raise ReferenceError("the layer of this ledger is gone")
        return layer

    def close(self) -> None:
        """Follow no longer."""
        layer = self._layer()
        if layer is not None:
            layer.events.paint.disconnect(self._on_paint)
            layer.events.set_data.disconnect(self.sync)
            layer.events.data.disconnect(self._on_data)

    # the scan

    def advance(self, seconds: float) -> bool:
        """Scan for about so long. Return whether everything is scanned, and the table complete."""
        if self.index.advance(seconds) and not self._reconciled:
            self._reconcile()
        return self._reconciled

    def finish(self) -> None:
        """Scan what is not scanned yet."""
        self.index.finish()
        if not self._reconciled:
            self._reconcile()

    def describe(self, classes: tuple[str, ...], semantic: bool) -> None:
        """Say what the numbers mean."""
        if (classes, semantic) != (self.classes, self.semantic):
            self.classes, self.semantic = classes, semantic
            self._reconciled = False
            self.stale.emit()

    def notice(self, number: int, pixel: Sequence[int]) -> None:
        """Take note that an object was seen at a pixel, so that it is found before all is scanned.

        If that is news after the scan, something wrote into the array behind napari's back: all is scanned anew.
        """
        box = self.index.box(number)
        known = box is not None and all(side.start <= n < side.stop for side, n in zip(box, pixel))
        if self.index.complete and not known:
            self.index = ObjectIndex(self.layer.data)
            self._reconciled = False
            self.stale.emit()
        self.index.seek(number, pixel)

    # the table

    def row(self, number: int) -> Row | None:
        """Return what is known of an object, edits included; None if nothing is."""
        if number in self._rows:
            return self._rows[number]
        table = self.layer.features
        if table is not self._table:
            self._table = table
            self._places = {int(label): place for place, label in enumerate(table.get("index", ()))}
        place = self._places.get(number)
        return None if place is None else dict(table.iloc[place])

    def flush(self) -> None:
        """Bring the layer's features up to date."""
        self.sync()
        if not self._reconciled and self.index.complete:
            self._reconcile()
        if self._rows:
            rows, self._rows = self._rows, {}
            self.layer.features = features.with_rows(self.layer.features, self._vouched(rows))

    def vouch(self, reviewed: np.ndarray | None) -> None:
        """Say what a person looked through; the table follows, now and after each edit.

        An object is reviewed if most of its pixels are.

        Parameters
        ----------
        reviewed : bool, the shape of the layer's data, or None for nowhere
            Not to be changed afterwards.
        """
        before, self._reviewed = self._reviewed, reviewed if reviewed is not None and reviewed.any() else None
        whole, self._wholly_reviewed = self._wholly_reviewed, False
        if before is None and self._reviewed is None and not whole:
            return
        if before is not None and self._reviewed is not None and np.array_equal(before, self._reviewed):
            return
        self.flush()
        numbers: list[int] = []
        if self._reviewed is not None:
            box = features.extent(self._reviewed)
            inside = _counted(np.asarray(self.layer.data[box])[self._reviewed[box]])
            numbers = [number for number, count in inside.items() if number and 2 * count > self.index.area(number)]
        self._show_reviewed(numbers)

    def vouch_for_all(self) -> None:
        """Say that a person looked everything through; no pixel is looked at."""
        if self._wholly_reviewed:
            return
        self._reviewed, self._wholly_reviewed = None, True
        self.flush()
        self._show_reviewed(features.by_label(self.layer.features)["index"].tolist())

    def _show_reviewed(self, numbers: list[int]) -> None:
        table = features.with_reviewed(self.layer.features, numbers)
        if table is not self.layer.features:
            self.layer.features = table

    def _vouched(self, rows: dict[int, Row | None]) -> dict[int, Row | None]:
        """Say of rows whether their objects are reviewed; pixels must be the new ones."""
        return {n: None if row is None else {**row, "reviewed": self._is_reviewed(n)} for n, row in rows.items()}

    def _is_reviewed(self, number: int) -> bool:
        """Whether most of an object is reviewed, by what lies in its box."""
        box = self.index.box(number)
        if self._wholly_reviewed or self._reviewed is None or box is None:
            return self._wholly_reviewed
        own = np.asarray(self.layer.data[box]) == number
        return bool(2 * np.count_nonzero(own & self._reviewed[box]) > np.count_nonzero(own))

    def change_rows(self, numbers: Iterable[int], **values: Any) -> None:
        """Change the rows of objects, such as their class or origin, as one undo step of its own."""
        self._given = {number: {**(self.row(number) or self._new_row(number)), **values} for number in numbers}
        add_empty_step(self.layer)

    def expect(self, rows: dict[int, Row]) -> None:
        """Say what the next edit makes of objects: values that take the place of those in their rows after it."""
        self._given = {
            number: {**(self.row(number) or self._new_row(number)), **values} for number, values in rows.items()
        }

    def follow(self, change: Change) -> None:
        """Take note of a change that went past the layer's undo history; whoever made it keeps the table true."""
        self.index.follow(change)
        self.stale.emit()

    # edits

    def sync(self, event: Any = None) -> None:
        """Follow what was edited, undone and done again since the last time."""
        if self._layer() is None:
            return
        now = undo_items(self.layer)
        if len(now) == len(self._known) and (not now or key_of(now[-1]) == key_of(self._known[-1])):
            return
        before = {key_of(item): place for place, item in enumerate(self._known)}
        base = next((place for place in reversed(range(len(now))) if key_of(now[place]) in before), -1)
        known = before[key_of(now[base])] if base >= 0 else -1
        gone, self._known = self._known[known + 1 :], now
        undone = {key_of(item) for item in redo_items(self.layer)}
        forgotten = not now and not any(key_of(item) in undone for item in gone)
        if not forgotten:
            for item in reversed(gone):
                self._undo(item)
            for item in now[base + 1 :]:
                self._redo(item) if key_of(item) in self._records else self._add(item)
        kept = undone | {key_of(item) for item in now}
        self._records = {key: record for key, record in self._records.items() if key in kept}
        self.stale.emit()

    def _add(self, item: Item) -> None:
        given, self._given = self._given, {}
        changes = changes_of(item)
        touched = sorted(_numbers(changes) | set(given))
        before = {number: self.row(number) for number in touched}
        for change in changes:
            self.index.follow(change)
        after = {number: given.get(number) or self._edited(number, before[number]) for number in touched}
        self._records[key_of(item)] = _Record(item, before, after)
        self._show(after)

    def _undo(self, item: Item) -> None:
        changes = [change.reversed() for change in reversed(changes_of(item))]
        for change in changes:
            self.index.follow(change)
        record = self._records.get(key_of(item))
        if record is None:
            self._show({number: self._edited(number, self.row(number)) for number in _numbers(changes)})
        else:
            self._show(record.before)

    def _redo(self, item: Item) -> None:
        for change in changes_of(item):
            self.index.follow(change)
        self._show(self._records[key_of(item)].after)

    def _show(self, rows: dict[int, Row | None]) -> None:
        for number, row in rows.items():
            self._rows[number] = None if row is None else {**row, "area": self.index.area(number)}

    def _edited(self, number: int, before: Row | None) -> Row | None:
        if self.index.complete and number not in self.index and not self.semantic:
            return None
        if before is None:
            return self._new_row(number)
        if before.get("origin") in (ObjectOrigin.EDITED, ObjectOrigin.ADDED):
            return before
        # a model's score is of what the model drew
        return {**before, "origin": ObjectOrigin.EDITED.value, "score": np.nan}

    def _new_row(self, number: int, origin: ObjectOrigin = ObjectOrigin.ADDED) -> Row:
        if self.semantic:
            name = self.classes[number] if 0 <= number < len(self.classes) else f"class {number}"
        else:
            name = self.classes[0] if self.classes else "object"
        return {
            "index": number,
            "label": number,
            "class": name,
            "score": np.nan,
            "origin": origin.value,
            "reviewed": False,
        }

    def _reconcile(self) -> None:
        """Make the table agree with what the scan found."""
        self._reconciled = True
        areas = dict(self.index.areas)
        if self.semantic:
            areas |= {number: self.index.area(number) for number in range(1, len(self.classes))}
        table = features.by_label(self.layer.features)
        rows = features.disagreeing(table, areas)
        for number in areas.keys() - set(table["index"].astype(int)):
            rows[number] = {**self._new_row(number, ObjectOrigin.DRAFT), "area": areas[number]}
        for number, row in self._rows.items():
            rows[number] = None if row is None else {**row, "area": self.index.area(number)}
        self._rows = {}
        if rows:
            self.layer.features = features.with_rows(table, self._vouched(rows))

    def _on_paint(self, event: Any = None) -> None:
        self.sync()

    def _on_data(self, event: Any = None) -> None:
        layer = self.layer
        if not self.index.continues(layer.data):
            self.index = ObjectIndex(layer.data)
            self._rows, self._records, self._reconciled = {}, {}, False
            self._known = undo_items(layer)
        self.stale.emit()


def _numbers(changes: list[Change]) -> set[int]:
    found: set[int] = set()
    for change in changes:
        found.update(number for number, _ in change.lost)
        found.update(gained.number for gained in change.gained)
    return found - {0}


def _counted(numbers: np.ndarray) -> dict[int, int]:
    """How often each number occurs. Labels from elsewhere may have numbers of any size."""
    if numbers.size and numbers.min() >= 0 and numbers.max() < LARGEST_COUNTED:
        counts = np.bincount(numbers.astype(np.int64))
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist()))
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist()))
