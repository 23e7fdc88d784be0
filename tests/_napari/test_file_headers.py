"""What files say of their axes, which napari does not read: taken where the pixels are the file's, and never forced."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtCore import Qt

from segloop import io
from segloop._napari.calibration import calibration_of
from segloop._napari.file_headers import axes_in_file
from segloop._napari.layers import as_image, guess_layer_axes
from segloop._napari.plugin import SegloopDock

PATIENCE = 60_000


@pytest.fixture
def frames(blobs):
    """Six time points of the blobs."""
    return np.stack([np.roll(blobs, 3 * n, 1) for n in range(6)])


def write_imagej(path, array, axes, **more):
    tifffile.imwrite(path, array, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "um", "axes": axes, **more})


def write_ome(path, array, axes, **more):
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, array, ome=True, metadata={"axes": axes, **sizes, **more})


def write_ome_zarr(path, array, axes, levels=1):
    group = zarr.open_group(path, mode="w", zarr_format=3)
    datasets = []
    for level in range(levels):
        step = 2**level
        group.create_array(str(level), data=np.ascontiguousarray(array[..., ::step, ::step]))
        scale = [0.5 * step if axis in "YX" else 1.0 for axis in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"T": "time", "C": "channel"}
    named = [
        {"name": axis.lower(), "type": kinds.get(axis, "space"), **({"unit": "micrometer"} if axis in "ZYX" else {})}
        for axis in axes
    ]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": named, "datasets": datasets}]}


def open_file(viewer, path):
    return viewer.open(path, plugin="napari")[0]


@pytest.mark.parametrize("write", [write_imagej, write_ome])
def test_a_time_lapse_is_no_stack(make_napari_viewer, tmp_path, frames, write):
    write(tmp_path / "time.tif", frames, "TYX")
    layer = open_file(make_napari_viewer(), tmp_path / "time.tif")
    assert guess_layer_axes(layer) == "TYX" and guess_layer_axes(layer, ask_file=False) == "ZYX"
    # no distance of planes is missing
    image = as_image(layer, "TYX")
    assert image.unit == "micrometer" and image.pixel_size["X"] == 0.5


@pytest.mark.parametrize(("levels", "suffix"), [(1, ".ome.zarr"), (2, ".zarr")])
def test_ome_zarr_says_it_too(make_napari_viewer, tmp_path, frames, levels, suffix):
    path = tmp_path / f"time{suffix}"
    write_ome_zarr(path, frames, "TYX", levels)
    layer = open_file(make_napari_viewer(), path)
    assert layer.multiscale == (levels > 1)
    assert guess_layer_axes(layer) == "TYX"
    assert calibration_of(layer).sizes["Y"] == 0.5
    assert as_image(layer, "TYX").pixel_size["X"] == 0.5


def test_pixels_that_are_not_the_files_have_not_its_axes(make_napari_viewer, tmp_path, frames):
    write_imagej(tmp_path / "time.tif", frames, "TYX")
    layer = open_file(make_napari_viewer(), tmp_path / "time.tif")
    layer.data = layer.data[:5]
    assert axes_in_file(layer) == "" and guess_layer_axes(layer) == "ZYX"


def test_what_she_named_holds(make_napari_viewer, tmp_path, frames):
    write_imagej(tmp_path / "time.tif", frames, "TYX")
    layer = open_file(make_napari_viewer(), tmp_path / "time.tif")
    layer.axis_labels = ("z", "y", "x")
    assert guess_layer_axes(layer) == "ZYX"


def test_one_channel_has_the_other_axes(make_napari_viewer, tmp_path, frames):
    path = tmp_path / "channels.tif"
    write_imagej(path, np.stack([frames, frames], 1), "TCYX")
    viewer = make_napari_viewer()
    for layer in viewer.open(path, plugin="napari", channel_axis=1):
        assert guess_layer_axes(layer) == "TYX"
    assert guess_layer_axes(viewer.open(path, plugin="napari")[0]) == "TCYX"


def test_colours_and_files_that_say_nothing(make_napari_viewer, tmp_path, frames):
    colours = np.stack([frames] * 3, -1)
    write_imagej(tmp_path / "colours.tif", colours, "TYXS")
    tifffile.imwrite(tmp_path / "plain.tif", frames)
    viewer = make_napari_viewer()
    assert guess_layer_axes(open_file(viewer, tmp_path / "colours.tif")) == "TYXS"
    assert guess_layer_axes(open_file(viewer, tmp_path / "plain.tif")) == "ZYX"
    assert axes_in_file(viewer.add_image(frames)) == ""


@pytest.mark.parametrize("early", [True, False])
def test_time_points_are_said_segmented_and_exported(
    qtbot, untrained, make_napari_viewer, open_dock, errors, tmp_path, frames, early
):
    write_imagej(tmp_path / "time.tif", frames, "TYX")
    if early:
        # opened before the dock, which is shown before it may read files
        viewer = make_napari_viewer()
        layer = open_file(viewer, tmp_path / "time.tif")
        dock = SegloopDock(viewer)
        viewer.window.add_dock_widget(dock, name="SegLoop")
        assert dock.segment.axes.text() == "ZYX"
        qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=PATIENCE)
    else:
        dock = open_dock()
        layer = open_file(dock._viewer, tmp_path / "time.tif")
    dock.session.choose_model(untrained)
    assert dock.segment.axes.text() == "TYX" and dock.session.axes[layer] == "TYX"
    assert dock.segment.size_text.text().startswith("6 time points · 96 rows · 128 columns")
    qtbot.mouseClick(dock.segment.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.segment_step.job is None, timeout=PATIENCE)
    labels = dock._viewer.layers[-1]
    labels.data[2, 2:6, 2:6] = 1
    path = tmp_path / "out.tif"
    dock.export.path.setText(str(path))
    dock.export.path.textEdited.emit(str(path))
    qtbot.mouseClick(dock.export.export, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.export_step.job is None, timeout=PATIENCE)
    assert not errors
    written = io.read_labels(path)
    assert written.axes == "TYX" and written.pixel_size["X"] == 0.5
    told = json.loads((tmp_path / "out.tif.provenance.json").read_text())
    assert told["image"]["axes"] == "TYX"
