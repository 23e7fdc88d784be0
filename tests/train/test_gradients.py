"""Gradients: of a batch's examples side by side, or of all together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segloop.models.device import has_fast_bfloat16
from segloop.models.maskrcnn import FAMILY as MASKRCNN
from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.protocol import Example, MeanLoss, ModelSpec, Task, Trainable
from segloop.models.unet import FAMILY as UNET
from segloop.train.gradients import Gradients, weighed


def maskrcnn(samples: int = 0) -> Trainable:
    torch.manual_seed(0)
    config = MaskRCNNConfig((8,) * 4, (1,) * 4, pyramid=8, box_hidden=8, mask_layers=(8,), proposals_train=20)
    if samples:
        # more than there are: nothing is left to chance
        config = replace(config, rpn_samples=samples, box_samples=samples, rpn_positive=1.0, box_positive=1.0)
    numbers = {name: getattr(config, name) for name in config.__slots__}
    return MASKRCNN.build(ModelSpec("x", "maskrcnn", Task.INSTANCE, ("cell",), architecture=numbers))


def unet() -> Trainable:
    torch.manual_seed(0)
    numbers = {"levels": 1, "base_channels": 2}
    return UNET.build(ModelSpec("x", "unet", Task.SEMANTIC, ("background", "cell"), architecture=numbers))


def crops(count: int) -> list[Example]:
    found = []
    for number in range(count):
        rng = np.random.default_rng(number)
        labels = np.zeros((64, 64), np.int64)
        for place in range(number + 1):
            y, x = rng.integers(0, 50, 2)
            labels[y : y + 12, x : x + 12] = place + 1
        image = torch.from_numpy(((labels > 0) + rng.normal(0, 0.1, labels.shape)).astype(np.float32))[None]
        found.append(Example(image, torch.from_numpy(labels), torch.ones(labels.shape, dtype=torch.bool)))
    return found


def training(model: Trainable) -> list[nn.Parameter]:
    model.module.train()
    for layer in model.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return list(model.module.parameters())


@pytest.fixture
def two_threads() -> Iterator[None]:
    with threads(2):
        yield


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segloop.train.gradients.has_fast_bfloat16", lambda device: False)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def computed(model: Trainable, examples: list[Example], step: int, apart: bool = True) -> tuple[float, list[Tensor]]:
    gradients = Gradients(model, len(examples), seed=4, apart=apart)
    loss = gradients.compute(examples, step, lambda: None)
    gradients.close()
    return loss, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in training(model)]


def empty(reviewed: bool) -> Example:
    pixels = torch.full((64, 64), reviewed)
    return Example(torch.randn(1, 64, 64), torch.zeros((64, 64), dtype=torch.int64), pixels)


BATCHES = {
    "objects": lambda: crops(3),
    "one without objects": lambda: [crops(2)[1], empty(reviewed=True)],
    "one with nothing reviewed": lambda: [empty(reviewed=False), *crops(2)],
    "none with objects": lambda: [empty(reviewed=True), empty(reviewed=True)],
    "nothing reviewed": lambda: [empty(reviewed=False), empty(reviewed=False)],
}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.usefixtures("float32")
def test_loss_and_gradients_are_those_of_the_batch_together(batch: str, count: int) -> None:
    model, examples = maskrcnn(samples=10**6), BATCHES[batch]()
    training(model)
    with threads(count):
        loss, gradients = computed(model, examples, 7)
        whole, wanted = computed(model, examples, 7, apart=False)
    assert loss == pytest.approx(whole, rel=1e-5)
    for found, own in zip(gradients, wanted):
        torch.testing.assert_close(found, own, rtol=1e-4, atol=1e-5)
    has_masks = any(bool((example.labels > 0).any()) for example in examples)
    assert any(bool(g.any()) for g in gradients[-4:]) == has_masks
    # a step moves what nothing was learned of as it does together: zeros are not the same as nothing
    assert all(p.grad is not None for p in training(model))


@pytest.mark.usefixtures("float32")
def test_the_number_of_threads_changes_no_more_than_rounding() -> None:
    model, examples = maskrcnn(), [*crops(4), empty(reviewed=True)]
    training(model)
    found = []
    for count in (1, 2):
        with threads(count):
            found.append(computed(model, examples, 7))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, two in zip(found[0][1], found[1][1]):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_an_example_weighs_as_much_as_it_has_of_what_a_loss_is_the_mean_over() -> None:
    def loss(value: float, count: int) -> MeanLoss:
        return MeanLoss(torch.tensor(value), count)

    shares = weighed(
        [{"a": loss(2.0, 1), "b": loss(5.0, 4)}, {"a": loss(4.0, 3), "b": loss(0.0, 0)}, {"a": loss(0.0, 0)}]
    )
    assert [float(share) for share in shares] == [5.5, 3.0, 0.0]


@pytest.mark.usefixtures("two_threads")
def test_the_same_seed_and_step_give_the_same_to_the_bit_whatever_others_draw() -> None:
    model, examples = maskrcnn(), crops(4)
    training(model)
    results = []
    for step in (7, 7, 8):
        results.append(computed(model, examples, step))
        torch.rand(5)
    assert results[0][0] == results[1][0]
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1]))
    assert any(not torch.equal(a, b) for a, b in zip(results[0][1], results[2][1]))


@pytest.mark.parametrize(("make", "apart"), [(unet, True), (maskrcnn, False)])
@pytest.mark.usefixtures("two_threads")
def test_others_are_learned_together(make: object, apart: bool) -> None:
    model, examples = make(), crops(2)  # type: ignore[operator]
    for example in examples:
        example.labels.clamp_(max=1)
    parameters = training(model)
    torch.manual_seed(1)
    loss, gradients = computed(model, examples, 0, apart)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(model.device)):
        whole = torch.stack([part.float() for part in model.losses(examples).values()]).sum()
    assert loss == pytest.approx(float(whole.detach()))
    wanted = torch.autograd.grad(whole, parameters, allow_unused=True)
    assert all(torch.equal(a, torch.zeros_like(a) if b is None else b) for a, b in zip(gradients, wanted))


@pytest.mark.usefixtures("two_threads")
def test_the_next_batch_is_drawn_meanwhile_if_others_compute() -> None:
    drawn = []
    for make in (maskrcnn, unet):
        model = make()
        training(model)
        gradients = Gradients(model, 2, seed=0, apart=True)
        examples = crops(2)
        for example in examples:
            example.labels.clamp_(max=1)
        gradients.compute(examples, 0, lambda make=make: drawn.append(make))
        gradients.close()
    assert drawn == [maskrcnn]


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.usefixtures("two_threads")
def test_a_loss_that_is_no_number_leaves_no_gradients(apart: bool) -> None:
    model, examples = maskrcnn(), crops(2)
    examples[1].image.fill_(math.nan)
    parameters = training(model)
    gradients = Gradients(model, 2, seed=0, apart=apart)
    assert not math.isfinite(gradients.compute(examples, 0, lambda: None))
    gradients.close()
    assert all(p.grad is None for p in parameters)
