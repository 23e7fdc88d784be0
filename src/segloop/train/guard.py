"""The guard: scores a model on held-out regions, before and after, so that a worse model is never taken unseen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from segloop.events import FoundRegion, drain
from segloop.image import Image
from segloop.labels import Task
from segloop.metrics import ClassScores, InstanceScores, class_scores, instance_scores
from segloop.models.device import Device
from segloop.models.protocol import Trainable
from segloop.normalize import Statistics
from segloop.segmentation import SegmentSettings, segment_events
from segloop.settings import AUTO
from segloop.train.data import Box
from segloop.train.held_out import HeldOutScores, grey_plane, middle_plane

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
    model: Trainable,
    regions: Sequence[HeldOut],
    prepare: Callable[[np.ndarray], np.ndarray],
    device: Device,
    see: Callable[[FoundRegion], object] = lambda region: None,
) -> HeldOutScores:
    """Score a model on held-out regions.

    Instances: AP averaged over IoU 0.5 to 0.95, objects that lie mostly outside the region not counted.
    Classes: mean Dice of the classes but the background. ``see`` is shown what was found in each region.
    """
    spec = model.spec
    # at the model's own scale, whatever it finds while it is still learning
    size = spec.object_size / spec.zoom if spec.object_size else AUTO
    settings = SegmentSettings(device=device, object_size=size)
    scores: list[InstanceScores | ClassScores] = []
    for region in regions:
        found = np.asarray(drain(segment_events(model, region.image, settings, region.statistics)).labels)
        reference = region.labels if model.spec.task is Task.INSTANCE else prepare(region.labels)
        if model.spec.task is Task.INSTANCE:
            scores.append(instance_scores(reference, found, reviewed=region.scored))
        else:
            scores.append(class_scores(reference, found, len(model.spec.classes), region.scored))
        planes = (middle_plane(labels) for labels in (reference, found, region.scored))
        see(FoundRegion(grey_plane(region.image), *planes))
    return HeldOutScores(tuple(scores))
