"""What a fine-tuning will use, told before it starts: regions, objects, classes; what is missing; how long it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segloop.corrections import TrainingSet
from segloop.labels import Task
from segloop.train.folds import find_folds
from segloop.train.lineage import NOTHING, Learned, is_known
from segloop.train.material import MOST_SCORED
from segloop.train.regions import Region, find_regions, iterate_planes, split_regions

FEW_PIXELS = 200
"""A class with fewer reviewed pixels than this can hardly be learned."""


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """What fine-tuning would use of a training set.

    Parameters
    ----------
    images, train_regions, held_out_regions : int
    scored_regions : int
        How many of those held out score the model.
    folds : int
        Short trainings on parts of what is learned that score it, where nothing can be held out; 0 for none.
    objects : int
        Reviewed objects; 0 if the set holds classes.
    reviewed_pixels : int
    task : Task
        Of the training set.
    classes : tuple of str
        Of the training set.
    steps : int
        Optimiser steps per epoch.
    missing : tuple of str
        What would make the result better or safer, a sentence each.
    """

    images: int
    train_regions: int
    held_out_regions: int
    scored_regions: int
    folds: int
    objects: int
    reviewed_pixels: int
    task: Task
    classes: tuple[str, ...]
    steps: int
    missing: tuple[str, ...]


def plan_finetuning(
    training_set: TrainingSet,
    ndim: int,
    seed: int,
    validation: float,
    batch: int,
    learned: Learned = NOTHING,
    comparable: bool = True,
) -> FinetunePlan:
    """Look through a training set as fine-tuning will, and say what it would use.

    Parameters
    ----------
    training_set : TrainingSet
    ndim : int
        Of the model: 2 takes stacks plane by plane.
    seed, validation, batch
        As in ``FinetuneSettings``: which regions are held out follows from them.
    learned : mapping
        What the model has learned before, which is not held out; see :func:`segloop.train.lineage.learned_by`.
    comparable : bool
        Whether there is an old model to compare with; see :func:`segloop.train.material.is_comparable`.

    Raises
    ------
    FileError
        If a file of the training set cannot be read.
    """
    regions = find_regions(training_set, ndim, seed)
    train, held_out = split_regions(regions, validation, lambda region: is_known(region, learned))
    folds = find_folds(training_set, train) if comparable and not held_out and validation > 0 else ()
    judged = [region for fold in folds for region in fold.scored] or held_out
    classes = training_set.classes
    pixels = count_class_pixels(training_set, regions, len(classes))
    seen = count_learned(training_set, regions)
    return FinetunePlan(
        images=len({region.entry.id for region in regions}),
        train_regions=len(train),
        held_out_regions=len(held_out),
        scored_regions=min(len(held_out), MOST_SCORED),
        folds=len(folds),
        objects=seen["objects"],
        reviewed_pixels=int(sum(pixels)),
        task=training_set.task,
        classes=classes,
        steps=steps_per_epoch(len(train), batch),
        missing=tuple(_missing(training_set, regions, judged, len(folds), validation, pixels, learned)),
    )


def steps_per_epoch(regions: int, batch: int) -> int:
    """Optimiser steps of an epoch that goes through so many regions about twice."""
    return min(50, max(8, math.ceil(2 * regions / batch)))


def count_learned(training_set: TrainingSet, regions: Sequence[Region]) -> dict[str, int]:
    """Count the regions and, of a set of objects, the different objects in them: {"regions": …, "objects": …}."""
    objects = 0
    if training_set.task is Task.INSTANCE:
        seen: dict[str, set[int]] = {}
        for region, labels in _reviewed_labels(training_set, regions):
            seen.setdefault(region.entry.id, set()).update(int(n) for n in np.unique(labels) if n)
        objects = sum(len(numbers) for numbers in seen.values())
    return {"regions": len(regions), "objects": objects}


def count_class_pixels(training_set: TrainingSet, regions: Sequence[Region], classes: int) -> list[int]:
    """Count the reviewed pixels of each class of a semantic set; of a set of objects, of background and objects."""
    counts = np.zeros(max(2, classes), np.int64)
    for _, labels in _reviewed_labels(training_set, regions):
        if training_set.task is Task.INSTANCE:
            counts[:2] += (int((labels == 0).sum()), int((labels > 0).sum()))
        else:
            counts += np.bincount(labels.ravel(), minlength=len(counts))[: len(counts)]
    return [int(count) for count in counts]


def _reviewed_labels(training_set: TrainingSet, regions: Sequence[Region]) -> Iterator[tuple[Region, np.ndarray]]:
    """The labels of the reviewed pixels of each region, one entry in memory at a time."""
    by_entry: dict[str, list[Region]] = {}
    for region in regions:
        by_entry.setdefault(region.entry.id, []).append(region)
    for entry in training_set.entries:
        own = by_entry.get(entry.id, [])
        if not own:
            continue
        image, labels, reviewed = training_set.read(entry)
        for plane, own_labels, own_reviewed in iterate_planes(image, labels, reviewed, len(own[0].box)):
            for region in own:
                if region.plane == plane:
                    trusted = np.asarray(own_reviewed[region.box], bool)
                    yield region, np.asarray(own_labels[region.box])[trusted]


def _missing(
    training_set: TrainingSet,
    regions: Sequence[Region],
    judged: Sequence[Region],
    folds: int,
    share: float,
    pixels: list[int],
    learned: Learned,
) -> list[str]:
    if not regions:
        return ["No region is reviewed yet: say what you checked, and add it to the training set."]
    missing = []
    if not judged and share > 0:
        missing.append("Nothing can be held out, so the new model cannot be scored: review a second region.")
    elif folds:
        missing.append(
            "One block only has objects: it is scored by cross-validation, which takes up to a third of the time and "
            "says little. Review a second region."
        )
    elif len(judged) == 1:
        missing.append("One block only is held out, so the score will be uncertain: review some more.")
    if any(is_known(region, learned) for region in judged):
        missing.append("The model learned before what is held out, so scores will be too high: review another region.")
    if training_set.task is Task.INSTANCE:
        if pixels[1] == 0:
            missing.append("There is no object in the reviewed regions.")
        elif pixels[0] == 0:
            missing.append("There is no background in the reviewed regions: review some beside the objects, too.")
        return missing
    few = [name for name, count in zip(training_set.classes, pixels) if count < FEW_PIXELS]
    if few:
        missing.append(f"Hardly anything of {', '.join(few)} is reviewed: it will not be learned well.")
    return missing
