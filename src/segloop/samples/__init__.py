"""Small real images with reference labels, for a first try, the demo and the tests.

SOURCES.md says where they are from. The bundled models were not trained on any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile

from segloop.errors import FileError
from segloop.image import Image
from segloop.labels import Labels

FOLDER = Path(__file__).parent
BBBC038 = "BBBC038 (Data Science Bowl 2018, stage 1), CC0, image {}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample image.

    Parameters
    ----------
    name : str
        Its key, as ``load_sample`` takes it.
    title : str
        Shown in menus.
    description : str
        One sentence on what is to be seen.
    axes : str
        Axes of the image.
    image, labels : Path
        Files of the image and of its reference labels (instances, drawn by people).
    source : str
        Origin and licence.
    """

    name: str
    title: str
    description: str
    axes: str
    image: Path
    labels: Path
    source: str

    @property
    def corrected(self) -> Path:
        """File of the stored correction: labels as a person left them who worked through a part of it."""
        return FOLDER / f"{self.name}_corrected.tif"

    @property
    def reviewed(self) -> Path:
        """File of the mask of that part."""
        return FOLDER / f"{self.name}_reviewed.tif"


def _sample(name: str, title: str, description: str, axes: str, source: str, suffix: str = ".png") -> Sample:
    return Sample(name, title, description, axes, FOLDER / f"{name}{suffix}", FOLDER / f"{name}_labels.tif", source)


_SAMPLES = (
    _sample(
        "fluorescence",
        "Nuclei, fluorescence",
        "156 nuclei of cultured cells in one 520 × 696 field; a few lie in clumps.",
        "YX",
        BBBC038.format("3f9fc8e63f87"),
    ),
    _sample(
        "large-nuclei",
        "Nuclei, fluorescence, high magnification",
        "29 large nuclei that touch each other, 360 × 360 pixels.",
        "YX",
        BBBC038.format("b1a239838c7d"),
    ),
    _sample(
        "histology",
        "Nuclei, stained tissue (RGB)",
        "112 nuclei in a stained tissue section, 256 × 320 pixels in colour; harder than fluorescence.",
        "YXS",
        BBBC038.format("cbca32daaae3"),
    ),
    _sample(
        "chloroplasts",
        "Chloroplasts, electron microscopy (z-stack)",
        "8 sections of 192 × 240 pixels with 9 chloroplasts; unknown to the bundled models, for training.",
        "ZYX",
        "WSU_PlantBio_ML example data, © 2021 Aaron Brookhouse, MIT licence, crop",
        ".tif",
    ),
)


def list_samples() -> tuple[Sample, ...]:
    """Return all samples, the one to start with first."""
    return _SAMPLES


def find_sample(name: str) -> Sample:
    """Return the sample called ``name``.

    Raises
    ------
    FileError
        If there is no such sample.
    """
    for sample in _SAMPLES:
        if sample.name == name:
            return sample
    raise FileError(f"no sample is called {name!r}; choose from {', '.join(sample.name for sample in _SAMPLES)}")


def load_sample(name: str) -> Image:
    """Return the image of a sample: uint8, axes YX, YXS or ZYX, without calibration."""
    sample = find_sample(name)
    read = tifffile.imread if sample.image.suffix == ".tif" else iio.imread
    return Image(read(sample.image), sample.axes, name=sample.name)


def load_reference(name: str) -> Labels:
    """Return the reference labels of a sample: instances 1…N, unsigned integers."""
    sample = find_sample(name)
    return Labels.like(load_sample(name), tifffile.imread(sample.labels))


def load_correction(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what a person left who corrected the left part of a sample.

    Returns
    -------
    labels : unsigned integers (..., Y, X)
        The objects of the reviewed part, whole, also where they reach beyond it; 0 elsewhere.
    reviewed : bool (..., Y, X)
        The part that was worked through, and for which the labels are vouched.
    """
    sample = find_sample(name)
    return tifffile.imread(sample.corrected), tifffile.imread(sample.reviewed).astype(bool)
