"""Calibration: the pixel size that an image's file says, where napari, which opened it, did not take note of it.

napari reads TIFF and OME-Zarr files without their pixel size: its layers are as large as they have pixels. What a
person said of a layer's scale, or a reader that knows better, is never touched.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import napari.layers

from segloop._napari.file_headers import header_of
from segloop.image import CHANNEL_AXES

SYMBOLS = {"nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "centimeter": "cm", "meter": "m"}


@dataclass(frozen=True)
class Calibration:
    """What a file says of its pixels.

    Parameters
    ----------
    sizes : mapping of letter to float
        Y and X at least.
    unit : str
        Of Z, Y and X; never "pixel".
    extent : tuple of int
        Pixels along Y and X of the file; () where no file was asked.
    """

    sizes: Mapping[str, float]
    unit: str
    extent: tuple[int, ...] = ()

    def covers(self, axes: Iterable[str]) -> bool:
        """Whether the size is known along each of Z, Y and X that there is: none is made up for the others."""
        return all(axis in self.sizes for axis in axes if axis in "ZYX")

    def words(self, axes: str) -> str:
        """Write the size of a pixel, of axes in their order: "0.65 µm", "1.5 × 0.65 × 0.65 µm"."""
        sizes = [self.sizes.get(axis, math.nan) for axis in axes if axis in "ZYX"]
        same = len(set(sizes)) == 1
        text = " × ".join("?" if math.isnan(size) else f"{size:.4g}" for size in (sizes[:1] if same else sizes))
        return f"{text} {SYMBOLS.get(self.unit, self.unit)}"


def is_calibrated(scale: Sequence[float], units: Sequence[Any]) -> bool:
    """Whether anybody said how large the pixels of a layer are."""
    return any(abs(float(size)) != 1 for size in scale) or any(str(unit) != "pixel" for unit in units)


def calibration_of(layer: napari.layers.Image | None) -> Calibration | None:
    """Return what the file of an image layer says of its pixels.

    None where the layer's own scale says it, the layer has no file, the file does not say it, or the layer's pixels are
    not as many as the file's: they were binned or cropped since.
    """
    if layer is None or is_calibrated(layer.scale, layer.units):
        return None
    header = header_of(layer)
    shape = (layer.data[0] if layer.multiscale else layer.data).shape
    if header is None or header.extent not in list(itertools.pairwise(shape)):
        return None
    sizes = {axis: size for axis, size in header.pixel_size.items() if axis not in CHANNEL_AXES}
    return Calibration(sizes, header.unit, header.extent) if header.unit and {"Y", "X"} <= set(sizes) else None


def noted_calibration(provenance: Any) -> Calibration | None:
    """Return the pixel size that labels' provenance has of their image, if it was known when they were made."""
    image = provenance.get("image", {}) if isinstance(provenance, dict) else {}
    unit = image.get("unit", "pixel")
    return Calibration(image["pixel_size"], unit) if unit != "pixel" and "pixel_size" in image else None
