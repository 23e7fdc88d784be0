"""Cross-entropy and soft Dice by hand, and blind to what nobody reviewed."""

from __future__ import annotations

import math

import pytest
import torch

from segloop.models.losses import segmentation_losses


def test_by_hand() -> None:
    # two pixels, two classes; probabilities (3/4, 1/4) and (1/4, 3/4): logits log 3 apart
    logits = torch.tensor([[[math.log(3), 0.0], [0.0, math.log(3)]]]).reshape(1, 2, 1, 2)
    labels = torch.tensor([[[0, 1]]])
    losses = segmentation_losses(logits, labels, torch.ones(1, 1, 2, dtype=torch.bool))
    assert losses["cross_entropy"].item() == pytest.approx(-math.log(0.75))
    # each class: overlap 3/4, sum of scores 1, of labels 1: 1 - (2·3/4 + 1) / (1 + 1 + 1) = 1/6
    assert losses["dice"].item() == pytest.approx(1 / 6)


def test_only_classes_that_occur_count_for_dice() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0]]).reshape(1, 3, 1).expand(1, 3, 4)
    labels = torch.zeros(1, 4, dtype=torch.int64)
    reviewed = torch.ones(1, 4, dtype=torch.bool)
    score = float(torch.softmax(logits, 1)[0, 0, 0])
    losses = segmentation_losses(logits, labels, reviewed)
    assert losses["dice"].item() == pytest.approx(1 - (2 * 4 * score + 1) / (4 * score + 4 + 1), abs=1e-6)


def test_dice_is_of_the_batch_and_cross_entropy_of_its_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    labels = torch.randint(3, (2, 4, 5), generator=generator)
    reviewed = torch.rand(2, 4, 5, generator=generator) < 0.5
    losses = segmentation_losses(logits, labels, reviewed)
    scores = logits.softmax(1).movedim(1, -1)[reviewed]
    known = labels[reviewed]
    assert losses["cross_entropy"].item() == pytest.approx(
        -scores[range(len(known)), known].log().mean().item(), rel=1e-5
    )
    dice = [1 - (2 * scores[known == k, k].sum() + 1) / (scores[:, k].sum() + (known == k).sum() + 1) for k in range(3)]
    assert losses["dice"].item() == pytest.approx(float(sum(dice)) / 3, rel=1e-5)


def test_unreviewed_pixels_have_no_influence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(3, (2, 8, 8), generator=generator)
    reviewed = torch.rand(2, 8, 8, generator=generator) < 0.4
    # any number may stand there, even one that is no class
    others = torch.where(reviewed, labels, torch.randint(-5, 300, (2, 8, 8), generator=generator))
    results = []
    for own in (labels, others):
        leaf = logits.clone().requires_grad_()
        losses = segmentation_losses(leaf, own, reviewed)
        sum(losses.values()).backward()
        results.append((losses, leaf.grad))
    assert all(torch.equal(results[0][0][name], results[1][0][name]) for name in ("cross_entropy", "dice"))
    assert torch.equal(results[0][1], results[1][1])
    assert not results[0][1].movedim(1, -1)[~reviewed].any()
    assert results[0][1].movedim(1, -1)[reviewed].any()


def test_nothing_reviewed() -> None:
    leaf = torch.randn(1, 2, 4, 4, requires_grad=True)
    losses = segmentation_losses(leaf, torch.full((1, 4, 4), 77), torch.zeros(1, 4, 4, dtype=torch.bool))
    assert losses["cross_entropy"] == 0 and losses["dice"] == 0
    sum(losses.values()).backward()
    assert not leaf.grad.any()
