"""What the jobs of fine-tuning do: look through what is to be learned, follow a training, save what it made.

They run in a worker's thread and see frozen copies only, as all that is in ``work``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segloop._napari.work import Correction, pixel_key
from segloop.events import Event
from segloop.settings import AUTO

if TYPE_CHECKING:
    from segloop.store import ModelInfo
    from segloop.train.finetune import FinetuneResult, FinetuneSettings
    from segloop.train.plan import FinetunePlan
    from segloop.trainings import TrainingFolder


@dataclass(frozen=True)
class Coming:
    """A correction that is put into the training set before it is learned from.

    Parameters
    ----------
    correct : callable
        Gives the correction, or raises a LabelsError; takes a while.
    extent : str
        Says what is reviewed.
    """

    correct: Callable[[], Correction]
    extent: str


@dataclass(frozen=True)
class Plan:
    """What fine-tuning would use.

    Parameters
    ----------
    uses : FinetunePlan
    seconds : float
        How long it took at most last time; NaN if that is not known.
    channels : int
        How many the new model would take, if these are not the old one's; else 0.
    added, renewed : tuple of str
        What counts in it although it is not in the training set yet, and what was changed since it was put there.
    """

    uses: FinetunePlan
    seconds: float
    channels: int = 0
    added: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()


def plan_training(
    base: ModelInfo, folder: Path, settings: FinetuneSettings, coming: Sequence[Coming] = ()
) -> Generator[Event, None, Plan]:
    """Look through a training set as fine-tuning will once what is coming is in it."""
    from segloop.corrections.foreseen import Addition, ForeseenSet
    from segloop.corrections.training_set import UNNAMED
    from segloop.store import read_spec
    from segloop.train.channels import channels_to_learn
    from segloop.train.lineage import learned_by
    from segloop.train.material import is_comparable
    from segloop.train.plan import plan_finetuning
    from segloop.trainings import known_pace

    corrections = [each.correct() for each in coming]
    additions = [
        Addition(own.image, own.labels, own.vouched_for(), pixel_key(own.image), own.object_classes)
        for own in corrections
    ]
    # objects that nobody named take the name of those that somebody did
    given = sorted((own.classes for own in corrections if own.classes), key=lambda classes: classes == UNNAMED)
    named = given[0] if given else AUTO
    task = corrections[0].task if corrections else AUTO
    spec, training_set = read_spec(base.path), ForeseenSet(folder, additions, task, named)
    uses = plan_finetuning(
        training_set,
        base.ndim,
        settings.seed,
        settings.validation,
        settings.batch,
        learned_by(spec),
        is_comparable(spec, training_set),
    )
    pace = known_pace(base.family, base.ndim, settings)
    seconds = math.nan if pace is None else pace.seconds(settings.epochs, uses.steps, settings.minutes)
    channels = channels_to_learn(spec, training_set)
    added, renewed = (
        tuple(coming[number].extent for number in numbers) for numbers in (training_set.added, training_set.renewed)
    )
    return Plan(uses, seconds, channels if channels != spec.channels else 0, added, renewed)
    yield


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model and, if it was saved, where; ``training`` is the folder in which it was trained."""

    result: FinetuneResult
    name: str
    folder: Path | None
    training: TrainingFolder | None = None


def finetune_model(
    base: Path, folder: Path, name: str, settings: FinetuneSettings, stop: Callable[[], bool]
) -> Generator[Event, None, Finetuned]:
    """Fine-tune the model in ``base`` on the training set in ``folder``; save it as ``name`` if it got better."""
    from segloop.trainings import Order, new_training

    return (yield from follow_training(new_training(Order(base, folder, name, settings)), stop))


def follow_training(training: TrainingFolder, stop: Callable[[], bool]) -> Generator[Event, None, Finetuned]:
    """Follow a training that is at work in its own process, or begin it, or go on with it; save what got better."""
    from segloop.trainings import follow
    from segloop.versions import save_result

    result = yield from follow(training, stop)
    name = training.order.name
    saved = None
    if result.improved and not training.is_settled:
        saved = save_result(result, name)
        training.settle()
    return Finetuned(result, name, saved, training)


def save_finetuned(finetuned: Finetuned) -> Generator[Event, None, Finetuned]:
    """Save a model that did not get better, because the user insists."""
    from segloop.versions import save_result

    saved = save_result(finetuned.result, finetuned.name)
    if finetuned.training is not None:
        finetuned.training.settle()
    return replace(finetuned, folder=saved)
    yield
