"""Fine-tune a model on a training set, or train one from nothing: regions, loop, guard. A generator of events."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from segloop.corrections import TrainingSet
from segloop.errors import TrainingError
from segloop.events import EpochDone, Event, FoundRegion, Notice, Scored, TrainingStarted, drain
from segloop.models.device import Device
from segloop.models.protocol import ModelSpec, Trainable
from segloop.models.registry import get_family
from segloop.settings import AUTO, Auto, check_ranges, setting, settings_to_json
from segloop.train.augment import Augmentation
from segloop.train.batches import Draw
from segloop.train.channels import channels_to_learn, learns_colours, with_channels
from segloop.train.checkpoint import Checkpoint, Keeper, NoKeeper
from segloop.train.data import CropSource, TrainingImage
from segloop.train.fit import Clock, Fit, FitSettings
from segloop.train.folds import Trial, cross_validate, find_folds, leave_time
from segloop.train.guard import HeldOut, metric_name, score_model
from segloop.train.held_out import HeldOutScores
from segloop.train.lineage import is_known, learned_by, regions_digest, with_learned
from segloop.train.material import (
    classes_to_learn,
    crop_shape,
    fitting_zoom,
    is_comparable,
    label_translation,
    learned_size,
    names_to_take,
    read_set,
    typical_size,
)
from segloop.train.own_domain import OwnDomain, OwnScores, has_young_classes, rehearsal_share
from segloop.train.plan import count_learned, steps_per_epoch
from segloop.train.record import entry_records, environment, schedule_record, set_record, weights_digest
from segloop.train.regions import find_regions, split_regions, why_none
from segloop.train.scoring import Pictures, Scoring


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """Settings of fine-tuning and of training from nothing."""

    epochs: int = setting(
        60,
        label="Epochs",
        help="Rounds of training; each goes through the reviewed regions about twice.",
        least=1,
        most=10000,
    )
    minutes: float = setting(
        math.inf, label="Minutes", help="Training ends when this much time has passed.", least=0.01
    )
    device: Device = setting(Device.AUTO, label="Device", help="Where to compute. Auto takes a GPU if there is one.")
    seed: int = setting(
        0,
        label="Seed",
        help="The same seed, data, device and number of threads give the same model.",
        least=0,
        most=2**31,
    )
    validation: float = setting(
        0.25,
        label="Held out",
        help="Share of the regions kept out of training to score the model with.",
        least=0,
        most=0.9,
    )
    learning_rate: float | Auto = setting(
        AUTO,
        label="Learning rate",
        help="Size of a training step. Auto suits fine-tuning and training.",
        least=1e-7,
        most=1,
    )
    batch: int = setting(
        2,
        label="Batch",
        help="Crops per training step; twice as many for a model that is trained from nothing.",
        least=1,
        most=256,
    )
    crop: int | Auto = setting(
        AUTO,
        label="Crop",
        help="Side of a crop in pixels, as the network sees it. Auto takes 256 for objects and stacks, and 128 for "
        "classes, which are learned in more and smaller steps.",
        least=32,
        most=2048,
    )
    rehearsal: float | Auto = setting(
        AUTO,
        label="Rehearsal",
        help="Share of crops from bundled images of the kind that the bundled model was made for, lest it forget them. "
        "Auto takes a quarter for classes and none for objects.",
        least=0,
        most=0.9,
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What training gives. It is not saved yet: see :func:`segloop.save_model`.

    Parameters
    ----------
    model : Trainable
        The new model; the one that was given is unchanged.
    history : tuple of EpochDone
    before, after : float in [0, 1]
        Held-out score of the old and new model; NaN where there is none: no region held out, or other classes or
        channels before, which are not cross-validated either.
    metric : str
        What the scores are, in words.
    notices : tuple of str
    seconds : float
    before_error, after_error : float
        Standard errors of ``before`` and ``after``; NaN where they cannot be known.
    gain_error : float
        Standard error of ``after - before``, from the same regions; NaN where it cannot be known.
    pictures : mapping of str to tuple of FoundRegion
        Held-out regions as they were found "before" and "after" training, few enough to look at.
    own : OwnScores
        Scores before and after on images of the kind that the bundled model was made for, if it descends from one.
    folds : int
        How many short trainings, each on a part of what was learned, ``after`` is the score of, if there was too little
        to keep any of it out (see ``segloop.train.folds``); 0 if it is the score of ``model`` itself. If they were
        stopped or failed, ``after`` is NaN and a notice says why.
    """

    model: Trainable
    history: tuple[EpochDone, ...]
    before: float
    after: float
    metric: str
    notices: tuple[str, ...] = ()
    seconds: float = 0.0
    before_error: float = math.nan
    after_error: float = math.nan
    gain_error: float = math.nan
    pictures: Mapping[str, tuple[FoundRegion, ...]] = field(default_factory=dict)
    own: OwnScores = OwnScores()
    folds: int = 0

    @property
    def improved(self) -> bool:
        """Whether the new model scored better; also true when there was nothing to compare with.

        Where it was cross-validated it is better unless the short trainings came out worse by more than the standard
        error, that of the gain or that of the score before, whichever is larger: each had half of what the model had,
        and hardly anything may be found in either half.
        """
        if self.folds:
            return not (self.after < self.before - self._error)
        return not (self.after <= self.before)

    @property
    def within_error(self) -> bool:
        """Whether the score before is higher by so little that it need not be better: by no more than its error.

        That is the error of the gain or of the score before, whichever is larger, as for ``improved``.
        """
        return bool(0 <= self.before - self.after <= self._error)

    @property
    def _error(self) -> float:
        return float(np.fmax(self.gain_error, self.before_error))


