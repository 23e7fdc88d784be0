"""Draw where a model of nuclei fails: of each modality the image of the held-out fold with the lowest AP50.

    python scripts/show_failures.py runs/m0-calibrated --fold 0 --data DATA/nuclei_dsb2018 --output failures.png

Objects right at an IoU of 0.5 are outlined in green, objects that are wrong in red, objects of the reference that were
missed in yellow. Images are cut to their middle 256 × 256 pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from nuclei_data import MODALITY_SHARE, NucleiImage, read_nuclei
from skimage.segmentation import find_boundaries

import segloop
from segloop.labels import Task
from segloop.metrics import instance_scores

SIDE = 256
GAP = 6
GREEN, RED, YELLOW = (60, 220, 90), (240, 60, 60), (250, 220, 60)


def middle(array: np.ndarray) -> np.ndarray:
    """The middle SIDE × SIDE pixels, filled up with 0 where there are fewer."""
    rows, columns = (max(0, (n - SIDE) // 2) for n in array.shape[:2])
    cut = array[rows : rows + SIDE, columns : columns + SIDE]
    missing = [(0, SIDE - n) for n in cut.shape[:2]] + [(0, 0)] * (array.ndim - 2)
    return np.pad(cut, missing)


def matched(labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which numbers of ``labels`` have an IoU of more than 0.5 with an object of ``other``: bool (N + 1,)."""
    right = np.zeros(int(labels.max()) + 1, bool)
    for number in np.unique(labels)[1:]:
        own = labels == number
        numbers, shared = np.unique(other[own], return_counts=True)
        shared, numbers = shared[numbers > 0], numbers[numbers > 0]
        if len(shared):
            best = numbers[shared.argmax()]
            right[number] = shared.max() > 0.5 * (own | (other == best)).sum()
    return right


def draw(item: NucleiImage, found: np.ndarray) -> np.ndarray:
    """The image with outlines: uint8 (SIDE, SIDE, 3)."""
    pixels = np.asarray(item.image.data).astype(float)
    low, high = np.percentile(pixels, [1, 99.8])
    grey = np.clip((pixels - low) / max(high - low, 1), 0, 1) * 255
    picture = (grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)).astype(np.uint8)
    missed = ~matched(item.labels, found)[item.labels] & (item.labels > 0)
    picture[find_boundaries(np.where(missed, item.labels, 0), mode="inner")] = YELLOW
    right = matched(found, item.labels)[found]
    for where, colour in ((right, GREEN), (~right, RED)):
        picture[find_boundaries(np.where(where, found, 0), mode="inner")] = colour
    return middle(picture)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    model = segloop.load_model(options.model)
    settings = segloop.SegmentSettings(instances=model.spec.task is Task.SEMANTIC)
    worst: dict[str, tuple[float, NucleiImage, np.ndarray]] = {}
    for item in read_nuclei(options.data, {options.fold}):
        found = np.asarray(segloop.segment(model, item.image, settings).labels.data)
        score = instance_scores(item.labels, found).ap(0.5)
        if item.modality not in worst or score < worst[item.modality][0]:
            worst[item.modality] = (score, item, found)
    pictures = []
    for modality in MODALITY_SHARE:
        if modality in worst:
            score, item, found = worst[modality]
            print(f"{modality}: image {item.id}, AP50 {score:.2f}")
            pictures += [draw(item, found), np.full((SIDE, GAP, 3), 255, np.uint8)]
    iio.imwrite(options.output, np.concatenate(pictures[:-1], axis=1))


if __name__ == "__main__":
    main()
