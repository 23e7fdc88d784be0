"""Where a model of nuclei errs, as a picture: the image, what is annotated and what was found, in colours of errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from nuclei_data import NucleiImage
from object_errors import Errors, Kind
from scipy import ndimage
from skimage.segmentation import find_boundaries
from skimage.transform import resize

SIDE = 384
WINDOW = 256
GAP = 6
GAMMA = 0.6
"""Intensities to this power: faint nuclei are to be seen beside bright ones."""
RIGHT = (60, 220, 90)
COLOURS: Mapping[Kind, tuple[int, int, int]] = {
    Kind.JOINED: (240, 60, 240),
    Kind.PARTED: (60, 160, 255),
    Kind.OUTLINE: (255, 140, 0),
    Kind.MISSED: (255, 240, 60),
    Kind.EXTRA: (255, 40, 40),
}


def error_picture(item: NucleiImage, found: np.ndarray, errors: Errors) -> np.ndarray:
    """The window with most errors, three times side by side: uint8 (SIDE, 3 SIDE + 2 GAP, 3)."""
    window = worst_window(item.labels, found, errors)
    pixels = _enlarged(_bright(np.asarray(item.image.data))[window], order=1)
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    sides = [pixels]
    for labels, wrong in ((item.labels, errors.missed), (found, errors.extra)):
        sides += [gap, outlined(pixels, _enlarged(labels[window].astype(np.int32), order=0), wrong)]
    return np.hstack(sides)


def worst_window(reference: np.ndarray, found: np.ndarray, errors: Errors) -> tuple[slice, slice]:
    """The square of at most WINDOW pixels that holds most of what is wrong."""
    wrong = np.zeros(reference.shape)
    for labels, kinds in ((reference, errors.missed), (found, errors.extra)):
        numbers = np.array(sorted(kinds), np.int64)
        for row, column in ndimage.center_of_mass(labels > 0, labels, numbers) if len(numbers) else ():
            wrong[int(row), int(column)] += 1
    side = min(WINDOW, *reference.shape)
    near = ndimage.uniform_filter(wrong, side, mode="constant")
    middle = np.unravel_index(near.argmax(), near.shape)
    starts = [int(np.clip(m - side // 2, 0, n - side)) for m, n in zip(middle, reference.shape)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def outlined(pixels: np.ndarray, labels: np.ndarray, wrong: Mapping[int, Kind]) -> np.ndarray:
    """Outline objects by their kind, or in green: uint8 (Y, X, 3)."""
    colours = np.full((int(labels.max()) + 1, 3), RIGHT, np.uint8)
    for number, kind in wrong.items():
        if number < len(colours):
            colours[number] = COLOURS[kind]
    picture = pixels.copy()
    edges = find_boundaries(labels, mode="inner")
    picture[edges] = colours[labels[edges]]
    return picture


def _bright(pixels: np.ndarray) -> np.ndarray:
    low, high = np.percentile(pixels, (0.5, 99.8))
    grey = np.clip((pixels - low) / max(high - low, 1), 0, 1) ** GAMMA * 255
    return (grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)).astype(np.uint8)


def _enlarged(array: np.ndarray, order: int) -> np.ndarray:
    shape = (SIDE, SIDE, *array.shape[2:])
    large = resize(array, shape, order=order, preserve_range=True, anti_aliasing=False)
    return np.asarray(large).astype(array.dtype)
