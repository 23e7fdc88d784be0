"""Annotated images and what a model makes of them, for the simulations of review and correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import tifffile

import segloop
from segloop.candidates import Candidates, ClassScores
from segloop.labels import Task

HELD_OUT_FOLD = 0
"""Of the nuclei: no bundled model was trained on it."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """An image and its reference, integers (Y, X)."""

    name: str
    image: segloop.Image
    reference: np.ndarray


@dataclass(frozen=True, eq=False)
class Corrected(Annotated):
    """The same with a model's labels, integers (Y, X), and all that it found."""

    labels: np.ndarray
    found: Candidates | ClassScores


def read_set(data: Path, folder: str, skip: int) -> list[Annotated]:
    """Read annotated images: those of ``folder`` but the first ``skip``, or the held-out fold of the nuclei."""
    if folder == "nuclei":
        root = data / "nuclei_dsb2018"
        index = pd.read_csv(root / "index.csv")
        names = index[index.fold == HELD_OUT_FOLD].id.tolist()
    else:
        root = data / folder
        names = sorted(path.stem for path in (root / "images").iterdir())[skip:]
    return [read_image(root, name) for name in names]


def read_image(root: Path, name: str) -> Annotated:
    """Read one image of a folder with ``images`` and ``labels``, and its reference."""
    pixels = iio.imread(next((root / "images").glob(f"{name}.*")))
    path = next((root / "labels").glob(f"{name}.*"))
    reference = tifffile.imread(path) if path.suffix == ".tif" else iio.imread(path)
    image = segloop.Image(pixels, "YX" if pixels.ndim == 2 else "YXS", name=name).without_alpha()
    return Annotated(name, image, reference.astype(np.int64))


def segment_set(items: Sequence[Annotated], name: str) -> list[Corrected]:
    """Segment images with a model, into single objects."""
    model = segloop.load_model(name)
    settings = segloop.SegmentSettings(instances=model.spec.task is Task.SEMANTIC)
    done = []
    for item in items:
        result = segloop.segment(model, item.image, settings)
        labels = np.asarray(result.labels.data).astype(np.int64)
        done.append(Corrected(item.name, item.image, item.reference, labels, result.candidates))
    return done
