"""Regions of annotated images, and the training sets that a person would make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from domains import Domain
from reviewing import Annotated
from scipy import ndimage

from segloop.corrections import TrainingSet
from segloop.doubt import Doubts
from segloop.labels import Task
from segloop.route import Region

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


def place_in(region: Region, doubts: Doubts, image: str, shape: tuple[int, int]) -> Place:
    """Where a person who goes to a region of the route corrects: where most is of what it asks about.

    Regions cover the whole image, also where there is nothing, and may be larger than a place. Each thing counts with
    its probability, by the share of its box that the place holds; of equal places the one nearest the middle of the
    things is taken, and that of the region if there are none.
    """
    things = list(region.things)
    boxes, probability = doubts.boxes[things], doubts.probability[things]
    asked = np.zeros((shape[0] + 1, shape[1] + 1))
    for (top, left, bottom, right), chance in zip(boxes.tolist(), probability.tolist()):
        asked[top + 1 : bottom + 1, left + 1 : right + 1] += chance / max(1, (bottom - top) * (right - left))
    sums = asked.cumsum(axis=0).cumsum(axis=1)
    held = sums[SIDE:, SIDE:] - sums[:-SIDE, SIDE:] - sums[SIDE:, :-SIDE] + sums[:-SIDE, :-SIDE]
    if probability.sum() > 0:
        middle = probability @ ((boxes[:, :2] + boxes[:, 2:]) / 2) / probability.sum()
    else:
        middle = np.array([(side.start + side.stop) / 2 for side in (region.rows, region.columns)])
    best = np.argwhere(held >= held.max() - 1e-9)
    top, left = best[((best + SIDE / 2 - middle) ** 2).sum(axis=1).argmin()].tolist()
    return Place(image, top, left)


def annotated(domain: Domain, images: Mapping[str, Annotated], places: Sequence[Place], folder: Path) -> TrainingSet:
    """A training set of regions, with the objects that reach into them; all else is not reviewed.

    Who vouches for an object vouches for its outline, too: the background next to it is reviewed. Without that it could
    go on where nothing is known, and would not be learned.
    """
    training_set = TrainingSet(folder / "set", domain.task, domain.classes)
    for name in dict.fromkeys(place.image for place in places):
        item = images[name]
        reviewed = np.zeros(item.reference.shape, bool)
        for place in places:
            if place.image == name:
                reviewed[place.box] = True
        if domain.task is Task.INSTANCE:
            inside = np.unique(item.reference[reviewed])
            whole = np.isin(item.reference, inside[inside > 0])
            reviewed |= whole | (ndimage.binary_dilation(whole) & (item.reference == 0))
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
