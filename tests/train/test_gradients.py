"""Gradients: of a batch's examples side by side, or of all together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segloop.models.device import has_fast_bfloat16
from segloop.models.maskrcnn import FAMILY as MASKRCNN
from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.protocol import Example, ModelSpec, Separable, Task, Trainable
from segloop.models.unet import FAMILY as UNET
from segloop.train.gradients import Gradients


def maskrcnn() -> Trainable:
    torch.manual_seed(0)
    config = MaskRCNNConfig((8,) * 4, (1,) * 4, pyramid=8, box_hidden=8, mask_layers=(8,), proposals_train=20)
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
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def computed(model: Trainable, examples: list[Example], step: int, apart: bool = True) -> tuple[float, list[Tensor]]:
    gradients = Gradients(model, len(examples), seed=4, apart=apart)
    loss = gradients.compute(examples, step, lambda: None)
    gradients.close()
    return loss, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in training(model)]


@pytest.mark.usefixtures("two_threads")
def test_side_by_side_they_are_the_mean_of_each_alone() -> None:
    model, examples = maskrcnn(), crops(3)
    parameters = training(model)
    assert isinstance(model, Separable)
    loss, gradients = computed(model, examples, step=7)
    losses, sums = [], [torch.zeros_like(p) for p in parameters]
    for place, example in enumerate(examples):
        seed = int(np.random.SeedSequence([4, 7, place]).generate_state(1)[0])
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(model.device)):
            alone = torch.stack([part.float() for part in model.losses_of(example, seed).values()]).sum()
        losses.append(float(alone.detach()))
        for total, own in zip(sums, torch.autograd.grad(alone, parameters, allow_unused=True)):
            if own is not None:
                total += own / 3
    assert loss == pytest.approx(np.mean(losses), rel=1e-6)
    for found, wanted in zip(gradients, sums):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


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
    if not apart:
        assert all(p.grad is None for p in parameters)
