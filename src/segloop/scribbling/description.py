"""Descriptions: what is known of each pixel of a tile, and of single pixels of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segloop.errors import ModelError
from segloop.image import Image
from segloop.models.protocol import Describing, Segmenter
from segloop.planning import Plan
from segloop.scribbling.filters import REACH, filtered
from segloop.tiling import Tile

LEVELS = 3
"""How many of the network's maps are used, from the finest: coarser ones add cost and no score (measured)."""

GRAIN = 2 ** (LEVELS - 1)
"""Network pixels per pixel of the coarsest map that is used."""

MARGIN = 2 * GRAIN
"""Network pixels kept around a tile's inner part, so that coarse maps are interpolated across its border."""

HALO = REACH + MARGIN
"""Least distance of an inner pixel to a tile's border: what filters and margin reach."""


NETWORK_WEIGHT = 0.5
"""Size of the network's values beside those of the filters, of which there are a sixth as many. Measured: the smaller,
the better the first strokes on images unlike those the model knows, and the worse on those that it does know."""


@dataclass(frozen=True, eq=False)
class Description:
    """What is known of each pixel of a part of a plane.

    Parameters
    ----------
    fine : float16 (D, Y, X), on the CPU
        The network's finest map, and filters of the intensities.
    coarse : float16 (E, Y / 2, X / 2), on the CPU
        The network's next maps; between its pixels one interpolates.
    window : tuple of slice
        The part of the plane, in network pixels; its sides are even.
    filters : int
        How many of the fine maps, the last ones, are filters.
    """

    fine: Tensor
    coarse: Tensor
    window: tuple[slice, slice]
    filters: int

    @property
    def weights(self) -> Tensor:
        """How large each value is to be beside the others when a head is learned: float32 (D + E,)."""
        weights = torch.full((len(self.fine) + len(self.coarse),), NETWORK_WEIGHT)
        weights[len(self.fine) - self.filters : len(self.fine)] = 1
        return weights

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.fine.nbytes + self.coarse.nbytes)

    def cropped(self, rows: slice, columns: slice) -> Description:
        """Return what is needed to know all of a part of the plane, in network pixels, as far as it is here."""
        sides = []
        for wanted, own in zip((rows, columns), self.window):
            # one more pixel of the coarse maps on each side, to interpolate between
            low, high = (wanted.start - 2) // 2 * 2, -(-(wanted.stop + 2) // 2) * 2
            sides.append(slice(max(own.start, low), min(own.stop, high)))
        fine, coarse = (
            (
                slice(None),
                *(slice((s.start - w.start) // k, (s.stop - w.start) // k) for s, w in zip(sides, self.window)),
            )
            for k in (1, 2)
        )
        return replace(self, fine=self.fine[fine], coarse=self.coarse[coarse], window=(sides[0], sides[1]))

    def at(self, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Describe pixels at places in the plane, float (N,), in network pixels: float32 (N, D + E)."""
        y, x = (
            torch.from_numpy(np.asarray(numbers, np.float64)) - side.start
            for numbers, side in zip((rows, columns), self.window)
        )
        coarse = _interpolated(self.coarse, (y + 0.5) / 2 - 0.5, (x + 0.5) / 2 - 0.5)
        return torch.cat([_interpolated(self.fine, y, x), coarse], dim=1)


def describe(model: Segmenter, plan: Plan, block: Image, tile: Tile) -> Description:
    """Describe a tile of a plane.

    Parameters
    ----------
    model : Segmenter
        2D and :class:`Describing`.
    plan : Plan
        Of an image reduced to the model's channels, with a halo of at least ``HALO``.
    block : Image
        The plane.
    tile : Tile
        Of ``plan``.

    Raises
    ------
    ModelError
        If the model cannot describe pixels.
    """
    check(model)
    assert isinstance(model, Describing)
    pixels = plan.read(block, tile)
    window = _kept(tile)
    with torch.inference_mode():
        seen = model.describe(torch.from_numpy(np.ascontiguousarray(pixels))[None])[:LEVELS]
        maps = [one.float().cpu().contiguous() for one in seen]
        # a grey image that is repeated to three channels says the same three times
        own = filtered(torch.from_numpy(np.array(pixels[: block.channels])))
        fine = torch.cat([maps[0][0], own])
        # all that is coarser at half the size: there a head weighs it at a quarter of the cost
        half = [
            one if level == 0 else F.interpolate(one, scale_factor=2**level, mode="bilinear", align_corners=False)
            for level, one in enumerate(maps[1:])
        ]
        coarse = torch.cat(half, dim=1)[0] if half else torch.zeros(0, fine.shape[1] // 2, fine.shape[2] // 2)
        return Description(_cut(fine, tile, window, 1), _cut(coarse, tile, window, 2), window, len(own))


def check(model: Segmenter) -> None:
    """Raise ModelError unless the model can describe the pixels of planes."""
    if not isinstance(model, Describing) or model.spec.ndim != 2:
        kind = "3D" if model.spec.ndim == 3 else model.spec.family
        raise ModelError(
            f"the model {model.spec.name!r} ({kind}) cannot learn from scribbles; choose a 2D U-Net, "
            "such as nuclei-unet"
        )


def _kept(tile: Tile) -> tuple[slice, slice]:
    sides = []
    for outer, inner in zip(tile.outer, tile.inner):
        low = max(outer.start, (inner.start - MARGIN) // GRAIN * GRAIN)
        high = min(outer.stop, -(-(inner.stop + MARGIN) // GRAIN) * GRAIN)
        sides.append(slice(low, high))
    return sides[0], sides[1]


def _cut(one: Tensor, tile: Tile, window: Sequence[slice], step: int) -> Tensor:
    rows, columns = (
        slice((side.start - outer.start) // step, (side.stop - outer.start) // step)
        for side, outer in zip(window, tile.outer)
    )
    return one[:, rows, columns].half().contiguous()


def _interpolated(one: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Read a map (D, H, W) at places between its pixels, bilinearly: float32 (N, D)."""
    height, width = one.shape[1:]
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top).float()[:, None], (columns - left).float()[:, None]
    at = [(top + step).long().clamp(0, height - 1) for step in (0, 1)]
    across = [(left + step).long().clamp(0, width - 1) for step in (0, 1)]

    def pixel(row: int, column: int) -> Tensor:
        return one[:, at[row], across[column]].float().T

    upper = pixel(0, 0) * (1 - right) + pixel(0, 1) * right
    lower = pixel(1, 0) * (1 - right) + pixel(1, 1) * right
    return upper * (1 - down) + lower * down
