"""RoIAlign and a training step of the small Mask R-CNN: SegLoop's, with torchvision's kernel, and torchvision's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from engine import Setup, untrained
from peers.torchvision_stock import build_stock
from report import table
from timing import Seconds, interleaved, timed
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes, roi_align

from segloop.models import device
from segloop.models.protocol import Example
from segloop.models.roi_align import PyramidRoIAlign

CROP, BATCH = 256, 4
CHANNELS = 64
BOXES = {"box head, 7 × 7": (7, 96), "mask head, 14 × 14": (14, 32)}
"""Cells per side, and boxes per crop: what a training step of the small Mask R-CNN pools."""
OURS, THEIRS = "SegLoop", "torchvision"
TRAINED = "as it is trained"
STOCK = "torchvision maskrcnn_resnet50_fpn"


class TorchvisionRoIAlign(nn.Module):
    """In the place of a :class:`PyramidRoIAlign`, with torchvision's kernel and the same levels and sampling points."""

    def __init__(self, other: PyramidRoIAlign) -> None:
        super().__init__()
        self.other = other
        self.output_size = other.output_size

    def forward(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """As its twin: (sum of N, C, cells, cells)."""
        numbered = torch.cat([torch.cat([own.new_full((len(own), 1), n), own], 1) for n, own in enumerate(boxes)])
        levels = self.other.levels(numbered[:, 1:])
        first = next(iter(features.values()))
        out = first.new_zeros((len(numbered), first.shape[1], self.other.cells, self.other.cells))
        for level, (name, stride) in enumerate(self.other.strides.items()):
            index = torch.where(levels == level)[0]
            pooled = roi_align(
                features[name].contiguous(),
                numbered[index],
                self.other.cells,
                1 / stride,
                self.other.points,
                self.other.aligned,
            )
            out = out.index_copy(0, index, pooled)
        return out


def measure(setup: Setup) -> dict[str, Any]:
    """Time both kernels alone and in whole steps, in turn, and compare their numbers."""
    kernels = {name: _kernel(setup, name, *numbers) for name, numbers in BOXES.items()}
    return {"kernels": kernels, "step": _steps(setup)}


def _kernel(setup: Setup, name: str, cells: int, count: int) -> dict[str, Any]:
    """Compare one pooling; features as the training has them, float32 (4, 64, 256 / stride, 256 / stride)."""
    random = torch.Generator().manual_seed(0)
    ours = PyramidRoIAlign({"0": 4, "1": 8, "2": 16, "3": 32}, cells, 2, True, 112.0)
    features = {
        key: torch.randn((BATCH, CHANNELS, CROP // stride, CROP // stride), generator=random)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
        for key, stride in ours.strides.items()
    }
    corners = torch.rand((BATCH, count, 2), generator=random) * (CROP - 40)
    sizes = 8 + torch.rand((BATCH, count, 2), generator=random) * 32
    boxes = list(torch.cat([corners, corners + sizes], dim=2))
    shapes = [(CROP, CROP)] * BATCH
    poolers = {OURS: ours, THEIRS: TorchvisionRoIAlign(ours)}
    gradient = torch.randn((BATCH * count, CHANNELS, cells, cells), generator=random)

    def forward(pooler: nn.Module) -> Tensor:
        pooled: Tensor = pooler(features, boxes, shapes)
        return pooled

    def backward(pooler: nn.Module) -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward(pooler), tuple(features.values()), gradient, allow_unused=True)

    def forward_only(pooler: nn.Module) -> None:
        with torch.no_grad():
            forward(pooler)

    works = {}
    for who, pooler in poolers.items():
        works[f"{who} forward"] = lambda pooler=pooler: timed(lambda: forward_only(pooler))
        works[f"{who} forward and backward"] = lambda pooler=pooler: timed(lambda: backward(pooler))
    timings = interleaved(works, max(5, setup.repeats), say=lambda line: setup.say(f"training: {name}: {line}"))
    pairs = list(zip(backward(ours), backward(poolers[THEIRS])))
    return {
        "seconds": {what: timing.to_json() for what, timing in timings.items()},
        "times_forward": timings[f"{OURS} forward"].ratio(timings[f"{THEIRS} forward"]),
        "times_both": timings[f"{OURS} forward and backward"].ratio(timings[f"{THEIRS} forward and backward"]),
        "difference_forward": float((forward(ours) - forward(poolers[THEIRS])).detach().abs().max()),
        "difference_gradient": max(float((a - b).abs().max()) for a, b in pairs if a is not None and b is not None),
    }


def _steps(setup: Setup) -> dict[str, Any]:
    """Compare whole steps: losses, gradients, AdamW; batch 4 of 256 × 256 crops of the field."""
    examples = training_crops(setup.field.image, setup.field.labels)
    model = untrained("maskrcnn", "small", 3)
    other = copy.deepcopy(model)
    for part in ("box_roi_pool", "mask_roi_pool"):
        setattr(other.module.roi_heads, part, TorchvisionRoIAlign(getattr(other.module.roi_heads, part)))
    stock = build_stock(CROP).train()
    targets = [stock_target(example.labels) for example in examples]
    images = [example.image for example in examples]
    fast = torch.bfloat16 if device.has_fast_bfloat16(torch.device("cpu")) else torch.float32

    def losses_as_trained() -> Tensor:
        # as segloop.train.fit does it
        with torch.autocast("cpu", fast, enabled=fast is not torch.float32):
            return total(model.losses(examples))

    works = {
        TRAINED: _step(model.module, losses_as_trained),
        OURS: _step(model.module, lambda: total(model.losses(examples))),
        THEIRS: _step(other.module, lambda: total(other.losses(examples))),
        STOCK: _step(stock, lambda: total(stock(images, targets))),
    }
    timings = interleaved(works, max(3, setup.repeats), say=lambda line: setup.say(f"training: step: {line}"))
    return {
        "seconds": {who: timing.to_json() for who, timing in timings.items()},
        "times": timings[OURS].ratio(timings[THEIRS]),
        "times_stock": timings[OURS].ratio(timings[STOCK]),
        "times_stock_as_trained": timings[TRAINED].ratio(timings[STOCK]),
        "objects": sum(len(np.unique(example.labels)) - 1 for example in examples),
    }


def training_crops(image: np.ndarray, labels: np.ndarray) -> list[Example]:
    """Cut examples of (3, 256, 256) from the first tiles of the field; the grey image is repeated."""
    crops = []
    for number in range(BATCH):
        place = np.s_[:CROP, number * CROP : (number + 1) * CROP]
        pixels = torch.from_numpy(image[place].astype(np.float32) / 255).expand(3, CROP, CROP).contiguous()
        own = torch.from_numpy(labels[place].astype(np.int64))
        crops.append(Example(pixels, own, torch.ones((CROP, CROP), dtype=torch.bool)))
    return crops


def stock_target(labels: Tensor) -> dict[str, Tensor]:
    """Objects of int64 (Y, X) as torchvision takes them: boxes, classes, masks."""
    numbers = torch.unique(labels)
    masks = labels == numbers[numbers > 0][:, None, None]
    boxes = masks_to_boxes(masks)
    boxes[:, 2:] += 1
    return {"boxes": boxes, "labels": torch.ones(len(masks), dtype=torch.int64), "masks": masks.to(torch.uint8)}


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of a model's losses."""
    return torch.stack(list(losses.values())).sum()


def _step(module: nn.Module, losses: Callable[[], Tensor]) -> Callable[[], Seconds]:
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)

    def work() -> None:
        loss = losses()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def run() -> Seconds:
        torch.manual_seed(0)
        return timed(work)

    return run


def markdown(result: dict[str, Any]) -> str:
    """Show the result."""
    rows = []
    for name, own in result["kernels"].items():
        for what, ratio, difference in (
            ("forward", own["times_forward"], own["difference_forward"]),
            ("forward and backward", own["times_both"], own["difference_gradient"]),
        ):
            seconds = [own["seconds"][f"{who} {what}"]["wall"] for who in (OURS, THEIRS)]
            rows.append(
                [f"RoIAlign, {name}, {what}", *(f"{s * 1e3:.1f}" for s in seconds), f"{ratio:.1f}", f"{difference:.1e}"]
            )
    step = result["step"]
    seconds = [step["seconds"][who]["wall"] for who in (OURS, THEIRS)]
    rows.append(["training step, small Mask R-CNN", *(f"{s * 1e3:.0f}" for s in seconds), f"{step['times']:.1f}", "–"])
    stock = f"{step['seconds'][STOCK]['wall'] * 1e3:.0f}"
    for what, who, ratio in (
        ("beside stock maskrcnn_resnet50_fpn", OURS, step["times_stock"]),
        (f"the same, {TRAINED}", TRAINED, step["times_stock_as_trained"]),
    ):
        rows.append([f"training step, {what}", f"{step['seconds'][who]['wall'] * 1e3:.0f}", stock, f"{ratio:.1f}", "–"])
    return table(["batch 4 of 256 × 256 pixels", "SegLoop ms", "torchvision ms", "times", "largest difference"], rows)
