"""The contract that every model family keeps, as tests. Subclass it to prove that your own family keeps it.

In the tests of your package::

    import pytest

    pytest.register_assert_rewrite("segloop.testing")

    from segloop.testing import FamilyContract
    from my_package import FAMILY


    class TestMyFamily(FamilyContract):
        family = FAMILY
        channels = 2

It needs pytest, and a minute at most for a small network on a CPU.
"""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from segloop.errors import ModelError
from segloop.models.protocol import (
    Example,
    Family,
    Instances,
    ModelSpec,
    ScoreMap,
    Segmenter,
    Task,
    Trainable,
)
from segloop.store import load_model, write_model

UNREVIEWED = 0.4
"""Share of the example, at the end of the last axis, that nobody vouched for."""


class FamilyContract:
    """Tests of one family with one kind of spec; a subclass names the family and, if need be, the rest.

    Parameters
    ----------
    family : Family
    size : str
        One of the family's sizes; "" for the first.
    classes : tuple of str
        By default background and two classes (semantic), or one class of object (instance).
    channels, ndim : int
    side : int
        Least side of the test tiles; rounded up to the model's divisor.
    steps, learning_rate : int, float
        After so many steps of plain Adam on one example the loss must have fallen by a fifth.
    """

    family: ClassVar[Family]
    size: ClassVar[str] = ""
    classes: ClassVar[tuple[str, ...]] = ()
    channels: ClassVar[int] = 1
    ndim: ClassVar[int] = 2
    side: ClassVar[int] = 64
    steps: ClassVar[int] = 15
    learning_rate: ClassVar[float] = 1e-3

    def spec(self, classes: tuple[str, ...] = ()) -> ModelSpec:
        """The spec under test."""
        usual = ("background", "inside", "border") if self.family.task is Task.SEMANTIC else ("object",)
        return self.family.new_spec(
            "contract",
            classes or self.classes or usual,
            channels=self.channels,
            ndim=self.ndim,
            size=self.size or self.family.sizes()[0],
        )

    def model(self, classes: tuple[str, ...] = ()) -> Trainable:
        """A fresh model, the same weights each time."""
        torch.manual_seed(0)
        return self.family.build(self.spec(classes))

    def example(self, model: Trainable) -> Example:
        """Bright discs on a dark, noisy ground; the far end is not reviewed, and one disc reaches into it."""
        side = math.ceil(self.side / model.divisor) * model.divisor
        places = np.indices((side,) * self.ndim)
        labels = np.zeros((side,) * self.ndim, np.int64)
        for number, (row, column) in enumerate([(0.25, 0.2), (0.7, 0.3), (0.3, 0.6), (0.75, 0.85)], 1):
            centre = [0.5, row, column][-self.ndim :]
            distance = sum((place - side * at) ** 2 for place, at in zip(places, centre))
            labels[distance < (side / 8) ** 2] = number
        noise = np.random.default_rng(0).normal(0, 0.05, (model.spec.channels, *labels.shape))
        image = (labels > 0) + noise
        reviewed = np.ones(labels.shape, bool)
        reviewed[..., round(side * (1 - UNREVIEWED)) :] = False
        if model.spec.task is Task.SEMANTIC:
            labels = (labels > 0) + (labels % 2 == 0) * (labels > 0) * (len(model.spec.classes) > 2)
        return Example(torch.from_numpy(image.astype(np.float32)), torch.from_numpy(labels), torch.from_numpy(reviewed))

    def losses(self, model: Trainable, example: Example) -> dict[str, Tensor]:
        """The losses of a batch of two, with whatever is random in them drawn alike each time."""
        model.module.train()
        torch.manual_seed(0)
        return model.losses([example, example])

    # building

    def test_every_size_has_a_spec(self) -> None:
        """``sizes`` are what ``new_spec`` takes; any other is refused."""
        assert self.family.sizes()
        for size in self.family.sizes():
            spec = self.family.new_spec("contract", self.spec().classes, self.channels, self.ndim, size)
            assert (spec.family, spec.task) == (self.family.name, self.family.task)
            assert (spec.channels, spec.ndim) == (self.channels, self.ndim)
        with pytest.raises(ModelError):
            self.family.new_spec("contract", self.spec().classes, self.channels, self.ndim, "no such size")

    def test_builds_what_the_spec_says(self) -> None:
        """A fresh model is on the CPU and ready to predict, and its spec is the one asked for."""
        model = self.model()
        assert isinstance(model, Segmenter)
        assert model.spec == self.spec()
        assert model.device.type == "cpu"
        assert not model.module.training
        assert model.spec.tile % model.divisor == 0
        assert 2 * model.spec.halo < model.spec.tile

    def test_spec_survives_json(self) -> None:
        """The spec read back from model.json builds the same network."""
        spec = ModelSpec.from_json(json.loads(as_json(self.spec())))
        assert as_json(spec) == as_json(self.spec())
        state, other = self.model().module.state_dict(), self.family.build(spec).module.state_dict()
        assert {name: t.shape for name, t in state.items()} == {name: t.shape for name, t in other.items()}

    # predicting

    def test_prediction_has_the_type_shape_and_range(self) -> None:
        """One result per tile, as the protocol describes it."""
        model = self.model()
        image = self.example(model).image
        results = model.predict(torch.stack([image, torch.zeros_like(image), image]))
        assert len(results) == 3
        for result in results:
            if isinstance(result, ScoreMap):
                check_score_map(result, model.spec, tuple(image.shape[1:]))
            else:
                check_instances(result, model.spec, tuple(image.shape[1:]))

    def test_prediction_depends_on_the_tile_alone(self) -> None:
        """Neither the other tiles of the batch nor an earlier call change a result."""
        model = self.model()
        image = self.example(model).image
        (alone,) = model.predict(image[None])
        first, _ = model.predict(torch.stack([image, 1 - image]))
        (again,) = model.predict(image[None])
        assert_same_prediction(alone, first, tolerance=1e-4)
        assert_same_prediction(alone, again, tolerance=0)

    def test_predicting_changes_no_weight(self) -> None:
        """Not even the running statistics of a normalisation."""
        model = self.model()
        before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
        model.predict(self.example(model).image[None])
        assert_same_state(before, model.module.state_dict())

    def test_wrong_tiles_are_refused(self) -> None:
        """A wrong number of channels or dimensions, or a side that does not divide: one clear error."""
        model = self.model()
        image = self.example(model).image
        wrong = [torch.cat([image, image])[None], image]
        if model.divisor > 1:
            wrong.append(image[None, ..., : image.shape[-1] - 1])
        for tiles in wrong:
            with pytest.raises(ModelError):
                model.predict(tiles)

    # learning

    def test_losses_are_finite_and_reach_the_weights(self) -> None:
        """Named scalars whose sum has finite gradients."""
        model = self.model()
        losses = self.losses(model, self.example(model))
        assert losses
        for name, loss in losses.items():
            assert loss.ndim == 0 and torch.isfinite(loss), f"loss {name} is {loss}"
        sum(losses.values(), torch.zeros(())).backward()
        gradients = [p.grad for p in model.module.parameters() if p.requires_grad and p.grad is not None]
        assert gradients
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)

    def test_unreviewed_labels_have_no_influence(self) -> None:
        """Whatever stands where nobody looked, the losses are the same.

        The rest of an object that reaches into the reviewed part stays: by it a model may know that it is cut.
        """
        example = self.example(self.model())
        losses = {name: loss.item() for name, loss in self.losses(self.model(), example).items()}
        free = ~example.reviewed
        if self.family.task is Task.INSTANCE:
            free &= ~torch.isin(example.labels, example.labels[example.reviewed].unique()[1:])
        for number in (0, 77):
            other = Example(example.image, torch.where(free, number, example.labels), example.reviewed)
            changed = {name: loss.item() for name, loss in self.losses(self.model(), other).items()}
            assert changed == pytest.approx(losses, abs=1e-6), f"unreviewed pixels set to {number}"

    def test_nothing_reviewed_gives_finite_losses(self) -> None:
        """An example without a reviewed pixel does no harm."""
        model = self.model()
        example = self.example(model)
        blank = Example(example.image, example.labels, torch.zeros_like(example.reviewed))
        losses = self.losses(model, blank)
        assert all(bool(torch.isfinite(loss)) for loss in losses.values())
        sum(losses.values(), torch.zeros((), requires_grad=True)).backward()
        for parameter in model.module.parameters():
            assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())

    def test_loss_falls(self) -> None:
        """It can learn one easy example by heart."""
        model = self.model()
        example = self.example(model)
        optimizer = torch.optim.Adam([p for p in model.module.parameters() if p.requires_grad], lr=self.learning_rate)
        history = []
        for _ in range(self.steps):
            total = sum(self.losses(model, example).values(), torch.zeros(()))
            history.append(total.item())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        assert min(history[-3:]) < 0.8 * history[0], f"losses: {history}"

    # changing classes, saving

    def test_other_classes_keep_all_but_the_last_layer(self) -> None:
        """``with_classes`` gives a copy; the original stays as it is."""
        model = self.model()
        before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
        classes = (*model.spec.classes, "another")
        other = model.with_classes(classes)
        assert other.spec.classes == classes
        assert model.spec == self.spec()
        assert_same_state(before, model.module.state_dict())
        state = other.module.state_dict()
        assert set(state) == set(before)
        kept = [name for name in before if state[name].shape == before[name].shape]
        assert_same_state({name: before[name] for name in kept}, {name: state[name] for name in kept})
        assert sum(before[name].numel() for name in kept) > 0.8 * sum(tensor.numel() for tensor in before.values())
        image = self.example(model).image
        other.predict(image[None])

    def test_copy_for_the_same_classes_predicts_the_same(self) -> None:
        """``with_classes`` of the model's own classes is a true copy."""
        model = self.model()
        image = self.example(model).image
        other = model.with_classes(model.spec.classes)
        assert other is not model
        (expected,), (got,) = model.predict(image[None]), other.predict(image[None])
        assert_same_prediction(expected, got, tolerance=0)

    def test_can_be_copied_and_sent_after_predicting(self) -> None:
        """What a model makes for predicting is no part of what copies and other processes get."""
        model = self.model()
        image = self.example(model).image
        (expected,) = model.predict(image[None])
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            (got,) = other.predict(image[None])
            assert_same_prediction(expected, got, tolerance=0)

    def test_survives_saving_and_loading(self, tmp_path: Path) -> None:
        """The model read back from disk predicts the same, to the bit."""
        from segloop.models.device import Device

        model = self.model()
        image = self.example(model).image
        write_model(model, tmp_path / "model")
        loaded = load_model(tmp_path / "model", Device.CPU)
        assert as_json(loaded.spec) == as_json(model.spec)
        (expected,), (got,) = model.predict(image[None]), loaded.predict(image[None])
        assert_same_prediction(expected, got, tolerance=0)


