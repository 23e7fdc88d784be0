"""Layers to images and back: axes, calibration, and where results lie."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels

from segloop._napari import layers
from segloop._napari.layers import Placement, choose_level, freeze_image, freeze_labels, guess_layer_axes
from segloop.errors import ImageError, LabelsError


@pytest.mark.parametrize(
    "shape, keywords, axes",
    [
        ((20, 30), {}, "YX"),
        ((20, 30, 3), {"rgb": True}, "YXS"),
        ((5, 20, 30), {}, "ZYX"),
        ((3, 20, 30), {}, "CYX"),
        ((3, 20, 30), {"axis_labels": ("z", "y", "x")}, "ZYX"),
        ((7, 20, 30), {"axis_labels": ("Time", "row", "col")}, "TYX"),
        ((7, 20, 30), {"axis_labels": ("a", "b", "c")}, "ZYX"),
        ((7, 2, 20, 30), {"axis_labels": ("t", "c", "y", "x")}, "TCYX"),
        ((7, 20, 30, 3), {"rgb": True, "axis_labels": ("t", "y", "x")}, "TYXS"),
    ],
)
def test_axes_are_read_from_labels_or_guessed(shape, keywords, axes):
    assert guess_layer_axes(Image(np.zeros(shape, np.uint8), **keywords)) == axes


def test_an_image_is_a_copy_with_calibration():
    data = np.arange(600, dtype=np.uint16).reshape(20, 30)
    layer = Image(data, scale=(0.5, 0.25), units=("um", "um"), name="cells")
    image = freeze_image(layer, "YX")
    data[:] = 0
    assert image.data.max() == 599
    assert dict(image.pixel_size) == {"Y": 0.5, "X": 0.25}
    assert image.unit == "micrometer"
    assert image.name == "cells"
    assert image.is_calibrated
    assert not freeze_image(Image(data), "YX").is_calibrated


@pytest.mark.parametrize("kind", ["dask", "zarr", "memmap"])
def test_lazy_images_stay_lazy(kind, tmp_path):
    if kind == "dask":
        data = da.zeros((4, 64, 64), chunks=(1, 64, 64), dtype=np.uint8)
    elif kind == "zarr":
        data = zarr.zeros((4, 64, 64), chunks=(1, 64, 64), dtype="u1", store=tmp_path / "a.zarr")
    else:
        data = np.memmap(tmp_path / "a.raw", np.uint8, "w+", shape=(4, 64, 64))
    assert freeze_image(Image(data), "ZYX").data is data


def test_axes_that_do_not_fit_are_refused():
    rgb = Image(np.zeros((20, 30, 3), np.uint8), rgb=True)
    with pytest.raises(ImageError, match="image has 3"):
        freeze_image(rgb, "YX")
    with pytest.raises(ImageError, match="end them in S"):
        freeze_image(rgb, "ZYX")
    with pytest.raises(ImageError, match="last axis"):
        Placement.of(Image(np.zeros((20, 30, 2), np.uint8), rgb=False), "YXC")


@pytest.mark.parametrize(
    "shape, axes, label_axes, label_shape",
    [
        ((20, 30), "YX", "YX", (20, 30)),
        ((3, 20, 30), "CYX", "YX", (20, 30)),
        ((5, 3, 20, 30), "ZCYX", "ZCYX", (5, 1, 20, 30)),
        ((6, 3, 5, 20, 30), "TCZYX", "TCZYX", (6, 1, 5, 20, 30)),
        ((3, 5, 20, 30), "CZYX", "ZYX", (5, 20, 30)),
    ],
)
def test_labels_lie_over_their_image_in_every_dimension(shape, axes, label_axes, label_shape):
    """napari aligns layers by their last dimensions; each pixel must be under its label all the same."""
    scale = tuple(0.5 + 0.25 * n for n in range(len(shape)))
    translate = tuple(range(len(shape)))
    image = Image(np.random.default_rng(0).integers(1, 9, shape), scale=scale, translate=translate)
    place = Placement.of(image, axes)
    assert (place.axes, place.shape) == (label_axes, label_shape)
    kept = [axes.index(axis) for axis in label_axes if axis != "C"]
    np.testing.assert_array_equal(place.scale[[a != "C" for a in label_axes]], np.array(scale)[kept])

    first = tuple(0 if axis == "C" else slice(None) for axis in axes)
    labels = Labels(place.to_layer(image.data[first]), **place.keywords())
    assert place.from_layer(labels.data).shape == image.data[first].shape
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.add_layer(labels)
    channel = axes.find("C")
    rng = np.random.default_rng(1)
    for _ in range(20):
        pixel = rng.integers(0, shape)
        world = np.array(image.data_to_world(pixel))
        inside = labels.world_to_data(world[-labels.ndim :])
        value = labels.data[tuple(np.round(inside).astype(int))]
        pixel[channel] = 0 if channel >= 0 else pixel[channel]
        assert value == image.data[tuple(pixel)]


def test_the_result_on_a_lower_level_lies_over_the_whole_image(monkeypatch):
    monkeypatch.setattr(layers, "MOST_PIXELS", 1500)
    levels = [np.zeros((80, 120), np.uint8), np.zeros((40, 60), np.uint8), np.zeros((20, 30), np.uint8)]
    layer = Image(levels, multiscale=True, scale=(0.5, 0.5), translate=(10, 20))
    assert choose_level(layer) == 2
    assert freeze_image(layer, "YX").shape == (20, 30)
    assert dict(freeze_image(layer, "YX").pixel_size) == {"Y": 2.0, "X": 2.0}
    place = Placement.of(layer, "YX")
    labels = Labels(np.zeros(place.shape, np.uint8), **place.keywords())
    # the outer borders of the pixels, not their centres
    for labels_corner, image_corner in (((-0.5, -0.5), (-0.5, -0.5)), ((19.5, 29.5), (79.5, 119.5))):
        np.testing.assert_allclose(labels.data_to_world(labels_corner), layer.data_to_world(image_corner))


def test_rotation_and_affine_are_kept():
    layer = Image(
        np.zeros((20, 30)), scale=(2, 3), rotate=30, translate=(5, 6), affine=[[1, 0.1, 2], [0, 1, 3], [0, 0, 1]]
    )
    place = Placement.of(layer, "YX")
    labels = Labels(np.zeros(place.shape, np.uint8), **place.keywords())
    for pixel in ([0, 0], [7, 11]):
        np.testing.assert_allclose(labels.data_to_world(pixel), layer.data_to_world(pixel))


def test_labels_must_fit_their_image(blobs):
    layer = Image(blobs)
    image, place = freeze_image(layer, "YX"), Placement.of(layer, "YX")
    own = Labels(np.ones(blobs.shape, np.uint16))
    frozen = freeze_labels(own, image, place)
    own.data[:] = 0
    assert frozen.min() == 1
    with pytest.raises(LabelsError, match=r"\(5, 5\).*\(96, 128\)"):
        freeze_labels(Labels(np.ones((5, 5), np.uint8)), image, place)
