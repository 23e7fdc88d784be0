"""Lineage: a model is not scored where it has learned before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from segloop.corrections import TrainingSet
from segloop.events import drain
from segloop.image import Image
from segloop.models.protocol import ModelSpec, Task
from segloop.models.unet import FAMILY
from segloop.train.finetune import FinetuneSettings, finetune_events
from segloop.train.lineage import is_known, learned_by, regions_digest, with_learned
from segloop.train.plan import plan_finetuning
from segloop.train.regions import Region, find_regions, split_regions

SPEC = ModelSpec(
    "base",
    "unet",
    Task.SEMANTIC,
    ("background", "cell"),
    architecture={"levels": 1, "base_channels": 2},
    tile=128,
    halo=16,
)


def add(training_set: TrainingSet, seed: int, side: int = 256) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.uint8)
    labels[::16, ::16] = 1
    training_set.add(Image((labels * 100 + rng.integers(0, 50, labels.shape)).astype(np.uint8), "YX"), labels)


def test_what_was_learned_is_known_by_its_image_and_place(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path / "a", Task.SEMANTIC, SPEC.classes)
    add(training_set, 0)
    add(training_set, 1)
    regions = find_regions(training_set, 2, 0)
    record = with_learned({}, regions[:3])
    assert [is_known(region, record) for region in regions] == [True] * 3 + [False] * 5
    # the same image in another training set, under another number
    other = TrainingSet(tmp_path / "b", Task.SEMANTIC, SPEC.classes)
    add(other, 1)
    add(other, 0)
    assert [is_known(region, record) for region in find_regions(other, 2, 0)] == [False] * 4 + [True] * 3 + [False]
    # a block that moved by a few pixels shares nothing that counts with its neighbour
    moved = replace(regions[3], box=(slice(120, 256), slice(124, 256)))
    assert not is_known(moved, record) and is_known(replace(moved, box=(slice(64, 192), slice(0, 128))), record)
    assert with_learned(record, regions[2:4]) == with_learned({}, regions[:4])
    # two strips of which neither counts, and both together do; one strip twice is one strip
    strips = [replace(regions[7], box=(slice(128 + n, 138 + n), slice(128, 256))) for n in (0, 20)]
    assert not is_known(
        regions[7], with_learned({}, [strips[0], replace(strips[0], box=(slice(128, 138), slice(100, 256)))])
    )
    assert is_known(regions[7], with_learned({}, strips))


def test_known_regions_are_learned_again_and_others_held_out(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, Task.SEMANTIC, SPEC.classes)
    add(training_set, 0)
    add(training_set, 1)
    regions = find_regions(training_set, 2, 0)
    lowest = min(regions, key=lambda region: region.chance)
    train, held_out = split_regions(regions, 0.25, lambda region: region is lowest)
    assert lowest in train and held_out and len(held_out) <= 2
    # where all are known, one is held out all the same
    assert split_regions(regions, 0.25, lambda region: True)[1] == [lowest]


def test_of_few_regions_no_more_than_the_share_is_held_out() -> None:
    chances = [0.01, 0.02, 0.03, 0.04, 0.05, 0.9, 0.95]
    box = (slice(0, 1), slice(0, 1))
    entry = SimpleNamespace(id="0001", hashes={"images": "same"})
    regions = [Region(entry, (n,), box, True, chance, box) for n, chance in enumerate(chances)]
    assert [region.plane[0] for region in split_regions(regions, 0.25)[1]] == [0, 1]
    assert [region.plane[0] for region in split_regions(regions, 0.1)[1]] == [0]
    # of many, chance does what it should, and what is held out stays so as more are added
    many = [Region(entry, (n,), box, True, chance + n * 1e-6, box) for n, chance in enumerate(chances * 10)]
    assert len(split_regions(many, 0.25)[1]) == 50
    # nine of sixteen, which is what chance gave four regions of 256 pixels, are too many
    sixteen = [Region(entry, (n,), box, True, (n + 0.5) * 0.025, box) for n in range(16)]
    assert [region.plane[0] for region in split_regions(sixteen, 0.25)[1]] == [0, 1, 2, 3]


def test_a_tuned_model_is_scored_where_it_never_learned(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, Task.SEMANTIC, SPEC.classes)
    add(training_set, 0, side=128)
    settings = FinetuneSettings(epochs=1, batch=1, crop=32)
    first = drain(finetune_events(FAMILY.build(SPEC), training_set, settings)).model
    (region,) = find_regions(training_set, 2, 0)
    assert is_known(region, learned_by(first.spec))
    for seed in (1, 2, 3):
        add(training_set, seed, side=128)
    regions = find_regions(training_set, 2, 0)
    second = drain(finetune_events(first, training_set, settings)).model
    known = [is_known(region, learned_by(second.spec)) for region in regions]
    assert known[0] and not all(known)
    assert second.spec.training["held_out_regions"] == known.count(False)


def test_the_plan_tells_what_will_be_held_out(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, Task.SEMANTIC, SPEC.classes)
    for seed in range(3):
        add(training_set, seed)
    ordered = sorted(find_regions(training_set, 2, 0), key=lambda region: region.chance)
    assert len(ordered) == 12
    settings = FinetuneSettings(epochs=1, batch=1, crop=32, validation=ordered[3].chance)
    base, digests = FAMILY.build(SPEC), []
    # three are below the share; two of them were learned before
    for learned, held_out in (({}, 3), (with_learned({}, ordered[:2]), 1)):
        base.spec = replace(base.spec, training={"learned": learned})
        told = plan_finetuning(training_set, 2, settings.seed, settings.validation, settings.batch, learned)
        made = drain(finetune_events(base, training_set, settings)).model.spec.training
        assert told.held_out_regions == made["held_out_regions"] == held_out
        assert told.train_regions == made["train_regions"] == 12 - held_out
        digests.append(made["held_out_sha256"])
    # the same data, seed and share, and yet the scores are of other regions
    assert digests == [regions_digest(ordered[2::-1]), regions_digest(ordered[2:3])]


def test_scores_on_what_was_learned_before_are_told_to_be_too_high(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, Task.SEMANTIC, SPEC.classes)
    add(training_set, 0)
    settings = FinetuneSettings(epochs=1, batch=1, crop=32)
    given = (training_set, 2, settings.seed, settings.validation, settings.batch)
    all_learned = drain(finetune_events(FAMILY.build(SPEC), training_set, replace(settings, validation=0))).model
    again = drain(finetune_events(all_learned, training_set, settings))
    assert [notice for notice in again.notices if "learned before what is held out" in notice]
    assert [text for text in plan_finetuning(*given, learned_by(all_learned.spec)).missing if "too high" in text]
    anew = drain(finetune_events(FAMILY.build(SPEC), training_set, settings))
    assert anew.notices == () and not [text for text in plan_finetuning(*given).missing if "too high" in text]
