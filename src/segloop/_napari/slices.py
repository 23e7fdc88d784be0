"""Objects of a stack from slice to slice: filled in between those that were drawn, copied to the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segloop._napari import editing
from segloop._napari.ledger import Ledger
from segloop.editing import interpolation
from segloop.editing.changes import Box
from segloop.errors import LabelsError


def interpolate(
    ledger: Ledger, numbers: Sequence[int], axis: int, within: Box | None = editing.EVERYWHERE
) -> list[int]:
    """Fill in an object on the slices between those that it was drawn on. Return the slices that were filled.

    Parameters
    ----------
    numbers : sequence of int
        Of the object. Several become one, the first: what was drawn on each slice may have a number of its own.
    axis : int
        Along which the slices lie.
    within : tuple of slice, optional
        Confines the other axes, such as the time.

    Raises
    ------
    LabelsError
        If there is no slice without it between two with it.
    """
    objects = editing.selected(numbers)
    boxes = [ledger.index.read(number, within=within)[0] for number in objects]
    box = tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes))
    block = np.asarray(ledger.layer.data[box])
    whole = np.isin(block, objects)
    planes = np.moveaxis(whole, axis, 0)
    if any(side > 1 for side in planes.shape[1:-2]):
        raise LabelsError("the object lies on more than one axis of slices; it can be filled in along one")
    planes = planes.reshape(len(planes), *planes.shape[-2:])
    filled = np.zeros_like(planes)
    for low, high in interpolation.gaps(planes.any(axis=(1, 2))):
        filled[low + 1 : high] = interpolation.interpolate(planes[low], planes[high], high - low - 1)
    slices = np.flatnonzero(filled.any(axis=(1, 2)))
    if not len(slices):
        raise LabelsError(
            f"object {objects[0]} has no gap; draw it with the same number on two slices, with slices in between, or "
            "select what was drawn on both (Shift+click)"
        )
    shape = list(block.shape)
    shape.insert(0, shape.pop(axis))
    between = np.moveaxis(filled.reshape(shape), 0, axis) & (block == 0)
    editing.paint(ledger, [editing.Paint(box, between | (whole & (block != objects[0])), objects[0])])
    return [int(n) + box[axis].start for n in slices]


def copy_to_slice(ledger: Ledger, numbers: Sequence[int], plane: tuple[int, ...], axis: int, step: int) -> int:
    """Draw objects on a neighbouring slice as they are on this one; other objects there stay. Return the pixels drawn.

    Parameters
    ----------
    plane : tuple of int
        Index of this slice.
    axis : int
        Along which the other one lies.
    step : int
        -1 for the one before, 1 for the one after.

    Raises
    ------
    LabelsError
        If one of them is not on this slice, or there is no other one.
    """
    shape = ledger.layer.data.shape
    there = list(plane)
    there[axis] += step
    if not 0 <= there[axis] < shape[axis]:
        raise LabelsError(f"there is no slice {'after' if step > 0 else 'before'} this one")
    paints = []
    for number in editing.selected(numbers):
        box, block = ledger.index.read(number, within=editing.plane_box(plane, shape))
        target = (*(slice(n, n + 1) for n in there), *box[-2:])
        free = np.asarray(ledger.layer.data[target]) == 0
        paints.append(editing.Paint(target, (block == number) & free, number))
    return editing.paint(ledger, paints)
