"""How many of the annotated nuclei are specks, and how many are nowhere to be seen, fold by fold.

    python scripts/visibility.py --data DATA/nuclei_dsb2018

Fluorescence images of StarDist's split. "Specks" have an area of less than 50 pixels, as a disc a diameter of 8; "dots"
one of 21, as a small brush leaves it. "Faint" is what is hardly brighter than the unlabelled pixels within four of it:
by less than 0.05 of what lies between the image's percentiles 1 and 99.8.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from nuclei_data import FOLDS, NucleiImage, read_nuclei
from scipy import ndimage

SPECK, DOT, FAINT, AROUND = 50, 21, 0.05, 4


def contrasts(item: NucleiImage) -> dict[int, tuple[int, float]]:
    """Area, and by how much it is brighter than what is around it, of each annotated object, by its number.

    Contrast is in shares of the range between percentiles 1 and 99.8; NaN if there is nothing but objects around it.
    """
    pixels = np.asarray(item.image.data, float)
    pixels = pixels.mean(axis=-1) if pixels.ndim == 3 else pixels
    low, high = np.percentile(pixels, (1, 99.8))
    pixels = (pixels - low) / max(high - low, 1)
    found = {}
    for number, box in enumerate(ndimage.find_objects(item.labels.astype(np.int64)), start=1):
        if box is None:
            continue
        wide = tuple(slice(max(0, side.start - AROUND), side.stop + AROUND) for side in box)
        labels, own = item.labels[wide], item.labels[wide] == number
        ground = ndimage.binary_dilation(own, iterations=AROUND) & (labels == 0)
        contrast = pixels[wide][own].mean() - pixels[wide][ground].mean() if ground.any() else np.nan
        found[number] = int(own.sum()), float(contrast)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    print("| fold | objects | specks | faint | dots | dots that are faint |")
    print("|---" * 6 + "|")
    for fold in sorted(FOLDS):
        images = [item for item in read_nuclei(options.data, {fold}) if item.stardist_train]
        area, contrast = np.array([pair for item in images for pair in contrasts(item).values()]).T
        faint = contrast < FAINT
        counts = ((area < SPECK).sum(), faint.sum(), (area == DOT).sum(), (faint & (area == DOT)).sum())
        print(f"| {fold} | {len(area)} | " + " | ".join(f"{n} ({n / len(area):.1%})" for n in counts) + " |")


if __name__ == "__main__":
    main()
