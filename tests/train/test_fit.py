"""The training loop: the same again, going on, stopping."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segloop.errors import TrainingError
from segloop.events import EpochDone
from segloop.models.maskrcnn import FAMILY as MASKRCNN
from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.protocol import Example, ModelSpec, Task, Trainable
from segloop.models.unet import FAMILY as UNET
from segloop.train.batches import Ahead
from segloop.train.fit import Fit, FitSettings

SETTINGS = FitSettings(epochs=4, steps=3, batch=2, average=0.9, seed=5)


def unet() -> Trainable:
    torch.manual_seed(0)
    numbers = {"levels": 1, "base_channels": 2}
    return UNET.build(ModelSpec("x", "unet", Task.SEMANTIC, ("background", "cell"), architecture=numbers))


def maskrcnn() -> Trainable:
    torch.manual_seed(0)
    config = MaskRCNNConfig((8,) * 4, (1,) * 4, pyramid=8, box_hidden=8, mask_layers=(8,), proposals_train=20)
    numbers = {name: getattr(config, name) for name in config.__slots__}
    return MASKRCNN.build(ModelSpec("x", "maskrcnn", Task.INSTANCE, ("cell",), architecture=numbers))


def draw(rng: np.random.Generator) -> Example:
    labels = np.zeros((64, 64), np.int64)
    y, x = rng.integers(5, 40, 2)
    labels[y : y + 16, x : x + 16] = 1
    image = labels + rng.normal(0, 0.1, labels.shape)
    return Example(
        torch.from_numpy(image[None].astype(np.float32)), torch.from_numpy(labels), torch.ones(64, 64, dtype=torch.bool)
    )


def weights(model: Trainable) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def equal(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("make", [unet, maskrcnn])
def test_the_same_seed_gives_the_same_weights_bit_by_bit(make: Any) -> None:
    results = []
    for seed in (5, 5, 6):
        model = make()
        history = list(Fit(model, draw, replace(SETTINGS, epochs=2, seed=seed)).run())
        results.append((weights(model), [event.loss for event in history]))
        torch.rand(7)  # what others draw in between does not matter
    assert equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]
    assert not equal(results[0][0], results[2][0])


@pytest.mark.parametrize("make", [unet, maskrcnn])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_going_on_is_as_if_never_interrupted(make: Any, average: float) -> None:
    settings = replace(SETTINGS, average=average)
    whole = make()
    losses = [event.loss for event in Fit(whole, draw, settings).run()]

    first = Fit(make(), draw, settings)
    run = first.run()
    early = [next(run).loss, next(run).loss]
    state = first.state_dict()
    # what training does to the model afterwards does not reach the state that was saved
    next(run)
    run.close()
    resumed_model = make()
    resumed = Fit(resumed_model, draw, settings)
    resumed.load_state_dict(state)
    late = [event.loss for event in resumed.run()]
    assert early + late == losses
    assert equal(weights(resumed_model), weights(whole))
    assert resumed.epoch == 4 and resumed.step == 12


def test_a_state_goes_through_a_file(tmp_path: Any) -> None:
    fit = Fit(unet(), draw, SETTINGS)
    next(fit.run())
    torch.save(fit.state_dict(), tmp_path / "state.pt")
    other = Fit(unet(), draw, SETTINGS)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.epoch == 1 and other.step == 3 and equal(other.average, fit.average)


def test_a_finished_training_gives_its_result_again() -> None:
    model = unet()
    fit = Fit(model, draw, SETTINGS)
    list(fit.run())
    again_model = unet()
    again = Fit(again_model, draw, SETTINGS)
    again.load_state_dict(fit.state_dict())
    assert list(again.run()) == []
    assert equal(weights(again_model), weights(model))


def test_events() -> None:
    scores = iter([0.25, 0.75])
    fit = Fit(unet(), draw, SETTINGS, score=lambda: next(scores), scored=lambda epoch: epoch % 2 == 0)
    events = list(fit.run())
    assert [(event.epoch, event.epochs) for event in events] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [event.score for event in events[1::2]] == [0.25, 0.75]
    assert all(math.isnan(event.score) for event in events[::2])
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_it_learns() -> None:
    model = unet()
    history = list(Fit(model, draw, replace(SETTINGS, epochs=6, steps=8, learning_rate=0.02)).run())
    assert history[-1].loss < 0.5 * history[0].loss
    assert not model.module.training


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_stopping_keeps_what_was_learned(steps: int) -> None:
    model = unet()
    before = weights(model)
    fit = Fit(model, draw, SETTINGS)
    events = list(fit.run(stop=lambda: fit.step >= steps))
    assert fit.step == steps
    assert len(events) == math.ceil(steps / 3)
    assert equal(weights(model), before) == (steps == 0)
    assert not model.module.training


def test_a_closed_generator_stops() -> None:
    fit = Fit(unet(), draw, SETTINGS)
    run = fit.run()
    next(run)
    run.close()
    assert fit.step == 3 and next(run, None) is None


@pytest.mark.parametrize(("most", "steps"), [(0, 60), (10, 50), (400, 40)])
def test_minutes_leave_time_for_later_steps(most: int, steps: int) -> None:
    now = 0.0

    def draw_a_second(rng: np.random.Generator) -> Example:
        nonlocal now
        now += 1
        return draw(rng)

    # half as many, but no more than ``most``
    settings = replace(SETTINGS, epochs=100, batch=1, minutes=1, later_share=0.5 * bool(most), later_steps=most)
    fit = Fit(unet(), draw_a_second, settings, clock=lambda: now)
    list(fit.run())
    assert fit.step == steps


def test_minutes_end_it() -> None:
    model = unet()
    fit = Fit(model, draw, replace(SETTINGS, epochs=10_000, minutes=0.3 / 60))
    events = list(fit.run())
    assert 0 < len(events) < 10_000
    assert 0.3 <= fit.seconds < 20


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_training(value: float) -> None:
    def poisoned(rng: np.random.Generator) -> Example:
        return replace(draw(rng), image=torch.full((1, 64, 64), value))

    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1; lower the learning rate or check the images"):
        list(Fit(unet(), poisoned, SETTINGS).run())


def norms(model: Trainable) -> list[nn.BatchNorm2d]:
    return [layer for layer in model.module.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_norm_keeps_its_statistics(freeze: bool) -> None:
    model = unet()
    for layer in norms(model):
        layer.running_mean.uniform_(-0.1, 0.1)
    before = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in norms(model)]
    weight = norms(model)[0].weight.detach().clone()
    list(Fit(model, draw, replace(SETTINGS, freeze_norm=freeze)).run())
    kept = [
        torch.equal(layer.running_mean, mean) and torch.equal(layer.running_var, var)
        for layer, (mean, var) in zip(norms(model), before)
    ]
    assert all(kept) if freeze else not any(kept)
    # scale and offset are weights as any other
    assert not torch.equal(norms(model)[0].weight, weight)


def test_the_rate_warms_up_and_comes_down() -> None:
    fit = Fit(unet(), draw, replace(SETTINGS, epochs=10, steps=10, learning_rate=1.0))
    rates = []
    for step in range(101):
        fit.step = step
        rates.append(fit._rate())
    assert rates[0] < 0.03 and max(rates) > 0.95
    top = int(np.argmax(rates))
    assert 4 <= top <= 6  # a twentieth of 100 steps
    assert all(a >= b for a, b in zip(rates[top:], rates[top + 1 :]))
    assert rates[50] == pytest.approx(0.5) and rates[100] == pytest.approx(0, abs=1e-9)


def test_the_average_is_of_all_steps_and_not_of_the_start() -> None:
    """After one step of decay min(0.9, 1/11): 10/11 of the new weights."""
    model = unet()
    start = weights(model)
    fit = Fit(model, draw, replace(SETTINGS, epochs=1, steps=1))
    list(fit.run())
    name = "head.weight"
    torch.testing.assert_close(fit.average[name], start[name] / 11 + fit.live[name] * 10 / 11)
    assert torch.equal(weights(model)[name], fit.average[name])
    last = unet()
    fit = Fit(last, draw, replace(SETTINGS, average=0.0))
    list(fit.run())
    assert torch.equal(weights(last)[name], fit.live[name])


def test_scored_with_the_average_and_trained_on_with_the_live_weights() -> None:
    model = unet()
    seen: list[dict[str, torch.Tensor]] = []

    def score() -> float:
        seen.append(weights(model))
        return 0.5

    fit = Fit(model, draw, SETTINGS, score)
    events = [event for event in fit.run() if isinstance(event, EpochDone)]
    assert len(events) == len(seen) == 4
    assert equal(seen[-1], weights(model)) and equal(seen[-1], fit.average)
    assert not torch.equal(seen[-1]["head.weight"], fit.live["head.weight"])


def test_processes_that_draw_ahead_change_nothing() -> None:
    alone, helped = unet(), unet()
    losses = [event.loss for event in Fit(alone, draw, SETTINGS).run()]
    assert [event.loss for event in Fit(helped, draw, replace(SETTINGS, workers=2)).run()] == losses
    assert equal(weights(alone), weights(helped))


def test_a_batch_drawn_ahead_is_the_next_one() -> None:
    batches = Ahead(iter([["a"], ["b"]]))  # type: ignore[list-item]
    assert batches.take() == ["a"]
    batches.draw()
    batches.draw()
    assert batches.take() == ["b"]
    batches.draw()  # there is none


@pytest.mark.parametrize("threads", [1, 2])
def test_with_as_many_threads_the_same_weights_and_going_on(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    settings = replace(SETTINGS, freeze_norm=True)
    try:
        whole, again = maskrcnn(), maskrcnn()
        list(Fit(whole, draw, settings).run())
        first = Fit(maskrcnn(), draw, settings)
        run = first.run()
        next(run), next(run)
        state = first.state_dict()
        run.close()
        second = Fit(again, draw, settings)
        second.load_state_dict(state)
        list(second.run())
        assert equal(weights(whole), weights(again))
    finally:
        torch.set_num_threads(before)
