"""The training loop, top to bottom."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from segloop.errors import TrainingError
from segloop.events import EpochDone, Event
from segloop.models.protocol import Trainable
from segloop.train.batches import Ahead, Batches, Draw
from segloop.train.gradients import Gradients

Score = Callable[[], float]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """The loop's numbers.

    Parameters
    ----------
    epochs, steps : int
        Number of epochs, and of optimiser steps in each.
    minutes : float
        Training ends, with the learning rate brought down in time, when this much has passed; infinity for no limit.
    batch : int
        Examples per step.
    learning_rate, weight_decay : float
        Of AdamW. The rate warms up over the first ``warmup`` share of training and then follows half a cosine to 0.
    average : float in [0, 1)
        Decay per step of the weight average that becomes the result; 0 takes the last weights.
    later_share, later_steps : float, int
        ``minutes`` are to leave time for later trainings with this share of the steps of this one, but no more than
        ``later_steps``.
    freeze_norm : bool
        Keep batch norm's running statistics, for fine-tuning on few images.
    seed : int
    workers : int
        Processes that draw examples ahead, where images are many and the device is fast; 0 draws them in between.
        The result is the same.
    schedule : tuple of float in [0, 1]
        How far training is to be held at each step, which sets the rate; it ends after the last one. This repeats a
        training whose rate followed the time. By default, steps and time say how far it is.
    """

    epochs: int
    steps: int
    minutes: float = math.inf
    batch: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    average: float = 0.998
    later_share: float = 0.0
    later_steps: int = 0
    freeze_norm: bool = False
    seed: int = 0
    workers: int = 0
    schedule: tuple[float, ...] = ()


class Fit:
    """Training of one model: the loop and all its state, which can be saved and restored between epochs.

    Parameters
    ----------
    model : Trainable
        Trained in place; while an epoch is scored and after the last one it holds the averaged weights.
    draw : callable
        Returns one training example, given a random generator.
    settings : FitSettings
    score : callable, optional
        Returns the held-out score of the model as it stands; called after each epoch for which ``scored`` is true.
    clock : callable, optional
        Returns the seconds that ``settings.minutes`` limits, such as those of the processor.
    """

    def __init__(
        self,
        model: Trainable,
        draw: Draw,
        settings: FitSettings,
        score: Score = lambda: math.nan,
        scored: Callable[[int], bool] = lambda epoch: True,
        clock: Clock = time.monotonic,
    ) -> None:
        self.model, self.draw, self.settings = model, draw, settings
        self.score, self.scored, self.clock = score, scored, clock
        parameters = [p for p in model.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.live = copy.deepcopy(model.module.state_dict())
        self.average = copy.deepcopy(self.live)
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0
        # how far training was at each step: the time that passed is in it, and is another one next time
        self.schedule: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on after an interruption; a copy, which training does not change."""
        state = {
            "live": self.live,
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "schedule": self.schedule,
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        state = copy.deepcopy(state)
        self.live, self.average = state["live"], state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.schedule = list(state.get("schedule", []))

    def run(self, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
        """Train to the end, or until ``stop`` returns true (asked before each step), an event per epoch.

        Raises
        ------
        TrainingError
            If the loss stops being a finite number.
        """
        settings = self.settings
        batches = Batches(
            self.draw, self.model.prepare, settings.batch, settings.epochs * settings.steps, settings.seed
        ).start(self.step, settings.workers)
        gradients = Gradients(self.model, settings.batch, settings.seed, apart=settings.freeze_norm)
        with closing(batches), closing(gradients):
            yield from self._train(Ahead(batches), gradients, stop)
        # also when there was no epoch left to train after load_state_dict
        self.model.module.load_state_dict(self.average if settings.average else self.live)
        self.model.module.eval()

    def _train(self, batches: Ahead, gradients: Gradients, stop: Callable[[], bool]) -> Generator[Event, None, None]:
        settings = self.settings
        started = self.clock() - self.seconds
        while self.epoch < settings.epochs and not self._out_of_time() and not stop():
            self.model.module.load_state_dict(self.live)
            self._set_training_mode()
            # anew in each epoch: it is the same whether or not training was interrupted before it
            torch.manual_seed(settings.seed * 1_000_003 + self.epoch)
            losses = []
            for _ in range(settings.steps):
                if self._out_of_time() or stop():
                    break
                losses.append(self._step(batches, gradients))
                self.seconds = self.clock() - started
            self.epoch += 1
            self.live = copy.deepcopy(self.model.module.state_dict())
            if settings.average:
                self.model.module.load_state_dict(self.average)
            self.model.module.eval()
            score = self.score() if losses and self.scored(self.epoch) else math.nan
            self.seconds = self.clock() - started
            loss = float(np.mean(losses)) if losses else math.nan
            yield EpochDone(self.epoch, settings.epochs, loss, score, self.seconds)

    def _step(self, batches: Ahead, gradients: Gradients) -> float:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * self._rate()
        loss = gradients.compute(batches.take(), self.step, batches.draw)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {self.epoch + 1}; lower the learning rate or check the images"
            )
        nn.utils.clip_grad_norm_(self.model.module.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return loss

    def _update_average(self) -> None:
        # the decay grows from 0, so that a short training is not an average with its untrained start
        decay = min(self.settings.average, self.step / (self.step + 10))
        now = self.model.module.state_dict()
        floating = [name for name, tensor in now.items() if tensor.is_floating_point()]
        # one call for all: on a GPU a call for each tensor would take as long as the rest of the step
        torch._foreach_lerp_([self.average[name] for name in floating], [now[name] for name in floating], 1 - decay)
        for name in now.keys() - set(floating):
            self.average[name].copy_(now[name])

    def _progress(self) -> float:
        if self.settings.schedule:
            return self.settings.schedule[self.step]
        by_steps = self.step / max(1, self.settings.epochs * self.settings.steps)
        return max(by_steps, self.seconds / self._limit())

    def _out_of_time(self) -> bool:
        if self.settings.schedule:
            return self.step >= len(self.settings.schedule)
        return self.seconds >= self._limit()

    def _limit(self) -> float:
        """Seconds that this training may take; how long a later step takes is known from its own."""
        settings = self.settings
        limit = 60 * settings.minutes
        for_later = settings.later_steps * self.seconds / max(1, self.step)
        return max(limit / (1 + settings.later_share), limit - for_later)

    def _rate(self) -> float:
        progress = self._progress()
        self.schedule.append(progress)
        if progress < self.settings.warmup:
            return (progress + 1e-3) / (self.settings.warmup + 1e-3)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def _set_training_mode(self) -> None:
        self.model.module.train()
        if self.settings.freeze_norm:
            for module in self.model.module.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
