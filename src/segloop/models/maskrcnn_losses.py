"""What Mask R-CNN learns from: torchvision's proposal network and heads, blind to what nobody reviewed.

Mask targets differ from torchvision's on purpose. It samples them with ``roi_align(aligned=False)``, half a pixel off,
so that masks come out shifted up and left by as much; of a nucleus 14 pixels wide this costs 8 % IoU. Here they are
sampled where they are.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import roi_align

IGNORE_SHARE = 0.3
"""Background boxes of which more than this share is unreviewed are no examples."""


def unreviewed_share(boxes: Tensor, integral: Tensor, crops: Tensor | None = None) -> Tensor:
    """Share of each box that is unreviewed: float32 (N,) in [0, 1].

    Parameters
    ----------
    boxes : float32 (N, 4)
    integral : int32 (Y + 1, X + 1)
        Summed-area table of the unreviewed pixels. Outside the image everything is unreviewed.
        With ``crops``, (count, Y + 1, X + 1).
    crops : int64 (N,), optional
        Which of ``count`` tables is that of a box.
    """
    tables = integral if crops is not None else integral[None]
    table = crops if crops is not None else torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    height, width = tables.shape[1] - 1, tables.shape[2] - 1
    edges = boxes.round().long()
    x0, x1 = edges[:, 0].clamp(0, width), edges[:, 2].clamp(0, width)
    y0, y1 = edges[:, 1].clamp(0, height), edges[:, 3].clamp(0, height)
    unreviewed = tables[table, y1, x1] - tables[table, y0, x1] - tables[table, y1, x0] + tables[table, y0, x0]
    inside = (x1 - x0) * (y1 - y0)
    area = ((edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])).clamp(min=1)
    return 1 - (inside - unreviewed).float() / area


def is_unreviewed(boxes: Tensor, target: Mapping[str, Any]) -> Tensor:
    """Whether too much of a box is unreviewed for it to be an example of background: bool (N,).

    Parameters
    ----------
    boxes : float32 (N, 4)
    target : mapping
        Of an image (see ``maskrcnn_targets``) or of a sheet of them (see ``maskrcnn_sheet``).
    """
    crops, places = target["sheet"].to_crops(boxes) if "sheet" in target else (None, boxes)
    return unreviewed_share(places, target["unreviewed"], crops) > IGNORE_SHARE


class Draws:
    """What draws examples, and how many each sampler has drawn with it.

    Parameters
    ----------
    generator : torch.Generator
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._counts: dict[ExampleSampler, tuple[int, int]] = {}

    def positives(self, sampler: ExampleSampler) -> int:
        """How many positive examples a sampler drew last; 0 if it was not asked."""
        return self._counts.get(sampler, (0, 0))[0]

    def examples(self, sampler: ExampleSampler) -> int:
        """How many examples of both kinds a sampler drew last; 0 if it was not asked."""
        return sum(self._counts.get(sampler, (0, 0)))

    def count(self, sampler: ExampleSampler, positives: int, negatives: int) -> None:
        """Note what a sampler drew."""
        self._counts[sampler] = positives, negatives


_DRAWS: ContextVar[Draws | None] = ContextVar("segloop-examples", default=None)


@contextmanager
def drawn_by(generator: torch.Generator) -> Generator[Draws, None, None]:
    """Let examples be drawn by ``generator`` in this thread; otherwise it is torch's own, which all threads share."""
    draws = Draws(generator)
    token = _DRAWS.set(draws)
    try:
        yield draws
    finally:
        _DRAWS.reset(token)


