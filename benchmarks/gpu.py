"""SegLoop on a CUDA device beside stock torchvision on the same device, and what happens when its memory runs out.

    python benchmarks/gpu.py --data DATA/nuclei_dsb2018 [--json gpu.json]

The field is that of ``speed.py``, 2048 × 2048 pixels, and mosaics of it. Each work runs once to warm up, then in turn
with the others; the least of its times is given. Agreement with the CPU is the share of pixels (U-Net), or of objects
with IoU of at least 0.9 (Mask R-CNN), in float32. At last the process may take only a small share of the device's
memory, and then next to nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from field import build_field
from peers.torchvision_stock import build_stock, plan, segment_stock
from torchvision.models.detection import MaskRCNN

import segloop
from segloop.metrics import instance_scores
from segloop.models.device import Device, Precision

REPEATS = 3
MOSAIC = 4
SCARCE = (0.01, 0.0001)
"""Shares of the device's memory that the process may take."""


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of a piece of work, all that it started on the device included."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def run(name: str, pixels: np.ndarray, settings: segloop.SegmentSettings) -> segloop.Segmentation:
    """Segment with a bundled model."""
    model = segloop.load_model(name, settings.device)
    return segloop.segment(model, segloop.Image(pixels, "YX"), settings)


def on_cuda(model: MaskRCNN) -> Callable[[list[torch.Tensor]], list[dict[str, torch.Tensor]]]:
    """Let a model that is called with images on the CPU compute on the device."""
    model.cuda()

    def predict(images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        found = model([image.cuda() for image in images])
        return [{name: tensor.cpu() for name, tensor in own.items()} for own in found]

    return predict


def agreement(one: segloop.Segmentation, other: segloop.Segmentation) -> float:
    """How far two results are the same, in [0, 1]."""
    if one.labels.classes:
        return float(np.mean(one.labels.data == other.labels.data))
    scores = instance_scores(np.asarray(one.labels.data), np.asarray(other.labels.data))
    return float(scores.f1(0.9))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    field = build_field(options.data)
    large = np.tile(field.image, (MOSAIC, MOSAIC))
    cuda = segloop.SegmentSettings(device=Device.CUDA)
    works: dict[str, Callable[[], object]] = {}
    for name in ("nuclei-maskrcnn", "nuclei-unet"):
        for precision in (Precision.FLOAT32, Precision.BFLOAT16):
            chosen = replace(cuda, precision=precision)
            model = segloop.load_model(name, Device.CUDA)
            for title, pixels in (("2048²", field.image), (f"{len(large)}²", large)):
                image = segloop.Image(pixels, "YX")
                works[f"{name} {precision.value} {title}"] = lambda model=model, image=image, chosen=chosen: (
                    segloop.segment(model, image, chosen)
                )
    tiles = plan(field.image.shape)
    works["torchvision maskrcnn_resnet50_fpn 2048²"] = partial(
        segment_stock, on_cuda(build_stock(tiles[0].shape[0])), field.image, tiles
    )
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "seconds": {}}
    for work in works.values():
        work()
    for _ in range(REPEATS):
        for name, work in works.items():
            took = seconds(work)
            found["seconds"][name] = min(took, found["seconds"].get(name, took))
            print(f"{name:50s} {took:.3f} s", flush=True)
    for name in ("nuclei-maskrcnn", "nuclei-unet"):
        exact = replace(cuda, precision=Precision.FLOAT32)
        here, there = (run(name, field.image, replace(exact, device=d)) for d in (Device.CPU, Device.CUDA))
        found[f"agreement with the CPU, {name}"] = agreement(here, there)
    # the device's memory is to be free
    works.clear()
    del model
    for share in SCARCE:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(share)
        for name in ("nuclei-maskrcnn", "nuclei-unet"):
            result = run(name, field.image, cuda)
            found[f"{share:.2%} of the memory, {name}"] = [*result.notices, f"{result.seconds:.1f} s"]
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
