"""Trainings in a process of their own: the same model, whatever happens to the process on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from segloop.corrections import TrainingSet
from segloop.errors import TrainingError
from segloop.events import EpochDone, Event, HeldOutFound, Scored, StillTraining, TrainingStarted, drain
from segloop.image import Image
from segloop.models.device import Device
from segloop.models.protocol import ModelSpec, Task
from segloop.models.unet import FAMILY
from segloop.settings import settings_from_json, settings_to_json
from segloop.store import load_model, save_model
from segloop.train.finetune import FinetuneSettings, finetune
from segloop.trainings import Ended, FollowedElsewhere, Order, TrainingFolder, follow, new_training, open_trainings

QUICK = FinetuneSettings(epochs=3, batch=1, crop=32, device=Device.CPU)

pytestmark = pytest.mark.slow


@pytest.fixture
def order(segloop_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """A small U-Net, three small images, three epochs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = ModelSpec(
        "base",
        "unet",
        Task.SEMANTIC,
        ("background", "cell"),
        architecture={"levels": 1, "base_channels": 2},
        tile=128,
        halo=16,
    )
    base = save_model(FAMILY.build(spec), "base")
    training_set = TrainingSet(tmp_path / "set", Task.SEMANTIC, ("background", "cell"))
    rng = np.random.default_rng(0)
    for _ in range(3):
        labels = np.zeros((64, 64), np.uint8)
        labels[16:40, 8:50] = 1
        image = 40 + 150 * labels + rng.normal(0, 8, labels.shape)
        training_set.add(Image(image.clip(0, 255).astype(np.uint8), "YX"), labels)
    return Order(base, training_set.folder, "mine", QUICK)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def expected(order: Order):
    """What training in this process gives."""
    return finetune(load_model(order.base), TrainingSet(order.training_set), order.settings)


def process_of(folder: TrainingFolder) -> psutil.Process:
    return psutil.Process(json.loads((folder.path / "process.json").read_text())["process"][0])


def until(events: Generator[Event, None, object], epoch: int) -> None:
    """Follow a training to the end of an epoch."""
    for event in events:
        if isinstance(event, EpochDone) and event.epoch == epoch:
            return
    raise AssertionError(f"there was no epoch {epoch}")


def endless(order: Order) -> Order:
    return replace(order, settings=replace(order.settings, epochs=5000))


def test_the_events_and_the_model_are_those_of_training_here(order: Order) -> None:
    events: list[Event] = []
    folder = new_training(order)
    result = drain(follow(folder), events.append)
    here = expected(order)
    assert same(weights(result.model), weights(here.model))
    assert [e.loss for e in result.history] == [e.loss for e in here.history]
    assert (result.before, result.after, result.metric) == (here.before, here.after, here.metric)
    kinds = [type(event) for event in events if not isinstance(event, StillTraining | HeldOutFound)]
    assert kinds == [TrainingStarted, Scored, *[EpochDone] * 3, Scored]
    pictures = [event for event in events if isinstance(event, HeldOutFound)]
    assert pictures and pictures[-1].regions[0].image.dtype == np.uint8
    assert pictures[-1].regions[0].found.shape == pictures[-1].regions[0].reference.shape
    assert folder.ended is Ended.DONE and not folder.can_resume and not folder.is_running
    # nothing is trained again to see it again
    assert same(weights(drain(follow(folder)).model), weights(here.model))


def test_killed_it_says_so_and_goes_on_to_the_same_end(order: Order) -> None:
    folder = new_training(replace(order, settings=replace(order.settings, epochs=20)))
    events = follow(folder)
    until(events, 2)
    process_of(folder).kill()
    with pytest.raises(TrainingError, match=r"was killed.*memory.*Resume goes on after epoch \d+ of 20"):
        drain(events)
    assert folder.can_resume and not folder.is_running
    epochs: list[Event] = []
    result = drain(follow(folder), epochs.append)
    assert [e.epoch for e in epochs if isinstance(e, EpochDone)] == list(range(1, 21))
    assert same(weights(result.model), weights(expected(folder.order).model))


def test_stopped_it_keeps_what_it_learned_and_can_go_on(order: Order) -> None:
    folder = new_training(replace(order, settings=replace(order.settings, epochs=15)))
    told: list[Event] = []
    result = drain(follow(folder, lambda: any(isinstance(e, EpochDone) for e in told)), told.append)
    assert 1 <= len(result.history) < 15 and folder.ended is Ended.STOPPED and folder.can_resume
    result = drain(follow(folder))
    assert len(result.history) == 15 and folder.ended is Ended.DONE
    assert same(weights(result.model), weights(expected(folder.order).model))


def test_it_goes_on_when_nobody_follows(order: Order) -> None:
    folder = new_training(endless(order))
    events = follow(folder)
    until(events, 1)
    events.close()
    assert folder.is_running and not folder.is_watched_elsewhere
    again = follow(folder)
    until(again, 3)
    # who comes last has the result
    last = follow(folder)
    next(last)
    with pytest.raises(FollowedElsewhere, match="another window"):
        drain(again)
    folder.ask_to_stop()
    assert len(drain(last).history) >= 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("killed", [True, False])
def test_it_ends_with_the_program_that_started_it(order: Order, killed: bool) -> None:
    folder = new_training(endless(order))
    script = (
        "import sys; from pathlib import Path; from segloop.events import EpochDone\n"
        "from segloop.trainings import TrainingFolder, follow\n"
        f"for event in follow(TrainingFolder(Path({str(folder.path)!r}))):\n"
        "    if isinstance(event, EpochDone): break\n"
        "print('begun', flush=True)\n"
        "sys.stdin.read(1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdin is not None
    assert parent.stdout.readline().strip() == b"begun"
    child = process_of(folder)
    assert folder.is_running and folder.is_watched_elsewhere
    with pytest.raises(FollowedElsewhere, match="another program"):
        next(follow(folder))
    if killed:
        os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(b"x")
    child.wait(20)
    assert not folder.is_running and folder.can_resume and folder.checkpoint.is_file()
    assert folder in open_trainings()
    events = follow(folder)
    until(events, folder.epochs_done + 1)
    folder.ask_to_stop()
    drain(events)
    # what it was writing when it ended is written over by those after it
    assert not list(folder.path.glob("*.part"))


def test_errors_of_the_training_are_those_of_training_here(order: Order) -> None:
    training_set = TrainingSet(order.training_set)
    for entry in training_set.entries:
        training_set.remove(entry.id)
    folder = new_training(order)
    with pytest.raises(TrainingError, match="no region is reviewed"):
        drain(follow(folder))
    assert folder.ended is Ended.FAILED and not folder.can_resume


def test_a_training_set_that_changed_is_not_gone_on_with(order: Order) -> None:
    folder = new_training(endless(order))
    events = follow(folder)
    until(events, 1)
    process_of(folder).kill()
    time.sleep(0.5)
    events.close()
    training_set = TrainingSet(order.training_set)
    training_set.remove(training_set.entries[0].id)
    with pytest.raises(TrainingError, match="training set has changed"):
        next(follow(folder))


def test_old_trainings_are_deleted(order: Order) -> None:
    for number in range(6):
        folder = new_training(order)
        (folder.path / "order.json").touch()
        os.utime(folder.path / "order.json", (number, number))
    assert len(open_trainings()) == 3 and open_trainings()[0] == folder


def test_settings_come_back() -> None:
    for settings in (FinetuneSettings(), FinetuneSettings(minutes=2.5, learning_rate=0.01, device=Device.CPU, seed=3)):
        assert settings_from_json(FinetuneSettings, json.loads(json.dumps(settings_to_json(settings)))) == settings
