"""Filters of the intensities: what a pixel's surroundings look like at several scales, without a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = (1.0, 2.0, 4.0, 8.0)
"""Standard deviations of the Gaussians, in pixels."""

REACH = math.ceil(3 * max(SCALES))
"""Pixels around a pixel that its values depend on."""


def filtered(pixels: Tensor) -> Tensor:
    """Filter an image, float32 (C, Y, X).

    For each channel the pixel itself, and for each scale its Gaussian mean, the length of the gradient, and both
    eigenvalues of the Hessian, the larger first: bright or dark lines and blobs. Derivatives are multiplied by the
    scale to their order, which makes them equally large at all scales (Lindeberg 1998).

    Returns
    -------
    float32 (C · 17, Y, X)
    """
    maps = [pixels]
    for scale in SCALES:
        mean = _gaussian(pixels, scale)
        down, across = torch.gradient(mean, dim=(1, 2))
        down_down, down_across = torch.gradient(down, dim=(1, 2))
        (across_across,) = torch.gradient(across, dim=(2,))
        middle, half = (down_down + across_across) / 2, (down_down - across_across) / 2
        spread = torch.hypot(half, down_across)
        maps += [
            mean,
            scale * torch.hypot(down, across),
            scale**2 * (middle + spread),
            scale**2 * (middle - spread),
        ]
    return torch.cat(maps)


def _gaussian(pixels: Tensor, scale: float) -> Tensor:
    radius = math.ceil(3 * scale)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * scale**2))
    kernel /= kernel.sum()
    moved = F.pad(pixels[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(moved, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]
