"""Memory and cost per megapixel of large images on disk, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from engine import Setup
from field import write_repeated
from measure_process import Cost, cost_of
from report import table

STOCK_SCRIPT = Path(__file__).parents[1] / "peers" / "torchvision_stock.py"
ENDINGS = {"ome-zarr": ".ome.zarr", "tiff": ".tif"}
ONCE_FROM = 8192
"""Images with sides from here on, in pixels, are segmented once only; they take minutes."""


def measure(setup: Setup) -> dict[str, Any]:
    """Segment images of each size and format with each model, sizes in turn."""
    (setup.scratch / "large").mkdir(exist_ok=True)
    rows = []
    for form in setup.formats:
        for side in setup.sides:
            path = _path(setup, side, form)
            if not path.exists():
                setup.say(f"memory: writing {path.name}")
                write_repeated(setup.field.image, side, path)
    for model in (setup.maskrcnn, setup.unet):
        for form in setup.formats:
            runs: dict[int, list[dict[str, float]]] = {side: [] for side in setup.sides}
            for number in range(setup.repeats):
                for side in setup.sides:
                    if number and side >= ONCE_FROM:
                        continue
                    run = _segment(setup, _path(setup, side, form), model, form)
                    setup.say(
                        f"memory: {model}, {form}, {side}: {run['seconds']:.1f} s, {run['peak_bytes'] / 1e9:.2f} GB"
                    )
                    runs[side].append(run)
            rows.extend(_row(model, form, side, own) for side, own in runs.items())
    rows.append(_stock(setup))
    for row in rows:
        first = next(r for r in rows if (r["model"], r["format"]) == (row["model"], row["format"]))
        row["times_first"] = row["seconds_per_megapixel"] / first["seconds_per_megapixel"]
    return {"rows": rows}


def _path(setup: Setup, side: int, form: str) -> Path:
    # a corner of the field, for a quick look, makes other files
    return setup.scratch / "large" / f"field{setup.field.image.shape[0]}_{side}{ENDINGS[form]}"


def _stock(setup: Setup) -> dict[str, Any]:
    """The stock pipeline, once, over the field in memory; it has no way to read an image in parts."""
    path = setup.scratch / "field.npy"
    np.save(path, setup.field.image)
    setup.say("memory: torchvision, the field")
    cost = cost_of([sys.executable, str(STOCK_SCRIPT), str(path), "--threads", str(setup.threads)])
    run = {"seconds": cost.wall, "wall": cost.wall, "cpu": cost.cpu, "peak_bytes": cost.peak_bytes}
    return _row("torchvision maskrcnn_resnet50_fpn", "in memory", setup.field.image.shape[0], [run])


def _segment(setup: Setup, path: Path, model: str, form: str) -> dict[str, float]:
    output = setup.scratch / "segmented"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "segloop", "segment", str(path), "--model", model, "--output", str(output)]
    command += ["--format", form, "--axes", "YX", "--device", "cpu"]
    threads = str(setup.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    cost = cost_of(command, environment)
    run = {"seconds": _seconds(output, cost), "wall": cost.wall, "cpu": cost.cpu, "peak_bytes": cost.peak_bytes}
    shutil.rmtree(output, ignore_errors=True)
    return run


def _seconds(output: Path, cost: Cost) -> float:
    """Seconds of the segmentation itself, without start-up, as its provenance says; else those of the whole process."""
    for path in output.rglob("*provenance.json"):
        return float(json.loads(path.read_text())["seconds"])
    return cost.wall


def _row(model: str, form: str, side: int, runs: list[dict[str, float]]) -> dict[str, Any]:
    megapixels = side * side / 1024**2
    seconds = statistics.median(run["seconds"] for run in runs)
    return {
        "model": model,
        "format": form,
        "side": side,
        "seconds": seconds,
        "seconds_per_megapixel": seconds / megapixels,
        "wall": statistics.median(run["wall"] for run in runs),
        "cpu": statistics.median(run["cpu"] for run in runs),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "runs": runs,
    }


def markdown(result: dict[str, Any]) -> str:
    """Show the result."""
    columns = ["`segloop segment`", "image", "s", "s/MP", "× smallest", "s whole process", "s CPU", "peak GB"]
    rows = [
        [
            row["model"],
            f"{row['side']}², {row['format']}",
            f"{row['seconds']:.1f}",
            f"{row['seconds_per_megapixel']:.3f}",
            f"{row['times_first']:.2f}",
            f"{row['wall']:.1f}",
            f"{row['cpu']:.1f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
        ]
        for row in result["rows"]
    ]
    return table(columns, rows)
