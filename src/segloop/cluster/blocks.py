"""Blocks of an OME-Zarr store: whole chunks, so that no two tasks ever write to one chunk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segloop.canvas import is_large
from segloop.image import Image
from segloop.io import save_labels
from segloop.io.ngff import CHUNK
from segloop.labels import Labels
from segloop.planning import Plan

SIDE = 4 * CHUNK
"""Side of a block along Y and X."""

DEPTH = 16
"""Planes of a block of a volume."""

Region = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of one plane (or volume) of a level of a store.

    Parameters
    ----------
    plane : int
        Number of the plane or volume.
    position : tuple of int
        Where it lies along the outer axes, in the order of the store.
    region : tuple of slice
        [Z], Y, X.
    """

    plane: int
    position: tuple[int, ...]
    region: Region

    def read(self, store: str, level: int) -> np.ndarray:
        """Read the block: unsigned integers ([Z], Y, X)."""
        out: np.ndarray = np.asarray(_level(store, level, "r")[(*self.position, *self.region)])
        return out

    def write(self, store: str, level: int, values: np.ndarray) -> None:
        """Write the block."""
        array = _level(store, level, "r+")
        array[(*self.position, *self.region)] = values.astype(array.dtype, copy=False)


def lay_out(path: Path, image: Image, dtype: np.dtype, classes: tuple[str, ...]) -> None:
    """Write an OME-Zarr label image of an image, with its pyramid and metadata, empty: chunks of zeros take no file."""
    nothing = np.broadcast_to(np.zeros((), dtype), image.label_shape)
    save_labels(Labels.like(image, nothing, classes), path)


def opened(path: Path, image: Image, classes: tuple[str, ...]) -> Labels:
    """The labels of a store: in memory if they are small, otherwise read where they are looked at."""
    array = _level(str(path), 0, "r")
    axes = "".join(axis for axis in "TZYX" if axis in image.label_axes)
    data = array if is_large(array.size * array.dtype.itemsize) else array[...]
    return Labels(data, axes, image.pixel_size, image.unit, classes)


def shapes(path: Path) -> list[tuple[int, ...]]:
    """Shape of each level of a store, the finest first."""
    import zarr

    group: Any = zarr.open_group(path, mode="r")
    return [tuple(group[str(level)].shape) for level in range(len(list(group.array_keys())))]


def blocks(image: Image, plan: Plan, shape: Sequence[int]) -> Iterator[Block]:
    """Cut a level of ``shape`` into blocks: plane after plane (or volume after volume), row by row."""
    outer = image.outer_axes(plan.spec.ndim)
    in_store = [axis for axis in "TZ" if axis in outer]
    sides = (DEPTH, SIDE, SIDE)[-plan.spec.ndim :]
    inner = shape[-plan.spec.ndim :]
    edges = [[slice(at, min(at + side, n)) for at in range(0, n, side)] for side, n in zip(sides, inner)]
    for plane, place in enumerate(itertools.product(*(range(image.sizes[axis]) for axis in outer))):
        at = dict(zip(outer, place))
        for region in itertools.product(*edges):
            yield Block(plane, tuple(at[axis] for axis in in_store), region)


def coarser(store: str, level: int, block: Block) -> np.ndarray:
    """Every second pixel along Y and X of what a block of ``level`` covers in the finer level."""
    *depth, rows, columns = block.region
    wider = (*depth, *(slice(2 * side.start, 2 * side.stop) for side in (rows, columns)))
    finer = Block(block.plane, block.position, wider).read(store, level - 1)
    return finer[..., ::2, ::2]


def meeting(regions: Sequence[Region], block: Block) -> list[Region]:
    """Those regions that reach into a block."""
    return [
        region
        for region in regions
        if all(own.start < side.stop and side.start < own.stop for own, side in zip(region, block.region))
    ]


def _level(store: str, level: int, mode: Any) -> Any:
    import zarr

    return zarr.open_array(f"{store}/{level}", mode=mode)
