"""Resampling between image pixels and network pixels, when objects are to have another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from segloop.image import Image
from segloop.tiling import pad_end


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


def resize_scores(scores: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize uint8 scores (K, [Z], Y, X) to ``shape`` ([Z], Y, X), linearly."""
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    tensor = torch.from_numpy(scores).unsqueeze(0).float()
    resized = F.interpolate(tensor, size=tuple(shape), mode=mode, align_corners=False)
    out: np.ndarray = resized[0].round().clamp(0, 255).to(torch.uint8).numpy()
    return out


def _read_resized(
    block: Image,
    clipped: Sequence[slice],
    shape: Sequence[int],
    scaled: Sequence[int],
    normalize: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    factors = [n / m for n, m in zip(shape, scaled)]
    sigmas = [0.5 * max(0.0, factor - 1) for factor in factors]
    margins = [math.ceil(3 * sigma) + 2 for sigma in sigmas]
    window = [
        slice(max(0, math.floor(side.start * f) - m), min(n, math.ceil(side.stop * f) + m))
        for side, f, m, n in zip(clipped, factors, margins, shape)
    ]
    pixels = torch.from_numpy(normalize(block.read(window)))
    for axis, (side, source, factor, sigma) in enumerate(zip(clipped, window, factors, sigmas), start=1):
        places = (torch.arange(side.start, side.stop, dtype=torch.float64) + 0.5) * factor - 0.5 - source.start
        pixels = _resample_axis(_blur_axis(pixels, axis, sigma), axis, places)
    out: np.ndarray = pixels.contiguous().numpy()
    return out


def _blur_axis(pixels: torch.Tensor, axis: int, sigma: float) -> torch.Tensor:
    if sigma == 0:
        return pixels
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    moved = pixels.movedim(axis, -1)
    flat = moved.reshape(-1, 1, moved.shape[-1])
    flat = F.conv1d(F.pad(flat, (radius, radius), mode="replicate"), (kernel / kernel.sum()).view(1, 1, -1))
    return flat.reshape(moved.shape).movedim(-1, axis)


def _resample_axis(pixels: torch.Tensor, axis: int, places: torch.Tensor) -> torch.Tensor:
    last = pixels.shape[axis] - 1
    places = places.clamp(0, last)
    low = places.floor().long()
    share = (places - low).float().view([-1 if a == axis else 1 for a in range(pixels.ndim)])
    high = (low + 1).clamp(max=last)
    return pixels.index_select(axis, low) * (1 - share) + pixels.index_select(axis, high) * share
