"""The head: from what is known of a pixel to its class, learned from a few painted pixels in a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segloop.errors import TrainingError
from segloop.scribbling.description import Description

MEMBERS = 4
"""Networks whose scores are averaged: one alone says something else after each stroke where nothing is painted."""

HIDDEN = 16
STEPS = 40
DECAY = 1e-2
BALANCE = 0.5
"""Power of a class's rarity by which its pixels count: 0 all pixels alike, 1 all classes alike."""

BAND = 1 << 16
"""Pixels that are scored at a time: what is hidden takes a hundred numbers for each."""


@dataclass(frozen=True, eq=False)
class Head:
    """A few small networks with one hidden layer, side by side.

    Parameters
    ----------
    classes : tuple of int
        What each score is of; only classes of which something is painted.
    inner : float32 (M · H, D), ``inner_bias`` : float32 (M · H, 1)
        From values to what is hidden; those of all networks, one after another.
    outer : float32 (M, K, H), ``outer_bias`` : float32 (M, K, 1)
    """

    classes: tuple[int, ...]
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor

    def scores(self, values: Tensor) -> Tensor:
        """Score pixels, float32 (D, N): float32 (K, N) in [0, 1], summing to 1."""
        return self._judged(torch.addmm(self.inner_bias, self.inner, values))

    @torch.inference_mode()
    def score_map(self, description: Description) -> np.ndarray:
        """Score all pixels of a part of a plane: float32 (K, Y, X) in its window."""
        fine, coarse = description.fine, description.coarse
        count, height, width = fine.shape
        # weighing and interpolating may change places: so the coarse maps are weighed where they are small
        weighed = self.inner[:, count:] @ coarse.float().flatten(1)
        half = weighed.unflatten(1, coarse.shape[1:])
        out = torch.empty(len(self.classes), height, width)
        rows = max(2, BAND // width // 2 * 2)
        for top in range(0, height, rows):
            stop = min(height, top + rows)
            own = fine[:, top:stop].float().flatten(1)
            hidden = torch.addmm(_doubled(half, top, stop).flatten(1), self.inner[:, :count], own)
            out[:, top:stop] = self._judged(hidden.add_(self.inner_bias)).unflatten(1, (stop - top, width))
        scores: np.ndarray = out.numpy()
        return scores

    def _judged(self, hidden: Tensor) -> Tensor:
        members = hidden.relu_().unflatten(0, (len(self.outer), -1))
        return torch.softmax(torch.baddbmm(self.outer_bias, self.outer, members), dim=1).mean(dim=0)


def fit_head(values: Tensor, classes: np.ndarray, weights: Tensor, seed: int = 0) -> Head:
    """Learn a head from painted pixels.

    Weighted cross-entropy with weight decay, by L-BFGS: the data are few, so each step looks at all of them.
    The same pixels in the same order give the same head.

    Parameters
    ----------
    values : float32 (N, D)
    classes : int64 (N,)
    weights : float32 (D,)
        Standard deviation that each value is scaled to: large ones are made use of first.
    seed : int

    Raises
    ------
    TrainingError
        If fewer than two classes are painted.
    """
    names, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise TrainingError(f"{len(names)} class is painted; paint at least two, so that they can be told apart")
    middle, spread = values.mean(dim=0), (values.std(dim=0) + 1e-3) / weights
    known = (values - middle) / spread
    wanted = torch.from_numpy(numbers.astype(np.int64))
    rarity = torch.from_numpy((len(classes) / (len(names) * counts)) ** BALANCE).float()[wanted]
    share = rarity / rarity.sum()
    draw = torch.Generator().manual_seed(seed)
    width = values.shape[1]
    inner = (torch.randn(MEMBERS, width, HIDDEN, generator=draw) / width**0.5).requires_grad_()
    outer = (torch.randn(MEMBERS, HIDDEN, len(names), generator=draw) / HIDDEN**0.5).requires_grad_()
    inner_bias = torch.zeros(MEMBERS, 1, HIDDEN, requires_grad=True)
    outer_bias = torch.zeros(MEMBERS, 1, len(names), requires_grad=True)
    parameters = [inner, inner_bias, outer, outer_bias]
    optimizer = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")
    repeated = known.expand(MEMBERS, -1, -1)

    def loss() -> Tensor:
        optimizer.zero_grad()
        hidden = torch.baddbmm(inner_bias, repeated, inner).relu()
        logits = torch.baddbmm(outer_bias, hidden, outer)
        own = F.log_softmax(logits, dim=2).gather(2, wanted.expand(MEMBERS, -1)[:, :, None])[:, :, 0]
        total = -(own * share).sum() + DECAY * (inner.square().sum() + outer.square().sum())
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)
    scaled = (inner.detach() / spread[:, None]).transpose(1, 2).reshape(MEMBERS * HIDDEN, width)
    bias = inner_bias.detach().reshape(-1, 1) - scaled @ middle[:, None]
    last, last_bias = outer.detach().transpose(1, 2).contiguous(), outer_bias.detach().transpose(1, 2).contiguous()
    return Head(tuple(int(name) for name in names), scaled, bias, last, last_bias)


def _doubled(half: Tensor, top: int, stop: int) -> Tensor:
    """Rows ``top`` to ``stop`` (both even) of a map (D, Y, X) doubled bilinearly: float32 (D, stop - top, 2 · X)."""
    first, last = max(0, top // 2 - 1), min(half.shape[1], stop // 2 + 1)
    large = F.interpolate(half[None, :, first:last], scale_factor=2, mode="bilinear", align_corners=False)
    return large[0, :, top - 2 * first : stop - 2 * first]
