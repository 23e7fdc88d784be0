"""Resampling between image pixels and network pixels, when objects are to have another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from segloop.image import Image
from segloop.tiling import pad_end

REACH = 3
"""How many standard deviations a blur reaches."""


def read_network_pixels(
    block: Image,
    outer: Sequence[slice],
    scaled: Sequence[int],
    normalize: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Read a tile of the image as if it had been resized to ``scaled``, reading only what the tile needs.

    Parameters
    ----------
    block : Image
        Axes [C or S], [Z], Y, X.
    outer : sequence of slice
        The tile in network pixels; past the end of ``scaled``, edge pixels are repeated.
    scaled : sequence of int
        Shape of the whole resized block.
    normalize : callable
        Applied to the pixels read.

    Returns
    -------
    float32 (C, [Z], Y, X), shaped like ``outer``
        The same values whatever the tile: bilinear at pixel centres, after a Gaussian blur when reducing.
    """
    shape = block.spatial_shape()
    scaled = tuple(scaled)
    clipped = [slice(side.start, min(side.stop, n)) for side, n in zip(outer, scaled)]
    if scaled == shape:
        pixels = normalize(block.read(clipped))
    else:
        pixels = _read_resized(block, clipped, shape, scaled, normalize)
    return pad_end(pixels, [side.stop - side.start for side in outer])


def resize_region(
    scores: np.ndarray, outer: Sequence[slice], scaled: Sequence[int], region: Sequence[slice], shape: Sequence[int]
) -> np.ndarray:
    """Resize the scores of a tile from network pixels to a region of image pixels, linearly.

    Parameters
    ----------
    scores : float32 (K, [Z], Y, X)
        Of the tile ``outer`` of a plane of ``scaled`` network pixels.
    outer, region : sequences of slice
        In network pixels and in image pixels.
    scaled, shape : sequences of int
        Of the plane, in network pixels and in image pixels.

    Returns
    -------
    float32 (K, [Z], Y, X), shaped like ``region``
    """
    # nothing past the end of the plane: there the tile holds padding
    inside = tuple(slice(0, n - side.start) for side, n in zip(outer, scaled))
    tensor = torch.from_numpy(np.ascontiguousarray(scores[(slice(None), *inside)]))
    for axis, (side, source, n, m) in enumerate(zip(region, outer, shape, scaled), start=1):
        places = (torch.arange(side.start, side.stop, dtype=torch.float64) + 0.5) * (m / n) - 0.5
        tensor = _resample_axis(tensor, axis, places, source.start)
    out: np.ndarray = tensor.numpy()
    return out


def blur_sigma(factor: float) -> float:
    """Standard deviation, in image pixels, of the blur before a reduction by ``factor``, so that nothing aliases."""
    return 0.5 * max(0.0, factor - 1)


def blur(pixels: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Blur float32 (C, ...) along each axis after the first by a Gaussian; edge pixels are repeated outside."""
    for axis, sigma in enumerate(sigmas, start=1):
        pixels = _blur_axis(pixels, axis, sigma)
    return pixels


def _read_resized(
    block: Image,
    clipped: Sequence[slice],
    shape: Sequence[int],
    scaled: Sequence[int],
    normalize: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    factors = [n / m for n, m in zip(shape, scaled)]
    sigmas = [blur_sigma(factor) for factor in factors]
    margins = [math.ceil(REACH * sigma) + 2 for sigma in sigmas]
    window = [
        slice(max(0, math.floor(side.start * f) - m), min(n, math.ceil(side.stop * f) + m))
        for side, f, m, n in zip(clipped, factors, margins, shape)
    ]
    pixels = torch.from_numpy(normalize(block.read(window)))
    for axis, (side, source, factor, sigma) in enumerate(zip(clipped, window, factors, sigmas), start=1):
        places = (torch.arange(side.start, side.stop, dtype=torch.float64) + 0.5) * factor - 0.5
        pixels = _resample_axis(_blur_axis(pixels, axis, sigma), axis, places, source.start)
    out: np.ndarray = pixels.contiguous().numpy()
    return out


def _blur_axis(pixels: torch.Tensor, axis: int, sigma: float) -> torch.Tensor:
    if sigma == 0:
        return pixels
    radius = math.ceil(REACH * sigma)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    moved = pixels.movedim(axis, -1)
    flat = moved.reshape(-1, 1, moved.shape[-1])
    flat = F.conv1d(F.pad(flat, (radius, radius), mode="replicate"), (kernel / kernel.sum()).view(1, 1, -1))
    return flat.reshape(moved.shape).movedim(-1, axis)


def _resample_axis(pixels: torch.Tensor, axis: int, places: torch.Tensor, start: int) -> torch.Tensor:
    """Interpolate at ``places``, in pixels of the whole image; ``pixels`` begin at its pixel ``start``."""
    last = pixels.shape[axis] - 1
    # the shares are of the places in the image: in a window's own coordinates they would round otherwise
    floor = places.floor()
    share = (places - floor).float().view([-1 if a == axis else 1 for a in range(pixels.ndim)])
    low, high = ((floor.long() + step - start).clamp(0, last) for step in (0, 1))
    return pixels.index_select(axis, low) * (1 - share) + pixels.index_select(axis, high) * share
