"""Cross-validation: a score for a training that has too little to keep any of it out.

Of a single region with objects no part can be missed. So the model learns from all of it, and then, from the start and
for a shorter time, once from each half, to be scored in the other one. What these models find is what is compared with
the old model: it says whether the region teaches anything that holds elsewhere, and is less than the model of all of it
can do.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from torch import Tensor

from segloop.corrections import TrainingSet
from segloop.events import CrossValidating, Event
from segloop.models.protocol import Trainable
from segloop.train.batches import Draw
from segloop.train.fit import Fit, FitSettings
from segloop.train.held_out import HeldOutScores, Score
from segloop.train.regions import Region, distinct, halve

SHARE = 0.25
"""Each of the two short trainings has this share of the steps of the one that counts."""

MOST_STEPS = 200
"""They take no more steps than this, however long that one was."""


@dataclass(frozen=True, eq=False)
class Fold:
    """The regions that one of the short trainings learns from, and those that it is scored with."""

    learned: tuple[Region, ...]
    scored: tuple[Region, ...]


@dataclass(frozen=True, eq=False)
class Trial:
    """A fold as it is trained: draws an example, scores the model as it stands."""

    draw: Draw
    score: Callable[[], HeldOutScores]


def find_folds(training_set: TrainingSet, regions: Sequence[Region]) -> tuple[Fold, ...]:
    """Cut the only region with objects in two; () if there are others, or it cannot be cut."""
    # of copies of an image one is enough
    places = distinct(regions)
    full = [region for region in places if region.objects]
    if len(full) != 1:
        return ()
    others = tuple(region for region in places if not region.objects)
    halves = halve(training_set, full[0])
    return tuple(Fold((*others, one), (other,)) for one, other in zip(halves, reversed(halves)))


def minutes_left(minutes: float, folds: Sequence[Fold]) -> float:
    """Return how long the training that counts may take, if all trainings together may take so many minutes."""
    return minutes / (1 + SHARE * len(folds))


def cross_validate(
    model: Trainable, start: Mapping[str, Tensor], trials: Sequence[Trial], settings: FitSettings, steps: int
) -> Generator[Event, None, HeldOutScores]:
    """Train a fold after the other and score each; the model has the weights it had before at the end.

    Parameters
    ----------
    model : Trainable
    start : mapping of str to Tensor
        State of its module from which each fold starts.
    trials : sequence of Trial
    settings : FitSettings
        Of the training that counts.
    steps : int
        That it took.

    Returns
    -------
    HeldOutScores
        Of the regions of all folds, in their order.
    """
    trained = copy.deepcopy(model.module.state_dict())
    epochs = max(1, round(min(SHARE * steps, MOST_STEPS) / settings.steps))
    short = replace(settings, epochs=epochs, minutes=math.inf, schedule=())
    found: list[Score] = []
    for number, trial in enumerate(trials, 1):
        model.module.load_state_dict(start)
        with closing(Fit(model, trial.draw, short).run()) as epochs_done:
            yield CrossValidating(number, len(trials))
            for _ in epochs_done:
                yield CrossValidating(number, len(trials))
        found.extend(trial.score().regions)
    model.module.load_state_dict(trained)
    return HeldOutScores(tuple(found))