def check_score_map(result: ScoreMap, spec: ModelSpec, sides: tuple[int, ...]) -> None:
    """Assert that ``result`` is the ScoreMap of a tile of ``sides``."""
    assert result.scores.dtype == np.float32
    assert result.scores.shape == (len(spec.classes), *sides)
    assert result.scores.min() >= 0
    assert result.scores.max() <= 1
    np.testing.assert_allclose(result.scores.sum(axis=0), 1, atol=1e-4)


def check_instances(result: Instances, spec: ModelSpec, sides: tuple[int, ...]) -> None:
    """Assert that ``result`` are the Instances of a tile of ``sides`` (Y, X)."""
    count = len(result)
    assert result.boxes.dtype == result.scores.dtype == result.masks.dtype == np.float32
    assert result.boxes.shape == (count, 4)
    assert result.scores.shape == result.classes.shape == (count,)
    assert result.masks.shape[:1] == (count,)
    assert result.masks.ndim == 3
    if not count:
        return
    x0, y0, x1, y1 = result.boxes.T
    assert (x0 < x1).all()
    assert (y0 < y1).all()
    assert min(x0.min(), y0.min()) >= 0
    assert y1.max() <= sides[0]
    assert x1.max() <= sides[1]
    assert (np.diff(result.scores) <= 0).all(), "expected the best first"
    for numbers, least, most in [
        (result.scores, 0, 1),
        (result.masks, 0, 1),
        (result.classes, 1, len(spec.classes)),
    ]:
        assert numbers.size == 0 or (least <= numbers.min() and numbers.max() <= most)


