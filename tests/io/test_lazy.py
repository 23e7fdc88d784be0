"""Labels that give blocks when indexed are written as labels in memory are, without being read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from segloop import io
from segloop.io import tiff
from segloop.labels import Labels

SIZES = {"T": 2.0, "Z": 0.5, "Y": 0.2, "X": 0.2}
LENGTHS = {"T": 2, "Z": 3, "Y": 700, "X": 1100}


class Blocks:
    """An array that can be indexed, and notes the largest block that was asked for."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.largest = 0

    def __getitem__(self, index: Any) -> np.ndarray:
        block = self._array[index]
        self.largest = max(self.largest, block.size)
        return block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("read as a whole")


def squares(axes: str, dtype: type) -> np.ndarray:
    """Numbered squares of 9 × 9 pixels, some hundred pixels apart."""
    order = sorted(axes, key="TZYX".index)
    array = np.zeros([LENGTHS[axis] for axis in order], dtype)
    number = 0
    for plane in np.ndindex(array.shape[:-2]):
        for y in range(5, 690, 97):
            for x in range(5, 1090, 131):
                number += 1
                array[(*plane, slice(y, y + 9), slice(x, x + 9))] = number
    return array.transpose([order.index(axis) for axis in axes])


@pytest.mark.parametrize("axes", ["YX", "ZYX", "XTY", "TZYX"])
@pytest.mark.parametrize("ending", [".tif", ".ome.zarr"])
def test_blocks_make_the_file_that_the_whole_makes(tmp_path: Path, ending: str, axes: str) -> None:
    array = squares(axes, np.uint32)
    sizes = {axis: SIZES[axis] for axis in axes}
    blocks = Blocks(array)
    path = io.save_labels(Labels(blocks, axes, sizes, "micrometer"), tmp_path / f"lazy{ending}")
    expected = io.read_labels(io.save_labels(Labels(array, axes, sizes, "micrometer"), tmp_path / f"whole{ending}"))
    got = io.read_labels(path)
    assert got.axes == expected.axes and got.pixel_size == expected.pixel_size and got.unit == expected.unit
    assert np.array_equal(got.data, expected.data)
    assert 0 < blocks.largest <= 2048 * 1100


def test_class_names_stay(tmp_path: Path) -> None:
    array = (squares("YX", np.uint16) > 0).astype(np.uint8)
    for ending in (".tif", ".ome.zarr"):
        path = io.save_labels(Labels(Blocks(array), "YX", classes=("background", "cell")), tmp_path / f"a{ending}")
        got = io.read_labels(path)
        assert got.classes == ("background", "cell") and np.array_equal(got.data, array)


def test_labels_of_64_bits_are_refused_for_tiff(tmp_path: Path) -> None:
    notes = io.Notes(Labels(np.ones((2, 2), np.uint8), "YX"))
    with pytest.raises(ValueError, match="uint64"):
        tiff.write(
            Labels(Blocks(squares("YX", np.uint64)), "YX"),
            tmp_path / "a.tif",
            notes,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("axes", ["YX", "ZYX", "XTY"])
def test_measurements_of_blocks_are_those_of_the_whole(tmp_path: Path, axes: str) -> None:
    array = squares(axes, np.uint32)
    rng = np.random.default_rng(0)
    array[rng.random(array.shape) < 0.3] = 0
    sizes = {axis: SIZES[axis] for axis in axes}
    whole = io.measurement_table(Labels(array, axes, sizes, "micrometer"))
    got = io.measurement_table(Labels(Blocks(array), axes, sizes, "micrometer"))
    pd.testing.assert_frame_equal(got, whole, check_exact=False, rtol=1e-9)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "YXS", "ZCYX"])
def test_strips_are_decoded_once_for_a_row_of_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: str) -> None:
    sizes = {"Z": 3, "C": 2, "Y": 90, "X": 700, "S": 3}
    array = np.random.default_rng(0).integers(0, 99, [sizes[axis] for axis in axes]).astype(np.uint8)
    rgb = axes.endswith("S")
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        compression="zlib",
        rowsperstrip=8,
        photometric="rgb" if rgb else "minisblack",
        metadata={"axes": axes},
        ome=True,
    )
    monkeypatch.setattr(tiff, "LAZY_BYTES", 1000)
    image = io.read_image(tmp_path / "a.tif", axes)
    reads: list[Any] = []
    stored = image.data._array

    class Counted:
        shape, dtype, chunks = stored.shape, stored.dtype, stored.chunks

        def __getitem__(self, index: Any) -> np.ndarray:
            reads.append(index)
            return np.asarray(stored[index])

    image.data._array = Counted()
    for rows in (slice(0, 40), slice(30, 90)):
        for columns in (slice(0, 300), slice(250, 600), slice(550, 700)):
            for _, block in image.blocks(2):
                plane = block.read((rows, columns))
                assert plane.shape[1:] == (rows.stop - rows.start, columns.stop - columns.start)
    # in stacks, blocks of one plane after another read anew
    assert len(reads) == 2 if "Z" not in axes else len(reads) <= 2 * 3 * 3
    whole = [block.read() for _, block in io.read_image(tmp_path / "a.tif", axes).blocks(2)]
    outer = array if "Z" in axes else array[np.newaxis]
    for plane, expected in zip(whole, outer, strict=True):
        channels = np.moveaxis(expected, -1, 0) if rgb else expected if "C" in axes else expected[np.newaxis]
        assert np.array_equal(plane, channels)
    assert np.array_equal(np.asarray(image.data), array)
