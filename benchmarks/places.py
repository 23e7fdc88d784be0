"""Regions of annotated images, and the training sets that a person would make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from domains import Domain
from reviewing import Annotated

from segloop.corrections import TrainingSet
from segloop.labels import Task

SIDE = 256
"""Of a region, in pixels."""
TRIES = 8


@dataclass(frozen=True)
class Place:
    """A region of an image."""

    image: str
    top: int
    left: int

    @property
    def box(self) -> tuple[slice, slice]:
        """Its pixels."""
        return slice(self.top, self.top + SIDE), slice(self.left, self.left + SIDE)


def annotated(domain: Domain, images: Mapping[str, Annotated], places: Sequence[Place], folder: Path) -> TrainingSet:
    """A training set of regions, with the objects that reach into them; all else is not reviewed."""
    training_set = TrainingSet(folder / "set", domain.task, domain.classes)
    for name in dict.fromkeys(place.image for place in places):
        item = images[name]
        reviewed = np.zeros(item.reference.shape, bool)
        for place in places:
            if place.image == name:
                reviewed[place.box] = True
        if domain.task is Task.INSTANCE:
            inside = np.unique(item.reference[reviewed])
            reviewed |= np.isin(item.reference, inside[inside > 0])
        labels = np.where(reviewed, item.reference, 0)
        training_set.add(item.image, labels, reviewed, source=name, key=name)
    return training_set


def lively_places(domain: Domain, images: Mapping[str, Annotated]) -> list[Place]:
    """A region of each image, by chance; of objects, the one with most of them among a few."""
    rng = np.random.default_rng(0)
    chosen = []
    for name, item in images.items():
        best: tuple[int, Place] | None = None
        for _ in range(TRIES if domain.task is Task.INSTANCE else 1):
            place = Place(name, *(int(rng.integers(0, n - SIDE + 1)) for n in item.reference.shape))
            count = len(np.unique(item.reference[place.box]))
            if best is None or count > best[0]:
                best = count, place
        assert best is not None
        chosen.append(best[1])
    return chosen