def as_json(spec: ModelSpec) -> str:
    """The spec as it stands in model.json."""
    return json.dumps(spec.to_json(), sort_keys=True)


def assert_same_prediction(expected: ScoreMap | Instances, got: ScoreMap | Instances, tolerance: float) -> None:
    """Assert that two predictions are equal, scores within ``tolerance``.

    With a tolerance, one instance in twenty may be another: which of two equally good objects is dropped
    depends on the last digit, and an untrained network finds nothing but such.
    """
    if isinstance(expected, ScoreMap) and isinstance(got, ScoreMap):
        np.testing.assert_allclose(got.scores, expected.scores, rtol=0, atol=tolerance)
        return
    assert isinstance(expected, Instances) and isinstance(got, Instances)
    if tolerance == 0:
        for name in ("boxes", "scores", "classes", "masks"):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        return
    assert abs(len(got) - len(expected)) <= len(expected) / 20
    if len(expected):
        distance = np.abs(expected.boxes[:, np.newaxis] - got.boxes[np.newaxis]).max(axis=2, initial=0)
        # in pixels: far below one
        assert (distance.min(axis=1, initial=np.inf) < 0.1).mean() >= 0.95


def assert_same_state(expected: dict[str, Tensor], got: dict[str, Tensor]) -> None:
    """Assert that two state dicts hold the same tensors."""
    assert set(got) == set(expected)
    changed = [name for name, tensor in expected.items() if not torch.equal(tensor, got[name])]
    assert not changed, f"changed: {changed}"
