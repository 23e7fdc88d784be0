"""Which numbers of a Labels layer a person's edits touched, and where; what was undone does not count."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels

from segloop.editing.changes import numbers_of


@dataclass(frozen=True, eq=False)
class Edit:
    """One step of the layer's undo history.

    Parameters
    ----------
    key : tuple of int
        Tells it from others as long as napari keeps it.
    labels : frozenset of int
        Numbers that lost or gained pixels, without background.
    box : tuple of slice
        Holds all pixels that changed.
    """

    key: frozenset[int]
    labels: frozenset[int]
    box: tuple[slice, ...]


class Touched:
    """Follows the edits of one layer through its undo history, in which steps come, are undone, and are forgotten.

    Parameters
    ----------
    layer : Labels
        Not kept alive.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = weakref.ref(layer)
        self._edits: list[Edit] = []
        self._forgotten = 0
        layer.events.paint.connect(self._on_paint)

    def close(self) -> None:
        """Follow no longer."""
        layer = self._layer()
        if layer is not None:
            layer.events.paint.disconnect(self._on_paint)

    def edits(self) -> list[Edit]:
        """The edits that were not undone."""
        layer = self._layer()
        if layer is None:
            return []
        kept = {_key(item) for item in layer._undo_history}
        return [edit for place, edit in enumerate(self._edits) if place < self._forgotten or edit.key in kept]

    def labels(self) -> set[int]:
        """Numbers that edits touched."""
        return set().union(*(edit.labels for edit in self.edits()))

    def _on_paint(self, event: Any) -> None:
        layer = self._layer()
        if layer is None or not event.value:
            return
        history = [_key(item) for item in layer._undo_history]
        if len(history) == layer._undo_history.maxlen:
            # the oldest is no longer kept, and cannot be undone any more
            first = next((n for n, edit in enumerate(self._edits) if edit.key in history), len(self._edits))
            self._forgotten = max(self._forgotten, first)
        # what was undone before is gone for good
        live = set(history)
        self._edits = [edit for n, edit in enumerate(self._edits) if n < self._forgotten or edit.key in live]
        self._edits.append(_edit(event.value))


def _key(item: Any) -> frozenset[int]:
    # napari turns a step round when it is undone; its pieces stay the same
    return frozenset(id(atom) for atom in item)


def _edit(item: Any) -> Edit:
    labels: set[int] = set()
    boxes = []
    for atom in item:
        if hasattr(atom, "slice_key"):
            box, before, after = atom.slice_key, atom.old_values, atom.new_value
        else:
            places, before, after = atom
            box = tuple(slice(int(np.min(axis)), int(np.max(axis)) + 1) for axis in places)
        labels |= {number for values in (before, after) for number, _ in numbers_of(np.asarray(values))}
        boxes.append(box)
    whole = tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes))
    return Edit(_key(item), frozenset(labels - {0}), whole)
