"""Gradients of a batch: of all its examples together, or on a CPU of each by itself, side by side.

The many small steps of finding objects leave a second core idle that shares in each of them. With an example of its own
each core has work throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from segloop.models.device import has_fast_bfloat16
from segloop.models.protocol import Example, Separable, Trainable
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
        Whether examples may be handled one by one: not where a layer learns the statistics of a batch.
    """

    def __init__(self, model: Trainable, batch: int, seed: int, apart: bool) -> None:
        self._model, self._seed = model, seed
        self._parameters = [p for p in model.module.parameters() if p.requires_grad]
        count = min(batch, torch.get_num_threads()) if model.device.type == "cpu" else 1
        self._separable = model if apart and count > 1 and isinstance(model, Separable) else None
        self._workers = Workers(count, torch.get_num_threads() // count) if self._separable else Workers(1)

    def compute(self, examples: Sequence[Example], step: int, meanwhile: Callable[[], object]) -> float:
        """Leave the gradients in the parameters and return the loss; if that is not finite there are none.

        ``meanwhile`` is called while the gradients are being computed, if other threads do that.
        """
        for parameter in self._parameters:
            parameter.grad = None
        if self._separable is None:
            return self._together(examples)
        parts = [
            self._workers.submit(self._alone, self._separable, example, self._number(step, place))
            for place, example in enumerate(examples)
        ]
        meanwhile()
        found = [part.result() for part in parts]
        # in the order of the examples, whichever was ready first
        share = 1 / len(examples)
        for number, parameter in enumerate(self._parameters):
            for _, gradients in found:
                own = gradients[number] if gradients else None
                if own is not None:
                    parameter.grad = own * share if parameter.grad is None else parameter.grad.add_(own, alpha=share)
        return float(np.mean([loss for loss, _ in found]))

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    def _together(self, examples: Sequence[Example]) -> float:
        with self._precision(cached=True):
            loss = _sum(self._model.losses(examples))
        if torch.isfinite(loss):
            loss.backward()
        return float(loss.detach())

    def _alone(self, model: Separable, example: Example, seed: int) -> tuple[float, tuple[Tensor | None, ...]]:
        with self._precision(cached=False):
            loss = _sum(model.losses_of(example, seed))
        if not torch.isfinite(loss):
            return float(loss.detach()), ()
        return float(loss.detach()), torch.autograd.grad(loss, self._parameters, allow_unused=True)

    def _precision(self, cached: bool) -> AbstractContextManager[object]:
        # what is kept of weights in bfloat16 is one for all threads, each with its own graph
        device = self._model.device
        if not has_fast_bfloat16(device):
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=cached)

    def _number(self, step: int, place: int) -> int:
        return int(np.random.SeedSequence([self._seed, step, place]).generate_state(1)[0])


def _sum(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack([part.float() for part in parts.values()]).sum()
