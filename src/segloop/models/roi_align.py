"""RoIAlign (He et al. 2017, https://arxiv.org/abs/1703.06870, section 3), written with ``grid_sample``.

The numbers are those of ``torchvision.ops.roi_align`` with a fixed ``sampling_ratio``. torchvision's CPU kernel is
single-threaded, and its backward pass takes most of a training step; bilinear sampling of a grid has neither fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def roi_align(
    feature: Tensor, boxes: Tensor, cells: int, scale: float, points: int = 2, aligned: bool = True
) -> Tensor:
    """Average ``points`` × ``points`` bilinear samples in each of ``cells`` × ``cells`` cells of each box.

    Parameters
    ----------
    feature : float32 (C, H, W)
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in image pixels.
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
    float32 (N, C, cells, cells)
    """
    channels, height, width = feature.shape
    count = len(boxes)
    if count == 0:
        return feature.new_zeros((0, channels, cells, cells))
    offset = 0.5 if aligned else 0.0
    corners = boxes.float() * scale - offset
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        size = size.clamp(min=1.0)
    steps = (torch.arange(cells * points, device=feature.device, dtype=torch.float32) + 0.5) / (cells * points)
    xs = start[:, :1] + steps * size[:, :1]
    ys = start[:, 1:] + steps * size[:, 1:]
    # grid_sample's -1 and 1 are the centres of the outermost cells; clamping to them is roi_align's rule at the border
    grid_x = (2 / max(width - 1, 1)) * xs - 1
    grid_y = (2 / max(height - 1, 1)) * ys - 1
    side = cells * points
    grid = torch.stack(
        [grid_x[:, None, :].expand(count, side, side), grid_y[:, :, None].expand(count, side, side)], dim=-1
    )
    sampled = F.grid_sample(
        feature.unsqueeze(0),
        grid.reshape(1, count * side, side, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    # samples more than one cell outside the map count as 0
    inside_x = (xs >= -1) & (xs <= width)
    inside_y = (ys >= -1) & (ys <= height)
    if not bool(inside_x.all() & inside_y.all()):
        inside = (inside_y[:, :, None] & inside_x[:, None, :]).reshape(1, 1, count * side, side)
        sampled = sampled * inside
    pooled = F.avg_pool2d(sampled, points)
    return pooled.reshape(channels, count, cells, cells).transpose(0, 1)


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
        """Return float32 (sum of N, C, cells, cells) for the boxes of all images, one image after another."""
        maps = [features[name].float() for name in self.strides]
        scales = [1 / stride for stride in self.strides.values()]
        parts = []
        for image, own in enumerate(boxes):
            levels = self.levels(own)
            out = maps[0].new_zeros((len(own), maps[0].shape[1], self.cells, self.cells))
            for level, (feature, scale) in enumerate(zip(maps, scales)):
                index = torch.where(levels == level)[0]
                if len(index):
                    pooled = roi_align(feature[image], own[index], self.cells, scale, self.points, self.aligned)
                    out = out.index_copy(0, index, pooled)
            parts.append(out)
        return torch.cat(parts)

    def levels(self, boxes: Tensor) -> Tensor:
        """The level of each box, int64 (N,), 0 the finest."""
        side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=1e-6).sqrt()
        level = torch.floor(4 + torch.log2(side / self.canonical_size) + 1e-6).long() - self._first
        return level.clamp(0, len(self.strides) - 1)
