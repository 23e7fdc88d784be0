"""Fine-tuning: what is stopped too early, what a new model knows of its objects, and how it learns new classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segloop.corrections import TrainingSet
from segloop.errors import TrainingError
from segloop.events import drain
from segloop.image import Image
from segloop.labels import Task
from segloop.models.protocol import ModelSpec
from segloop.models.registry import get_family
from segloop.train.finetune import FinetuneSettings, finetune_events, train_events

QUICK = FinetuneSettings(epochs=1, crop=64, batch=1, validation=0)


def tiny_spec() -> ModelSpec:
    spec = get_family("unet").new_spec("tiny", ("background", "inside", "border"), 1, 2, "small")
    return replace(spec, tile=64, halo=16, architecture={**spec.architecture, "levels": 1, "base_channels": 2})


@pytest.fixture
def training_set(tmp_path: Path) -> TrainingSet:
    labels = np.zeros((64, 64), np.uint16)
    labels[8:18, 10:20] = 1
    labels[30:40, 30:40] = 2
    training_set = TrainingSet(tmp_path)
    training_set.add(Image((labels > 0).astype(np.uint8), "YX"), labels)
    return training_set


def test_stopped_before_the_first_step_there_is_no_new_model(training_set: TrainingSet) -> None:
    with pytest.raises(TrainingError, match="before its first step"):
        drain(train_events(tiny_spec(), training_set, QUICK, stop=lambda: True))
    model = get_family("unet").build(tiny_spec())
    with pytest.raises(TrainingError, match="before its first step"):
        drain(finetune_events(model, training_set, QUICK, stop=lambda: True))


def test_a_new_model_knows_how_large_its_objects_are(training_set: TrainingSet) -> None:
    spec = drain(train_events(tiny_spec(), training_set, QUICK)).model.spec
    # squares of 10 × 10 pixels, magnified to what a network sees well
    assert spec.zoom > 1
    assert spec.object_size == pytest.approx(10 * np.sqrt(4 / np.pi) * spec.zoom, abs=0.06)
    known = get_family("unet").build(replace(tiny_spec(), object_size=12.0))
    assert drain(finetune_events(known, training_set, QUICK)).model.spec.object_size == 12.0


KNOWN = ("background", "inside", "border")


@pytest.mark.parametrize(
    ("names", "record", "same"),
    [
        (KNOWN, {}, True),
        # such as a person's own model, or one whose number of channels was changed
        (KNOWN, {"parent_sha256": "1f", "young_classes": False}, True),
        (KNOWN, {"parent_sha256": "1f", "young_classes": True}, False),
        (("sky", "sea", "sand"), {}, False),
    ],
)
def test_statistics_of_the_features_are_learned_with_young_classes_only(
    names: tuple[str, ...], record: dict[str, object], same: bool, tmp_path: Path
) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[8:40, 10:30] = 1
    labels[40:60, 10:30] = 2
    training_set = TrainingSet(tmp_path, Task.SEMANTIC, names)
    training_set.add(Image(labels * 100, "YX"), labels)
    model = get_family("unet").build(replace(tiny_spec(), parent="mine@1" if record else "", training=record))
    old = model.module.state_dict()
    found = drain(finetune_events(model, training_set, QUICK)).model
    assert found.spec.training["young_classes"] is not same
    new = found.module.state_dict()
    means = [name for name in old if name.endswith("running_mean")]
    assert means
    assert all(torch.equal(old[name], new[name]) == same for name in means)
