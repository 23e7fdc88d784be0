"""The outline of an object: grown, shrunk, smoothed, its holes filled; plane by plane.

Each function takes the block around the object, with at least as many pixels around it as ``margin`` says where the
image goes on, and says which pixels join the object and which leave it. Other objects are never painted over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SMOOTHING = 1.5
"""Pixels: details of the outline that are smaller go."""

MARGIN = 6
"""Pixels around an object that these functions look at: four times the smoothing."""


@dataclass(frozen=True, eq=False)
class Reshaped:
    """What changes in a block.

    Parameters
    ----------
    joins : bool, the block's shape
        Background that becomes the object's.
    leaves : bool, the block's shape
        Pixels of the object that become background.
    """

    joins: np.ndarray
    leaves: np.ndarray

    @property
    def pixels(self) -> int:
        """How many pixels change."""
        return int(np.count_nonzero(self.joins) + np.count_nonzero(self.leaves))


def grow(block: np.ndarray, number: int) -> Reshaped:
    """Add the background pixels that share a side with the object."""
    return _reshape(block, number, ndimage.binary_dilation)


def shrink(block: np.ndarray, number: int) -> Reshaped:
    """Take away the object's pixels that share a side with another value; the image's border is not an outline."""
    return _reshape(block, number, _eroded)


def smooth(block: np.ndarray, number: int) -> Reshaped:
    """Round off the outline: details smaller than ``SMOOTHING`` pixels go, straight edges stay where they are."""
    return _reshape(block, number, _smoothed)


def fill_holes(block: np.ndarray, number: int) -> Reshaped:
    """Fill the background that the object encloses; other objects inside it stay."""
    return _reshape(block, number, ndimage.binary_fill_holes)


def _reshape(block: np.ndarray, number: int, reshaped: Callable[[np.ndarray], np.ndarray]) -> Reshaped:
    before = block == number
    after = np.zeros_like(before)
    for plane in np.ndindex(block.shape[:-2]):
        if before[plane].any():
            after[plane] = reshaped(before[plane])
    return Reshaped(joins=after & (block == 0), leaves=before & ~after)


def _eroded(mask: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.binary_erosion(mask, border_value=1))


def _smoothed(mask: np.ndarray) -> np.ndarray:
    blurred = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTHING, mode="nearest", truncate=MARGIN / SMOOTHING)
    return np.asarray(blurred > 0.5)
