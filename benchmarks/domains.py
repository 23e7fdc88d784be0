"""Domains that no nuclei model was trained on: what is annotated there, and what is only scored with.

``objects-maskrcnn`` has learned worms and phase contrast, but for what is held out (``scripts/train_objects.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from reviewing import Annotated, read_image

from segloop import SegmentSettings, segment
from segloop.corrections import TrainingSet
from segloop.labels import Task
from segloop.metrics import class_scores, instance_scores
from segloop.models.protocol import Trainable


@dataclass(frozen=True)
class Domain:
    """A folder of annotated images and how it is split.

    Parameters
    ----------
    folder : str
        Of the data; with ``images`` and ``labels``.
    model : str
        The bundled model that is fine-tuned to it.
    family : str
        Of that model, for training from nothing.
    classes : tuple of str
        Of the training set.
    annotated : tuple of str
        Names of the images to learn from, in the order in which they are annotated.
    held_out : tuple of str
        Names of the images to score with.
    """

    folder: str
    model: str
    family: str
    task: Task
    classes: tuple[str, ...]
    annotated: tuple[str, ...]
    held_out: tuple[str, ...]

    def read(self, data: Path, name: str) -> Annotated:
        """Read one image with its reference."""
        return read_image(data / self.folder, name)

    def training_set(self, data: Path, folder: Path, count: int) -> TrainingSet:
        """Put the first ``count`` images into a new training set, reviewed as a whole."""
        training_set = TrainingSet(folder, self.task, self.classes)
        for name in self.annotated[:count]:
            item = self.read(data, name)
            training_set.add(item.image, item.reference, source=name, key=name)
        return training_set

    def scores(
        self, model: Trainable, data: Path, names: Sequence[str] = ()
    ) -> tuple[dict[str, float], list[np.ndarray]]:
        """Score a model on all that is held out, or on the images named, pooled; also return what it made of each."""
        images = (self.read(data, name).image for name in names or self.held_out)
        found = [np.asarray(segment(model, image, SegmentSettings()).labels.data) for image in images]
        return self.score(found, data, names), found

    def score(self, found: Sequence[np.ndarray], data: Path, names: Sequence[str] = ()) -> dict[str, float]:
        """Score labels of all that is held out, or of the images named, in that order, pooled."""
        references = (self.read(data, name).reference for name in names or self.held_out)
        if self.task is Task.INSTANCE:
            pooled = reduce(add, (instance_scores(reference, own) for reference, own in zip(references, found)))
            return {
                "mean AP": pooled.mean_ap,
                "AP50": pooled.ap(0.5),
                "precision50": pooled.precision(0.5),
                "recall50": pooled.recall(0.5),
            }
        count = len(self.classes)
        whole = reduce(add, (class_scores(reference, own, count) for reference, own in zip(references, found)))
        own = {f"Dice {name}": value for name, value in zip(self.classes[1:], whole.dice[1:])}
        return {"mean Dice": whole.mean_dice, **own}


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DOMAINS: Mapping[str, Domain] = {
    domain.folder: domain
    for domain in (
        # every third image is held out; what is annotated is spread over the whole series
        Domain(
            "phase_usiigaci",
            "nuclei-maskrcnn",
            "maskrcnn",
            Task.INSTANCE,
            ("cell",),
            _names("set19 set1 set35 set28 set6 set42 set13 set31"),
            _names("set3 set8 set15 set20 set33 set50"),
        ),
        # columns 1 to 24 of a plate: wells of all its rows on both sides
        Domain(
            "worms_bbbc010",
            "nuclei-maskrcnn",
            "maskrcnn",
            Task.INSTANCE,
            ("worm",),
            _names("A02 C03 B13 D17 A11 B05 C19 D04"),
            _names("A07 A18 B03 B14 B21 C07 C23 D14 D23 E02"),
        ),
        # sections are neighbours in depth: the last ones are held out, and one between is in neither
        Domain(
            "em_drosophila_vnc",
            "nuclei-unet",
            "unet",
            Task.SEMANTIC,
            ("intracellular", "membrane", "glia", "mitochondria", "synapse"),
            _names("03 06 00 05 01 07 02 04"),
            _names("09 10 11"),
        ),
    )
}
