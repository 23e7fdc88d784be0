"""Gradients of a batch: of all its examples together, or on a CPU of each by itself, side by side.

The many small steps of finding objects leave a second core idle that shares in each of them. With an example of its own
each core has work throughout. The loss is that of the batch all the same: examples' losses are weighed by what they are
means over, once all of them are known.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from segloop.models.device import has_fast_bfloat16
from segloop.models.protocol import Example, MeanLoss, Separable, Trainable
from segloop.workers import Workers


class Gradients:
    """Computes the gradients of batches of up to ``batch`` examples with as many threads as torch has.

    Parameters
    ----------
    model : Trainable
        In training mode whenever gradients are computed.
    batch : int
    seed : int
        What is drawn at random follows from it, the number of the step and the place in the batch, if examples are
        handled one by one; otherwise from torch's own generator.
    apart : bool
        Whether examples may be handled one by one, which they are on a CPU, whatever the number of threads: not where a
        layer learns the statistics of a batch.
    """

    def __init__(self, model: Trainable, batch: int, seed: int, apart: bool) -> None:
        self._model, self._seed = model, seed
        self._parameters = [p for p in model.module.parameters() if p.requires_grad]
        self._separable = model if apart and model.device.type == "cpu" and isinstance(model, Separable) else None
        count = min(batch, torch.get_num_threads()) if self._separable else 1
        self._workers = Workers(count, torch.get_num_threads() // count)

    def compute(self, examples: Sequence[Example], step: int, meanwhile: Callable[[], object]) -> float:
        """Leave the gradients in the parameters and return the loss; if that is not finite there are none.

        ``meanwhile`` is called while the gradients are being computed, if other threads do that.
        """
        for parameter in self._parameters:
            parameter.grad = None
        if self._separable is None:
            return self._together(examples)
        return self._apart(self._separable, examples, step, meanwhile)

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    def _together(self, examples: Sequence[Example]) -> float:
        with self._precision(cached=True):
            loss = _sum(self._model.losses(examples))
        if torch.isfinite(loss):
            loss.backward()
        return float(loss.detach())

    def _apart(
        self, model: Separable, examples: Sequence[Example], step: int, meanwhile: Callable[[], object]
    ) -> float:
        asked = [
            self._workers.submit(self._losses, model, example, self._number(step, place))
            for place, example in enumerate(examples)
        ]
        if self._workers.count > 1:
            meanwhile()
        losses = weighed([part.result() for part in asked])
        loss = sum(float(own.detach()) for own in losses)
        if not math.isfinite(loss):
            return loss
        under_way: deque[Future[tuple[Tensor | None, ...]]] = deque()
        for own in losses:
            under_way.append(self._workers.submit(self._gradients, own))
            # no more of them at once than keep the threads at work: each is as large as the model
            if len(under_way) == self._workers.ahead:
                self._add(under_way.popleft().result())
        while under_way:
            self._add(under_way.popleft().result())
        return loss

    def _losses(self, model: Separable, example: Example, seed: int) -> dict[str, MeanLoss]:
        with self._precision(cached=False):
            return model.losses_of(example, seed)

    def _gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(loss, self._parameters, allow_unused=True)

    def _add(self, gradients: tuple[Tensor | None, ...]) -> None:
        learned = [number for number, own in enumerate(gradients) if own is not None]
        torch.autograd.backward(
            [self._parameters[number] for number in learned], [gradients[number] for number in learned]
        )

    def _precision(self, cached: bool) -> AbstractContextManager[object]:
        # what is kept of weights in bfloat16 is one for all threads, each with its own graph
        device = self._model.device
        if not has_fast_bfloat16(device):
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=cached)

    def _number(self, step: int, place: int) -> int:
        return int(np.random.SeedSequence([self._seed, step, place]).generate_state(1)[0])


def weighed(examples: Sequence[Mapping[str, MeanLoss]]) -> list[Tensor]:
    """Return each example's share of its batch's loss, scalars of float32: their sum is the loss."""
    counts: Counter[str] = Counter()
    for losses in examples:
        counts.update({name: loss.count for name, loss in losses.items()})
    return [
        _sum({name: loss.value * (loss.count / max(1, counts[name])) for name, loss in losses.items()})
        for losses in examples
    ]


def _sum(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack([part.float() for part in parts.values()]).sum()
