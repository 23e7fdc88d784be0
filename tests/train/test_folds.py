"""Cross-validation: a training that has one region only is scored all the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segloop.corrections import TrainingSet
from segloop.errors import TrainingError
from segloop.events import CrossValidating, Event, HeldOutFound, Notice, Scored, drain
from segloop.image import Image
from segloop.labels import Task
from segloop.models.device import Device
from segloop.models.protocol import ModelSpec, Trainable
from segloop.models.unet import FAMILY
from segloop.train.checkpoint import Checkpoint
from segloop.train.finetune import FinetuneResult, FinetuneSettings, finetune_events, train_events
from segloop.train.fit import Fit, FitSettings
from segloop.train.folds import find_folds, leave_time
from segloop.train.lineage import is_known, learned_by
from segloop.train.material import is_comparable
from segloop.train.plan import plan_finetuning
from segloop.train.regions import find_regions, halve, split_regions

QUICK = FinetuneSettings(epochs=3, batch=1, crop=32, device=Device.CPU)


def unet() -> Trainable:
    torch.manual_seed(0)
    names = ("background", "cell", "border")
    return FAMILY.build(
        ModelSpec(
            "base", "unet", Task.SEMANTIC, names, architecture={"levels": 1, "base_channels": 2}, tile=128, halo=16
        )
    )


def scene(places: list[tuple[int, int]], side: int = 96, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares with their upper left corners at ``places``."""
    labels = np.zeros((side, side), np.uint16)
    for number, (row, column) in enumerate(places, 1):
        labels[row : row + size, column : column + size] = number
    noise = np.random.default_rng(len(places)).normal(0, 8, labels.shape)
    return (40 + 150 * (labels > 0) + noise).clip(0, 255).astype(np.uint8), labels


def one_region(folder: Path, places: list[tuple[int, int]], task: Task = Task.INSTANCE) -> TrainingSet:
    image, labels = scene(places)
    training_set = TrainingSet(folder, task, ("cell",) if task is Task.INSTANCE else ("background", "cell", "border"))
    training_set.add(Image(image, "YX"), labels if task is Task.INSTANCE else (labels > 0).astype(np.uint8))
    return training_set


FOUR = [(4, 10), (30, 60), (50, 20), (78, 40)]


def test_a_region_is_cut_where_it_cuts_no_object(tmp_path: Path) -> None:
    training_set = one_region(tmp_path, FOUR)
    (region,) = find_regions(training_set, 2, 0)
    upper, lower = halve(training_set, region)
    # rows 30 to 42 and 50 to 62 are the middle objects; a cut between columns would go through one
    assert upper.box == (slice(0, 46), slice(0, 96)) and lower.box == (slice(46, 96), slice(0, 96))
    assert upper.objects and lower.objects and upper.piece == region.piece


def test_a_single_object_cannot_be_halved(tmp_path: Path) -> None:
    training_set = one_region(tmp_path, FOUR[:1])
    (region,) = find_regions(training_set, 2, 0)
    assert halve(training_set, region) == ()
    assert find_folds(training_set, [region]) == ()
    result = drain(finetune_events(unet(), training_set, QUICK))
    assert result.folds == 0 and math.isnan(result.after)
    assert "cannot be scored" in result.notices[0]


def test_classes_are_halved_through_their_pixels(tmp_path: Path) -> None:
    training_set = one_region(tmp_path, [(10, 10), (10, 70)], Task.SEMANTIC)
    (region,) = find_regions(training_set, 2, 0)
    left, right = halve(training_set, region)
    assert left.box[0] == right.box[0] == slice(0, 96)
    assert 22 <= left.box[1].stop == right.box[1].start <= 70


def test_each_half_is_scored_by_what_learned_from_the_other(tmp_path: Path) -> None:
    training_set = one_region(tmp_path, FOUR)
    # nothing to find there: too little to be scored, but both trainings learn that it is background
    training_set.add(Image(np.full((64, 64), 40, np.uint8), "YX"), np.zeros((64, 64), np.uint16))
    regions = find_regions(training_set, 2, 0)
    first, second = find_folds(training_set, regions)
    assert first.learned[-1].box == second.scored[0].box and second.learned[-1].box == first.scored[0].box
    assert [region.entry.id for region in first.learned] == ["0002", "0001"]
    # two regions with objects: one is held out, as usual
    training_set.add(Image(scene(FOUR[1:])[0], "YX"), scene(FOUR[1:])[1])
    assert find_folds(training_set, find_regions(training_set, 2, 0)) == ()


