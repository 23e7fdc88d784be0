"""The bundled model's own domain: scored before and after, rehearsed, and left alone where it means nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segloop.corrections import TrainingSet
from segloop.image import Image
from segloop.labels import Task
from segloop.models.device import Device
from segloop.models.protocol import Example, ModelSpec
from segloop.samples.own_domain import FOLDER, rehearsed_images, scored_images
from segloop.store import load_model, save_model
from segloop.train.augment import Augmentation
from segloop.train.finetune import FinetuneSettings, finetune
from segloop.train.own_domain import OwnDomain, OwnScores, Rehearsal, has_young_classes, origin_of, rehearsal_share

NAMES = ("nuclei-unet", "nuclei-maskrcnn")
QUICK = FinetuneSettings(epochs=1, batch=1, crop=64, device=Device.CPU, learning_rate=1e-6)


def training_set(folder: Path, task: Task, classes: tuple[str, ...]) -> TrainingSet:
    made = TrainingSet(folder, task, classes)
    rng = np.random.default_rng(0)
    for _ in range(2):
        labels = np.zeros((64, 64), np.uint8)
        labels[10:30, 12:34] = 1
        image = 40 + 150 * labels + rng.integers(0, 20, labels.shape)
        made.add(Image(image.astype(np.uint8), "YX"), labels)
    return made


def test_the_images_are_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 1_000_000
    scored, rehearsed = scored_images(), rehearsed_images()
    assert len(scored) == 8 and len(rehearsed) == 10
    assert not {own.image.name for own in scored} & {own.image.name for own in rehearsed}
    for own in (*scored, *rehearsed):
        assert own.labels.shape == own.image.label_shape and own.labels.max() >= 3
        assert sorted(np.unique(own.labels)) == list(range(own.labels.max() + 1))


@pytest.mark.parametrize("name, least", [("nuclei-unet", 0.6), ("nuclei-maskrcnn", 0.4)])
def test_bundled_models_know_their_own_domain(name: str, least: float) -> None:
    model = load_model(name, Device.CPU)
    own = OwnDomain(model.spec, True)
    assert own.origin == f"{name}@1"
    spec = model.spec
    score = own.score(model, Device.CPU)
    assert score.value > least and len(score.regions) == 8 and model.spec == spec
    # at the own scale, whatever scale and size of objects the model was taught since
    model.spec = replace(spec, zoom=2.0, object_size=60.0)
    assert own.score(model, Device.CPU).value == score.value and model.spec.zoom == 2.0


def test_fine_tuning_tells_what_became_of_it(tmp_path: Path) -> None:
    base = load_model("nuclei-unet", Device.CPU)
    result = finetune(base, training_set(tmp_path / "a", Task.INSTANCE, ("cell",)), QUICK)
    # steps so small that nothing is forgotten
    assert result.own.after == pytest.approx(result.own.before, abs=0.01)
    assert result.own.words.startswith("on images of the kind that nuclei-unet was made for: 0.")
    training = result.model.spec.training
    assert training["origin"] == "nuclei-unet@1" and training["own_after"] == result.own.after
    json.dumps(training, allow_nan=False)
    # and of its children
    save_model(result.model, "mine")
    mine = load_model("mine", Device.CPU)
    assert origin_of(mine.spec) == "nuclei-unet@1" and mine.spec.parent == "nuclei-unet@1"
    assert not has_young_classes(mine.spec, mine.spec.classes)
    again = finetune(mine, training_set(tmp_path / "b", Task.INSTANCE, ("cell",)), QUICK)
    assert again.own.before == result.own.after


def test_new_classes_are_not_scored_with_the_old_ones_labels(tmp_path: Path) -> None:
    base = load_model("nuclei-unet", Device.CPU)
    named = ("background", "membrane")
    result = finetune(base, training_set(tmp_path, Task.SEMANTIC, named), replace(QUICK, rehearsal=0.5))
    assert result.own.origin == "nuclei-unet@1" and math.isnan(result.own.before)
    assert result.own.words.startswith("classes or channels are new") and "own_before" not in result.model.spec.training
    assert origin_of(result.model.spec) == ""
    assert has_young_classes(result.model.spec, result.model.spec.classes)


def test_other_models_have_no_own_domain_here() -> None:
    spec = ModelSpec("nuclei-unet", "unet", Task.SEMANTIC, ("background", "cell"))
    assert origin_of(spec) == "" and OwnScores().words == ""
    assert not has_young_classes(spec, spec.classes) and has_young_classes(spec, ("sky", "sea"))
    objects = load_model("nuclei-maskrcnn").spec
    assert not has_young_classes(replace(objects, parent="mine@1", training={"young_classes": True}), ("worm",))
    own = OwnDomain(spec, True)
    draw = rehearsal_source(1)
    assert own.rehearse(draw, 0.5, spec, (64, 64), Augmentation()) is draw


def rehearsal_source(value: int):
    def draw(rng: np.random.Generator) -> Example:
        rng.random(3)
        plane = torch.full((4, 4), value)
        return Example(plane[None].float(), plane, plane > 0, {})

    return draw


def test_the_share_is_kept() -> None:
    mixed = Rehearsal(rehearsal_source(1), rehearsal_source(2), 0.25)
    drawn = [int(mixed(np.random.default_rng([0, n])).labels[0, 0]) for n in range(2000)]
    assert drawn.count(2) / 2000 == pytest.approx(0.25, abs=0.03)
    assert drawn == [int(mixed(np.random.default_rng([0, n])).labels[0, 0]) for n in range(2000)]


def test_by_default_classes_are_rehearsed() -> None:
    shares = [rehearsal_share(FinetuneSettings().rehearsal, load_model(name, Device.CPU).spec) for name in NAMES]
    assert shares == [0.25, 0.0]
    assert rehearsal_share(0.5, load_model(NAMES[1], Device.CPU).spec) == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_what_is_rehearsed_is_as_the_model_sees_it(name: str) -> None:
    spec = load_model(name, Device.CPU).spec
    own = OwnDomain(spec, True)
    draw = own.rehearse(rehearsal_source(1), 0.999, spec, (128, 128), Augmentation())
    example = draw(np.random.default_rng(5))
    assert example.image.shape == (spec.channels, 128, 128) and example.labels.shape == (128, 128)
    assert example.labels.max() == 2 if spec.task is Task.SEMANTIC else example.labels.max() > 0
    assert example.reviewed.any()