Stop = Callable[[], bool]
DEFAULTS = FinetuneSettings()
NO_KEEPER = NoKeeper()


def finetune(
    model: Trainable,
    training_set: TrainingSet,
    settings: FinetuneSettings = DEFAULTS,
    on_event: Callable[[Event], object] = lambda event: None,
) -> FinetuneResult:
    """Fine-tune a model on the reviewed regions of a training set.

    If the training set has other classes than the model, the model's last layer is replaced; if its images have another
    number of channels, the first layer is adapted.

    Raises
    ------
    TrainingError
        If nothing is reviewed, the loss stops being finite, or training was stopped before its first step.
    ModelError
        If the model cannot learn from such labels.
    """
    return drain(finetune_events(model, training_set, settings), on_event)


def finetune_events(
    model: Trainable,
    training_set: TrainingSet,
    settings: FinetuneSettings = DEFAULTS,
    stop: Stop = lambda: False,
    *,
    clock: Clock = time.monotonic,
    keeper: Keeper = NO_KEEPER,
    schedule: tuple[float, ...] = (),
) -> Generator[Event, None, FinetuneResult]:
    """Fine-tune, an event per epoch; returns the :class:`FinetuneResult`.

    When ``stop`` returns true (asked before each step), training ends and what was learned so far is the result.
    With a ``keeper`` that has a checkpoint it goes on from there, the epochs so far being told again, and unless
    ``minutes`` end it the model becomes what it would have become without the interruption.
    ``settings.minutes`` are those of ``clock``, in seconds: wall time unless another is given. A ``schedule`` that a
    version recorded repeats its training, step by step, however long that takes.
    """
    classes = classes_to_learn(model.spec, training_set)
    # a new last layer is drawn at random
    torch.manual_seed(settings.seed)
    channels = channels_to_learn(model.spec, training_set)
    student = with_channels(model, channels, learns_colours(model.spec, training_set)).with_classes(classes)
    parent = f"{model.spec.name}@{model.spec.version}"
    comparable = is_comparable(model.spec, training_set)
    if channels != model.spec.channels:
        yield Notice(f"the new model takes images of {channels} channels; {parent} takes {model.spec.channels}")
    # small steps would hardly move a last layer that is new or was so lately, and what it needs of the old features has
    # other statistics
    young_classes = has_young_classes(model.spec, classes)
    usual_rate = 3e-3 if young_classes else 3e-4
    rate = usual_rate if settings.learning_rate is AUTO else settings.learning_rate
    augmentation = Augmentation(intensity=0.3)
    frozen = not young_classes
    result = yield from _train(
        student, training_set, settings, stop, rate, augmentation, comparable, parent, frozen, clock, keeper, schedule
    )
    spec = result.model.spec
    training = {**spec.training, "parent_sha256": weights_digest(model), "young_classes": young_classes}
    result.model.spec = replace(spec, classes=names_to_take(spec, training_set), training=training)
    return result


