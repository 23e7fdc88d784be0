"""Tiles: how a plane or volume is cut for a network, and put together again without a gap or a seam."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from segloop.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: what the network sees (``outer``) and what it answers for (``inner``).

    Both are in the coordinates of the whole array, one slice per axis. The inner parts of all tiles cover the
    array exactly once. The outer part may reach past the end of the array, up to the next multiple of the divisor;
    the pixels there are for the reader to pad.
    """

    outer: tuple[slice, ...]
    inner: tuple[slice, ...]

    @property
    def local(self) -> tuple[slice, ...]:
        """The inner part in the coordinates of the outer part."""
        return tuple(slice(i.start - o.start, i.stop - o.start) for o, i in zip(self.outer, self.inner))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the outer part."""
        return tuple(o.stop - o.start for o in self.outer)

    def cut_sides(self, shape: Sequence[int]) -> tuple[tuple[bool, bool], ...]:
        """Say for each axis whether the outer part ends (low, high) inside the array rather than at its end."""
        return tuple((o.start > 0, o.stop < n) for o, n in zip(self.outer, shape))


def belongs(tile: Tile, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Whether a tile answers for each box: other tiles see the others better, or they lie outside the plane.

    It does where the box has a pixel in the plane, and is centred less than half of the tile's margin from its inner
    part or reaches into it.

    Parameters
    ----------
    tile : Tile
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in pixels of the tile.
    shape : (int, int)
        Y, X of the plane, in the tile's pixels.

    Returns
    -------
    bool (N,)
    """
    keep = np.ones(len(boxes), bool)
    for axis, (low_cut, high_cut) in zip((0, 1), tile.cut_sides(shape)):
        low, high = boxes[:, 1 - axis], boxes[:, 3 - axis]
        outer, local = tile.outer[axis], tile.local[axis]
        keep &= low + outer.start < shape[axis] - 0.5
        if low_cut:
            keep &= ((low + high) / 2 >= local.start / 2) | (high >= local.start)
        if high_cut:
            length = outer.stop - outer.start
            keep &= ((low + high) / 2 <= (length + local.stop) / 2) | (low <= local.stop)
    return keep


def plan_tiles(shape: Sequence[int], tile: Sequence[int], halo: Sequence[int], divisor: Sequence[int]) -> list[Tile]:
    """Cut an array of ``shape`` into tiles of one size, row by row.

    Parameters
    ----------
    shape : sequence of int (D,)
        Shape of the array.
    tile : sequence of int (D,)
        Largest outer side. An axis shorter than it is taken whole, rounded up to the divisor.
    halo : sequence of int (D,)
        Least distance of an inner pixel to an outer border inside the array. With a halo of at least the network's
        receptive radius, the result does not depend on the tile size at all.
    divisor : sequence of int (D,)
        Every outer start and stop is a multiple of it: the strides of the network's poolings, so that its grid lies
        equally in each tile.

    Raises
    ------
    SettingsError
        If the tile is too small for halo and divisor.
    """
    edges = [plan_axis(*numbers) for numbers in zip(shape, tile, halo, divisor, strict=True)]
    return [
        Tile(tuple(outer for outer, _ in sides), tuple(inner for _, inner in sides))
        for sides in itertools.product(*edges)
    ]


@cache
def plan_axis(length: int, tile: int, halo: int, divisor: int) -> tuple[tuple[slice, slice], ...]:
    """Outer and inner slices along one axis; see :func:`plan_tiles`."""
    padded = math.ceil(length / divisor) * divisor
    tile = tile // divisor * divisor
    if padded <= tile:
        return ((slice(0, padded), slice(0, length)),)
    step = (tile - 2 * halo) // divisor * divisor
    if step < divisor:
        raise SettingsError(
            f"tile {tile} is too small for a halo of {halo} on each side; use at least {2 * halo + 2 * divisor}"
        )
    # the smallest tile that needs no more of them: an axis a little longer than a tile is not read twice over
    count = math.ceil((padded - tile) / step) + 1
    while tile - divisor + (count - 1) * ((tile - divisor - 2 * halo) // divisor * divisor) >= padded:
        tile -= divisor
    step = (tile - 2 * halo) // divisor * divisor
    starts = [min(i * step, padded - tile) for i in range(count)]
    cuts = [0, *((a + tile + b) // 2 for a, b in itertools.pairwise(starts)), length]
    return tuple((slice(s, s + tile), slice(a, b)) for s, (a, b) in zip(starts, itertools.pairwise(cuts)))


def split(array: np.ndarray, tiles: Iterable[Tile]) -> list[np.ndarray]:
    """Read the outer part of each tile from the last axes of ``array``, repeating edge pixels past its end."""
    return [read_padded(array, tile.outer) for tile in tiles]


def read_padded(array: np.ndarray, outer: Sequence[slice]) -> np.ndarray:
    """Read a region of the last axes of ``array`` that may reach past its end, where edge pixels are repeated."""
    shape = array.shape[-len(outer) :]
    region: tuple[Any, ...] = (..., *(slice(o.start, min(o.stop, n)) for o, n in zip(outer, shape)))
    part = array[region]
    return pad_end(part, tuple(o.stop - o.start for o in outer))


def pad_end(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Pad the last axes of ``array`` at their ends to ``shape`` by repeating edge pixels."""
    missing = [n - m for n, m in zip(shape, array.shape[-len(shape) :])]
    if not any(missing):
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - len(shape)) + [(0, m) for m in missing], mode="edge")


def stitch(tiles: Sequence[Tile], parts: Iterable[np.ndarray], out: np.ndarray) -> np.ndarray:
    """Write the inner part of each of ``parts`` (shaped like the outer tiles, last axes) into ``out``."""
    for tile, part in zip(tiles, parts, strict=True):
        inner: tuple[Any, ...] = (..., *tile.inner)
        local: tuple[Any, ...] = (..., *tile.local)
        out[inner] = part[local]
    return out
