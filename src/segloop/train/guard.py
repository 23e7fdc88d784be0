"""The guard: scores a model on held-out regions, before and after, so that a worse model is never taken unseen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from segloop.events import drain
from segloop.image import Image
from segloop.labels import Task
from segloop.metrics import ClassScores, InstanceScores, class_scores, instance_scores
from segloop.models.device import Device
from segloop.models.protocol import Trainable
from segloop.normalize import Statistics
from segloop.segmentation import SegmentSettings, segment_events
from segloop.train.data import Box

CONTEXT = 64
"""Image pixels around a region that the model sees and that are not scored."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A held-out region: its image with context, the labels, what of it is scored, and the whole image's statistics."""

    image: Image
    labels: np.ndarray
    scored: np.ndarray
    statistics: Statistics


def held_out_region(
    block: Image, labels: np.ndarray, reviewed: np.ndarray, box: Box, statistics: Statistics
) -> HeldOut:
    """Cut a region with its context out of a plane or volume."""
    window = tuple(
        slice(max(0, side.start - CONTEXT), min(n, side.stop + CONTEXT)) for side, n in zip(box, labels.shape)
    )
    scored = np.zeros(labels.shape, bool)
    scored[box] = np.asarray(reviewed[box], bool)
    letters = "CYX" if labels.ndim == 2 else "CZYX"
    return HeldOut(
        Image(block.read(window), letters, name=block.name),
        np.asarray(labels[window]),
        scored[window],
        statistics,
    )


def metric_name(task: Task) -> str:
    """What :func:`score_model` returns, in words."""
    return "mean AP (IoU 0.5 to 0.95)" if task is Task.INSTANCE else "mean Dice of the classes"


def score_model(
    model: Trainable, regions: Sequence[HeldOut], prepare: Callable[[np.ndarray], np.ndarray], device: Device
) -> float:
    """Score a model on held-out regions, pooled: in [0, 1], or NaN if there is nothing to score.

    Instances: AP averaged over IoU 0.5 to 0.95, objects that lie mostly outside the region not counted.
    Classes: mean Dice of the classes but the background.
    """
    settings = SegmentSettings(device=device)
    objects: list[InstanceScores] = []
    classes: list[ClassScores] = []
    for region in regions:
        found = np.asarray(drain(segment_events(model, region.image, settings, region.statistics)).labels)
        if model.spec.task is Task.INSTANCE:
            objects.append(instance_scores(region.labels, found, reviewed=region.scored))
        else:
            classes.append(class_scores(prepare(region.labels), found, len(model.spec.classes), region.scored))
    if objects:
        return float(reduce(add, objects).mean_ap)
    return float(reduce(add, classes).mean_dice) if classes else math.nan
