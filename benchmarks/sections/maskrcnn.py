"""Mask R-CNN end to end, from array to label image, beside stock torchvision and StarDist in one run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from engine import Setup, accuracy, gigaflops, plan_of, precisions, settings, untrained, with_detections
from peers.stardist_client import StarDistPeer
from peers.torchvision_stock import DETECTIONS, PROPOSALS, TILE, build_stock, plan, segment_stock
from report import table
from timing import Seconds, interleaved, timed

import segloop

STOCK = "torchvision maskrcnn_resnet50_fpn"
STARDIST = "StarDist predict_instances"


def measure(setup: Setup) -> dict[str, Any]:
    """Time all in turn; score each on the field."""
    shipped = segloop.load_model(setup.maskrcnn)
    # the boxes of an untrained network overlap; few may be dropped, or fewer are left than the stock network finds
    resnet = with_detections(untrained("maskrcnn", "resnet50", 3), PROPOSALS, DETECTIONS, box_nms=0.9)
    models = {
        setup.maskrcnn: (shipped, {}),
        f"{setup.maskrcnn}, {DETECTIONS} per tile": (with_detections(shipped, PROPOSALS, DETECTIONS), {"tile": TILE}),
        # all that it finds is painted, as the stock pipeline does
        f"resnet50, untrained, {DETECTIONS} per tile": (resnet, {"tile": TILE, "score": 0.0}),
    }
    labels: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, Any]] = {}
    works: dict[str, Callable[[], Seconds]] = {}
    for name, (model, others) in models.items():
        setup.say(f"maskrcnn: counting the work of {name}")
        counted = plan_of(model, setup.image, settings("fp32", **others))
        work = gigaflops(model, setup.image)
        for precision in precisions():
            key = f"{name} ({precision})"
            works[key] = _end_to_end(setup, model, settings(precision, **others), labels, key)
            facts[key] = {
                "precision": precision,
                "trained": model is not resnet,
                "tiles": counted.tiles,
                "tile": counted.tile,
                "detections": counted.detections,
                "gigaflops": work,
            }
    works[STOCK] = _stock(setup, labels, facts)
    with contextlib.ExitStack() as stack:
        if setup.stardist_python and setup.stardist_model:
            peer = stack.enter_context(
                StarDistPeer(
                    setup.stardist_python, setup.stardist_model, setup.field.image, setup.scratch, setup.threads
                )
            )
            works[STARDIST] = peer.run
        timings = interleaved(works, setup.repeats, say=setup.say)
        if STARDIST in works:
            labels[STARDIST] = peer.labels()
            facts[STARDIST] = {"precision": "fp32", "trained": True, "answers": peer.answers}
    rows = {}
    for name, timing in timings.items():
        row = facts[name] | timing.to_json()
        if row["trained"]:
            row |= accuracy(setup.field, labels[name])
        row["times_stock"] = timing.ratio(timings[STOCK])
        row["times_stock_cpu"] = timing.cpu_ratio(timings[STOCK])
        if STARDIST in timings:
            row["times_stardist"] = timing.ratio(timings[STARDIST])
            row["times_stardist_cpu"] = timing.cpu_ratio(timings[STARDIST])
        if "gigaflops" in row:
            row["share_of_limit"] = row["gigaflops"] / timing.wall / setup.limit[row["precision"]]
        rows[name] = row
    return {"rows": rows, "megapixels": setup.megapixels, "nuclei": setup.field.nuclei}


def _end_to_end(
    setup: Setup, model: Any, chosen: segloop.SegmentSettings, labels: dict[str, np.ndarray], key: str
) -> Callable[[], Seconds]:
    def work() -> None:
        labels[key] = np.asarray(segloop.segment(model, setup.image, chosen).labels.data)

    return lambda: timed(work)


def _stock(setup: Setup, labels: dict[str, np.ndarray], facts: dict[str, dict[str, Any]]) -> Callable[[], Seconds]:
    tiles = plan(setup.field.image.shape)
    model = build_stock(tiles[0].shape[0])
    facts[STOCK] = {"precision": "fp32", "trained": False, "tiles": len(tiles), "tile": tiles[0].shape}

    def work() -> None:
        with torch.inference_mode():
            labels[STOCK], facts[STOCK]["detections"] = segment_stock(model, setup.field.image, tiles)

    return lambda: timed(work)


def markdown(result: dict[str, Any]) -> str:
    """Show the result."""
    columns = ["from array to label image", "s wall", "s CPU", "s/MP", "× stock", "by CPU", "× StarDist", "by CPU"]
    columns += ["AP50", "AP70", "tiles", "detections", "GFLOP", "share of the limit"]
    rows = []
    for name, row in result["rows"].items():
        rows.append(
            [
                name,
                f"{row['wall']:.2f}",
                f"{row['cpu']:.2f}",
                f"{row['wall'] / result['megapixels']:.3f}",
                f"{row['times_stock']:.2f}",
                f"{row['times_stock_cpu']:.2f}",
                f"{row['times_stardist']:.2f}" if "times_stardist" in row else "–",
                f"{row['times_stardist_cpu']:.2f}" if "times_stardist_cpu" in row else "–",
                f"{row['AP50']:.3f}" if row["trained"] else "untrained",
                f"{row['AP70']:.3f}" if row["trained"] else "untrained",
                f"{row['tiles']} of {'×'.join(map(str, row['tile']))}" if "tiles" in row else "whole",
                str(row["detections"]) if "detections" in row else str(row["objects"]),
                f"{row['gigaflops']:.0f}" if "gigaflops" in row else "–",
                f"{row['share_of_limit']:.0%}" if "share_of_limit" in row else "–",
            ]
        )
    return table(columns, rows)