def train_events(
    spec: ModelSpec,
    training_set: TrainingSet,
    settings: FinetuneSettings = DEFAULTS,
    stop: Stop = lambda: False,
    *,
    clock: Clock = time.monotonic,
) -> Generator[Event, None, FinetuneResult]:
    """Train a model from nothing, an event per epoch; returns the :class:`FinetuneResult`, its ``before`` NaN."""
    torch.manual_seed(settings.seed)
    model = get_family(spec.family).build(spec)
    if (classes := classes_to_learn(spec, training_set)) != spec.classes:
        model = model.with_classes(classes)
    rate = 1e-3 if settings.learning_rate is AUTO else settings.learning_rate
    augmentation = Augmentation(zoom_low=0.7, zoom_high=1.4, intensity=0.4)
    return (
        yield from _train(model, training_set, settings, stop, rate, augmentation, False, "", False, clock, NO_KEEPER)
    )


def _train(
    model: Trainable,
    training_set: TrainingSet,
    settings: FinetuneSettings,
    stop: Stop,
    rate: float,
    augmentation: Augmentation,
    comparable: bool,
    parent: str,
    freeze_norm: bool,
    clock: Clock,
    keeper: Keeper,
    schedule: tuple[float, ...] = (),
) -> Generator[Event, None, FinetuneResult]:
    started = time.monotonic()
    notices: list[str] = []
    model.to(settings.device.resolve())
    ndim = model.spec.ndim
    learned = learned_by(model.spec)
    regions = find_regions(training_set, ndim, settings.seed)
    train, held_out = split_regions(regions, settings.validation, lambda region: is_known(region, learned))
    if not train:
        raise TrainingError(f"there is nothing to train on: {why_none(training_set)}")
    # the score says whether the new model is taken: where there is nothing to compare with it would cost time only
    crossed = comparable and not held_out and settings.validation > 0
    folds = find_folds(training_set, train) if crossed else ()
    judged = [region for fold in folds for region in fold.scored] or held_out
    if not judged:
        notices.append("nothing could be held out, so the new model cannot be scored; review a second region")
        yield Notice(notices[-1])
    if any(is_known(region, learned) for region in judged):
        notices.append("the model learned before what is held out, so its scores are too high; review another region")
        yield Notice(notices[-1])
    size = typical_size(model.spec, training_set)
    zoom = fitting_zoom(model.spec, size)
    if zoom != model.spec.zoom:
        notices.append(f"images are scaled by {zoom:.2f}, so that the objects have the size the model works at")
        yield Notice(notices[-1])
    old_spec, model.spec = (
        model.spec,
        replace(model.spec, zoom=zoom, object_size=learned_size(model.spec, size, zoom)),
    )
    prepare = label_translation(model.spec, training_set.task)
    crop = crop_shape(model, training_set.task, train, zoom, settings.crop)
    images, scored = read_set(training_set, model.spec, train, held_out, zoom, crop[-1])
    parts = [read_set(training_set, model.spec, fold.learned, fold.scored, zoom, crop[-1]) for fold in folds]

    # few examples at once make more steps in the same time; statistics that begin with nothing need more
    batch = settings.batch if parent else 2 * settings.batch
    steps = steps_per_epoch(len(train), batch)
    own = OwnDomain(old_spec, comparable)
    share = rehearsal_share(settings.rehearsal, model.spec)
    pictures = Pictures()

    def drawing(images: list[TrainingImage]) -> Draw:
        source = CropSource(images, model.spec, crop, augmentation, prepare=prepare)
        return own.rehearse(source, share, model.spec, crop, augmentation)

    def score(regions: Sequence[HeldOut]) -> HeldOutScores:
        return score_model(model, regions, prepare, settings.device, pictures.take)

    scoring = Scoring(lambda: score(scored), settings.epochs, clock)
    numbers = FitSettings(
        epochs=settings.epochs,
        steps=steps,
        minutes=settings.minutes,
        batch=batch,
        learning_rate=rate,
        average=0.98 if freeze_norm else 0.99,
        freeze_norm=freeze_norm,
        seed=settings.seed,
        schedule=schedule,
    )
    fit = Fit(model, drawing(images), leave_time(numbers, folds), score=scoring.score, scored=scoring.due, clock=clock)
    start = copy.deepcopy(model.module.state_dict()) if folds else {}
    yield TrainingStarted(settings.epochs, len(train), len(held_out), str(model.device))
    checkpoint = keeper.last()
    first = HeldOutScores(())
    if comparable:
        # the old model at its own scale: what the user has now
        new_spec, model.spec = model.spec, old_spec
        first = score([*scored, *(region for _, regions in parts for region in regions)])
        model.spec = new_spec
    own_before = own.score(model, settings.device)
    before = Scored("before", first.value, first.error)
    history = []
    if checkpoint is not None:
        fit.load_state_dict(checkpoint.fit_on(model.device))
        before, history = checkpoint.before, list(checkpoint.history)
    yield before
    yield from pictures.shown(0)
    yield from history
    for event in fit.run(stop):
        if isinstance(event, EpochDone):
            history.append(event)
            if fit.step == fit.epoch * steps:
                keeper.keep(Checkpoint(fit.state_dict(), before, tuple(history)))
        yield event
        yield from pictures.shown(fit.epoch)
    if fit.step == 0:
        raise TrainingError("training was stopped before its first step, so nothing was learned; start it again")
    if folds:
        trials = [Trial(drawing(images), partial(score, regions)) for images, regions in parts]
        last, reason = yield from cross_validate(model, start, trials, numbers, fit.step, stop)
        if reason:
            notices.append(f"cross-validation did not come to its end, so the new model is not scored: {reason}")
            yield Notice(notices[-1])
    else:
        last = scoring.last if math.isfinite(history[-1].score) and scoring.last is not None else score(scored)
    after = Scored("after", last.value, last.error)
    yield after
    if last.regions:
        yield from pictures.shown(fit.epoch)
    own_scores = OwnScores.compare(own.origin, own_before, own.score(model, settings.device))
    gain_error = last.gain_error(first) if first.regions and last.regions else math.nan
    model.spec = replace(
        model.spec,
        parent=parent,
        training={
            "training_set": set_record(training_set),
            "entries": entry_records(training_set),
            "train_regions": len(train),
            "held_out_regions": len(held_out),
            "folds": len(folds),
            "held_out_sha256": regions_digest(judged),
            "learned": with_learned(learned, train),
            "settings": settings_to_json(settings),
            "epochs": len(history),
            "steps": fit.step,
            "schedule": schedule_record(fit.schedule, settings.epochs * steps),
            "metric": metric_name(model.spec.task),
            **_json_scores(before, after, gain_error),
            **own_scores.to_json(),
            "curve": [[epoch.epoch, epoch.loss, _or_none(epoch.score)] for epoch in history],
            "learned_from": count_learned(training_set, [*train, *held_out]),
            "device": str(model.device),
            **environment(),
        },
    )
    return FinetuneResult(
        model,
        tuple(history),
        before.score,
        after.score,
        metric_name(model.spec.task),
        tuple(notices),
        time.monotonic() - started,
        before.error,
        after.error,
        gain_error,
        pictures.kept,
        own_scores,
        len(folds),
    )


def _json_scores(before: Scored, after: Scored, gain_error: float) -> dict[str, float | None]:
    scores = {"before": before.score, "after": after.score}
    errors = {"before_error": before.error, "after_error": after.error, "gain_error": gain_error}
    return {name: _or_none(value) for name, value in {**scores, **errors}.items()}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