class ExampleSampler(BalancedPositiveNegativeSampler):
    """torchvision's sampler of positive and negative examples, but that :func:`drawn_by` says what draws."""

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Draw from labels that are 1 or more, 0, or less than 0 (none); return masks of both kinds, uint8 (N,)."""
        most, draws = int(self.batch_size_per_image * self.positive_fraction), _DRAWS.get()
        chosen: tuple[list[Tensor], list[Tensor]] = [], []
        counts = [0, 0]
        for labels in matched_idxs:
            left = self.batch_size_per_image
            for kind, limit in enumerate((most, left)):
                places = torch.where(labels == 0 if kind else labels >= 1)[0]
                # of negative ones as many as there is room for beside the positive ones
                count = min(len(places), limit, left)
                left -= count
                counts[kind] += count
                order = torch.randperm(len(places), generator=draws.generator if draws else None, device=labels.device)
                chosen[kind].append(
                    torch.zeros_like(labels, dtype=torch.uint8).index_fill_(0, places[order[:count]], 1)
                )
        if draws:
            draws.count(self, *counts)
        return chosen


class ReviewedProposals(RegionProposalNetwork):
    """torchvision's proposal network, with anchors in unreviewed places left out of the loss."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Any]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label anchors 1, 0, or -1 (no influence)."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for own, place, target in zip(labels, anchors, targets):
            own[(own == 0) & is_unreviewed(place, target)] = -1
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return both losses; 0 when no anchor may be used."""
        if all(bool((own < 0).all()) for own in labels):
            return objectness.sum() * 0, deltas.sum() * 0
        losses: tuple[Tensor, Tensor] = super().compute_loss(objectness, deltas, labels, regression_targets)
        return losses


class ReviewedHeads(RoIHeads):
    """torchvision's heads, with proposals in unreviewed places left out of the loss."""

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[dict[str, Any]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Choose the proposals to train on; return them, their objects, classes and regression targets."""
        boxes = [target["boxes"] for target in targets]
        # "somewhere" is a small reviewed box: there is at least one example, however little is reviewed
        proposals = [torch.cat([own, target["somewhere"]]) for own, target in zip(proposals, targets)]
        proposals = self.add_gt_proposals(proposals, boxes)
        matched, labels = self.assign_targets_to_proposals(proposals, boxes, [t["labels"] for t in targets])
        for own, place, target in zip(labels, proposals, targets):
            own[(own == 0) & is_unreviewed(place, target)] = -1
        chosen = self.subsample(labels)
        proposals = [own[index] for own, index in zip(proposals, chosen)]
        labels = [own[index] for own, index in zip(labels, chosen)]
        matched = [own[index] for own, index in zip(matched, chosen)]
        matched_boxes = [
            own[index] if len(own) else own.new_zeros((len(index), 4)) for own, index in zip(boxes, matched)
        ]
        return proposals, matched, labels, self.box_coder.encode(matched_boxes, proposals)


def mask_targets(masks: Tensor, boxes: Tensor, cells: int) -> Tensor:
    """Sample each object's mask on a grid over its box.

    Parameters
    ----------
    masks : bool or uint8 (N, Y, X)
    boxes : float32 (N, 4)
        x0, y0, x1, y1; pixel (i, j) covers [j, j+1] × [i, i+1].
    cells : int

    Returns
    -------
    float32 (N, cells, cells) in [0, 1]
        The share of each cell that the mask covers (as many bilinear samples as the cell has pixels, at least one).
    """
    places = torch.cat([torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)[:, None], boxes], dim=1)
    return roi_align(masks[:, None].to(boxes.dtype), places, (cells, cells), 1.0, sampling_ratio=-1, aligned=True)[:, 0]


def mask_loss(logits: Tensor, boxes: Sequence[Tensor], masks: Sequence[Tensor], classes: Sequence[Tensor]) -> Tensor:
    """Binary cross-entropy of the mask of each box's own class, a scalar; 0 when there is no box.

    Parameters
    ----------
    logits : float32 (sum of N, K + 1, M, M)
    boxes, masks, classes : per image float32 (N, 4), bool or uint8 (N, Y, X), int64 (N,)
    """
    if len(logits) == 0:
        return logits.sum() * 0
    wanted = torch.cat([mask_targets(own, places, logits.shape[-1]) for own, places in zip(masks, boxes)])
    numbers = torch.cat(list(classes))
    own_class = logits[torch.arange(len(numbers), device=logits.device), numbers]
    return F.binary_cross_entropy_with_logits(own_class, wanted)
