"""The nuclei images that the bundled models are trained and scored on, read from a folder with ``index.csv``.

The folder holds ``images/<id>.png``, ``labels/<id>.*`` and ``index.csv`` with the columns id, modality, group, fold
(BBBC038, Data Science Bowl 2018 stage 1; see ``docs/models.md``). A group never has images in two folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import tifffile
from make_samples import SHIPPED

from segloop.image import Image
from segloop.models.protocol import ModelSpec
from segloop.train.data import TrainingImage

FOLDS = frozenset(range(5))
MODALITY_SHARE = {
    "fluorescence_grayscale": 0.62,
    "HE_purple": 0.22,
    "stained_light_background": 0.10,
    "brightfield_grayscale": 0.05,
    "colour_other": 0.01,
}


@dataclass(frozen=True)
class NucleiImage:
    """One annotated image. ``labels`` : unsigned integers (Y, X)."""

    id: str
    modality: str
    group: str
    fold: int
    stardist_train: bool
    image: Image
    labels: np.ndarray


def read_nuclei(folder: Path, folds: set[int]) -> list[NucleiImage]:
    """Read all images of some folds."""
    index = pd.read_csv(folder / "index.csv")
    images = []
    for row in index[index.fold.isin(folds)].itertuples():
        pixels = iio.imread(next((folder / "images").glob(f"{row.id}.*")))
        label_file = next((folder / "labels").glob(f"{row.id}.*"))
        labels = tifffile.imread(label_file) if label_file.suffix == ".tif" else iio.imread(label_file)
        axes = "YX" if pixels.ndim == 2 else "YXS"
        image = Image(pixels, axes, name=row.id).without_alpha()
        images.append(NucleiImage(row.id, row.modality, row.group, row.fold, bool(row.stardist_train), image, labels))
    return images


def read_training_part(folder: Path, held_out: int | None) -> list[NucleiImage]:
    """Read what a model may learn from.

    Parameters
    ----------
    folder : Path
    held_out : int, optional
        The fold that the model will be scored on. None for the bundled model itself, which learns from all folds but
        for the fields of view (groups) that the shipped samples and the test images are from.
    """
    if held_out is not None:
        return read_nuclei(folder, FOLDS - {held_out})
    images = read_nuclei(folder, FOLDS)
    shipped = {item.group for item in images if item.id in SHIPPED}
    return [item for item in images if item.group not in shipped]


def training_images(images: list[NucleiImage], spec: ModelSpec) -> list[TrainingImage]:
    """Make whole images into training images."""
    return [
        TrainingImage(
            item.image,
            item.labels,
            np.ones(item.labels.shape, bool),
            [tuple(slice(0, n) for n in item.labels.shape)],
            spec.normalization.fit(item.image),
        )
        for item in images
    ]


def draw_weights(images: list[NucleiImage]) -> list[float]:
    """Weight images so that modalities have their share and, within one, each group counts by the root of its size."""
    groups: dict[tuple[str, str], int] = {}
    for item in images:
        key = (item.modality, item.group)
        groups[key] = groups.get(key, 0) + 1
    raw = [groups[item.modality, item.group] ** -0.5 for item in images]
    total: dict[str, float] = {}
    for item, weight in zip(images, raw):
        total[item.modality] = total.get(item.modality, 0) + weight
    return [MODALITY_SHARE[item.modality] * weight / total[item.modality] for item, weight in zip(images, raw)]
