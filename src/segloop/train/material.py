"""Material: what a training set holds as a model learns it: its classes, at its scale, in crops, parts held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from segloop.corrections import Entry, TrainingSet
from segloop.corrections.training_set import UNNAMED
from segloop.errors import ModelError
from segloop.image import Image
from segloop.labels import Task, border_classes, diameters
from segloop.models.protocol import ModelSpec, Trainable
from segloop.settings import Auto
from segloop.train.channels import channels_to_learn
from segloop.train.data import Box, TrainingImage
from segloop.train.guard import HeldOut, held_out_region
from segloop.train.opened import OpenedEntries
from segloop.train.regions import Region, iterate_planes

SMALL, LARGE = 0.5, 4.0
"""Images are scaled if their typical object, relative to what the model was trained on, is below or above these."""
ALIKE = 2.0
"""Up to so many times the size, objects are of the model's own. What is too large is brought to this: smaller, the
network would see less of its outline."""
USUAL_SIZE = 28.0
"""Diameter in network pixels that a new model's objects are brought to."""

MOST_SCORED = 64
"""So many held-out regions score the model: enough to be certain, few enough to be quick."""

SMALLEST_CROP = 128
"""Crops of classes are not halved below this side, and have it unless a larger one is asked for."""

USUAL_CROP = 256
"""Side of crops of objects, and the side that those of stacks follow from."""

FEWEST = 50
"""Pixels of a class from which on a region is said to hold it."""
MOST_DRAWS = 4
"""No region is drawn from more often than this, for one draw from the commonest kind."""


def classes_to_learn(spec: ModelSpec, training_set: TrainingSet) -> tuple[str, ...]:
    """The classes of the new model."""
    if spec.task is Task.INSTANCE:
        if training_set.task is not Task.INSTANCE:
            raise ModelError(
                f"the training set holds classes, but {spec.name!r} learns single objects; "
                "give every object a number of its own, or choose a semantic model"
            )
        # whatever one class is called, what the last layer knows of it can stay
        return spec.classes if len(training_set.classes) == len(spec.classes) == 1 else training_set.classes
    if training_set.task is Task.INSTANCE:
        if spec.border_class is None and len(spec.classes) != 2:
            raise ModelError(
                f"the training set holds single objects, but {spec.name!r} learns {', '.join(spec.classes)}; "
                "paint classes, or choose an instance model"
            )
        return spec.classes
    # two classes that nobody named are the model's two; otherwise the names say whether the last layer can stay
    unnamed = training_set.classes == ("background", "foreground") and len(spec.classes) == 2
    return spec.classes if unnamed else training_set.classes


def names_to_take(spec: ModelSpec, training_set: TrainingSet) -> tuple[str, ...]:
    """What the classes of a model that learned from the set are called.

    One class of objects is called as in the set, if somebody named it there: the last layer stays, the name need not.
    """
    alike = spec.task is Task.INSTANCE and len(training_set.classes) == len(spec.classes) == 1
    return training_set.classes if alike and training_set.classes != UNNAMED else spec.classes


def is_comparable(spec: ModelSpec, training_set: TrainingSet) -> bool:
    """Whether a model that learns from the set has the classes and channels of the old one, so that both are scored."""
    try:
        classes = classes_to_learn(spec, training_set)
    except ModelError:
        return False
    return classes == spec.classes and channels_to_learn(spec, training_set) == spec.channels


def label_translation(spec: ModelSpec, task: Task) -> Callable[[np.ndarray], np.ndarray]:
    """How the training set's labels become the model's."""
    if spec.task is Task.SEMANTIC and task is Task.INSTANCE:
        return border_classes if spec.border_class is not None else lambda labels: (labels > 0).astype(np.uint8)
    return lambda labels: labels


def typical_size(spec: ModelSpec, training_set: TrainingSet) -> float:
    """Median diameter of the training set's objects in image pixels; 0 if there are none, or classes only."""
    if training_set.task is not Task.INSTANCE:
        return 0.0
    sizes: list[float] = []
    for entry in training_set.entries:
        image, labels, _ = training_set.read(entry)
        for _, plane, _ in iterate_planes(image, labels, labels, spec.ndim):
            sizes.extend(diameters(np.asarray(plane)))
    return float(np.median(sizes)) if sizes else 0.0


def fitting_zoom(spec: ModelSpec, size: float) -> float:
    """The zoom at which objects of this size, in image pixels, have a size that the network can see."""
    if size == 0:
        return spec.zoom
    relative = size * spec.zoom / (spec.object_size or USUAL_SIZE)
    if SMALL <= relative <= LARGE:
        return spec.zoom
    return float(np.clip(round(spec.zoom * (1 if relative < SMALL else ALIKE) / relative, 2), 0.1, 8.0))


def learned_size(spec: ModelSpec, size: float, zoom: float) -> float:
    """The typical diameter, in network pixels, of a model that has learned objects of ``size`` image pixels."""
    learned = round(size * zoom, 1)
    alike = SMALL <= learned / spec.object_size <= ALIKE if spec.object_size else False
    return spec.object_size if alike or not learned else learned


