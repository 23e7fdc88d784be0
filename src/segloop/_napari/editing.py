"""Edits of a Labels layer that napari lacks. Each goes through the layer's own undo, as one step.

They work on the object with the number given, in the whole array: stacks included.
"""

from __future__ import annotations

import numpy as np
from napari.layers import Labels
from scipy import ndimage

from segloop.errors import LabelsError


def next_free_label(layer: Labels) -> int:
    """Return the smallest number above all that are in use.

    Raises
    ------
    LabelsError
        If the layer's type of pixels cannot hold it.
    """
    number = int(np.max(np.asarray(layer.data), initial=0)) + 1
    largest = np.iinfo(layer.data.dtype).max
    if number > largest:
        raise LabelsError(
            f"the layer {layer.name!r} holds numbers up to {largest}, and all are taken; "
            "right-click it in the layer list and convert it to uint32"
        )
    return number


def delete_object(layer: Labels, number: int) -> None:
    """Turn an object into background.

    Raises
    ------
    LabelsError
        If there is no such object.
    """
    layer.data_setitem(_pixels(layer, number), 0)


def merge_objects(layer: Labels, keep: int, absorb: int) -> None:
    """Give the pixels of the object ``absorb`` to the object ``keep``.

    Raises
    ------
    LabelsError
        If one of them does not exist, or both are the same.
    """
    if keep == absorb:
        raise LabelsError(f"object {keep} cannot be merged with itself; click another object")
    if not (np.asarray(layer.data) == keep).any():
        raise LabelsError(f"there is no object {keep}")
    layer.data_setitem(_pixels(layer, absorb), keep)


def fill_holes(layer: Labels, number: int) -> int:
    """Fill the background inside an object, plane by plane; other objects inside it stay. Return the pixels filled.

    Raises
    ------
    LabelsError
        If there is no such object.
    """
    pixels = _pixels(layer, number)
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in pixels)
    region = np.asarray(layer.data[box])
    holes = np.zeros(region.shape, bool)
    for plane in np.ndindex(region.shape[:-2]):
        mask = region[plane] == number
        holes[plane] = ndimage.binary_fill_holes(mask) & (region[plane] == 0)
    if not holes.any():
        return 0
    found = np.nonzero(holes)
    layer.data_setitem(tuple(axis + side.start for axis, side in zip(found, box)), number)
    return len(found[0])


def _pixels(layer: Labels, number: int) -> tuple[np.ndarray, ...]:
    if number == 0:
        raise LabelsError("no object is selected; pick one with napari's picker (key L), or click it")
    pixels = np.nonzero(np.asarray(layer.data) == number)
    if not len(pixels[0]):
        raise LabelsError(f"there is no object {number}; pick one with napari's picker (key L)")
    return pixels
