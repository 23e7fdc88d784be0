"""Make the sample images of ``segloop.samples`` and the small test set from the public data they come from.

    python scripts/make_samples.py DATA

DATA holds ``nuclei_dsb2018`` (images and labels of BBBC038, the Data Science Bowl 2018, stage 1) and
``plant_chloroplast_em3d``. Only images of fold 0 are taken: the bundled models never saw them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile
from skimage.segmentation import relabel_sequential

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "src" / "segloop" / "samples"
TEST_SET = ROOT / "tests" / "data" / "nuclei"

NUCLEI = {
    "fluorescence": "3f9fc8e63f87",
    "large-nuclei": "b1a239838c7d",
    "histology": "cbca32daaae3",
}
REVIEWED = 0.6
"""Share of each sample, from its left side, that the stored correction covers."""

WHOLE = ("4c465a54e329", "1c681dfa5cf7", "27c30f901149", "245b99587837", "63d981a10709", "b3a9f4c9035a")
COLOUR = ("0e21d7b3eea8", "a5fe0b7412dd", "1ec74a26e772")
BRIGHTFIELD_CROPS = {"1b44d2264383": (slice(256, 512), slice(256, 512))}
SHIPPED = frozenset([*NUCLEI.values(), *WHOLE, *COLOUR, *BRIGHTFIELD_CROPS])
"""Images of the nuclei data in the repository."""
SCORED = {
    "1c681dfa5cf7": (256, 256),
    "27c30f901149": (256, 256),
    "4c465a54e329": (256, 256),
    "63d981a10709": (256, 256),
    "b3a9f4c9035a": (256, 256),
    "1ec74a26e772": (192, 192),
    "a5fe0b7412dd": (192, 192),
    "1b44d2264383": BRIGHTFIELD_CROPS["1b44d2264383"],
}
"""What descendants of the bundled models are scored on besides: of those above, none of which was trained on."""
REHEARSED = {
    "295ac4ecf2ee": (256, 256),
    "2227fd9b01d6": (256, 256),
    "139946af9e2c": (256, 256),
    "1d4a5e729bb9": (256, 256),
    "309ba76b12ec": (256, 256),
    "212b858a66f0": (256, 256),
    "01d44a26f668": (192, 192),
    "24a20f2a529c": (192, 192),
    "1631352dbafb": (192, 192),
    "1a1155256916": (slice(256, 512), slice(768, 1024)),
}
"""What it may rehearse: images that the bundled models learned from, none of a group of those above."""
CHLOROPLASTS = (slice(0, 8), slice(120, 312), slice(690, 930))


def write_labels(path: Path, labels: np.ndarray) -> None:
    tifffile.imwrite(path, labels, compression="zlib", compressionargs={"level": 9})


def correction(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a person would have left who corrected the left part of the image, object by whole object.

    Objects that reach into the reviewed part are drawn to their end; beyond, nothing was looked at.
    """
    reviewed = np.zeros(labels.shape, bool)
    reviewed[..., : round(labels.shape[-1] * REVIEWED)] = True
    seen = np.unique(labels[reviewed])
    return np.where(np.isin(labels, seen), labels, 0).astype(labels.dtype), reviewed


def write_sample(name: str, labels: np.ndarray) -> None:
    write_labels(SAMPLES / f"{name}_labels.tif", labels)
    corrected, reviewed = correction(labels)
    write_labels(SAMPLES / f"{name}_corrected.tif", corrected)
    write_labels(SAMPLES / f"{name}_reviewed.tif", reviewed.astype(np.uint8))


def write_own_domain(nuclei: Path, folder: Path, crops: dict[str, tuple[int, int] | tuple[slice, slice]]) -> None:
    """Write crops, from the upper left corner where a size is given, with their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, crop in crops.items():
        box = tuple(side if isinstance(side, slice) else slice(0, side) for side in crop)
        iio.imwrite(folder / f"{stem}.png", iio.imread(nuclei / "images" / f"{stem}.png")[box])
        labels = relabel_sequential(tifffile.imread(nuclei / "labels" / f"{stem}.tif")[box])[0]
        write_labels(folder / f"{stem}_labels.tif", labels.astype(np.uint16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data: Path = parser.parse_args().data
    nuclei = data / "nuclei_dsb2018"

    for name, stem in NUCLEI.items():
        iio.imwrite(SAMPLES / f"{name}.png", iio.imread(nuclei / "images" / f"{stem}.png"))
        write_sample(name, tifffile.imread(nuclei / "labels" / f"{stem}.tif"))

    write_own_domain(nuclei, SAMPLES / "nuclei" / "scored", SCORED)
    write_own_domain(nuclei, SAMPLES / "nuclei" / "rehearsed", REHEARSED)

    stack = tifffile.imread(data / "plant_chloroplast_em3d" / "image_zyx.tif")[CHLOROPLASTS]
    labels = tifffile.imread(data / "plant_chloroplast_em3d" / "labels_zyx.tif")[CHLOROPLASTS]
    tifffile.imwrite(
        SAMPLES / "chloroplasts.tif",
        stack,
        compression="zlib",
        predictor=2,
        metadata={"axes": "ZYX"},
        ome=True,
    )
    write_sample("chloroplasts", relabel_sequential(labels)[0].astype(np.uint8))

    for folder in ("images", "labels"):
        (TEST_SET / folder).mkdir(parents=True, exist_ok=True)
    whole = dict.fromkeys((*WHOLE, *COLOUR), (slice(None), slice(None)))
    for stem, crop in (whole | BRIGHTFIELD_CROPS).items():
        iio.imwrite(TEST_SET / "images" / f"{stem}.png", iio.imread(nuclei / "images" / f"{stem}.png")[crop])
        labels = relabel_sequential(tifffile.imread(nuclei / "labels" / f"{stem}.tif")[crop])[0]
        write_labels(TEST_SET / "labels" / f"{stem}.tif", labels.astype(np.uint16))


if __name__ == "__main__":
    main()
