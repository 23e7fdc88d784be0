"""The nuclei field that speed is measured on: a mosaic of real images with reference labels, and larger files of it.

    python benchmarks/field.py --data DATA/nuclei_dsb2018 --side 16384 --output field.ome.zarr

The field is 2048 × 2048 pixels: 64 fluorescence images of 256 × 256 pixels from BBBC038, all of that size in the
held-out fold (55), in the order of ``index.csv``, then the first ones again, mirrored. Each is scaled to 8 bit by its
own percentiles, because images from different microscopes would not share one range. Larger fields repeat the mosaic.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile

HELD_OUT_FOLD = "0"
MODALITY = "fluorescence_grayscale"
CHUNK = 512
"""Side of the blocks that larger fields are written and stored in, in pixels."""


@dataclass(frozen=True, eq=False)
class Field:
    """An image and its reference.

    Parameters
    ----------
    image : uint8 (Y, X)
    labels : uint16 (Y, X)
        0 background, 1…N nuclei.
    """

    image: np.ndarray
    labels: np.ndarray

    @property
    def nuclei(self) -> int:
        """How many nuclei there are."""
        return int(self.labels.max())

    def smaller(self, side: int) -> Field:
        """Return the upper left corner of ``side`` pixels, the labels as they are."""
        return Field(self.image[:side, :side], self.labels[:side, :side])


def build_field(folder: Path, tile: int = 256, tiles: int = 8) -> Field:
    """Build the mosaic of ``tiles`` × ``tiles`` images of ``tile`` × ``tile`` pixels.

    Parameters
    ----------
    folder : Path
        Holds ``index.csv`` (columns id, height, width, modality, fold), ``images`` and ``labels``.
    tile, tiles : int

    Raises
    ------
    ValueError
        If no image of the held-out fold has that size.
    """
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if _fits(row, tile)]
    if not rows:
        raise ValueError(f"{folder} has no {MODALITY} image of {tile} × {tile} pixels in fold {HELD_OUT_FOLD}")
    image = np.zeros((tiles * tile, tiles * tile), np.uint8)
    labels = np.zeros(image.shape, np.uint16)
    nuclei = 0
    for number, (row, column) in enumerate(itertools.product(range(tiles), repeat=2)):
        name = rows[number % len(rows)]["id"]
        pixels, objects = _eight_bit(_read(folder / "images", name)), _read(folder / "labels", name)
        if (number // len(rows)) % 2:
            pixels, objects = pixels[:, ::-1], objects[:, ::-1]
        place = np.s_[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        image[place] = pixels
        values, compact = np.unique(objects, return_inverse=True)
        # unique sorts, so that the background, if there is any, is the first
        compact = compact.reshape(objects.shape) + (values[0] != 0)
        labels[place] = np.where(compact > 0, compact + nuclei, 0)
        nuclei += int(compact.max())
    return Field(image, labels)


def _fits(row: dict[str, str], tile: int) -> bool:
    square = row["height"] == row["width"] == str(tile)
    return square and row["fold"] == HELD_OUT_FOLD and row["modality"] == MODALITY


def _read(folder: Path, name: str) -> np.ndarray:
    path = next(folder.glob(f"{name}.*"))
    array = tifffile.imread(path) if path.suffix == ".tif" else iio.imread(path)
    return array if array.ndim == 2 else array[..., 0]


def _eight_bit(pixels: np.ndarray) -> np.ndarray:
    """Scale the 1st and the 99.8th percentile to 10 and 210."""
    low, high = np.percentile(pixels, [1, 99.8])
    scaled = (pixels.astype(np.float64) - low) / max(high - low, 1) * 200 + 10
    return np.clip(scaled, 0, 255).astype(np.uint8)


def write_repeated(image: np.ndarray, side: int, path: Path) -> None:
    """Write ``image`` (Y, X), repeated to ``side`` × ``side`` pixels, block by block; the format follows the suffix.

    ``.ome.zarr`` is written as OME-Zarr 0.5 with one level, ``.tif`` as a tiled, compressed TIFF. Both are in blocks of
    512 × 512 pixels, of which one at a time is in memory.

    Raises
    ------
    ValueError
        If the suffix is another.
    """
    if path.name.endswith(".ome.zarr"):
        _write_zarr(image, side, path)
    elif path.suffix in (".tif", ".tiff"):
        blocks = (block for _, block in _blocks(image, side, padded=True))
        tifffile.imwrite(
            path,
            blocks,
            shape=(side, side),
            dtype=image.dtype,
            tile=(CHUNK, CHUNK),
            compression="zlib",
            photometric="minisblack",
            metadata={"axes": "YX"},
        )
    else:
        raise ValueError(f"{path.name}: expected a name that ends in .ome.zarr or .tif")


def _write_zarr(image: np.ndarray, side: int, path: Path) -> None:
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    chunks = (min(CHUNK, side),) * 2
    array = group.create_array("0", shape=(side, side), chunks=chunks, dtype=image.dtype, dimension_names=["y", "x"])
    for place, block in _blocks(image, side):
        array[place] = block
    transformations = [{"type": "scale", "scale": [1.0, 1.0]}]
    multiscale: dict[str, Any] = {
        "name": path.name.removesuffix(".ome.zarr"),
        "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}],
        "datasets": [{"path": "0", "coordinateTransformations": transformations}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}


def _blocks(image: np.ndarray, side: int, padded: bool = False) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Yield place and pixels of each block of the repeated image, row by row; ``padded`` ones are all of one size."""
    for top, left in itertools.product(range(0, side, CHUNK), repeat=2):
        bottom, right = min(top + CHUNK, side), min(left + CHUNK, side)
        rows = np.arange(top, bottom) % image.shape[0]
        columns = np.arange(left, right) % image.shape[1]
        block = image[rows[:, np.newaxis], columns]
        if padded:
            block = np.pad(block, ((0, CHUNK - block.shape[0]), (0, CHUNK - block.shape[1])))
        yield (slice(top, bottom), slice(left, right)), block


def main() -> None:
    """Write a field."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the nuclei images, with index.csv")
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--output", type=Path, required=True, help="file to write, .ome.zarr or .tif")
    parser.add_argument("--labels", type=Path, help="also write the mosaic's reference labels, as TIFF")
    options = parser.parse_args()
    field = build_field(options.data)
    write_repeated(field.image, options.side, options.output)
    if options.labels:
        tifffile.imwrite(options.labels, field.labels, compression="zlib")
    print(f"{field.nuclei} nuclei in the mosaic; {options.side} × {options.side} pixels in {options.output}")


if __name__ == "__main__":
    main()
