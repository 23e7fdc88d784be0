"""Object size: how large an image's objects are for a model, measured on a small window of the image.

A network finds objects of the sizes it was trained on. Objects of half or of twice its typical size are still found,
since training varies the scale; images in which they are far from that are scaled before anything is looked at.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from segloop.image import Image
from segloop.labels import diameters
from segloop.models.protocol import Instances, Segmenter
from segloop.parting import part
from segloop.planning import Plan
from segloop.tiling import Tile

WINDOWS = (256, 512)
"""Sides of the window in network pixels: the second one is looked at if the first holds too few objects."""
GRID = 3
"""The window is the liveliest of so many times so many, evenly spread."""
FEWEST = 5
"""Fewer objects say nothing about the typical one."""
SURE = 0.5
"""Least score of an object that is measured."""
SMALL, LARGE = 0.55, 3.5
"""An image is scaled if its objects' typical diameter, relative to the model's, is below the one or above the other."""
MOST = 4.0
"""No image is enlarged or reduced more than this."""
SMALLEST_SHARE = 1 / 16
"""Share of the typical object's area below which something found is taken for dirt: a quarter of its diameter."""
SMALLEST_AREA = 8
"""The same in pixels, if it is not known how large a model's objects are."""


def fitting_zoom(model: Segmenter, image: Image, plan: Plan) -> float:
    """By how much an image is to be scaled beside what ``plan`` does, so that its objects have a size the model knows.

    Parameters
    ----------
    model : Segmenter
        2D; with an object size, and with instances or a border class. For all others the answer is 1.
    image : Image
        Of the model's channels.
    plan : Plan
        At the model's own scale.

    Returns
    -------
    float in [1 / MOST, MOST]
        1 where there are too few objects to tell, and where they are not far from what the model knows.
    """
    spec = model.spec
    if spec.ndim != 2 or not spec.object_size or plan.is_blank:
        return 1.0
    _, block = next(iter(image.blocks(2)))
    found = np.zeros(0)
    for smaller, side in itertools.pairwise((0, *WINDOWS)):
        if len(found) < FEWEST and max(plan.scaled) > smaller:
            found = _diameters(model, plan.read(block, _liveliest(plan, block, side)))
    if len(found) < FEWEST:
        return 1.0
    relative = typical_diameter(found) / spec.object_size
    return 1.0 if SMALL <= relative <= LARGE else float(np.clip(1 / relative, 1 / MOST, MOST))


def typical_diameter(found: np.ndarray) -> float:
    """The diameter at which half of the area belongs to smaller objects: specks, however many, do not count.

    Parameters
    ----------
    found : float64 (N,), N at least 1
    """
    ordered = np.sort(found)
    covered = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(covered, covered[-1] / 2)])


def smallest_area(object_size: float, zoom: float) -> int:
    """Least pixels of an object.

    Parameters
    ----------
    object_size : float
        The model's typical diameter in network pixels; 0 if it is not known.
    zoom : float
        Network pixels per image pixel.
    """
    if not object_size:
        return SMALLEST_AREA
    return max(1, round(SMALLEST_SHARE * np.pi / 4 * (object_size / zoom) ** 2))


def _liveliest(plan: Plan, block: Image, most: int) -> Tile:
    """Of windows with sides of ``most``, spread over a plane, that whose intensities vary most: it holds something."""
    sides = [min(most, -(-n // plan.divisor) * plan.divisor) for n in plan.scaled]
    starts = [
        sorted(set(np.linspace(0, max(0, n - side), GRID).astype(int).tolist())) for n, side in zip(plan.scaled, sides)
    ]
    windows = [
        tuple(slice(start, start + side) for start, side in zip(corner, sides)) for corner in itertools.product(*starts)
    ]
    tiles = [Tile(window, window) for window in windows]
    return max(tiles, key=lambda tile: plan.read(block, tile).std()) if len(tiles) > 1 else tiles[0]


def _diameters(model: Segmenter, pixels: np.ndarray) -> np.ndarray:
    """Diameters of what a model finds in a window, float32 (C, Y, X): float64 (N,), in network pixels."""
    (found,) = model.predict(torch.from_numpy(np.ascontiguousarray(pixels[None])))
    if isinstance(found, Instances):
        sure = found.scores >= SURE
        boxes, masks = found.boxes[sure].astype(np.float64), found.masks[sure]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * (masks >= 0.5).mean(axis=(1, 2))
        return np.sqrt(4 * area / np.pi)
    if model.spec.border_class is None:
        return np.zeros(0)
    inside, background = (np.rint(found.scores[number] * 255).astype(np.uint8) for number in (1, 0))
    labels = part(inside, background)
    return diameters(labels) if labels.any() else np.zeros(0)
