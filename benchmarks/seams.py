"""How nearly the result is independent of the tile size: bundled models on a mosaic of real images.

    python benchmarks/seams.py [--json out.json]

The mosaic is the bundled fluorescence sample beside its mirror images. Labels from tiles of several sizes are compared
with those of one tile that holds the whole image: the share of objects with a partner of IoU >= 0.9, the number of
objects, and the share of pixels that are foreground in both or neither.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import segloop
from segloop.matching import match
from segloop.samples import load_sample

TILES = (256, 384, 512, 768)


def mosaic() -> segloop.Image:
    """A 2 × 2 mosaic of the sample and its mirror images, about 1.4 megapixels."""
    pixels = np.asarray(load_sample("fluorescence").data)
    row = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    return segloop.Image(np.concatenate([row, row[::-1]], axis=0), "YX", name="mosaic")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    image = mosaic()
    whole = -(-max(image.shape) // 32) * 32
    rows = []
    print(f"mosaic of {image.shape[0]} × {image.shape[1]} pixels")
    print("| model | tile | objects | same object (IoU ≥ 0.9) | same pixels | s |")
    print("|---|---|---|---|---|---|")
    for name in ("nuclei-unet", "nuclei-maskrcnn"):
        model = segloop.load_model(name)
        reference = None
        for tile in (whole, *TILES):
            started = time.perf_counter()
            labels = segloop.segment(model, image, segloop.SegmentSettings(tile=tile, instances=name.endswith("unet")))
            seconds = time.perf_counter() - started
            array = labels.labels.data
            reference = array if reference is None else reference
            matching = match(reference, array, 0.9)
            pairs, missed, extra = len(matching.iou), len(matching.missed), len(matching.extra)
            row = {
                "model": name,
                "tile": tile,
                "objects": len(labels.objects),
                "same_objects": pairs / max(1, pairs + max(missed, extra)),
                "same_pixels": float(((reference > 0) == (array > 0)).mean()),
                "seconds": seconds,
            }
            rows.append(row)
            print(
                f"| {name} | {tile if tile != whole else 'whole'} | {row['objects']} | {row['same_objects']:.4f} "
                f"| {row['same_pixels']:.5f} | {seconds:.1f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
