"""A batch of crops laid out side by side on one sheet, for training on a GPU.

torchvision matches, samples and suppresses boxes image by image, in thousands of small steps that leave a GPU idle and
that it must wait for. Features are computed crop by crop; from there on the batch is one large image, whose boxes are
handled together. Margins between the crops keep them apart: what RoIAlign reads beyond a crop's edge is the edge, as at
the border of an image, and an anchor fits the objects of its own crop.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Sheet:
    """Where each of ``count`` crops lies. All lengths in network pixels.

    Parameters
    ----------
    count : int
    crop : (int, int)
        Y, X of a crop; multiples of the coarsest stride.
    margin : int
        On each side of a crop; the coarsest stride.
    """

    count: int
    crop: tuple[int, int]
    margin: int

    @property
    def columns(self) -> int:
        """Crops in a row."""
        return math.ceil(math.sqrt(self.count))

    @property
    def pitch(self) -> tuple[int, int]:
        """Y, X from one crop's place to the next."""
        return self.crop[0] + 2 * self.margin, self.crop[1] + 2 * self.margin

    @property
    def size(self) -> tuple[int, int]:
        """Y, X of the sheet."""
        return math.ceil(self.count / self.columns) * self.pitch[0], self.columns * self.pitch[1]

    def origins(self, device: torch.device) -> Tensor:
        """The upper left corner of each crop: float32 (count, 4), x, y, x, y, to be added to boxes."""
        number = torch.arange(self.count, device=device)
        x = (number % self.columns) * self.pitch[1] + self.margin
        y = torch.div(number, self.columns, rounding_mode="floor") * self.pitch[0] + self.margin
        return torch.stack([x, y, x, y], dim=1).float()

    def lay_out(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Lay feature maps (count, C, H, W) out on maps of the sheet, (1, C, ...); margins repeat the crops' edges."""
        return OrderedDict((name, self._lay_out(one)) for name, one in maps.items())

    def _lay_out(self, maps: Tensor) -> Tensor:
        stride = self.crop[0] // maps.shape[-2]
        pad = self.margin // stride
        padded = F.pad(maps, (pad, pad, pad, pad), mode="replicate")
        rows = self.size[0] // self.pitch[0]
        empty = padded.new_zeros((rows * self.columns - self.count, *padded.shape[1:]))
        grid = torch.cat([padded, empty]).unflatten(0, (rows, self.columns))
        # rows, columns, C, h, w to C, rows · h, columns · w
        return grid.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2).unsqueeze(0)

    def crops_of(self, boxes: Tensor) -> Tensor:
        """The crop that the centre of each box is in: int64 (N,)."""
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        row = torch.div(y, self.pitch[0], rounding_mode="floor").long()
        return row * self.columns + torch.div(x, self.pitch[1], rounding_mode="floor").long()

    def to_crops(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The crop of each box, int64 (N,), and the box in the crop's own coordinates, float32 (N, 4)."""
        crops = self.crops_of(boxes)
        return crops, boxes - self.origins(boxes.device)[crops]

    def place(self, boxes: Tensor) -> Tensor:
        """Put boxes of each crop, float32 (count, N, 4) in its own coordinates, on the sheet, cut to the crop."""
        most = torch.tensor([self.crop[1], self.crop[0]] * 2, device=boxes.device, dtype=boxes.dtype)
        return torch.minimum(boxes.clamp(min=0), most) + self.origins(boxes.device)[:, None]


def sheet_target(sheet: Sheet, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Put the targets of all crops (see ``maskrcnn_targets``) on the sheet.

    Returns
    -------
    dict
        ``boxes`` float32 (N, 4) and ``labels`` int64 (N,) of all objects; ``places`` int64 (N,), the number of each in
        its crop, from 0; ``somewhere`` float32 (M, 4); crop by crop, ``objects`` int32 (count, Y, X) and ``unreviewed``
        int32 (count, Y + 1, X + 1); and the ``sheet``.
    """
    device = targets[0]["boxes"].device
    origins = sheet.origins(device).unbind()
    counts = [len(target["boxes"]) for target in targets]
    return {
        "boxes": torch.cat([target["boxes"] + origin for target, origin in zip(targets, origins)]),
        "labels": torch.cat([target["labels"] for target in targets]),
        "somewhere": torch.cat([target["somewhere"] + origin for target, origin in zip(targets, origins)]),
        "places": torch.cat([torch.arange(n, device=device) for n in counts]),
        "objects": torch.stack([target["objects"] for target in targets]),
        "unreviewed": torch.stack([target["unreviewed"] for target in targets]),
        "sheet": sheet,
    }
