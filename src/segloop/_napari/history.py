"""What napari keeps to undo an edit of a Labels layer, read as changes of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.layers.labels.labels import _MaskedPaintAtom

from segloop.editing.changes import Change

Item = Sequence[Any]
"""One undo step: the pieces that napari applies together."""


def changes_of(item: Item) -> list[Change]:
    """Return the changes of an undo step, in the order in which they were made."""
    changes = []
    for atom in item:
        if isinstance(atom, _MaskedPaintAtom):
            changes.append(Change.in_box(atom.slice_key, atom.mask, atom.old_values, atom.new_value))
        else:
            changes.append(Change.at(*atom))
    return changes


def key_of(item: Item) -> tuple[int, int]:
    """Return what tells one undo step from another as long as napari keeps it, undone or not."""
    # napari turns an item round when it moves it between undo and redo
    first, last = sorted((id(item[0]), id(item[-1])))
    return first, last


def undo_items(layer: Labels) -> list[Item]:
    """Return the steps that can be undone, the oldest first."""
    return list(layer._undo_history)


def staged_item(layer: Labels) -> Item:
    """Return what is painted of a stroke that is not ended yet, which no undo step holds; empty without one."""
    return list(layer._staged_history)


def atoms_of(layer: Labels) -> Item:
    """Return the pieces of all that can be undone and of a stroke that is going on, the oldest first."""
    return [atom for item in [*undo_items(layer), staged_item(layer)] for atom in item]


def is_being_painted(layer: Labels) -> bool:
    """Whether a stroke is going on."""
    return bool(layer._block_history or layer._staged_history)


def redo_items(layer: Labels) -> list[Item]:
    """Return the steps that can be done again."""
    return list(layer._redo_history)


def add_empty_step(layer: Labels) -> None:
    """Add an undo step that changes no pixel, for what changes in the table alone."""
    box = (slice(0, 1),) * layer.ndim
    mask = np.zeros((1,) * layer.ndim, bool)
    layer._save_history(_MaskedPaintAtom(box, mask, np.zeros(0, layer.data.dtype), 0))


def join_last_steps(layer: Labels) -> None:
    """Make one undo step of the last two."""
    last = layer._undo_history.pop()
    layer._undo_history[-1] = [*layer._undo_history[-1], *last]
    layer.events.paint(value=layer._undo_history[-1])
