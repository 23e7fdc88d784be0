"""How long it takes to part objects anew from a U-Net's scores, on a field of 2048 × 2048 pixels, without a window.

    python benchmarks/parted.py --data DATA/nuclei_dsb2018

Milliseconds of the processor, in one thread, for each move of a threshold from where the run had it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from field import build_field

import segloop
from segloop.live_parts import LiveParts, PartThresholds

MOVES = {"foreground": (0.05, 0.3, 0.4, 0.7, 0.95), "seeds": (0.5, 0.6, 0.8, 0.9, 0.99), "min_area": (0, 50, 200)}


def main() -> None:
    """Move thresholds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    image = segloop.Image(build_field(parser.parse_args().data).image, "YX")
    result = segloop.segment(segloop.load_model("nuclei-unet"), image, segloop.SegmentSettings(instances=True))
    labels = np.asarray(result.labels.data)[None].copy()
    start, first = PartThresholds(min_area=result.thresholds.min_area), labels.copy()
    live = LiveParts(result.candidates.scores, labels, start)
    print(f"{labels.max()} objects; {live.nbytes / labels.size:.1f} bytes a pixel beside the scores")
    live.warm_up(labels.dtype)
    for name, places in MOVES.items():
        for place in places:
            used = time.thread_time()
            live.move(replace(start, **{name: place}), labels)
            print(f"{name} {place}: {1e3 * (time.thread_time() - used):.0f} ms, {live.shown} objects")
            live.move(start, labels)
    print("restored" if np.array_equal(labels, first) else "NOT restored")


if __name__ == "__main__":
    main()
