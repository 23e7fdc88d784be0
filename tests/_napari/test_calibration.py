"""The pixel size of files that napari opens without it: known to results and exports, said, never put before hers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from qtpy.QtCore import Qt

from segloop import io
from segloop._napari.calibration import Calibration, calibration_of, noted_calibration
from segloop._napari.layers import as_image
from segloop._napari.writers import write_labels

PATIENCE = 60_000


@pytest.fixture
def calibrated(tmp_path, blobs):
    """An ImageJ file of 0.5 µm a pixel."""
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, blobs.astype(np.uint8), imagej=True, resolution=(2.0, 2.0), metadata={"unit": "um"})
    return path


def open_file(viewer, path):
    (layer,) = viewer.open(path, plugin="napari")
    return layer


def test_the_file_says_what_napari_did_not_read(make_napari_viewer, calibrated, blobs):
    layer = open_file(make_napari_viewer(), calibrated)
    # if this fails, napari reads the pixel size itself, and the module is not needed any more
    assert tuple(layer.scale) == (1, 1)
    assert calibration_of(layer) == Calibration({"Y": 0.5, "X": 0.5}, "micrometer", blobs.shape)
    image = as_image(layer, "YX")
    assert dict(image.pixel_size) == {"Y": 0.5, "X": 0.5} and image.unit == "micrometer"
    assert tuple(layer.scale) == (1, 1)


def test_what_she_set_holds(make_napari_viewer, calibrated):
    layer = open_file(make_napari_viewer(), calibrated)
    layer.scale = (0.2, 0.2)
    assert calibration_of(layer) is None
    assert dict(as_image(layer, "YX").pixel_size) == {"Y": 0.2, "X": 0.2}


def test_files_that_say_nothing_and_no_files(make_napari_viewer, tmp_path, blobs):
    viewer = make_napari_viewer()
    assert calibration_of(viewer.add_image(blobs)) is None
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, blobs)
    layer = open_file(viewer, path)
    assert calibration_of(layer) is None and calibration_of(None) is None
    path.unlink()
    assert calibration_of(layer) is None


def test_pixels_that_are_not_the_files_have_not_its_size(make_napari_viewer, calibrated):
    layer = open_file(make_napari_viewer(), calibrated)
    layer.data = layer.data[::2, ::2]
    assert calibration_of(layer) is None
    assert as_image(layer, "YX").unit == "pixel"


@pytest.mark.parametrize(("spacing", "size", "unit"), [({}, 1, "pixel"), ({"spacing": 1.5}, 1.5, "micrometer")])
def test_no_spacing_is_made_up(make_napari_viewer, tmp_path, blobs, spacing, size, unit):
    path = tmp_path / "stack.tif"
    stack = np.stack([blobs] * 6).astype(np.uint8)
    metadata = {"unit": "um", "axes": "ZYX", **spacing}
    tifffile.imwrite(path, stack, imagej=True, resolution=(2.0, 2.0), metadata=metadata)
    layer = open_file(make_napari_viewer(), path)
    assert calibration_of(layer).sizes["X"] == 0.5
    image = as_image(layer, "ZYX")
    assert image.unit == unit and image.pixel_size["Z"] == size
    assert image.pixel_size["X"] == (1 if unit == "pixel" else 0.5)


def test_what_is_noted_with_labels():
    assert noted_calibration({"image": {"pixel_size": {"Y": 2, "X": 2}, "unit": "nanometer"}}).unit == "nanometer"
    assert noted_calibration({"image": {"pixel_size": {"Y": 1, "X": 1}, "unit": "pixel"}}) is None
    assert noted_calibration({}) is None and noted_calibration(None) is None


def test_words():
    assert Calibration({"Y": 0.5, "X": 0.5}, "micrometer").words("YX") == "0.5 µm"
    assert Calibration({"Z": 1.5, "Y": 0.5, "X": 0.25}, "nanometer").words("ZYX") == "1.5 × 0.5 × 0.25 nm"
    assert Calibration({"Y": 0.5, "X": 0.5}, "inch").words("CZYX") == "? × 0.5 × 0.5 inch"


def test_results_are_exported_with_it_and_it_is_said(qtbot, untrained, dock, errors, calibrated, tmp_path):
    dock.session.choose_model(untrained)
    layer = open_file(dock._viewer, calibrated)
    assert "Pixel size 0.5 µm: from the file" in dock.segment.size_text.text()
    qtbot.mouseClick(dock.segment.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    labels = dock._viewer.layers[-1]
    labels.data[2:6, 2:6] = 1
    assert tuple(labels.scale) == tuple(layer.scale) == (1, 1)
    for suffix in (".tif", ".csv"):
        path = tmp_path / f"out{suffix}"
        dock.export.path.setText(str(path))
        dock.export.path.textEdited.emit(str(path))
        qtbot.mouseClick(dock.export.export, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: dock.export_step.job is None, timeout=PATIENCE)
    assert not errors
    written = io.read_labels(tmp_path / "out.tif")
    assert dict(written.pixel_size) == {"Y": 0.5, "X": 0.5} and written.unit == "micrometer"
    table = pd.read_csv(tmp_path / "out.csv")
    assert len(table) and any("um" in name for name in table.columns)
    # also when the image is closed and its file is elsewhere
    calibrated.rename(tmp_path / "elsewhere.tif")
    dock._viewer.layers.remove(layer)
    dock._viewer.layers.selection.active = labels
    dock.export.path.setText(str(tmp_path / "later.tif"))
    dock.export.path.textEdited.emit(str(tmp_path / "later.tif"))
    qtbot.mouseClick(dock.export.export, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.export_step.job is None, timeout=PATIENCE)
    assert not errors
    assert dict(io.read_labels(tmp_path / "later.tif").pixel_size) == {"Y": 0.5, "X": 0.5}
    # also by File ▸ Save Selected Layers, which sees the layer only
    data, meta, _ = labels.as_layer_data_tuple()
    write_labels(str(tmp_path / "saved.tif"), data, meta)
    assert dict(io.read_labels(tmp_path / "saved.tif").pixel_size) == {"Y": 0.5, "X": 0.5}
