"""RoIAlign (He et al. 2017, https://arxiv.org/abs/1703.06870, section 3), forward and backward, fast on a CPU.

The numbers are those of ``torchvision.ops.roi_align`` with a fixed ``sampling_ratio``. torchvision's CPU kernel is
single-threaded, and its backward pass takes most of a training step. Averaging bilinear samples is a product of two
small matrices, one per axis, so the kernels in ``roi_kernels`` work axis by axis on maps with channels last. On other
devices torchvision's own kernels are fast, and are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torchvision.ops import roi_align as torchvision_roi_align


def roi_align(
    feature: Tensor, boxes: Tensor, cells: int, scale: float, points: int = 2, aligned: bool = True
) -> Tensor:
    """Average ``points`` × ``points`` bilinear samples in each of ``cells`` × ``cells`` cells of each box.

    Parameters
    ----------
    feature : float32 or bfloat16 (C, H, W)
        Fastest with channels last in memory.
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in image pixels. No gradient flows to them.
    cells : int
    scale : float
        Feature cells per image pixel, 1 / stride.
    points : int
        Sampling points per cell and axis (torchvision's ``sampling_ratio``).
    aligned : bool
        Pixel centres are at half-integers, as in the paper's corrected version; False is torchvision's older default,
        which its released weights were trained with.

    Returns
    -------
    (N, C, cells, cells) of the feature's dtype, channels last in memory
    """
    if feature.device.type != "cpu":
        # torchvision has no kernel for bfloat16
        found = torchvision_roi_align(feature.float()[None], [boxes.float()], cells, scale, points, aligned)
        return found.to(feature.dtype)
    pooled: Tensor = _CpuRoIAlign.apply(feature, boxes, cells, scale, points, aligned)
    return pooled


class _CpuRoIAlign(torch.autograd.Function):
    """RoIAlign by the kernels of ``roi_kernels``."""

    @staticmethod
    def forward(
        ctx: Any, feature: Tensor, boxes: Tensor, cells: int, scale: float, points: int, aligned: bool
    ) -> Tensor:
        from segloop.models import roi_kernels

        ctx.boxes = boxes.detach().float().numpy()
        ctx.grid = roi_kernels.Grid(cells, scale, points, aligned)
        ctx.shape, ctx.dtype = feature.shape, feature.dtype
        last = feature.detach().permute(1, 2, 0).contiguous()
        out = torch.empty((len(boxes), cells, cells, feature.shape[0]), dtype=feature.dtype)
        roi_kernels.pool(_array(last), ctx.boxes, ctx.grid, _array(out))
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from segloop.models import roi_kernels

        channels, height, width = ctx.shape
        spread = torch.zeros((height, width, channels), dtype=torch.float32)
        last = gradient.float().permute(0, 2, 3, 1).contiguous()
        roi_kernels.spread(last.numpy(), ctx.boxes, ctx.grid, spread.numpy())
        return spread.permute(2, 0, 1).to(ctx.dtype), None, None, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array; NumPy has no bfloat16, so its bits are taken."""
    bits: np.ndarray = tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    return bits


class PyramidRoIAlign(nn.Module):
    """RoIAlign on the level of a feature pyramid that fits each box (Lin et al. 2017, equation 1).

    Takes the place of torchvision's ``MultiScaleRoIAlign``.

    Parameters
    ----------
    strides : mapping of str to int
        Name and stride of each level, finest first; strides double from one to the next.
    cells : int
    points : int
    aligned : bool
    canonical_size : float
        A box of this side (square root of its area, in pixels) is read at stride 16, smaller ones at finer levels.
    """

    def __init__(
        self, strides: Mapping[str, int], cells: int, points: int, aligned: bool, canonical_size: float
    ) -> None:
        super().__init__()
        self.strides = dict(strides)
        self.output_size = (cells, cells)
        self.cells, self.points, self.aligned = cells, points, aligned
        self.canonical_size = canonical_size
        self._first = int(torch.tensor(float(next(iter(self.strides.values())))).log2())

    def forward(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Return (sum of N, C, cells, cells) for the boxes of all images, one image after another."""
        maps = [features[name] for name in self.strides]
        scales = [1 / stride for stride in self.strides.values()]
        parts = []
        for image, own in enumerate(boxes):
            levels = self.levels(own)
            found = [
                (index, roi_align(feature[image], own[index], self.cells, scale, self.points, self.aligned))
                for level, (feature, scale) in enumerate(zip(maps, scales))
                if len(index := torch.where(levels == level)[0])
            ]
            if len(found) == 1:
                parts.append(found[0][1])
                continue
            shape = (len(own), maps[0].shape[1], self.cells, self.cells)
            out = torch.empty(shape, dtype=maps[0].dtype, device=maps[0].device, memory_format=torch.channels_last)
            for index, pooled in found:
                out.index_copy_(0, index, pooled)
            parts.append(out)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def levels(self, boxes: Tensor) -> Tensor:
        """The level of each box, int64 (N,), 0 the finest."""
        side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=1e-6).sqrt()
        level = torch.floor(4 + torch.log2(side / self.canonical_size) + 1e-6).long() - self._first
        return level.clamp(0, len(self.strides) - 1)
