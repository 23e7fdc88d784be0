"""How well boxes and clicks given by hand are filled, and how fast, on real images with reference labels.

    python benchmarks/prompts.py --data DATA --set nuclei --set phase_usiigaci --set worms_bbbc010 \\
        --set em_drosophila_vnc --model nuclei-maskrcnn

Each reference object is prompted twice: by its box, each side moved by up to a tenth of the box's side (uniformly,
seeded), and by a click on a pixel of it, drawn from its inner half. The mask is compared with the reference by IoU.
Features are computed before, once per image. ``nuclei`` is the held-out fold of ``nuclei_dsb2018``; of
``em_drosophila_vnc``, whose labels are classes, objects are the connected pieces of mitochondria. ``--part odd`` takes
every second image only, beginning with the second; ``held-out`` those of other folders than the nuclei that no bundled
model was trained on (``domains.py``). ``background_nothing`` is the share of clicks on background, a dozen an image and
more than five pixels from any object, that give nothing. Times are of the processor, in this process.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from domains import DOMAINS
from reviewing import Annotated, read_set
from scipy import ndimage

import segloop
from segloop.catalog import Mask
from segloop.events import drain
from segloop.prompting import Prompter
from segloop.segmentation import SegmentSettings

JITTER = 0.1

CLASS_OF_OBJECTS = {"em_drosophila_vnc": 3}
"""Of folders whose labels are classes: the one of which connected pieces are objects."""

CLICKS_ON_BACKGROUND, FAR = 12, 5.0
"""Of each image, and how many pixels they are from any object."""

LEAST_AREA = 100
"""Smaller pieces of a class are left out."""

PARTS = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}

HELD_OUT = "held-out"


@dataclass
class Scores:
    """IoU, and seconds of the processor, of each prompt."""

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


def pieces(item: Annotated, number: int) -> Annotated:
    """An image whose objects are the connected pieces of a class."""
    labels, count = ndimage.label(item.reference == number)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    return Annotated(item.name, item.image, np.where(areas[labels] >= LEAST_AREA, labels, 0))


def images_of(data: Path, folder: str, part: str) -> list[Annotated]:
    """Read the images that are prompted."""
    if part == HELD_OUT and folder in DOMAINS:
        return [DOMAINS[folder].read(data, name) for name in DOMAINS[folder].held_out]
    return read_set(data, folder, 0)[PARTS.get(part, slice(None))]


def measure(data: Path, folder: str, name: str, part: str, most: int) -> dict[str, object]:
    """Prompt the objects of a set of images, up to ``most`` of each image (seeded)."""
    model = segloop.load_model(name)
    boxes, clicks, looks, nothing = Scores(), Scores(), [], []
    items = images_of(data, folder, part)
    for place, item in enumerate(items):
        rng = np.random.default_rng(place)
        item = pieces(item, CLASS_OF_OBJECTS[folder]) if folder in CLASS_OF_OBJECTS else item
        labels = item.reference
        prompter = Prompter(model, item.image, SegmentSettings())
        start = time.process_time()
        drain(prompter.prepare(0, (slice(0, labels.shape[0]), slice(0, labels.shape[1]))), lambda event: None)
        looks.append((time.process_time() - start) / labels.size * 2**20)
        found = [(number, box) for number, box in enumerate(ndimage.find_objects(labels), 1) if box is not None]
        for number, box in [found[n] for n in sorted(rng.permutation(len(found))[:most])]:
            rows, columns = box
            inside = labels[box] == number
            sides = np.array([columns.stop - columns.start, rows.stop - rows.start] * 2)
            drawn = np.array([columns.start, rows.start, columns.stop, rows.stop])
            drawn = drawn + rng.uniform(-JITTER, JITTER, 4) * sides
            if min(drawn[2] - drawn[0], drawn[3] - drawn[1]) >= 2:
                start = time.process_time()
                mask = prompter.fill(0, drawn)
                boxes.seconds.append(time.process_time() - start)
                boxes.iou.append(iou(mask, rows, columns, inside, labels.shape))
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            inner = np.argwhere(depth >= np.median(depth[inside]))
            row, column = inner[rng.integers(len(inner))]
            start = time.process_time()
            mask, _ = prompter.fill_at(0, row + rows.start, column + columns.start)
            clicks.seconds.append(time.process_time() - start)
            clicks.iou.append(iou(mask, rows, columns, inside, labels.shape))
        far = np.argwhere(ndimage.distance_transform_edt(labels == 0) > FAR)
        for row, column in far[rng.integers(len(far), size=CLICKS_ON_BACKGROUND)] if len(far) else ():
            nothing.append(not prompter.fill_at(0, row, column)[0].inside.any())
    return {
        "images of": folder,
        "model": f"{model.spec.name} {model.spec.version}",
        "images": len(items),
        "box": boxes.summary(),
        "click": clicks.summary(),
        "background_clicks": len(nothing),
        "background_nothing": round(float(np.mean(nothing)), 3),
        "features_s_per_megapixel": round(float(np.median(looks)), 2),
        "features_s_per_megapixel_at_most": round(max(looks), 2),
    }


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", action="append", required=True, metavar="FOLDER", dest="sets")
    parser.add_argument("--model", default="nuclei-maskrcnn")
    parser.add_argument("--part", choices=(*PARTS, HELD_OUT), default="all")
    parser.add_argument("--objects", type=int, default=1 << 30, help="at most so many of each image")
    options = parser.parse_args()
    for folder in options.sets:
        report = measure(options.data, folder, options.model, options.part, options.objects)
        print(json.dumps(report, indent=2), flush=True)


if __name__ == "__main__":
    main()
