"""What the bundled models were made for, in small: images to score a descendant on, and others for it to rehearse.

SOURCES.md says where they are from. The bundled models were not trained on those that score; they were on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile

from segloop.image import Image

FOLDER = Path(__file__).parent / "nuclei"


@dataclass(frozen=True, eq=False)
class OwnImage:
    """An image of the bundled models' own domain. ``labels`` : instances, uint16 (Y, X)."""

    image: Image
    labels: np.ndarray


def scored_images() -> tuple[OwnImage, ...]:
    """Read the images to score with: uint8, axes YX or YXS, at the scale at which the bundled models work."""
    return _read(FOLDER / "scored")


def rehearsed_images() -> tuple[OwnImage, ...]:
    """Read the images to rehearse: uint8, axes YX or YXS, at the scale at which the bundled models work."""
    return _read(FOLDER / "rehearsed")


def _read(folder: Path) -> tuple[OwnImage, ...]:
    images = []
    for path in sorted(folder.glob("*.png")):
        pixels = iio.imread(path)
        axes = "YX" if pixels.ndim == 2 else "YXS"
        labels = tifffile.imread(path.with_name(f"{path.stem}_labels.tif"))
        images.append(OwnImage(Image(pixels, axes, name=path.stem).without_alpha(), labels))
    return tuple(images)
