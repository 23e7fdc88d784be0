"""Recent edits: what a person did in a layer since a moment, told from what was drawn there past the undo history."""

from __future__ import annotations

import weakref

import numpy as np
from napari.layers import Labels

from segloop._napari.history import Item, atoms_of, changes_of
from segloop.editing.changes import Box, Change


class RecentEdits:
    """Knows the edits of one layer, undone ones and a stroke that is going on included, from a moment on.

    Parameters
    ----------
    layer : Labels
        Not kept alive.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = weakref.ref(layer)
        self._known: Item = []

    def begin(self) -> None:
        """Know those from now on."""
        layer = self._layer()
        self._known = [] if layer is None else atoms_of(layer)

    def found(self) -> list[Change]:
        """The edits, the last first, each as the change that takes it back."""
        layer = self._layer()
        if layer is None:
            return []
        now, known = atoms_of(layer), {id(atom) for atom in self._known}
        # the history forgets from its beginning; what is gone from its end was undone
        kept = {id(atom) for atom in now}
        stays = max((place for place, atom in enumerate(self._known) if id(atom) in kept), default=-1)
        made = [atom for atom in now if id(atom) not in known]
        taken_back = [change.reversed() for atom in reversed(made) for change in changes_of([atom])]
        return [*taken_back, *changes_of(self._known[stays + 1 :])]

    def without(self, box: Box, block: np.ndarray) -> np.ndarray:
        """A copy of a block of the layer as it is now, but for these edits.

        Parameters
        ----------
        box : tuple of slice
            Where it lies, with explicit bounds.
        block : integers, the box's shape
        """
        block = block.copy()
        for change in self.found():
            inside = np.ones(len(change.after), bool)
            for places, side in zip(change.coordinates, box):
                inside &= (places >= side.start) & (places < side.stop)
            where = tuple(places[inside] - side.start for places, side in zip(change.coordinates, box))
            block[where] = change.after[inside]
        return block
