"""Losses that see reviewed pixels only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def segmentation_losses(logits: Tensor, labels: Tensor, reviewed: Tensor) -> dict[str, Tensor]:
    """Cross-entropy and soft Dice over the reviewed pixels of a batch.

    Parameters
    ----------
    logits : float (N, K, ...)
    labels : int64 (N, ...) in 0…K-1
    reviewed : bool (N, ...)

    Returns
    -------
    dict
        "cross_entropy", mean over reviewed pixels, and "dice" in [0, 1], mean over the classes that occur
        among the reviewed pixels (Milletari et al. 2016, with the sum over the whole batch). Both are 0, and still
        differentiable, when nothing is reviewed.
    """
    logits = logits.float()
    weight = reviewed.to(logits.dtype)
    count = weight.sum().clamp(min=1)
    # unreviewed pixels may hold any number, even one that is no class
    known = torch.where(reviewed, labels, 0)
    cross_entropy = (F.cross_entropy(logits, known, reduction="none") * weight).sum() / count
    onehot = F.one_hot(known, logits.shape[1]).movedim(-1, 1).to(logits.dtype) * weight.unsqueeze(1)
    scores = F.softmax(logits, dim=1) * weight.unsqueeze(1)
    axes = (0, *range(2, logits.ndim))
    target = onehot.sum(axes)
    overlap = (scores * onehot).sum(axes)
    dice = 1 - (2 * overlap + 1) / (scores.sum(axes) + target + 1)
    present = (target > 0).to(logits.dtype)
    return {
        "cross_entropy": cross_entropy,
        "dice": (dice * present).sum() / present.sum().clamp(min=1),
    }
