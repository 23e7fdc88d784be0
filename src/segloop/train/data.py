"""Training data: images with labels and what of them is reviewed, and the crops drawn from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage

from segloop.errors import TrainingError
from segloop.image import Image
from segloop.models.protocol import Example, ModelSpec
from segloop.normalize import Statistics
from segloop.resample import REACH, blur, blur_sigma
from segloop.train.augment import Augmentation, draw_affine, sample_affine, vary_intensity, window_margin

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One plane or volume to train on. Arrays are read window by window, so they may be memory maps.

    Parameters
    ----------
    image : Image
        Axes [C or S], [Z], Y, X.
    labels : unsigned integers ([Z], Y, X)
        Classes or instances.
    reviewed : bool ([Z], Y, X)
        Where a person vouches for the labels.
    boxes : sequence of tuple of slice
        The regions to train on: crops are centred in them.
    statistics : Statistics
        The image's frozen normalisation.
    held_out : sequence of tuple of slice
        The regions to score with, which training must not see.
    zoom : float
        Network pixels per image pixel in the plane.
    instances : bool
        Whether labels are instances; then objects that are only in part reviewed are not trained on.
    object_classes : mapping of int to int
    """

    image: Image
    labels: np.ndarray
    reviewed: np.ndarray
    boxes: Sequence[Box]
    statistics: Statistics
    held_out: Sequence[Box] = ()
    zoom: float = 1.0
    instances: bool = True
    object_classes: Mapping[int, int] = field(default_factory=dict)

    def read_image(self, window: Box, spec: ModelSpec) -> np.ndarray:
        """Read a window as the network sees it: float32 (C, [Z], Y, X), normalised."""
        pixels = spec.normalization.apply(self.image.read(window), self.statistics)
        # as when segmenting: what is reduced is blurred first
        blurred: np.ndarray = blur(torch.from_numpy(pixels), [blur_sigma(1 / zoom) for zoom in self.zooms]).numpy()
        # after the blur, which would take as many times as long
        if spec.repeat_grey and blurred.shape[0] == 1:
            blurred = np.repeat(blurred, spec.channels, axis=0)
        return blurred

    @property
    def zooms(self) -> tuple[float, ...]:
        """Network pixels per image pixel along each axis; depth is never scaled."""
        return (1.0,) * (self.labels.ndim - 2) + (self.zoom, self.zoom)

    def read_labels(self, window: Box) -> tuple[np.ndarray, np.ndarray]:
        """Read the labels of a window, int64 ([Z], Y, X), and where they may be learned, bool ([Z], Y, X)."""
        labels = np.asarray(self.labels[window]).astype(np.int64)
        trusted = np.array(self.reviewed[window], dtype=bool)
        for box in self.held_out:
            inner = tuple(slice(max(0, a.start - w.start), max(0, a.stop - w.start)) for a, w in zip(box, window))
            trusted[inner] = False
        return labels, trust_whole_objects(labels, trusted) if self.instances else trusted


def trust_whole_objects(labels: np.ndarray, reviewed: np.ndarray) -> np.ndarray:
    """Take away from ``reviewed`` the objects that touch or cross its border.

    Where a person vouches for half an object only, the object's outline is unknown; learning its cut edge, or that its
    place is background, would both be wrong.

    Parameters
    ----------
    labels : integers (...)
        Instances.
    reviewed : bool (...)

    Returns
    -------
    bool (...)
    """
    if reviewed.all():
        return reviewed
    doubtful = ndimage.binary_dilation(~reviewed, structure=ndimage.generate_binary_structure(labels.ndim, 1))
    cut = np.unique(labels[doubtful & (labels > 0)])
    return reviewed & ~np.isin(labels, cut) if len(cut) else reviewed


class CropSource:
    """Draws augmented crops of training images; calling it returns one :class:`Example`.

    Parameters
    ----------
    images : sequence of TrainingImage
    spec : ModelSpec
    crop : tuple of int (D,)
        In network pixels; a multiple of the model's divisor.
    augmentation : Augmentation
    weights : sequence of float, optional
        How often each image is drawn, relative to the others. By default in proportion to its number of regions.
    prepare : callable, optional
        Maps labels of a crop, int64 (...), to the model's labels, such as instances to border classes.
    """

    def __init__(
        self,
        images: Sequence[TrainingImage],
        spec: ModelSpec,
        crop: tuple[int, ...],
        augmentation: Augmentation,
        weights: Sequence[float] = (),
        prepare: Callable[[np.ndarray], np.ndarray] = lambda labels: labels,
    ) -> None:
        if not any(len(image.boxes) for image in images):
            raise TrainingError("there is nothing to train on: no region is reviewed. Mark a region as reviewed first")
        share = np.asarray(weights if len(weights) else [len(image.boxes) for image in images], float)
        self._images, self._spec, self._crop = images, spec, crop
        self._augmentation, self._prepare = augmentation, prepare
        self._share = share / share.sum()

    def __call__(self, rng: np.random.Generator) -> Example:
        """Draw one crop."""
        source = self._images[rng.choice(len(self._images), p=self._share)]
        box = source.boxes[int(rng.integers(len(source.boxes)))]
        ndim = self._spec.ndim
        matrix = draw_affine(self._augmentation, ndim, rng)
        matrix /= np.array(source.zooms)[:, np.newaxis]
        center = np.array([self._center(*numbers, rng) for numbers in zip(box, self._crop, source.zooms)])
        margin = np.add(window_margin(matrix, self._crop), [math.ceil(REACH * blur_sigma(1 / z)) for z in source.zooms])
        shape = source.labels.shape
        window = tuple(slice(max(0, int(c) - m), min(n, int(c) + m + 1)) for c, m, n in zip(center, margin, shape))
        labels, trusted = source.read_labels(window)
        pixels = source.read_image(window, self._spec)
        arrays = (torch.from_numpy(pixels), torch.from_numpy(labels), torch.from_numpy(trusted))
        local = center - [side.start for side in window]
        image, crop_labels, reviewed = sample_affine(arrays, local, matrix, self._crop)
        prepared = torch.from_numpy(self._prepare(crop_labels.numpy()).astype(np.int64))
        image = vary_intensity(image, self._augmentation, rng)
        return Example(image.float(), prepared, reviewed, source.object_classes)

    @staticmethod
    def _center(side: slice, crop: int, zoom: float, rng: np.random.Generator) -> float:
        # keep the crop inside the region where it fits, so that little of it is unreviewed
        half = min(crop / zoom, side.stop - side.start) / 2
        return float(rng.uniform(side.start + half, max(side.start + half, side.stop - half)) - 0.5)
