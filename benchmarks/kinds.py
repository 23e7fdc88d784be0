"""Whether the bundled models mind how the same image is kept: its bits, its colours, and which is dark.

    python benchmarks/kinds.py

The three images of nuclei that the package holds, which no bundled model has learned, and what other programs make of
them: 16 bits, floating point, inverted, grey as RGB in several colours, colour as grey. Each is scored with the labels
of the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile
from report import table

import segloop
from segloop.labels import Task
from segloop.metrics import instance_scores

SAMPLES = Path(segloop.__file__).parent / "samples"
NAMES = ("fluorescence", "large-nuclei", "histology")
COLOURS = {"blue": (0, 0, 1), "green": (0, 1, 0), "cyan": (0, 1, 1), "magenta": (1, 0, 1), "grey": (1, 1, 1)}
LUMA = (0.299, 0.587, 0.114)


def kinds(pixels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The image, uint8 (Y, X) or (Y, X, 3), in all the ways it may be kept."""
    wide = pixels.astype(np.uint16)
    yield "as it is, 8 bit", pixels
    yield "12 of 16 bits", wide * 16
    yield "16 bit, with an offset", wide * 200 + 300
    yield "floating point, 0 to 1", (pixels / 255).astype(np.float32)
    yield "inverted", 255 - pixels
    yield "inverted, 16 bit", 65535 - wide * 257
    if pixels.ndim == 3:
        grey = np.rint(pixels @ np.array(LUMA)).astype(np.uint8)
        yield "as grey", grey
        yield "as grey, inverted", 255 - grey
        return
    for name, colour in COLOURS.items():
        yield f"RGB, {name}", pixels[..., None] * np.array(colour, np.uint8)
    yield "RGB, grey, inverted", 255 - np.stack([pixels] * 3, axis=-1)


def main() -> None:
    """Print the table."""
    models = [segloop.load_model(name) for name in ("nuclei-maskrcnn", "nuclei-unet")]
    rows: dict[str, dict[str, str]] = {}
    for name in NAMES:
        pixels = iio.imread(SAMPLES / f"{name}.png")
        reference = tifffile.imread(SAMPLES / f"{name}_labels.tif")
        for kind, array in kinds(pixels):
            image = segloop.Image(array, "YX" if array.ndim == 2 else "YXS")
            cells = []
            for model in models:
                settings = segloop.SegmentSettings(instances=model.spec.task is Task.SEMANTIC)
                found = np.asarray(segloop.segment(model, image, settings).labels.data)
                cells.append(f"{instance_scores(reference, found).ap(0.5):.2f}")
            rows.setdefault(kind, {})[name] = " / ".join(cells)
    print("AP50 of nuclei-maskrcnn / of nuclei-unet, single objects\n")
    print(table(["", *NAMES], [[kind, *(row.get(name, "") for name in NAMES)] for kind, row in rows.items()]))


if __name__ == "__main__":
    main()
