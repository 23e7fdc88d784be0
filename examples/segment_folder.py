"""Segment every image of a folder: labels that Fiji opens, outlines for its ROI Manager, and a table of objects.

python examples/segment_folder.py IMAGES OUTPUT [--model nuclei-maskrcnn]
"""

import argparse
from pathlib import Path

import segloop
from segloop.io import IMAGE_SUFFIXES, stem_of


def segment_folder(images: Path, output: Path, model_name: str) -> None:
    model = segloop.load_model(model_name)
    output.mkdir(parents=True, exist_ok=True)
    for path in sorted(path for path in images.iterdir() if path.name.lower().endswith(tuple(IMAGE_SUFFIXES))):
        image = segloop.read_image(path)
        result = segloop.segment(model, image)
        for suffix in ("_labels.tif", "_rois.zip", "_objects.csv"):
            segloop.save_labels(result.labels, output / f"{stem_of(path)}{suffix}", result.objects)
        print(f"{path.name}: {len(result.objects)} objects in {result.seconds:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="nuclei-maskrcnn", help="as `segloop models` lists them")
    options = parser.parse_args()
    segment_folder(options.images, options.output, options.model)