def read_set(
    training_set: TrainingSet,
    spec: ModelSpec,
    train: Sequence[Region],
    held_out: Sequence[Region],
    zoom: float,
    crop: int,
) -> tuple[list[TrainingImage], list[HeldOut]]:
    """Look at every plane that has regions, for crops of ``crop`` network pixels, and cut out what scores the model.

    What is trained on is read when it is drawn. Of what is held out, ``MOST_SCORED`` regions score the model: always
    those of the lowest ``chance``, so that it does not depend on what is added later.
    """
    images: list[TrainingImage] = []
    scored: list[HeldOut] = []
    pixels: list[np.ndarray] = []
    learned, scored_here = _by_place(train), _by_place(held_out)
    # whatever the entry is called: copies of an image must not give away what is kept out of one of them
    kept_out: dict[tuple[str, tuple[int, ...]], list[Box]] = {}
    for region in held_out:
        kept_out.setdefault((region.entry.hashes["images"], region.plane), []).append(region.box)
    scoring = set(sorted(held_out, key=lambda region: region.chance)[:MOST_SCORED])
    used = {region.entry.id for region in [*train, *held_out]}
    opened = OpenedEntries(training_set, spec.ndim)
    for entry in training_set.entries:
        if entry.id not in used:
            continue
        image, labels, reviewed = training_set.read(entry)
        opened.take(entry, image, labels, reviewed)
        image = _check_channels(image.without_alpha(), spec, entry)
        statistics = spec.normalization.fit(image)
        planes = iterate_planes(image, labels, reviewed, spec.ndim)
        for (plane, block), (_, own_labels, own_reviewed) in zip(image.blocks(spec.ndim), planes):
            # crops are drawn where regions are, so that little of them is unreviewed
            boxes = [region.grown(crop / zoom) for region in learned.get((entry.id, plane), [])]
            if boxes:
                if training_set.task is Task.SEMANTIC:
                    pixels.extend(_class_pixels(own_labels[box], own_reviewed[box]) for box in boxes)
                images.append(
                    TrainingImage(
                        opened.image(entry, plane, block),
                        opened.labels(entry, plane, own_labels),
                        opened.reviewed(entry, plane, own_reviewed),
                        boxes,
                        statistics,
                        held_out=kept_out.get((entry.hashes["images"], plane), []),
                        zoom=zoom,
                        instances=training_set.task is Task.INSTANCE,
                        object_classes=entry.object_classes,
                    )
                )
            scored.extend(
                held_out_region(block, own_labels, own_reviewed, region.box, statistics)
                for region in scored_here.get((entry.id, plane), [])
                if region in scoring
            )
    if pixels:
        times = iter(_draws(pixels))
        images = [replace(image, boxes=[box for box in image.boxes for _ in range(next(times))]) for image in images]
    return images, scored


def _by_place(regions: Sequence[Region]) -> dict[tuple[str, tuple[int, ...]], list[Region]]:
    places: dict[tuple[str, tuple[int, ...]], list[Region]] = {}
    for region in regions:
        places.setdefault((region.entry.id, region.plane), []).append(region)
    return places


def _class_pixels(labels: np.ndarray, reviewed: np.ndarray) -> np.ndarray:
    return np.bincount(np.asarray(labels)[np.asarray(reviewed, bool)].astype(np.int64))


def _draws(pixels: Sequence[np.ndarray]) -> list[int]:
    """How often each region is drawn from, by its pixels of each class: those with rare classes more often.

    A class that few regions hold would hardly be seen in a short training.
    """
    classes = max(map(len, pixels))
    holds = np.array([np.pad(own, (0, classes - len(own))) >= FEWEST for own in pixels])
    rarity = len(holds) / np.maximum(1, holds.sum(axis=0))
    return [round(min(MOST_DRAWS, max(rarity[own], default=1.0))) for own in holds]


def _check_channels(image: Image, spec: ModelSpec, entry: Entry) -> Image:
    if image.channels != spec.channels and not (spec.repeat_grey and image.channels == 1):
        raise ModelError(
            f"the training image {entry.name!r} has {image.channels} channels, but the model takes {spec.channels}; "
            "use images with the model's channels"
        )
    return image


def crop_shape(
    model: Trainable, task: Task, regions: Sequence[Region], zoom: float, side: int | Auto
) -> tuple[int, ...]:
    """The shape of crops in network pixels, at most ``side`` in the plane, in multiples of the divisor.

    No larger than the largest reviewed piece; of classes, half of it: small crops can be drawn around what is rare.
    Objects are learned whole, and of them a small crop holds few.
    """
    divisor, ndim = model.divisor, model.spec.ndim
    if isinstance(side, Auto):
        side = SMALLEST_CROP if task is Task.SEMANTIC and ndim == 2 else USUAL_CROP
    zooms = (1.0,) * (ndim - 2) + (zoom, zoom)
    largest = [max((r.piece[axis].stop - r.piece[axis].start) * zooms[axis] for r in regions) for axis in range(ndim)]
    if task is Task.SEMANTIC:
        largest[-2:] = [max(SMALLEST_CROP, length / 2) for length in largest[-2:]]
    wanted = [side] * ndim if ndim == 2 else [side // 8, side // 3, side // 3]
    # in the plane, two pixels at the lowest level: batch norm has no variance of a batch of one and a single pixel
    least = [divisor] * (ndim - 2) + [2 * divisor] * 2
    sides = (math.ceil(min(a, b) / divisor) * divisor for a, b in zip(wanted, largest))
    return tuple(max(side, low) for side, low in zip(sides, least))
