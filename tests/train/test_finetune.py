"""Fine-tuning: from a training set to a model that was scored before and after."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch

from segloop.corrections import TrainingSet
from segloop.errors import ModelError, TrainingError
from segloop.events import EpochDone, HeldOutFound, Notice, Scored, TrainingStarted, drain
from segloop.image import Image
from segloop.models.device import Device
from segloop.models.maskrcnn import FAMILY as MASKRCNN
from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.protocol import Instances, ModelSpec, Task, Trainable
from segloop.models.unet import FAMILY as UNET
from segloop.segmentation import segment
from segloop.store import load_model, save_model
from segloop.train.finetune import FinetuneSettings, finetune, finetune_events, train_events

QUICK = FinetuneSettings(epochs=1, batch=1, crop=32, device=Device.CPU)
BORDERS = ("background", "cell", "border")


def unet(classes: tuple[str, ...] = BORDERS, **fields: object) -> Trainable:
    torch.manual_seed(0)
    spec = ModelSpec(
        "base", "unet", Task.SEMANTIC, classes, architecture={"levels": 1, "base_channels": 2}, tile=128, halo=16
    )
    return UNET.build(replace(spec, **fields))


def maskrcnn(classes: tuple[str, ...] = ("cell",), **fields: object) -> Trainable:
    torch.manual_seed(0)
    config = MaskRCNNConfig(
        (8,) * 4, (1,) * 4, pyramid=8, box_hidden=8, mask_layers=(8,), proposals_train=20, proposals=20, detections=10
    )
    numbers = {name: getattr(config, name) for name in config.__slots__}
    return MASKRCNN.build(
        replace(ModelSpec("base", "maskrcnn", Task.INSTANCE, classes, architecture=numbers), **fields)
    )


def scene(seed: int, radius: int = 7, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs on a noisy ground: uint8 image, uint16 instances."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side))
    labels = np.zeros((side, side), np.uint16)
    step = 3 * radius
    for number, (y, x) in enumerate(np.ndindex(side // step, side // step), 1):
        cy, cx = (y + 0.5) * step + rng.uniform(-2, 2), (x + 0.5) * step + rng.uniform(-2, 2)
        labels[(rows - cy) ** 2 + (columns - cx) ** 2 < radius**2] = number
    image = 40 + 150 * (labels > 0) + rng.normal(0, 8, labels.shape)
    return image.clip(0, 255).astype(np.uint8), labels


def instances(folder: Path, count: int = 3, radius: int = 7, side: int = 96) -> TrainingSet:
    training_set = TrainingSet(folder, Task.INSTANCE, ("cell",))
    for seed in range(count):
        image, labels = scene(seed, radius, side)
        training_set.add(Image(image, "YX"), labels, model="base@1")
    return training_set


def classes(folder: Path, names: tuple[str, ...] = ("background", "cell"), count: int = 3) -> TrainingSet:
    training_set = TrainingSet(folder, Task.SEMANTIC, names)
    for seed in range(count):
        image, labels = scene(seed)
        training_set.add(Image(image, "YX"), (labels > 0) * (1 + labels % (len(names) - 1)))
    return training_set


def weights(model: Trainable) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("make", [unet, maskrcnn])
def test_the_base_model_is_unchanged_and_the_result_can_be_saved(make: Callable[[], Trainable], tmp_path: Path) -> None:
    model = make()
    before, spec = weights(model), model.spec
    result = finetune(model, instances(tmp_path), replace(QUICK, epochs=2))
    assert equal(weights(model), before) and model.spec == spec and not model.module.training
    assert result.model is not model and not equal(weights(result.model), before)
    assert 0 <= result.before <= 1 and 0 <= result.after <= 1
    assert result.improved == (result.after > result.before)
    assert result.metric == "mean AP (IoU 0.5 to 0.95)" if make is maskrcnn else "mean Dice of the classes"

    trained = result.model.spec
    assert trained.parent == "base@1" and trained.classes == spec.classes
    assert [entry["id"] for entry in trained.training["entries"]] == ["0001", "0002", "0003"]
    assert trained.training["epochs"] == 2 and trained.training["settings"]["seed"] == 0
    assert trained.training["after"] == result.after
    json.dumps(trained.to_json(), allow_nan=False)

    save_model(result.model, "better")
    loaded = load_model("better", Device.CPU)
    image = Image(scene(9)[0], "YX")
    ours, theirs = segment(result.model, image), segment(loaded, image)
    assert np.array_equal(ours.labels.data, theirs.labels.data)
    (first,), (second,) = (
        each.predict(torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)))
        for each in (result.model, loaded)
    )
    names = ("boxes", "scores", "masks") if isinstance(first, Instances) else ("scores",)
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.mark.parametrize("names", [("background", "cell"), ("background", "nucleus", "vessel")])
def test_the_same_seed_gives_the_same_model(names: tuple[str, ...], tmp_path: Path) -> None:
    """Also with a new last layer, which is drawn at random."""
    training_set = classes(tmp_path, names)
    results = []
    for seed in (0, 0, 1):
        torch.rand(int(torch.randint(9, (1,))))  # whatever the program drew before
        results.append(finetune(unet(("background", "cell")), training_set, replace(QUICK, seed=seed)))
    first, second, third = (weights(result.model) for result in results)
    assert equal(first, second) and not equal(first, third)
    assert [event.loss for event in results[0].history] == [event.loss for event in results[1].history]


def test_events_in_their_order(tmp_path: Path) -> None:
    events = []
    result = drain(finetune_events(maskrcnn(), instances(tmp_path), replace(QUICK, epochs=3)), events.append)
    kinds = [type(event) for event in events if not isinstance(event, Notice | HeldOutFound)]
    assert kinds == [TrainingStarted, Scored, EpochDone, EpochDone, EpochDone, Scored]
    started = next(event for event in events if isinstance(event, TrainingStarted))
    assert started.epochs == 3 and started.train_regions + started.validation_regions == 3
    assert started.validation_regions >= 1 and started.device == "cpu"
    stages = [(event.stage, event.score) for event in events if isinstance(event, Scored)]
    assert stages == [("before", result.before), ("after", result.after)]
    assert result.history == tuple(event for event in events if isinstance(event, EpochDone))
    assert result.history[-1].score == result.after


def test_stopping_gives_what_was_learned(tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    model = unet()
    result = drain(finetune_events(model, instances(tmp_path), replace(QUICK, epochs=50), stop))
    assert len(result.history) == 1 and result.model.spec.training["steps"] < 8
    assert not equal(weights(result.model), weights(model))
    assert not math.isnan(result.after)


def test_what_is_not_reviewed_is_not_learned(tmp_path: Path) -> None:
    """Whatever labels stand where nobody vouches for them, the model becomes the same, bit by bit."""
    results = []
    for name in ("right", "wrong"):
        training_set = TrainingSet(tmp_path / name, Task.SEMANTIC, ("background", "cell"))
        for seed in range(3):
            image, labels = scene(seed)
            reviewed = np.zeros(labels.shape, bool)
            reviewed[:, :60] = True
            painted = (labels > 0).astype(np.uint8)
            if name == "wrong":
                painted[~reviewed] = np.random.default_rng(seed).integers(0, 2, int((~reviewed).sum()))
            training_set.add(Image(image, "YX"), painted, reviewed)
        results.append(finetune(unet(("background", "cell")), training_set, QUICK))
    assert equal(*(weights(result.model) for result in results))
    assert results[0].after == results[1].after


def test_other_classes_get_a_new_last_layer_and_no_score_before(tmp_path: Path) -> None:
    model = unet()
    names = ("background", "vessel", "nucleus")
    result = finetune(model, classes(tmp_path, names), QUICK)
    assert result.model.spec.classes == names
    assert math.isnan(result.before) and not math.isnan(result.after) and result.improved
    assert result.model.spec.border_class is None


def test_classes_that_nobody_named_are_the_models(tmp_path: Path) -> None:
    result = finetune(unet(("background", "tissue")), classes(tmp_path, ("background", "foreground")), QUICK)
    assert result.model.spec.classes == ("background", "tissue") and not math.isnan(result.before)


def test_objects_teach_a_model_of_borders(tmp_path: Path) -> None:
    result = finetune(unet(), instances(tmp_path), replace(QUICK, epochs=6, learning_rate=0.03, batch=2, crop=64))
    assert result.model.spec.classes == BORDERS and result.model.spec.border_class == 2
    assert result.metric == "mean Dice of the classes"
    assert result.after > result.before
    assert result.history[-1].loss < 0.8 * result.history[0].loss


def test_objects_teach_a_model_of_two_classes(tmp_path: Path) -> None:
    assert finetune(unet(("background", "cell")), instances(tmp_path), QUICK).model.spec.classes == (
        "background",
        "cell",
    )


def test_object_classes(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, Task.INSTANCE, ("round", "large"))
    for seed in range(2):
        image, labels = scene(seed)
        training_set.add(Image(image, "YX"), labels, object_classes=dict.fromkeys(range(1, 8), 2))
    result = finetune(maskrcnn(), training_set, QUICK)
    assert result.model.spec.classes == ("round", "large") and math.isnan(result.before)


def test_one_class_of_objects_is_called_as_in_the_training_set(tmp_path: Path) -> None:
    image, labels = scene(0)
    for names, told in ((("worm",), ("worm",)), (("object",), ("cell",))):
        training_set = TrainingSet(tmp_path / names[0], Task.INSTANCE, names)
        training_set.add(Image(image, "YX"), labels)
        base = maskrcnn()
        result = finetune(base, training_set, QUICK)
        # the last layer was kept: the model is scored against the old one
        assert result.model.spec.classes == told and not math.isnan(result.before)
        assert base.spec.classes == ("cell",)


def test_tasks_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds classes, but 'base' learns single objects; give every object"):
        finetune(maskrcnn(), classes(tmp_path / "a"), QUICK)
    four = unet(("background", "a", "b", "c"))
    with pytest.raises(ModelError, match="holds single objects, but 'base' learns background, a, b, c; paint classes"):
        finetune(four, instances(tmp_path / "b"), QUICK)


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, Task.INSTANCE, ("cell",))
    image, labels = scene(0)
    training_set.add(Image(image, "YX"), labels)
    training_set.add(Image(np.stack([image] * 2), "CYX", name="two.tif"), labels)
    with pytest.raises(ModelError, match=r"'two.tif' has 2 channels, but the model takes 1"):
        finetune(maskrcnn(), training_set, QUICK)


def test_nothing_reviewed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no region is reviewed"):
        finetune(unet(), TrainingSet(tmp_path / "empty"), QUICK)
    training_set = TrainingSet(tmp_path / "unseen")
    image, labels = scene(0)
    training_set.add(Image(image, "YX"), labels, np.zeros(labels.shape, bool))
    with pytest.raises(TrainingError, match="no region is reviewed"):
        finetune(unet(), training_set, QUICK)


@pytest.mark.parametrize(
    ("task", "side", "enough"),
    [(Task.INSTANCE, 30, "32 × 32 pixels, or the larger part of an object"), (Task.SEMANTIC, 3, "16 pixels")],
)
def test_too_little_reviewed(task: Task, side: int, enough: str, tmp_path: Path) -> None:
    reviewed = np.zeros((64, 64), bool)
    reviewed[:side, :side] = True
    training_set = TrainingSet(tmp_path, task, ("cell",) if task is Task.INSTANCE else ("background", "cell"))
    training_set.add(Image(np.zeros((64, 64), np.uint8), "YX"), np.zeros((64, 64), np.uint8), reviewed)
    with pytest.raises(TrainingError, match=f"no reviewed region is large enough; expected {enough}"):
        finetune(unet(), training_set, QUICK)


def test_a_single_object_cannot_be_held_out_too(tmp_path: Path) -> None:
    events = []
    result = drain(finetune_events(unet(), instances(tmp_path, count=1, side=30), QUICK), events.append)
    message = "nothing could be held out, so the new model cannot be scored; review a second region"
    assert Notice(message) in events and message in result.notices
    assert math.isnan(result.before) and math.isnan(result.after) and result.improved


def test_the_scale_fits_the_objects(tmp_path: Path) -> None:
    # discs of radius 40, diameter 80; the model works at 16, and sees what is twice as large
    training_set = instances(tmp_path, count=2, radius=40, side=140)
    result = finetune(unet(object_size=16.0), training_set, QUICK)
    assert result.model.spec.zoom == pytest.approx(0.4, abs=0.01)
    assert any("scaled by 0.4" in notice for notice in result.notices)
    # and from then on it segments such images at this scale
    found = segment(result.model, Image(scene(0, 40, 140)[0], "YX"))
    assert found.labels.shape == (140, 140)
    # objects of half to four times the size need no scaling, but the model knows then what it learned
    for known, learned in ((45.0, 45.0), (25.0, 80.0)):
        spec = finetune(unet(object_size=known), training_set, QUICK).model.spec
        assert spec.zoom == 1 and spec.object_size == pytest.approx(learned, abs=0.5)


def test_from_nothing(tmp_path: Path) -> None:
    training_set = instances(tmp_path, count=2)
    first, second = (drain(train_events(maskrcnn().spec, training_set, QUICK)) for _ in range(2))
    assert equal(weights(first.model), weights(second.model))
    assert math.isnan(first.before) and first.model.spec.parent == ""
    # how large the objects are was read from the labels: 14 pixels, doubled to suit the network
    assert first.model.spec.object_size == pytest.approx(14 * first.model.spec.zoom, rel=0.05)


def noisy(image: np.ndarray) -> np.ndarray:
    """Another microscope: a third of the contrast on a light ground, much noise."""
    grey = image if image.ndim == 2 else image[..., :3].mean(axis=-1)
    grey = (grey - grey.min()) / np.ptp(grey)
    noise = np.random.default_rng(0).normal(0, 0.12, grey.shape)
    return (255 * np.clip(0.3 * grey + 0.35 + noise, 0, 1)).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nuclei-unet", "nuclei-maskrcnn"])
def test_a_bundled_model_learns_another_microscope(name: str, nuclei: Path, tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, Task.INSTANCE, ("nucleus",))
    for stem in ("1c681dfa5cf7", "245b99587837", "27c30f901149", "4c465a54e329"):
        image = noisy(iio.imread(nuclei / "images" / f"{stem}.png"))
        labels = tifffile.imread(nuclei / "labels" / f"{stem}.tif")
        training_set.add(Image(image[:192, :192], "YX"), labels[:192, :192])
    model = load_model(name, Device.CPU)
    before = weights(model)
    result = finetune(model, training_set, FinetuneSettings(epochs=4, crop=128, device=Device.CPU))
    assert result.after > result.before + 0.03
    assert result.improved and equal(weights(model), before)
    save_model(result.model, "mine")
    image = Image(noisy(iio.imread(nuclei / "images" / "63d981a10709.png"))[:128, :128], "YX")
    expected, got = segment(result.model, image), segment(load_model("mine", Device.CPU), image)
    assert np.array_equal(expected.labels.data, got.labels.data)
