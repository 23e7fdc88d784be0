"""How long it takes to part objects anew from a U-Net's scores, without a window, and what room the scores take.

    python benchmarks/parted.py --data DATA/nuclei_dsb2018 [--images IMAGE …]

The field is the one of 2048 × 2048 pixels that speed is measured on. Milliseconds of the processor, in one thread, for
each move of a threshold from where the run had it; "first" unpacks what was packed while nothing moved. Of further
images, and of the field, it says how many bytes a pixel are kept while nothing moves, and how many the image has.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from field import build_field

import segloop
from segloop.candidates import ClassScores
from segloop.live_classes import LiveClasses
from segloop.live_parts import LiveParts, PartThresholds
from segloop.models.protocol import Segmenter

MOVES = {"foreground": (0.05, 0.3, 0.4, 0.7, 0.95), "seeds": (0.5, 0.6, 0.8, 0.9, 0.99), "min_area": (0, 50, 200)}


def main() -> None:
    """Move thresholds, and weigh what is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    model = segloop.load_model("nuclei-unet")
    result, live, labels = parted("field", segloop.Image(build_field(options.data).image, "YX"), model)
    move_parts(live, labels)
    move_classes(result.candidates)
    for path in options.images:
        parted(path.name, segloop.read_image(path), model)


def parted(name: str, image: segloop.Image, model: Segmenter) -> tuple[segloop.Segmentation, LiveParts, np.ndarray]:
    """Segment an image, and say what is kept."""
    result = segloop.segment(model, image, segloop.SegmentSettings(instances=True))
    labels = np.asarray(result.labels.data)[None].copy()
    live = LiveParts(result.candidates, labels, PartThresholds(min_area=result.thresholds.min_area))
    scores, beside, own = (n / labels.size for n in (result.candidates.nbytes, live.nbytes, image.data.nbytes))
    print(
        f"{name}: {labels.max()} objects; bytes a pixel: {scores:.2f} for scores, {beside:.2f} for what parts them; "
        f"together {(scores + beside) / own:.2f} of the image's {own:.0f}"
    )
    return result, live, labels


def move_parts(live: LiveParts, labels: np.ndarray) -> None:
    """Move each threshold of parted objects, and back."""
    start, first = live.start, labels.copy()
    live.warm_up(labels.dtype)
    for name, places in MOVES.items():
        for number, place in enumerate(places):
            used = time.thread_time()
            live.move(replace(start, **{name: place}), labels)
            spent = 1e3 * (time.thread_time() - used)
            print(f"{name} {place}: {spent:.0f} ms{' (first)' * (not number)}, {live.shown} objects")
            live.move(start, labels)
        used = time.thread_time()
        live.rest()
        print(f"packed away in {1e3 * (time.thread_time() - used):.0f} ms")
    print("restored" if np.array_equal(labels, first) else "NOT restored")


def move_classes(found: ClassScores) -> None:
    """Move the threshold of classes, and back."""
    labels = found.scores[0].argmax(axis=0).astype(np.uint8)
    first = labels.copy()
    live = LiveClasses(lambda: found.scores[0], labels.shape)
    live.warm_up()
    for number, place in enumerate((0.6, 0.2, 0.9, 0.5)):
        used = time.thread_time()
        live.move(place, labels)
        print(f"class {place}: {1e3 * (time.thread_time() - used):.0f} ms{' (first)' * (not number)}")
    print("restored" if np.array_equal(labels, first) else "NOT restored")


if __name__ == "__main__":
    main()