def test_one_region_is_scored_and_all_of_it_learned(tmp_path: Path) -> None:
    training_set = one_region(tmp_path, FOUR)
    events: list[Event] = []
    result = drain(finetune_events(unet(), training_set, QUICK), events.append)
    assert result.folds == 2 and not any("scored" in notice for notice in result.notices)
    assert 0 <= result.before <= 1 and 0 <= result.after <= 1 and math.isfinite(result.gain_error)
    assert {(e.fold, e.folds) for e in events if isinstance(e, CrossValidating)} == {(1, 2), (2, 2)}
    assert [event.score for event in events if isinstance(event, Scored)] == [result.before, result.after]
    # both halves, before and after
    assert [len(event.regions) for event in events if isinstance(event, HeldOutFound)] == [2, 2]
    record = result.model.spec.training
    assert (record["folds"], record["train_regions"], record["held_out_regions"]) == (2, 1, 0)
    (region,) = find_regions(training_set, 2, 0)
    assert is_known(region, learned_by(result.model.spec))
    # the short trainings leave no trace in the model
    unscored = drain(finetune_events(unet(), training_set, replace(QUICK, validation=0)))
    assert unscored.folds == 0 and math.isnan(unscored.after)
    assert same(result, unscored)
    plan = plan_finetuning(training_set, 2, 0, 0.25, 1)
    assert (plan.folds, plan.train_regions, plan.held_out_regions) == (2, 1, 0)
    assert "One block only has objects" in plan.missing[0]


def test_all_trainings_together_keep_to_the_minutes(tmp_path: Path) -> None:
    training_set = one_region(tmp_path, FOUR)
    folds = find_folds(training_set, find_regions(training_set, 2, 0))
    settings = FitSettings(epochs=10, steps=8, minutes=3)
    assert leave_time(settings, ()) == settings
    assert leave_time(settings, folds) == replace(settings, later_share=0.5, later_steps=400)


