"""A model learns images of another number of channels than it was made for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segloop.corrections import TrainingSet
from segloop.errors import ModelError
from segloop.events import Event, Notice, drain
from segloop.image import Image
from segloop.labels import Task
from segloop.models.device import Device
from segloop.models.maskrcnn import FAMILY as MASKRCNN
from segloop.models.protocol import ModelSpec, Trainable
from segloop.models.registry import get_family
from segloop.segmentation import segment
from segloop.store import load_model, save_model
from segloop.train.channels import channels_to_learn, learns_colours, with_channels
from segloop.train.finetune import FinetuneSettings, finetune_events

QUICK = FinetuneSettings(epochs=1, batch=1, crop=32, device=Device.CPU)
SPEC = ModelSpec(
    "base",
    "unet",
    Task.SEMANTIC,
    ("background", "cell", "border"),
    channels=3,
    repeat_grey=True,
    architecture={"levels": 1, "base_channels": 2},
    tile=128,
    halo=16,
)


def model(family: str) -> Trainable:
    torch.manual_seed(0)
    if family == "unet":
        return get_family(family).build(SPEC)
    return MASKRCNN.build(replace(MASKRCNN.new_spec("base", ("cell",), 3, 2, "small"), repeat_grey=True))


def filled(folder: Path, *axes: str, count: int = 2) -> TrainingSet:
    labels = np.zeros((64, 64), np.uint16)
    labels[8:24, 8:24], labels[40:56, 36:56] = 1, 2
    training_set = TrainingSet(folder, Task.INSTANCE, ("cell",))
    for number, letters in enumerate(axes):
        plane = (30 + 100 * (labels > 0) + number).astype(np.uint8)
        pixels = plane if letters == "YX" else np.stack([plane] * count, axis=letters.index(letters.strip("YX")))
        training_set.add(Image(pixels, letters), labels)
    return training_set


def test_a_grey_image_is_seen_as_before_in_any_number_of_channels() -> None:
    base = model("unet")
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = base.predict(grey.expand(1, 3, 64, 64))[0].scores
    for channels in (1, 2, 5):
        other = with_channels(base, channels)
        assert other.spec.channels == channels and not other.spec.repeat_grey
        assert np.allclose(other.predict(grey.expand(1, channels, 64, 64))[0].scores, expected, atol=1e-4)
    assert with_channels(base, 3) is base


@pytest.mark.parametrize("family", ["unet", "maskrcnn"])
def test_images_of_other_channels_are_learned_and_segmented(family: str, tmp_path: Path) -> None:
    base, training_set = model(family), filled(tmp_path, "CYX", "YXC")
    events: list[Event] = []
    result = drain(finetune_events(base, training_set, QUICK), events.append)
    assert base.spec.channels == 3 and result.model.spec.channels == 2
    assert Notice("the new model takes images of 2 channels; base@1 takes 3") in events
    # the old model cannot look at such images
    assert np.isnan(result.before) and 0 <= result.after <= 1 and result.improved
    save_model(result.model, "two")
    image = training_set.read(training_set.entries[0])[0]
    found = segment(load_model("two", Device.CPU), image)
    assert found.labels.shape == (64, 64)


def test_a_dim_channel_is_seen_beside_a_bright_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    training_set = TrainingSet(tmp_path / "stains", Task.INSTANCE, ("cell",))
    shapes = filled(tmp_path / "shapes", "YX")
    labels = shapes.read(shapes.entries[0])[1]
    bright, dim = rng.integers(0, 40_000, labels.shape), np.where(labels > 0, 600, 100)
    for _ in range(2):
        training_set.add(Image(np.stack([bright, dim]).astype(np.uint16), "CYX"), labels)
    base = model("unet")
    base.spec = replace(base.spec, normalization=replace(base.spec.normalization, joint=True))
    learned = drain(finetune_events(base, training_set, QUICK)).model.spec.normalization
    image = training_set.read(training_set.entries[0])[0]
    for seen in learned.apply(image.data, learned.fit(image)):
        assert np.ptp(seen) > 0.9
    # colours keep their balance
    assert not learns_colours(base.spec, training_set)
    assert learns_colours(base.spec, filled(tmp_path / "colours", "YXS", "YXS", count=3))
    assert with_channels(base, 4, colours=True).spec.normalization == base.spec.normalization


def test_images_of_which_nothing_is_reviewed_do_not_count(tmp_path: Path) -> None:
    training_set = filled(tmp_path, "CYX", "YXC")
    grey = filled(tmp_path / "grey", "YX")
    image, labels, _ = grey.read(grey.entries[0])
    training_set.add(image, labels, np.zeros(labels.shape, bool))
    assert channels_to_learn(SPEC, training_set) == 2
    assert drain(finetune_events(model("unet"), training_set, QUICK)).model.spec.channels == 2


def test_what_the_model_takes_already_stays(tmp_path: Path) -> None:
    for number, axes in enumerate((("YX", "YX"), ("YX", "YXS"), ("YXS",))):
        assert channels_to_learn(SPEC, filled(tmp_path / str(number), *axes, count=3)) == 3
    assert channels_to_learn(SPEC, filled(tmp_path / "transparent", "YXS", count=4)) == 3
    assert channels_to_learn(replace(SPEC, repeat_grey=False), filled(tmp_path / "grey", "YX")) == 1


def test_images_of_different_channels_are_refused(tmp_path: Path) -> None:
    training_set = filled(tmp_path, "YX", "CYX")
    assert channels_to_learn(SPEC, training_set) == 3
    with pytest.raises(ModelError, match="has 2 channels, but the model takes 3"):
        drain(finetune_events(model("unet"), training_set, QUICK))
