"""Heads of a Mask R-CNN in the form that only infers: the same numbers, sooner."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor


class MaskFiller(nn.Module):
    """What a mask predictor says of each box for its own class.

    A transposed convolution of kernel 2 and stride 2 gives each cell four new ones that share nothing with others: it
    is a 1 × 1 convolution to four times the channels, which is faster, and only one class's mask is worked out.
    """

    def __init__(self, predictor: MaskRCNNPredictor) -> None:
        super().__init__()
        up, last = predictor.conv5_mask, predictor.mask_fcn_logits
        inputs, outputs = up.weight.shape[:2]
        four = nn.Conv2d(inputs, 4 * outputs, 1, device="meta")
        weight = up.weight.detach().permute(2, 3, 1, 0).reshape(4 * outputs, inputs, 1, 1)
        four.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        four.bias = nn.Parameter(up.bias.detach().repeat(4), requires_grad=False)
        self.up = nn.Sequential(four, nn.ReLU(inplace=True))
        self.weight = nn.Parameter(last.weight.detach().flatten(1), requires_grad=False)
        self.bias = nn.Parameter(last.bias.detach(), requires_grad=False)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        """Fill boxes.

        Parameters
        ----------
        x : (N, C, Y, X)
            The mask head's maps, channels last in memory.
        classes : int64 (N,)

        Returns
        -------
        float32 (N, 2 · Y, 2 · X) in [0, 1]
        """
        four = self.up(x)
        count, _, height, width = four.shape
        cells = four.permute(0, 2, 3, 1).reshape(count, 4 * height * width, -1)
        bias, weight = self.bias[classes].reshape(count, 1, 1), self.weight[classes][..., None]
        logits = torch.baddbmm(bias, cells, weight).float()
        return (
            logits.sigmoid().reshape(count, height, width, 2, 2).transpose(2, 3).reshape(count, 2 * height, 2 * width)
        )


class _Rows(nn.Module):
    """(N, C, Y, X), channels last in memory, to rows (N, Y · X · C): nothing is moved."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows."""
        return x.permute(0, 2, 3, 1).flatten(1)


def box_head_of_rows(head: TwoMLPHead, channels: int) -> nn.Sequential:
    """The same layers for maps of ``channels`` that are read as they lie in memory, channels last."""
    first, second = head.fc6, head.fc7
    own = nn.Linear(first.in_features, first.out_features, device="meta")
    weight = first.weight.detach().unflatten(1, (channels, -1)).transpose(1, 2).flatten(1).contiguous()
    own.weight, own.bias = nn.Parameter(weight, requires_grad=False), first.bias
    return nn.Sequential(_Rows(), own, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))
