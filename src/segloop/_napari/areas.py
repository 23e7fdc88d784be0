"""Areas of planes, and where they lie in the data of a Labels layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from segloop._napari.layers import Placement

if TYPE_CHECKING:
    from segloop.catalog import Area


def area_between(place: Placement, corners: np.ndarray) -> Area:
    """The pixels between two corners (2, D) of one plane."""
    from segloop.catalog import Area

    low, high = np.floor(corners.min(axis=0) + 0.5).astype(int), np.ceil(corners.max(axis=0) + 0.5).astype(int)
    outer = [number for number, axis in enumerate(place.axes) if axis not in "CYX"]
    sizes = [place.shape[number] for number in outer]
    at = [int(np.clip(low[number], 0, size - 1)) for number, size in zip(outer, sizes)]
    sides = []
    for axis in "YX":
        number = place.axes.index(axis)
        start = int(np.clip(low[number], 0, place.shape[number] - 1))
        sides.append(slice(start, int(np.clip(high[number], start + 1, place.shape[number]))))
    return Area(int(np.ravel_multi_index(at, sizes)) if outer else 0, *sides)


def box_of(place: Placement, area: Area) -> tuple[slice, ...]:
    """The area in the data of the layer, one slice for each dimension."""
    index = place.block(area.plane, area.rows, area.columns)
    return tuple(side if isinstance(side, slice) else slice(side, side + 1) for side in index)


def shaped(inside: np.ndarray, place: Placement, area: Area) -> np.ndarray:
    """Give a mask (rows, columns) the dimensions of the layer."""
    turned = inside if place.rows_first else inside.T
    return turned.reshape([side.stop - side.start for side in box_of(place, area)])


def read(layer: Labels, place: Placement, area: Area) -> np.ndarray:
    """The pixels of an area (rows, columns)."""
    block = np.asarray(layer.data[place.block(area.plane, area.rows, area.columns)])
    return block if place.rows_first else block.T
