"""The field that speed is measured on: built from a folder of images, written in larger sizes block by block."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

import segloop

SIDE = 16
FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    """Import a benchmark, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


field = load("field")
timing = load("timing")


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """Three images that fit, each with two objects, and one of another fold, one stained, one of another size."""
    folder = tmp_path / "nuclei"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    rows = []
    random = np.random.default_rng(0)
    for name, side, modality, fold in (
        ("a", SIDE, "fluorescence_grayscale", 0),
        ("b", SIDE, "fluorescence_grayscale", 1),
        ("c", SIDE, "fluorescence_grayscale", 0),
        ("d", SIDE, "HE_purple", 0),
        ("e", 2 * SIDE, "fluorescence_grayscale", 0),
        ("f", SIDE, "fluorescence_grayscale", 0),
    ):
        labels = np.zeros((side, side), np.uint16)
        labels[2:5, 2:5], labels[8:12, 1:6] = 3, 7
        pixels = (labels > 0) * 100 + random.integers(0, 50, labels.shape)
        iio.imwrite(folder / "images" / f"{name}.png", pixels.astype(np.uint8))
        tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
        rows.append({"id": name, "height": side, "width": side, "modality": modality, "fold": fold})
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_the_mosaic_holds_every_image_that_fits_and_then_mirror_images(nuclei: Path) -> None:
    built = field.build_field(nuclei, tile=SIDE, tiles=2)
    assert built.image.shape == built.labels.shape == (2 * SIDE, 2 * SIDE)
    assert built.image.dtype == np.uint8
    # three fit, so the fourth place has the first image again, mirrored
    np.testing.assert_array_equal(built.image[SIDE:, SIDE:], built.image[:SIDE, SIDE - 1 :: -1])
    assert built.image.max() > 200 and built.image.min() <= 10


def test_each_nucleus_has_a_number_of_its_own(nuclei: Path) -> None:
    built = field.build_field(nuclei, tile=SIDE, tiles=2)
    assert built.nuclei == 8
    numbers, areas = np.unique(built.labels, return_counts=True)
    np.testing.assert_array_equal(numbers, np.arange(9))
    np.testing.assert_array_equal(areas[1:], [9, 20] * 4)


def test_the_mosaic_is_the_same_each_time(nuclei: Path) -> None:
    one, other = (field.build_field(nuclei, tile=SIDE, tiles=2) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)


def test_a_folder_without_a_fitting_image_is_an_error(nuclei: Path) -> None:
    with pytest.raises(ValueError, match="no fluorescence_grayscale image of 64 × 64"):
        field.build_field(nuclei, tile=64)


@pytest.mark.parametrize("name", ["field.ome.zarr", "field.tif"])
@pytest.mark.parametrize("side", [300, 1200])
def test_a_larger_field_repeats_the_mosaic(tmp_path: Path, name: str, side: int) -> None:
    mosaic = np.random.default_rng(0).integers(0, 255, (500, 500), np.uint8)
    field.write_repeated(mosaic, side, tmp_path / name)
    image = segloop.read_image(tmp_path / name)
    assert image.axes == "YX"
    repeated = np.tile(mosaic, (3, 3))[:side, :side]
    np.testing.assert_array_equal(np.asarray(image.data), repeated)


def test_another_suffix_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.ome\.zarr or \.tif"):
        field.write_repeated(np.zeros((4, 4), np.uint8), 4, tmp_path / "field.png")


def test_runs_are_taken_in_turn_and_warm_ups_do_not_count() -> None:
    order = []

    def run(name: str, wall: float):
        def work():
            order.append(name)
            return timing.Seconds(wall, 2 * wall)

        return work

    timings = timing.interleaved({"a": run("a", 1.0), "b": run("b", 3.0)}, repeats=2, say=lambda line: None)
    assert order == ["a", "b"] * 3
    assert len(timings["a"].runs) == 2
    assert timings["a"].ratio(timings["b"]) == 3
    assert timings["b"].cpu == 6