def same(first: FinetuneResult, second: FinetuneResult) -> bool:
    ours, theirs = (each.model.module.state_dict() for each in (first, second))
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("error", [TrainingError("the loss is nan"), RuntimeError("out of memory")])
def test_a_fold_that_fails_does_not_lose_the_model(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_set, folds = one_region(tmp_path, FOUR), []

    class Failing(Fit):
        def run(self, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
            folds.append(self)
            yield from super().run(stop)
            if len(folds) == 2:
                raise error

    monkeypatch.setattr("segloop.train.folds.Fit", Failing)
    events: list[Event] = []
    result = drain(finetune_events(unet(), training_set, QUICK), events.append)
    assert len(folds) == 2 and math.isnan(result.after) and math.isnan(result.gain_error) and result.improved
    assert "not scored" in result.notices[-1] and str(error) in result.notices[-1]
    assert Notice(result.notices[-1]) in events
    assert result.model.spec.training["after"] is None and not result.model.module.training
    # half of what is shown after training beside all that is shown before it would be no comparison
    assert set(result.pictures) == {"before"}
    assert same(result, drain(finetune_events(unet(), training_set, replace(QUICK, validation=0))))


def test_stop_ends_cross_validation_too(tmp_path: Path) -> None:
    training_set = one_region(tmp_path, FOUR)
    events: list[Event] = []
    long = replace(QUICK, epochs=20)
    stop = lambda: any(isinstance(event, CrossValidating) for event in events)  # noqa: E731
    result = drain(finetune_events(unet(), training_set, long, stop), events.append)
    assert [event.fold for event in events if isinstance(event, CrossValidating)] == [1]
    assert len(result.history) == 20 and math.isnan(result.after) and "stopped" in result.notices[-1]
    assert same(result, drain(finetune_events(unet(), training_set, replace(long, validation=0))))


def test_without_an_old_model_to_compare_with_nothing_is_cross_validated(tmp_path: Path) -> None:
    training_set = one_region(tmp_path / "objects", FOUR)
    new = drain(train_events(unet().spec, training_set, QUICK))
    assert new.folds == 0 and math.isnan(new.after) and "cannot be scored" in new.notices[0]
    others = TrainingSet(tmp_path / "classes", Task.SEMANTIC, ("background", "vessel", "wall"))
    image, labels = scene(FOUR)
    others.add(Image(image, "YX"), (labels > 0).astype(np.uint8))
    for each, comparable in ((training_set, True), (others, False)):
        assert is_comparable(unet().spec, each) == comparable
        plan = plan_finetuning(each, 2, 0, 0.25, 1, comparable=comparable)
        result = drain(finetune_events(unet(), each, QUICK))
        assert plan.folds == result.folds == 2 * comparable


def test_too_few_objects_are_no_reason_to_refuse_a_model() -> None:
    def result(before: float, after: float, folds: int) -> FinetuneResult:
        return FinetuneResult(unet(), (), before, after, "AP", gain_error=0.05, folds=folds)

    assert not result(0.2, 0.2, 0).improved and result(0.2, 0.21, 0).improved
    assert result(0.0, 0.0, 2).improved and result(0.2, 0.16, 2).improved
    assert not result(0.2, 0.14, 2).improved
    # the gain seems sure where next to nothing is found, but the score before was not
    unsure = FinetuneResult(unet(), (), 0.01, 0.0, "AP", gain_error=0.005, before_error=0.03, folds=2)
    assert unsure.improved


def test_copies_of_an_image_are_not_on_both_sides(tmp_path: Path) -> None:
    image, labels = scene(FOUR)
    training_set = TrainingSet(tmp_path / "two", Task.INSTANCE, ("cell",))
    for key in ("a", "b"):
        training_set.add(Image(image, "YX"), labels, key=key)
    regions = find_regions(training_set, 2, 0)
    assert len(regions) == 2 and regions[0].chance == regions[1].chance
    # as one region
    assert split_regions(regions, 0.25) == (regions, [])
    assert len(find_folds(training_set, regions)) == 2
    more = TrainingSet(tmp_path / "more", Task.INSTANCE, ("cell",))
    for number in range(6):
        other, found = scene(FOUR[: 2 + number % 3])
        more.add(Image(other, "YX"), found, key=str(number))
    train, held_out = split_regions(find_regions(more, 2, 0), 0.4)
    # three images, two of each: what is held out is scored once
    assert 2 * len(held_out) + len(train) == 6 and held_out
    assert not {r.entry.hashes["images"] for r in train} & {r.entry.hashes["images"] for r in held_out}
    plan = plan_finetuning(more, 2, 0, 0.25, 1)
    assert plan.held_out_regions == 1 and any("One block only is held out" in what for what in plan.missing)


@pytest.mark.parametrize("seed", range(3))
def test_copies_that_overlap_are_learned_and_scored_as_one_region(seed: int, tmp_path: Path) -> None:
    image, labels = scene(FOUR)
    training_set = TrainingSet(tmp_path, Task.INSTANCE, ("cell",))
    upper = np.zeros(labels.shape, bool)
    upper[:48] = True
    training_set.add(Image(image, "YX"), labels, upper, key="upper")
    training_set.add(Image(image, "YX"), labels, key="whole")
    result = drain(finetune_events(unet(), training_set, replace(QUICK, seed=seed)))
    assert result.folds == 2 and math.isfinite(result.after)
    assert all(epoch.loss > 0 for epoch in result.history)


def test_resumed_it_is_scored_as_without_the_interruption(tmp_path: Path) -> None:
    training_set, kept = one_region(tmp_path, FOUR), []

    class Keeper:
        def last(self) -> Checkpoint | None:
            return kept[0] if kept else None

        def keep(self, checkpoint: Checkpoint) -> None:
            kept.append(checkpoint)

    whole = drain(finetune_events(unet(), training_set, QUICK, keeper=Keeper()))
    resumed = drain(finetune_events(unet(), training_set, QUICK, keeper=Keeper()))
    assert len(kept) == 5  # three epochs, then the last two again
    assert (resumed.after, resumed.gain_error, resumed.folds) == (whole.after, whole.gain_error, 2)
    # lost while it was cross-validated: no epoch is left
    kept[:] = kept[-1:]
    resumed = drain(finetune_events(unet(), training_set, QUICK, keeper=Keeper()))
    assert len(kept) == 1 and same(resumed, whole)
    assert (resumed.after, resumed.gain_error, resumed.folds) == (whole.after, whole.gain_error, 2)
