"""Plan: how a run over an image is cut up. Made once; all that a worker needs beside model and pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segloop.errors import ChannelError, ImageError, SettingsError
from segloop.image import SMALLEST_SIDE, Image
from segloop.models.protocol import ModelSpec
from segloop.normalize import Statistics
from segloop.resample import read_network_pixels
from segloop.tiling import Tile, plan_axis, plan_tiles

Region = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Plan:
    """How each plane (or volume, for 3D models) of an image is cut into tiles and read.

    Parameters
    ----------
    spec : ModelSpec
    statistics : Statistics
        Of the whole image.
    shape : tuple of int
        [Z], Y, X of a plane or volume in image pixels.
    scaled : tuple of int
        The same in network pixels.
    side, halo, divisor : int
        Of the tiles, in network pixels.
    flips : bool
        Whether the model looks at each tile four ways; see :mod:`segloop.flips`.
    retake_side : int
        Of the tiles around objects at seams; 0 if there will be none.
    """

    spec: ModelSpec
    statistics: Statistics
    shape: tuple[int, ...]
    scaled: tuple[int, ...]
    side: int
    halo: int
    divisor: int
    flips: bool = False
    retake_side: int = 0

    @property
    def is_blank(self) -> bool:
        """Whether the image has one intensity only, so that nothing can be found in it."""
        return all(low == high for low, high in zip(self.statistics.low, self.statistics.high))

    def tiles(self) -> list[Tile]:
        """The tiles of a plane, row by row.

        Raises
        ------
        SettingsError
            If the side is too small for halo and divisor.
        """
        count = len(self.scaled)
        return plan_tiles(self.scaled, (self.side,) * count, (self.halo,) * count, (self.divisor,) * count)

    @property
    def retake_shape(self) -> tuple[int, ...]:
        """Sides of the tiles around objects at seams: no larger than the plane, rounded up to the divisor."""
        return tuple(min(self.retake_side, -(-n // self.divisor) * self.divisor) for n in self.scaled)

    def read(self, block: Image, tile: Tile) -> np.ndarray:
        """Read a tile of a plane or volume as the network takes it: float32 (C, [Z], Y, X), normalised."""
        pixels = read_network_pixels(
            block, tile.outer, self.scaled, lambda raw: self.spec.normalization.apply(raw, self.statistics)
        )
        if self.spec.repeat_grey and pixels.shape[0] == 1:
            pixels = np.broadcast_to(pixels, (self.spec.channels, *pixels.shape[1:]))
        return pixels

    def image_region(self, inner: Sequence[slice]) -> tuple[slice, ...]:
        """The image pixels whose centres lie in a region of network pixels; regions that meet, meet in the image."""
        return tuple(
            slice(*(math.ceil(edge * n / m - 0.5) if edge < m else n for edge in (side.start, side.stop)))
            for side, n, m in zip(inner, self.shape, self.scaled)
        )

    def quarters(self, tile: Tile) -> list[Tile]:
        """Cut a tile that does not fit in memory into smaller ones, which answer for the same pixels.

        Raises
        ------
        SettingsError
            If it cannot be cut any further.
        """
        largest = max(tile.shape[-2:])
        side = largest // 2 // self.divisor * self.divisor
        halo = min(self.halo, side // 4)
        if side < 2 * self.divisor or side >= largest:
            raise SettingsError(f"tiles of {largest} × {largest} pixels cannot be made smaller")
        # the same grid as if the whole plane had been planned with smaller tiles, cut to what this tile answers for
        axes = []
        for length, inner in zip(self.scaled, tile.inner):
            met = [(outer, _meet(own, inner)) for outer, own in plan_axis(length, side, halo, self.divisor)]
            axes.append([(outer, common) for outer, common in met if common.stop > common.start])
        return [
            Tile(tuple(outer for outer, _ in sides), tuple(common for _, common in sides))
            for sides in itertools.product(*axes)
        ]


def _meet(first: slice, second: slice) -> slice:
    return slice(max(first.start, second.start), min(first.stop, second.stop))


def nearest_first(tiles: Sequence[Tile], first: Region | None, plan: Plan) -> list[int]:
    """The order of work: tiles that reach into a region (rows and columns in image pixels), then all others as planned.

    Those in the region come from its middle outwards, so that something is to be seen where one looks.
    """
    if first is None:
        return list(range(len(tiles)))
    middle = [(side.start + side.stop) / 2 for side in first]

    def distance(number: int) -> tuple[float, int]:
        region = plan.image_region(tiles[number].inner)[-2:]
        if any(side.stop <= own.start or own.stop <= side.start for side, own in zip(region, first)):
            return (math.inf, number)
        return (sum(((s.start + s.stop) / 2 - m) ** 2 for s, m in zip(region, middle)), number)

    return sorted(range(len(tiles)), key=distance)


def network_image(image: Image, spec: ModelSpec, channel: int | None) -> Image:
    """Check the image and reduce it to the channels that the model takes; ``channel`` None takes all.

    Raises
    ------
    ImageError
        If the image has no axes, is too small, or has not the channels that the model takes (:class:`ChannelError` if
        one of them would do).
    """
    if not isinstance(image, Image):
        array = np.asarray(image)
        if array.ndim != 2:
            raise ImageError(
                f"an array of shape {array.shape} without axes; say them: segloop.Image(array, 'ZYX') or whatever holds"
            )
        image = Image(array, "YX")
    image = image.without_alpha()
    if channel is not None:
        image = image.channel(channel)
    if min(image.spatial_shape()[-2:]) < SMALLEST_SIDE:
        raise ImageError(
            f"the image is {' × '.join(map(str, image.spatial_shape()))} pixels; "
            f"expected at least {SMALLEST_SIDE} × {SMALLEST_SIDE}"
        )
    if image.channels != spec.channels and not (spec.repeat_grey and image.channels == 1):
        wanted = f"{spec.channels} channels" if spec.channels > 1 else "1 channel"
        wanted += " or 1" if spec.repeat_grey and spec.channels > 1 else ""
        has = f"{image.channels} channel{'s' * (image.channels > 1)}"
        fewer = image.channels < spec.channels and not spec.repeat_grey
        remedy = "give it an image with all of them" if fewer else "choose one of its channels"
        raise (ImageError if fewer else ChannelError)(
            f"the image has {has}, but the model {spec.name!r} takes {wanted}; {remedy}, or correct the axes"
        )
    return image
