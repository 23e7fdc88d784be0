"""SegLoop as the benchmarks run it: precisions, models with fixed numbers of detections, scores, counts of work."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from field import Field
from torch.utils.flop_counter import FlopCounterMode

import segloop
from segloop.events import Event, SegmentStarted
from segloop.metrics import instance_scores
from segloop.models import device
from segloop.models.registry import get_family

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_PRECISIONS = {"fp32": "FLOAT32", "bf16": "BFLOAT16"}


@dataclass(frozen=True)
class Setup:
    """What all sections share.

    Parameters
    ----------
    field : Field
    threads, repeats : int
    maskrcnn, unet : str
        Names or folders of the models.
    sides : tuple of int
        Of the images of the memory section, in pixels.
    formats : tuple of str
        "ome-zarr", "tiff".
    stardist_python, stardist_model : Path or None
    scratch : Path
        Folder for what is written.
    say : callable
        Told of progress.
    """

    field: Field
    threads: int
    repeats: int
    maskrcnn: str
    unet: str
    sides: tuple[int, ...]
    formats: tuple[str, ...]
    stardist_python: Path | None
    stardist_model: Path | None
    scratch: Path
    say: Callable[[str], object]

    @cached_property
    def image(self) -> segloop.Image:
        """The field as an image."""
        return segloop.Image(self.field.image, "YX", name="field")

    @cached_property
    def megapixels(self) -> float:
        """Of the field, in units of 1024²."""
        return self.field.image.size / 1024**2

    @cached_property
    def limit(self) -> dict[str, float]:
        """Best convolution throughput of this machine by precision, GFLOP/s; measured when first asked for."""
        from sections.limit import best_throughput

        return {precision: best_throughput(DTYPES[precision]) for precision in hardware_precisions()}


def hardware_precisions() -> tuple[str, ...]:
    """Return "fp32", and "bf16" where the CPU multiplies it in hardware."""
    return ("fp32", "bf16") if device.has_fast_bfloat16() else ("fp32",)


def precisions() -> tuple[str, ...]:
    """Return those of :func:`hardware_precisions` that this version of SegLoop can be asked for."""
    return hardware_precisions() if _can_choose_precision() else ("fp32",)


def _can_choose_precision() -> bool:
    return any(field.name == "precision" for field in fields(segloop.SegmentSettings))


def settings(precision: str, **others: Any) -> segloop.SegmentSettings:
    """Return settings for "fp32" or "bf16" on the CPU."""
    if _can_choose_precision():
        others["precision"] = getattr(device.Precision, _PRECISIONS[precision])
    return segloop.SegmentSettings(device=device.Device.CPU, **others)


def with_detections(model: Any, proposals: int, detections: int, **others: float) -> Any:
    """Return a copy of a Mask R-CNN that finds ``detections`` objects in each tile, however low their scores.

    ``others`` are further numbers of its architecture.
    """
    numbers = dict(model.spec.architecture) | others
    numbers |= {"proposals": proposals, "detections": detections, "box_score": 0.0}
    numbers["proposal_score"] = min(0.01, numbers["proposal_score"])
    other = type(model)(replace(model.spec, architecture=numbers))
    other.module.load_state_dict(model.module.state_dict())
    return other


def untrained(family: str, size: str, channels: int, seed: int = 0) -> Any:
    """Return a model with fresh weights that finds nuclei in grey images."""
    torch.manual_seed(seed)
    built = get_family(family)
    spec = built.new_spec(f"{size}-untrained", ("nucleus",), channels, 2, size)
    return built.build(replace(spec, repeat_grey=True))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a field was cut: number and sides of the tiles, and the detections in all of them (0 for a U-Net)."""

    tiles: int
    tile: tuple[int, ...]
    detections: int


def plan_of(model: Any, image: segloop.Image, chosen: segloop.SegmentSettings) -> Plan:
    """Segment once and look at what comes by."""
    started: list[SegmentStarted] = []
    found = []
    fill = getattr(model, "masks", None)

    def counting(maps: Any, boxes: Any, classes: Any) -> Any:
        found.extend(len(own) for own in boxes)
        return fill(maps, boxes, classes)

    def watch(event: Event) -> None:
        if isinstance(event, SegmentStarted):
            started.append(event)

    if fill is not None:
        model.masks = counting
    # with the size given, no window is looked at for it
    known = replace(chosen, object_size=model.spec.object_size) if model.spec.object_size else chosen
    try:
        segloop.segment(model, image, known, watch)
    finally:
        if fill is not None:
            del model.masks
    # a run that starts over, with smaller tiles for want of memory, says so
    return Plan(started[-1].tiles, tuple(started[-1].tile), sum(found))


def gigaflops(model: Any, image: segloop.Image) -> float:
    """Count the multiplications and additions of a segmentation in float32, in units of 10⁹."""
    threads = torch.get_num_threads()
    # what other threads do is not counted, and with one there are none
    torch.set_num_threads(1)
    try:
        with FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
            segloop.segment(model, image, settings("fp32"))
    finally:
        torch.set_num_threads(threads)
    return counter.get_total_flops() / 1e9


def _formulas() -> dict[Any, Any]:
    """How much oneDNN's own operators do, of which the counter does not know."""
    if not torch.backends.mkldnn.is_available():
        return {}

    def convolution(x: Any, *others: Any, out_shape: Any = None, **named: Any) -> int:
        # with something to add, that comes before the weights
        weight = others[1] if others[1] is not None and len(others[1]) == 4 else others[0]
        return 2 * math.prod(out_shape) * math.prod(weight[1:])

    def linear(x: Any, *others: Any, out_shape: Any = None, **named: Any) -> int:
        return 2 * math.prod(out_shape) * x[-1]

    return {torch.ops.mkldnn._convolution_pointwise: convolution, torch.ops.mkldnn._linear_pointwise: linear}


def accuracy(field: Field, labels: np.ndarray) -> dict[str, float]:
    """Score labels, unsigned integers (Y, X), against the field's reference."""
    scores = instance_scores(field.labels, labels, (0.5, 0.7))
    return {"AP50": scores.ap(0.5), "AP70": scores.ap(0.7), "objects": int(scores.tp[0] + scores.fp[0])}
