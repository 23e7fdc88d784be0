"""U-Net end to end beside its bare forward pass over the same tiles, and beside StarDist."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from engine import DTYPES, Setup, accuracy, gigaflops, plan_of, precisions, settings
from peers.stardist_client import StarDistPeer
from report import table
from sections.maskrcnn import STARDIST
from timing import Seconds, interleaved, timed
from torch import Tensor, nn

import segloop
from segloop.models.inference import inference_copy


def measure(setup: Setup) -> dict[str, Any]:
    """Time all in turn; score single objects on the field; compare classes in bf16 with those in fp32."""
    model = segloop.load_model(setup.unet)
    setup.say(f"unet: counting the work of {setup.unet}")
    counted = plan_of(model, setup.image, settings("fp32"))
    work = gigaflops(model, setup.image)
    tiles = cut_tiles(setup.field.image, counted.tiles, counted.tile, model.spec.channels)
    labels: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, Any]] = {}
    works: dict[str, Callable[[], Seconds]] = {}
    for precision in precisions():
        key = f"bare forward pass ({precision})"
        works[key] = _bare(model.module, tiles, DTYPES[precision])
        facts[key] = {"what": "forward", "precision": precision, "gigaflops": work}
        for what, others in (("classes", {}), ("objects", {"instances": True})):
            key = f"{setup.unet}, {what} ({precision})"
            works[key] = _end_to_end(setup, model, settings(precision, **others), labels, key)
            facts[key] = {"what": what, "precision": precision, "gigaflops": work}
    with contextlib.ExitStack() as stack:
        if setup.stardist_python and setup.stardist_model:
            peer = stack.enter_context(
                StarDistPeer(
                    setup.stardist_python, setup.stardist_model, setup.field.image, setup.scratch, setup.threads
                )
            )
            works[STARDIST] = peer.run
            facts[STARDIST] = {"what": "objects", "precision": "fp32"}
        timings = interleaved(works, setup.repeats, say=setup.say)
        if STARDIST in works:
            labels[STARDIST] = peer.labels()
    rows = {}
    for name, timing in timings.items():
        row = facts[name] | timing.to_json()
        bare = timings[f"bare forward pass ({row['precision']})"]
        if name != STARDIST:
            row["share_of_bare"] = timing.ratio(bare)
            row["share_of_bare_cpu"] = timing.cpu_ratio(bare)
            row["share_of_limit"] = row["gigaflops"] / timing.wall / setup.limit[row["precision"]]
        if STARDIST in timings:
            row["times_stardist"] = timing.ratio(timings[STARDIST])
        if row["what"] == "objects":
            row |= accuracy(setup.field, labels[name])
        if row["what"] == "classes":
            row["same_as_fp32"] = float((labels[name] == labels[f"{setup.unet}, classes (fp32)"]).mean())
        rows[name] = row
    return {"rows": rows, "megapixels": setup.megapixels, "tiles": counted.tiles, "tile": counted.tile}


def cut_tiles(image: np.ndarray, count: int, shape: tuple[int, ...], channels: int) -> list[Tensor]:
    """Return ``count`` tiles, float32 (1, C, Y, X) with channels last, as the network takes them.

    Corners are spread over the image; which pixels they hold does not matter to speed.
    """
    normalised = image.astype(np.float32) / 255
    per_row = int(np.ceil(np.sqrt(count)))
    tiles = []
    for number in range(count):
        row, column = divmod(number, per_row)
        top = (image.shape[0] - shape[0]) * row // max(1, per_row - 1) if image.shape[0] > shape[0] else 0
        left = (image.shape[1] - shape[1]) * column // max(1, per_row - 1) if image.shape[1] > shape[1] else 0
        part = normalised[top : top + shape[0], left : left + shape[1]]
        part = np.pad(part, [(0, n - m) for n, m in zip(shape, part.shape)], mode="edge")
        tile = torch.from_numpy(part).expand(1, channels, *shape)
        tiles.append(tile.contiguous(memory_format=torch.channels_last))
    return tiles


def _bare(module: nn.Module, tiles: list[Tensor], dtype: torch.dtype) -> Callable[[], Seconds]:
    """The network alone as SegLoop runs it, one tile after another, on pixels that are ready in its layout."""
    network = inference_copy(module, dtype)

    def work() -> None:
        with torch.inference_mode():
            for tile in tiles:
                network(tile)

    return lambda: timed(work)


def _end_to_end(
    setup: Setup, model: Any, chosen: segloop.SegmentSettings, labels: dict[str, np.ndarray], key: str
) -> Callable[[], Seconds]:
    def work() -> None:
        labels[key] = np.asarray(segloop.segment(model, setup.image, chosen).labels.data)

    return lambda: timed(work)


def markdown(result: dict[str, Any]) -> str:
    """Show the result."""
    columns = ["from array to label image", "s wall", "s CPU", "s/MP", "share of bare forward", "by CPU", "× StarDist"]
    columns += ["AP50", "AP70", "pixels as in fp32", "share of the limit"]
    rows = []
    for name, row in result["rows"].items():
        rows.append(
            [
                name,
                f"{row['wall']:.2f}",
                f"{row['cpu']:.2f}",
                f"{row['wall'] / result['megapixels']:.3f}",
                f"{row['share_of_bare']:.0%}" if "share_of_bare" in row else "–",
                f"{row['share_of_bare_cpu']:.0%}" if "share_of_bare_cpu" in row else "–",
                f"{row['times_stardist']:.2f}" if "times_stardist" in row else "–",
                f"{row['AP50']:.3f}" if "AP50" in row else "–",
                f"{row['AP70']:.3f}" if "AP70" in row else "–",
                f"{row['same_as_fp32']:.3%}" if "same_as_fp32" in row else "–",
                f"{row['share_of_limit']:.0%}" if "share_of_limit" in row else "–",
            ]
        )
    return f"{result['tiles']} tiles of {' × '.join(map(str, result['tile']))} pixels.\n\n" + table(columns, rows)
