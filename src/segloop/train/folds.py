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
from segloop.errors import SegloopError
from segloop.events import CrossValidating, Event
from segloop.models.protocol import Trainable
from segloop.train.batches import Draw
from segloop.train.fit import Fit, FitSettings
from segloop.train.held_out import HeldOutScores, Score
from segloop.train.regions import Region, distinct, halve

SHARE = 0.25
"""Each of the two short trainings has this share of the steps of the one that counts."""

MOST_STEPS = 200
"""Each takes no more steps than this, however long that one was."""


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


def leave_time(settings: FitSettings, folds: Sequence[Fold]) -> FitSettings:
    """Return settings for the training that counts such that its minutes hold the short ones, too."""
    return replace(settings, later_share=SHARE * len(folds), later_steps=MOST_STEPS * len(folds))


def cross_validate(
    model: Trainable,
    start: Mapping[str, Tensor],
    trials: Sequence[Trial],
    settings: FitSettings,
    steps: int,
    stop: Callable[[], bool],
) -> Generator[Event, None, tuple[HeldOutScores, str]]:
    """Train a fold after the other and score each; the model has the weights it had before at the end.

    It is trained already, and whatever becomes of the folds must not lose it: if they are stopped or fail, there is no
    score, but a reason.

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
    stop : callable
        Asked before each step; when it returns true, no fold goes on.

    Returns
    -------
    scores : HeldOutScores
        Of the regions of all folds, in their order; of none if not all folds came to their end.
    reason : str
        Why there are none; "" if there are.
    """
    trained = copy.deepcopy(model.module.state_dict())
    epochs = max(1, round(min(SHARE * steps, MOST_STEPS) / settings.steps))
    short = replace(settings, epochs=epochs, minutes=math.inf, schedule=())
    found: list[Score] = []
    try:
        for number, trial in enumerate(trials, 1):
            model.module.load_state_dict(start)
            with closing(Fit(model, trial.draw, short).run(stop)) as epochs_done:
                yield CrossValidating(number, len(trials))
                for _ in epochs_done:
                    yield CrossValidating(number, len(trials))
            if stop():
                return HeldOutScores(()), "it was stopped"
            found.extend(trial.score().regions)
    except (SegloopError, RuntimeError, MemoryError) as error:
        return HeldOutScores(()), f"{error}"
    finally:
        model.module.load_state_dict(trained)
        model.module.eval()
    return HeldOutScores(tuple(found)), ""
