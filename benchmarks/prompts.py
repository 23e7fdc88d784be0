"""How well boxes and clicks given by hand are filled, and how fast, on real images with reference labels.

    python benchmarks/prompts.py --data DATA/nuclei_dsb2018 --model nuclei-maskrcnn

Each reference object of the held-out fold is prompted twice: by its box, each side moved by up to a tenth of the box's
side (uniformly, seeded), and by a click on a pixel of it, drawn from its inner half. The mask is compared with the
reference by IoU. Features are computed before, once per image.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

import segloop
from segloop import io
from segloop.catalog import Mask
from segloop.events import drain
from segloop.prompting import Prompter
from segloop.segmentation import SegmentSettings

HELD_OUT_FOLD = "0"
JITTER = 0.1


@dataclass
class Scores:
    """IoU and seconds of each prompt."""

    iou: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Mean and median IoU, shares above 0.5 and 0.75, times in milliseconds."""
        iou, ms = np.array(self.iou), 1e3 * np.array(self.seconds)
        return {
            "prompts": len(iou),
            "mean_iou": round(float(iou.mean()), 3),
            "median_iou": round(float(np.median(iou)), 3),
            "share_above_0.5": round(float((iou > 0.5).mean()), 3),
            "share_above_0.75": round(float((iou > 0.75).mean()), 3),
            "median_ms": round(float(np.median(ms)), 1),
            "largest_ms": round(float(ms.max()), 1),
        }


def iou(mask: Mask, rows: slice, columns: slice, inside: np.ndarray, shape: tuple[int, int]) -> float:
    """IoU of a mask with an object given in its box."""
    drawn, wanted = np.zeros(shape, bool), np.zeros(shape, bool)
    drawn[mask.area.rows, mask.area.columns] = mask.inside
    wanted[rows, columns] = inside
    return float((drawn & wanted).sum() / max(1, (drawn | wanted).sum()))


def measure(folder: Path, name: str, most: int) -> dict[str, object]:
    """Prompt all objects of up to ``most`` images."""
    rng, model = np.random.default_rng(0), segloop.load_model(name)
    boxes, clicks, looks = Scores(), Scores(), []
    with (folder / "index.csv").open(newline="") as file:
        names = [row["id"] for row in csv.DictReader(file) if row["fold"] == HELD_OUT_FOLD]
    for stem in names[:most]:
        image = io.read_image(next((folder / "images").glob(f"{stem}.*")))
        labels = np.asarray(io.read_labels(next((folder / "labels").glob(f"{stem}.*"))).data)
        prompter = Prompter(model, image, SegmentSettings())
        start = time.perf_counter()
        drain(prompter.prepare(0, (slice(0, labels.shape[0]), slice(0, labels.shape[1]))), lambda event: None)
        looks.append((time.perf_counter() - start) / labels.size * 2**20)
        for number, box in enumerate(ndimage.find_objects(labels), 1):
            if box is None:
                continue
            rows, columns = box
            inside = labels[box] == number
            sides = np.array([columns.stop - columns.start, rows.stop - rows.start] * 2)
            drawn = np.array([columns.start, rows.start, columns.stop, rows.stop])
            drawn = drawn + rng.uniform(-JITTER, JITTER, 4) * sides
            if min(drawn[2] - drawn[0], drawn[3] - drawn[1]) >= 2:
                start = time.perf_counter()
                mask = prompter.fill(0, drawn)
                boxes.seconds.append(time.perf_counter() - start)
                boxes.iou.append(iou(mask, rows, columns, inside, labels.shape))
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            inner = np.argwhere(depth >= np.median(depth[inside]))
            row, column = inner[rng.integers(len(inner))]
            start = time.perf_counter()
            mask, _ = prompter.fill_at(0, row + rows.start, column + columns.start)
            clicks.seconds.append(time.perf_counter() - start)
            clicks.iou.append(iou(mask, rows, columns, inside, labels.shape))
    return {
        "model": f"{model.spec.name} {model.spec.version}",
        "images": len(names[:most]),
        "box": boxes.summary(),
        "click": clicks.summary(),
        "features_s_per_megapixel": round(float(np.median(looks)), 2),
    }


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei-maskrcnn")
    parser.add_argument("--images", type=int, default=sys.maxsize, help="at most so many")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.data, arguments.model, arguments.images), indent=2))


if __name__ == "__main__":
    main()
