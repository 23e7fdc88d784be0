"""Augmentation: one random affine sampling of a window, then random intensities. 2D and 3D."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far examples are varied.

    Parameters
    ----------
    zoom_low, zoom_high : float
        Objects are magnified by a factor drawn log-uniformly between the two.
    rotate : bool
        Rotate by any angle in the plane; otherwise by multiples of 90°.
    intensity : float in [0, 1]
        Strength of brightness, contrast, gamma, blur and noise; 0 leaves intensities alone.
    invert : float in [0, 1]
        Share of examples with light and dark exchanged.
    colour : float in [0, 1]
        Share of three-channel examples whose channels are mixed towards other colours or grey.
    """

    zoom_low: float = 0.8
    zoom_high: float = 1.25
    rotate: bool = True
    intensity: float = 0.5
    invert: float = 0.0
    colour: float = 0.0


NO_AUGMENTATION = Augmentation(zoom_low=1.0, zoom_high=1.0, rotate=False, intensity=0.0)


def draw_affine(augmentation: Augmentation, ndim: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the matrix that maps offsets in the crop to offsets in the image: float64 (D, D), in pixels, axes [z], y, x.

    Flips and quarter turns always; the Z axis is only flipped, since depth is resolved differently.
    """
    zoom = math.exp(rng.uniform(math.log(augmentation.zoom_low), math.log(augmentation.zoom_high)))
    angle = rng.uniform(0, 2 * math.pi) if augmentation.rotate else rng.integers(4) * math.pi / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = np.eye(ndim)
    matrix[-2:, -2:] = np.array([[cosine, -sine], [sine, cosine]]) / zoom
    flips = rng.choice([-1.0, 1.0], size=ndim)
    return matrix * flips


def window_margin(matrix: np.ndarray, crop: tuple[int, ...]) -> tuple[int, ...]:
    """Half side, in image pixels along each axis, of the window that a crop under ``matrix`` can reach."""
    reach = np.abs(matrix) @ (np.asarray(crop) / 2)
    return tuple(math.ceil(side) + 1 for side in reach)


def sample_affine(
    arrays: tuple[Tensor, Tensor, Tensor], center: np.ndarray, matrix: np.ndarray, crop: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample image, labels and reviewed mask on the crop's grid.

    Parameters
    ----------
    arrays : float32 (C, ...), int64 (...), bool (...)
        A window of the image. Its borders are continued by edge pixels; beyond them labels are 0 and not reviewed.
    center : float (D,)
        Where the crop's centre lies in the window, in pixels.
    matrix : float (D, D)
        From :func:`draw_affine`.
    crop : tuple of int (D,)

    Returns
    -------
    The three arrays of shape ``crop``: bilinear image, nearest labels and mask.
    """
    image, labels, reviewed = arrays
    grid = torch.empty((1, *crop, len(crop)))
    flat, inside = torch.zeros(crop, dtype=torch.int64), torch.ones(crop, dtype=torch.bool)
    for axis, n in enumerate(labels.shape):
        place = _along(matrix[axis], float(center[axis]), crop)
        # grid_sample wants x first, with -1 and 1 at the centres of the outermost pixels
        torch.add(place * (2 / max(1, n - 1)), -1, out=grid[0, ..., len(crop) - 1 - axis])
        index = place.round_().long()
        inside &= (index >= 0) & (index < n)
        flat.mul_(n).add_(index.clamp_(0, n - 1))
    sampled = F.grid_sample(image.unsqueeze(0), grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    return sampled, labels.take(flat).mul_(inside), reviewed.take(flat).logical_and_(inside)


def _along(row: np.ndarray, center: float, crop: tuple[int, ...]) -> Tensor:
    """Where a crop's pixels lie along an axis of the window: float32 (crop), the sum of a term per axis of the crop."""
    place = torch.full((1,) * len(crop), center)
    for axis, (n, factor) in enumerate(zip(crop, row.tolist())):
        steps = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * factor
        place = place + steps.float().view((n,) + (1,) * (len(crop) - 1 - axis))
    return place


def vary_intensity(image: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    """Vary the intensities of a normalised image, float32 (C, [Z], Y, X), of which 0…1 is the usual range."""
    if augmentation.colour and image.shape[0] == 3 and rng.random() < augmentation.colour:
        image = _mix_colours(image, rng)
    if augmentation.invert and rng.random() < augmentation.invert:
        image = 1 - image
    strength = augmentation.intensity
    if not strength:
        return image
    if rng.random() < 0.7:
        gamma = math.exp(strength * rng.normal(0, 0.5))
        image = image.clamp(min=0) ** gamma
    contrast = math.exp(strength * rng.normal(0, 0.4))
    image = image * contrast + strength * rng.normal(0, 0.15)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    if rng.random() < 0.25 * strength:
        image = _blur(image, rng.uniform(0.5, 1.5))
    if rng.random() < 0.5 * strength:
        image = image + torch.randn(image.shape, generator=generator) * float(rng.uniform(0, 0.1))
    return image


def _mix_colours(image: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.3:
        weights = torch.from_numpy(rng.dirichlet([1.0, 1.0, 1.0])).float()
        grey = torch.einsum("c...,c->...", image, weights)
        return grey.expand_as(image).clone()
    matrix = np.eye(3) + rng.normal(0, 0.15, size=(3, 3))
    return torch.einsum("dc,c...->d...", torch.from_numpy(matrix).float(), image)


def _blur(image: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(2 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    shape = image.shape
    flat = image.reshape(-1, 1, *shape[-2:])
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return flat.reshape(shape)
