"""Object size: how large an image's objects are for a model, measured on a small window of the image.

A network finds objects of the sizes it was trained on. Objects of half or of twice its typical size are still found,
since training varies the scale; images in which they are far from that are scaled before anything is looked at.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from segloop.image import Image
from segloop.labels import Task, consecutive, diameters
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
LARGER = 1.75
"""Above this, an image for a semantic model is reduced if that loses nothing: it has more pixels than details.

Instance models have levels for larger objects: measured, nuclei gained .007 and what else a model knew lost more.
"""
LOST = 0.06
"""So much of an image's contrast may be lost; chosen on images of nuclei, some interpolated to twice their size.

Those lose 0.01 to 0.06 and are segmented better when reduced; images with details lose 0.07 and are segmented worse.
"""
MOST = 4.0
"""No image is enlarged or reduced more than this."""
SURER = 0.74
"""Scaled, half of what is measured must have this score at least: what is no object has any score from SURE on.

Between nuclei that are to be scaled (median scores down to 0.75) and phase contrast (up to 0.73, one image 0.77 with a
model trained on fewer nuclei): a narrow margin.
"""
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
        1 where there are too few objects to tell, where they are not far from what the model knows, and where the
        model, shown the same window scaled, is not sure of what it finds there: then it took bits of other things for
        objects.
    """
    spec = model.spec
    seen = look(model, image, plan)
    if seen is None:
        return 1.0
    larger = LARGER if spec.task is Task.SEMANTIC else LARGE
    if SMALL <= seen.relative <= LARGE and (seen.relative <= larger or seen.lost > LOST):
        return 1.0
    return seen.zoom if seen.scaled(model).is_sure else 1.0


@dataclass(frozen=True, eq=False)
class Window:
    """A window of an image, and how large its objects are there.

    Parameters
    ----------
    plan : Plan
        At the model's own scale.
    block : Image
        The plane that it is in.
    place : slices along Y and X
        In network pixels.
    relative : float
        Typical diameter of what the model found in it, relative to its own object size.
    """

    plan: Plan
    block: Image
    place: tuple[slice, ...]
    relative: float

    @property
    def zoom(self) -> float:
        """What brings its objects to the model's size, in [1 / MOST, MOST]."""
        return float(np.clip(1 / self.relative, 1 / MOST, MOST))

    @property
    def lost(self) -> float:
        """What scaling it by ``zoom`` would lose of its contrast, in [0, 1]: see ``LOST``."""
        return _lost(self.plan, self.block, self.place, self.zoom)

    def scaled(self, model: Segmenter) -> Measured:
        """What the model finds in it when it is scaled by ``zoom``."""
        zoom = self.zoom
        scaled = replace(self.plan, scaled=tuple(max(1, round(n * zoom)) for n in self.plan.scaled))
        place = tuple(slice(*(round(n * zoom) for n in (side.start, side.stop))) for side in self.place)
        return _measure(model, scaled, self.block, place)


def look(model: Segmenter, image: Image, plan: Plan) -> Window | None:
    """Measure objects in the liveliest window of an image; parameters are those of :func:`fitting_zoom`.

    None where the model has no object size, or finds too few objects to tell.
    """
    spec = model.spec
    if spec.ndim != 2 or not spec.object_size or plan.is_blank:
        return None
    _, block = next(iter(image.blocks(2)))
    found = Measured.none()
    place: tuple[slice, ...] = ()
    for smaller, side in itertools.pairwise((0, *WINDOWS)):
        if len(found.diameters) < FEWEST and max(plan.scaled) > smaller:
            place = _liveliest(plan, block, side).outer
            found = _measure(model, plan, block, place)
    if len(found.diameters) < FEWEST:
        return None
    return Window(plan, block, place, typical_diameter(found.diameters) / spec.object_size)


@dataclass(frozen=True, eq=False)
class Measured:
    """What a model found in a window.

    Parameters
    ----------
    diameters : float64 (N,)
        In network pixels.
    scores : float64 (N,) in [0, 1]
        Of parted objects the mean probability of foreground.
    """

    diameters: np.ndarray
    scores: np.ndarray

    @classmethod
    def none(cls) -> Measured:
        """Nothing was found."""
        return cls(np.zeros(0), np.zeros(0))

    @property
    def is_sure(self) -> bool:
        """Whether the model is sure of at least half of it."""
        return bool(len(self.scores) and np.median(self.scores) >= SURER)


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


def _lost(plan: Plan, block: Image, window: tuple[slice, ...], zoom: float) -> float:
    """What reducing a window loses: the standard deviation of what is gone, as a share of that of its brightness."""
    inside = tuple(slice(side.start, min(side.stop, end)) for side, end in zip(window, plan.scaled))
    pixels = torch.from_numpy(plan.read(block, Tile(inside, inside)).mean(axis=0)[None, None])
    reduced = [max(1, round(n * zoom)) for n in pixels.shape[2:]]
    small = torch.nn.functional.interpolate(pixels, size=reduced, mode="bilinear", antialias=True)
    gone = pixels - torch.nn.functional.interpolate(small, size=pixels.shape[2:], mode="bicubic")
    return float(gone.std() / pixels.std().clamp(min=1e-6))


def _measure(model: Segmenter, plan: Plan, block: Image, window: tuple[slice, ...]) -> Measured:
    """What a model finds in a window, in network pixels; a large one is cut up."""

    def cut(side: slice, end: int) -> list[slice]:
        starts = range(side.start, min(side.stop, end), WINDOWS[-1])
        lengths = [min(side.stop, start + WINDOWS[-1]) - start for start in starts]
        return [slice(a, a + -(-n // plan.divisor) * plan.divisor) for a, n in zip(starts, lengths)]

    sides = [cut(side, end) for side, end in zip(window, plan.scaled)]
    parts = [_measured(model, plan.read(block, Tile(part, part))) for part in itertools.product(*sides)]
    return Measured(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("diameters", "scores")))


def _measured(model: Segmenter, pixels: np.ndarray) -> Measured:
    """What a model finds in pixels, float32 (C, Y, X)."""
    (found,) = model.predict(torch.from_numpy(np.ascontiguousarray(pixels[None])))
    if isinstance(found, Instances):
        sure = found.scores >= SURE
        boxes, masks = found.boxes[sure].astype(np.float64), found.masks[sure]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * (masks >= 0.5).mean(axis=(1, 2))
        return Measured(np.sqrt(4 * area / np.pi), found.scores[sure].astype(np.float64))
    if model.spec.border_class is None:
        return Measured.none()
    inside, background = (np.rint(found.scores[number] * 255).astype(np.uint8) for number in (1, 0))
    labels = part(inside, background)
    if not labels.any():
        return Measured.none()
    numbers, dense = consecutive(labels)
    foreground = 1 - ndimage.mean(background, dense, np.arange(1, len(numbers) + 1)) / 255
    return Measured(diameters(labels), foreground)
