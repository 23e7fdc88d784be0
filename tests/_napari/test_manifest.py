"""The manifest: napari finds the dock, samples, readers and writers, and they do what they say."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from napari.layers import Labels
from npe2 import PluginManager, PluginManifest

from segloop import io
from segloop._napari import layers, readers, sample_data, writers
from segloop.labels import Labels as LabelImage
from segloop.samples import list_samples

NAME = "napari-segloop"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    manager = PluginManager.instance()
    manager.discover()
    return manager.get_manifest(NAME)


def test_the_manifest_is_valid_and_its_functions_exist(manifest):
    manifest.validate_imports()


def test_menus_are_napari_s(manifest):
    from napari._app_model.constants import MenuId

    assert set(manifest.contributions.menus) <= {str(menu) for menu in MenuId.contributables()}


def test_every_sample_is_offered(manifest):
    offered = {sample.key: sample.display_name for sample in manifest.contributions.sample_data}
    assert offered == {sample.name: sample.title for sample in list_samples()}


def test_samples_open(make_napari_viewer):
    viewer = make_napari_viewer()
    for sample in list_samples():
        (layer,) = viewer.open_sample(NAME, sample.name)
        assert layer.name == sample.name
        assert layer.rgb == (sample.axes[-1] == "S")
        assert "".join(layer.axis_labels) == sample.axes.replace("S", "").lower()


def test_the_dock_opens_by_its_name(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((20, 20), np.uint8))
    _, dock = viewer.window.add_plugin_dock_widget(NAME, "SegLoop")
    assert dock.segment_step.image is viewer.layers[0]
    qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=60_000)


@pytest.mark.parametrize("suffix", [".tif", ".zip", ".json", ".geojson", ".png", ".csv", ".ome.zarr"])
def test_writers_write(tmp_path, suffix):
    layer = Labels(np.eye(8, dtype=np.uint16), scale=(0.5, 0.5), units=("um", "um"), name="x")
    data, meta, _ = layer.as_layer_data_tuple()
    path = tmp_path / f"x{suffix}"
    assert writers.write_labels(str(path), data, meta) == [str(path)]
    assert path.exists()
    if suffix in (".tif", ".ome.zarr"):
        assert io.read_labels(path).pixel_size == pytest.approx({"Y": 0.5, "X": 0.5})


def test_napari_saves_through_the_writers(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    layer = viewer.add_labels(np.eye(8, dtype=np.uint16))
    assert layer.save(str(tmp_path / "x.zip"), plugin=NAME) == [str(tmp_path / "x.zip")]
    assert (tmp_path / "x.zip").exists()


def test_coco_files_open_as_labels(make_napari_viewer, tmp_path):
    labels = np.zeros((20, 30), np.uint16)
    labels[2:9, 3:8] = 4
    io.save_labels(LabelImage(labels, "YX"), tmp_path / "x.json")
    viewer = make_napari_viewer()
    (layer,) = viewer.open(tmp_path / "x.json", plugin=NAME)
    assert isinstance(layer, Labels)
    assert np.count_nonzero(layer.data) == 35


@pytest.mark.parametrize("name", ["x.zip", "x.geojson"])
def test_outlines_open_as_labels_of_the_active_image(make_napari_viewer, name, tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[8:15, 8:13] = 4
    viewer = make_napari_viewer()
    for size in ((20, 30), (5, 5)):
        viewer.add_image(np.zeros(size), scale=(0.5, 0.5), units=("um", "um"))
    viewer.layers.selection.active = viewer.layers[0]
    io.save_labels(LabelImage(labels, "YX", {"Y": 0.5, "X": 0.5}, "micrometer"), tmp_path / name)
    (layer,) = viewer.open(tmp_path / name, plugin=NAME)
    np.testing.assert_array_equal(layer.data, labels)
    np.testing.assert_allclose(layer.scale, 0.5)
    viewer.layers.selection.active = viewer.layers[1]
    (other,) = viewer.open(tmp_path / name, plugin=NAME)
    assert np.count_nonzero(other.data) == 35, "an image that they cannot lie on is passed over"


def test_outlines_of_a_stack_do_not_fall_into_one_plane(make_napari_viewer, tmp_path):
    labels = np.zeros((3, 20, 30), np.uint8)
    labels[0, 2:9, 2:9], labels[2, 2:9, 2:9] = 1, 2
    io.save_labels(LabelImage(labels, "ZYX"), tmp_path / "x.zip")
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((20, 30)))
    (layer,) = viewer.open(tmp_path / "x.zip", plugin=NAME)
    np.testing.assert_array_equal(layer.data, labels[:, :9, :9])


def test_outlines_lie_where_their_image_lies(make_napari_viewer, tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[8:15, 8:13] = 4
    io.save_labels(labels, tmp_path / "x.zip")
    viewer = make_napari_viewer()
    image = viewer.add_image(np.zeros((20, 30)), scale=(0.5, 0.5), translate=(100, 200), rotate=30)
    (layer,) = viewer.open(tmp_path / "x.zip", plugin=NAME)
    for point in ((0, 0), (19, 29)):
        np.testing.assert_allclose(layer.data_to_world(point), image.data_to_world(point))


def test_outlines_on_a_pyramid_lie_on_the_level_that_is_segmented(make_napari_viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "MOST_PIXELS", 200)
    labels = np.zeros((20, 30), np.uint8)
    labels[8:14, 8:12] = 4
    io.save_labels(labels, tmp_path / "x.zip")
    viewer = make_napari_viewer()
    viewer.add_image([np.zeros((20, 30)), np.zeros((10, 15))], translate=(100, 200), multiscale=True)
    (layer,) = viewer.open(tmp_path / "x.zip", plugin=NAME)
    np.testing.assert_array_equal(layer.data, labels[::2, ::2])
    np.testing.assert_allclose(layer.scale, 2.0)
    # the middle of the first coarse pixel is between the first two fine ones
    np.testing.assert_allclose(layer.data_to_world((4, 4)), (108.5, 208.5))


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "broken.json").write_text("{")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    for name in ("other.json", "broken.json", "missing.json", "x.tif", "other.zip", "broken.zip", "missing.roi"):
        assert readers.get_reader(str(tmp_path / name)) is None


def test_samples_are_layer_data():
    for make in (sample_data.fluorescence, sample_data.large_nuclei, sample_data.histology, sample_data.chloroplasts):
        ((data, keywords, kind),) = make()
        assert kind == "image" and data.ndim - keywords["rgb"] == len(keywords["axis_labels"])
