"""What is written can be read back, exactly, by us and by the programs the formats are for."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
import zarr
from ome_zarr_models.v05.image_label import ImageLabel
from pycocotools import mask as coco
from shapely.geometry import shape as geometry
from skimage.draw import polygon2mask
from skimage.measure import regionprops_table

from segloop.errors import FileError, LabelsError
from segloop.io import measurement_table, read_labels, save_labels, write_provenance
from segloop.labels import Labels


def plane() -> np.ndarray:
    """Objects with a hole, in two pieces, on the border, of one pixel, touching at corners."""
    array = np.zeros((40, 50), np.uint16)
    array[2:12, 3:13] = 1
    array[5:8, 6:9] = 0
    array[6, 7] = 2
    array[20:25, 0:6] = 3
    array[28:30, 0:2] = 3
    array[39, 49] = 4
    array[12:15, 13:16] = 700
    return array


def stack() -> np.ndarray:
    array = np.zeros((2, 3, 40, 50), np.uint16)
    array[0, 1] = plane()
    array[1, 0, 5:9, 5:9] = 701
    array[1, 2, 5:9, 5:9] = 701
    return array


CASES = {
    "plane": Labels(plane(), "YX"),
    "calibrated": Labels(plane(), "YX", {"Y": 0.25, "X": 0.5}, "micrometer"),
    "stack": Labels(stack(), "TZYX", {"T": 5.0, "Z": 2.0, "Y": 0.25, "X": 0.25}, "micrometer"),
    "one slice": Labels(plane()[None], "ZYX", {"Z": 2.0, "Y": 1.0, "X": 1.0}, "nanometer"),
    "one pixel": Labels(np.ones((1, 1), np.uint8), "YX"),
    "empty": Labels(np.zeros((5, 4), np.uint8), "YX"),
    "classes": Labels((plane() % 3).astype(np.uint8), "YX", classes=("background", "inside", "border")),
    "many": Labels((stack()[0].astype(np.uint32) + 70_000) * (stack()[0] > 0), "ZYX", {"Z": 3.0}, "micrometer"),
}
labels_cases = pytest.mark.parametrize("labels", CASES.values(), ids=CASES.keys())


@labels_cases
@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr", ".json", ".geojson"])
def test_formats_that_keep_everything(labels, suffix, tmp_path):
    path = save_labels(labels, tmp_path / f"a b{suffix}")
    again = read_labels(path)
    np.testing.assert_array_equal(again.data, labels.data)
    assert again.axes == labels.axes
    assert again.classes == labels.classes
    assert again.unit == labels.unit
    if labels.unit != "pixel":
        assert again.pixel_size == pytest.approx(labels.pixel_size, rel=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"a b{suffix}"]


def test_axes_in_another_order_are_written_as_tzyx(tmp_path):
    labels = Labels(stack().transpose(3, 1, 0, 2), "XZTY", {"Z": 2.0}, "micrometer")
    again = read_labels(save_labels(labels, tmp_path / "a.tif"))
    assert again.axes == "TZYX"
    np.testing.assert_array_equal(again.data, stack())


def test_tiff_is_an_imagej_hyperstack_with_calibration(tmp_path):
    path = save_labels(CASES["stack"], tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tif:
        facts = tif.imagej_metadata
        assert tif.series[0].axes == "TZYX"
        assert tif.series[0].dtype == np.uint16
        assert (facts["frames"], facts["slices"], facts["hyperstack"]) == (2, 3, True)
        assert (facts["unit"], facts["spacing"], facts["finterval"]) == ("um", 2.0, 5.0)
        over, under = tif.pages[0].tags["XResolution"].value
        assert over / under == pytest.approx(4.0)
        assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE


def test_tiff_with_many_labels_is_ome_with_calibration(tmp_path):
    labels = Labels(CASES["many"].data, "ZYX", {"Z": 2.0, "Y": 0.5, "X": 0.25}, "micrometer")
    path = save_labels(labels, tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome and not tif.is_imagej
        assert tif.series[0].dtype == np.uint32
        for text in ('PhysicalSizeZ="2.0"', 'PhysicalSizeX="0.25"', 'PhysicalSizeXUnit="µm"'):
            assert text in tif.ome_metadata


def composite_mask(roi, size):
    """Fill a composite ROI as ij.gui.ShapeRoi does: even-odd, by pixel centres."""
    mask = np.zeros(size, bool)
    for path in roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]:
        mask ^= polygon2mask(size, np.asarray(path, float)[:, ::-1] - 0.5)
    return mask


@labels_cases
def test_rois_fill_to_the_same_masks(labels, tmp_path):
    path = save_labels(labels, tmp_path / "a.zip")
    drawn = np.zeros(labels.shape, labels.data.dtype)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        rois = [roifile.ImagejRoi.frombytes(archive.read(name)) for name in names]
    assert len(set(names)) == len(names)
    for roi in rois:
        position = {"T": roi.t_position, "Z": roi.z_position}
        index = tuple(position[axis] - 1 for axis in labels.axes if axis in "TZ")
        assert roi.c_position == 0
        drawn[index][composite_mask(roi, labels.shape[-2:])] = int(roi.name.split("_")[0])
    np.testing.assert_array_equal(drawn, labels.data)


@labels_cases
def test_rois_read_on_their_image_are_the_labels(labels, tmp_path):
    again = read_labels(save_labels(labels, tmp_path / "a.zip"), like=labels)
    np.testing.assert_array_equal(again.data, labels.data)
    assert (again.axes, again.unit, again.pixel_size) == (labels.axes, labels.unit, labels.pixel_size)


def test_rois_beyond_16_bits_keep_their_place(tmp_path):
    array = np.zeros((3, 70_010), np.uint8)
    array[1, 70_000:70_005] = 1
    (roi,) = [
        roifile.ImagejRoi.frombytes(zipfile.ZipFile(save_labels(array, tmp_path / "a.zip")).read(name))
        for name in ["0001.roi"]
    ]
    assert roi.coordinates().min(axis=0).tolist() == [70_000, 1]
    assert roi.coordinates().max(axis=0).tolist() == [70_005, 2]


def test_roi_files_are_replaced_not_appended(tmp_path):
    path = save_labels(plane(), tmp_path / "a.zip")
    save_labels(np.ones((3, 3), np.uint8), path)
    assert zipfile.ZipFile(path).namelist() == ["0001.roi"]


def test_roi_names_and_groups_say_the_class(tmp_path):
    objects = pd.DataFrame({"label": [1, 2, 3], "class": ["round", "long/thin", "round"]})
    path = save_labels(np.array([[1, 0, 2, 0, 3]], np.uint8), tmp_path / "a.zip", objects)
    rois = {roi.name: roi.group for roi in roifile.roiread(path)}
    assert rois == {"0001_round": 1, "0002_long/thin": 2, "0003_round": 1}


@labels_cases
def test_coco_masks_boxes_and_areas(labels, tmp_path):
    path = save_labels(labels, tmp_path / "a.json")
    document = json.loads(path.read_text())
    drawn = np.zeros(labels.shape, labels.data.dtype)
    images = {image["id"]: image for image in document["images"]}
    assert len(images) == int(np.prod(labels.shape[:-2]))
    names = {category["id"]: category["name"] for category in document["categories"]}
    for entry in document["annotations"]:
        assert isinstance(entry["segmentation"]["counts"], str)
        mask = coco.decode(entry["segmentation"]).astype(bool)
        assert entry["area"] == mask.sum() == coco.area(entry["segmentation"])
        assert entry["bbox"] == coco.toBbox(entry["segmentation"]).tolist()
        position = images[entry["image_id"]]["plane"]
        drawn[tuple(position[axis] for axis in labels.axes[:-2])][mask] = entry["label"]
        if labels.classes:
            assert names[entry["category_id"]] == labels.classes[entry["label"]]
    np.testing.assert_array_equal(drawn, labels.data)


def test_coco_categories_and_scores_come_from_the_objects(tmp_path):
    objects = pd.DataFrame({"label": [2, 1], "class": ["b", "a"], "score": [0.5, np.nan], "origin": ["model", "added"]})
    path = save_labels(np.array([[1, 0, 2]], np.uint8), tmp_path / "a.json", objects)
    document = json.loads(path.read_text())
    assert [category["name"] for category in document["categories"]] == ["b", "a"]
    first, second = document["annotations"]
    assert (first["category_id"], first["origin"], "score" in first) == (2, "added", False)
    assert (second["category_id"], second["score"], second["iscrowd"]) == (1, 0.5, 0)


def test_coco_of_other_programs(tmp_path):
    document = {
        "images": [{"id": 7, "height": 6, "width": 8}],
        "annotations": [
            {"id": 3, "image_id": 7, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]]},
            {
                "id": 9,
                "image_id": 7,
                "category_id": 1,
                "segmentation": {"size": [6, 8], "counts": [42, 3, 3]},
            },
        ],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    labels = read_labels(path)
    assert labels.axes == "YX"
    assert labels.data[1:4, 1:5].tolist() == [[3] * 4] * 3
    assert labels.data[:, 7].tolist() == [9, 9, 9, 0, 0, 0]


@labels_cases
def test_geojson_polygons_cover_exactly_the_objects(labels, tmp_path):
    path = save_labels(labels, tmp_path / "a.geojson")
    drawn = np.zeros(labels.shape, labels.data.dtype)
    size = labels.shape[-2:]
    for feature in json.loads(path.read_text())["features"]:
        polygon = geometry({key: feature["geometry"][key] for key in ("type", "coordinates")})
        assert polygon.is_valid
        position = feature["geometry"].get("plane", {})
        index = tuple(position[axis.lower()] for axis in labels.axes[:-2])
        mask = np.zeros(size, bool)
        for part in getattr(polygon, "geoms", [polygon]):
            for ring in [part.exterior, *part.interiors]:
                mask ^= polygon2mask(size, np.asarray(ring.coords)[:-1, ::-1] - 0.5)
        assert mask.sum() == polygon.area
        drawn[index][mask] = int(feature["properties"]["name"])
    np.testing.assert_array_equal(drawn, labels.data)


@pytest.mark.parametrize("largest, dtype", [(255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_png_takes_the_smallest_type(largest, dtype, tmp_path):
    labels = np.array([[0, 1], [2, largest]], np.uint32)
    again = read_labels(save_labels(labels, tmp_path / "a.png"))
    assert again.data.dtype == dtype
    np.testing.assert_array_equal(again.data, labels)


def test_png_says_what_it_cannot_hold(tmp_path):
    with pytest.raises(FileError, match=r"up to 65535, but the largest is 65536.*\.tif"):
        save_labels(np.array([[0, 65536]], np.uint32), tmp_path / "a.png")
    with pytest.raises(FileError, match=r"one plane, but the labels have axes TZYX"):
        save_labels(CASES["stack"], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_npy(tmp_path):
    again = read_labels(save_labels(CASES["stack"], tmp_path / "a.npy"))
    np.testing.assert_array_equal(again.data, stack())
    assert again.axes == "TZYX"


def test_ome_zarr_follows_the_specification(tmp_path):
    labels = Labels(np.kron(plane(), np.ones((20, 20), np.uint16)), "YX", {"Y": 0.5, "X": 0.25}, "micrometer")
    path = save_labels(labels, tmp_path / "a.ome.zarr")
    group = zarr.open_group(path, mode="r")
    ImageLabel.from_zarr(group)
    multiscale = group.attrs["ome"]["multiscales"][0]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer"] * 2
    for number, dataset in enumerate(multiscale["datasets"]):
        step = 2**number
        assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [0.5 * step, 0.25 * step]}]
        np.testing.assert_array_equal(group[dataset["path"]][...], labels.data[::step, ::step])
    assert len(multiscale["datasets"]) == 3


def test_ome_zarr_labels_inside_an_image(tmp_path):
    path = save_labels(CASES["calibrated"], tmp_path / "labels.ome.zarr")
    image = zarr.open_group(tmp_path / "image.ome.zarr", mode="w")
    image.create_group("labels").attrs["ome"] = {"version": "0.5", "labels": ["nuclei"]}
    path.rename(tmp_path / "image.ome.zarr" / "labels" / "nuclei")
    np.testing.assert_array_equal(read_labels(tmp_path / "image.ome.zarr").data, plane())


def test_measurements_agree_with_scikit_image(tmp_path):
    labels = Labels(plane(), "YX", {"Y": 0.5, "X": 0.5}, "micrometer")
    objects = pd.DataFrame({"label": [1, 700], "class": ["a", "b"], "score": [0.9, 0.8], "origin": "model"})
    table = pd.read_csv(save_labels(labels, tmp_path / "a.csv", objects))
    expected = regionprops_table(plane(), properties=("label", "area", "centroid", "bbox", "perimeter", "eccentricity"))
    for name, column in {
        "label": "label", "area": "area", "centroid-0": "centroid_y", "centroid-1": "centroid_x",
        "bbox-0": "bbox_y_min", "bbox-2": "bbox_y_max", "bbox-1": "bbox_x_min", "bbox-3": "bbox_x_max",
        "perimeter": "perimeter", "eccentricity": "eccentricity",
    }.items():  # fmt: skip
        np.testing.assert_allclose(table[column], expected[name], rtol=1e-8, err_msg=column)
    np.testing.assert_allclose(table["area_um2"], table["area"] * 0.25)
    np.testing.assert_allclose(table["perimeter_um"], table["perimeter"] * 0.5)
    np.testing.assert_allclose(table["centroid_y_um"], table["centroid_y"] * 0.5)
    assert table["class"].tolist() == ["a", "object", "object", "object", "b"]
    assert table["score"].tolist()[::4] == [0.9, 0.8]
    assert table["origin"].tolist()[0] == "model"


def test_measurements_of_a_time_lapse_of_volumes():
    table = measurement_table(CASES["stack"])
    moved = table[table["label"] == 701]
    assert moved["t"].tolist() == [1]
    assert moved["area"].tolist() == [32]
    assert moved["volume_um3"].tolist() == [32 * 2.0 * 0.25 * 0.25]
    assert moved["centroid_z"].tolist() == [1.0]
    assert "perimeter" not in table


@labels_cases
def test_measurements_of_everything(labels, tmp_path):
    table = pd.read_csv(save_labels(labels, tmp_path / "a.csv"))
    assert table["area"].sum() == np.count_nonzero(labels.data)
    assert {"label", "class", "score", "origin", "area", "centroid_y", "bbox_x_max"} <= set(table)


@pytest.mark.parametrize("name", ["a.tif", "a.zip", "a.json", "a.csv", "a.geojson", "a.png", "a.npy", "a.ome.zarr"])
class TestWritingAnyFormat:
    def test_overwrites_only_when_allowed(self, name, tmp_path):
        path = save_labels(plane(), tmp_path / name)
        size = path.stat().st_size
        with pytest.raises(FileError, match="exists already"):
            save_labels(np.ones((3, 3), np.uint8), path, overwrite=False)
        assert path.stat().st_size == size
        save_labels(np.ones((3, 3), np.uint8), path)
        assert [entry.name for entry in tmp_path.iterdir()] == [name]

    def test_missing_folder(self, name, tmp_path):
        with pytest.raises(FileError, match="does not exist"):
            save_labels(plane(), tmp_path / "no" / name)

    def test_failure_leaves_nothing_and_keeps_the_old_file(self, name, tmp_path, monkeypatch):
        path = save_labels(plane(), tmp_path / name)
        before = sorted(entry.name for entry in tmp_path.rglob("*"))

        def refuse(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("segloop.io.files._move", refuse)
        with pytest.raises(FileError, match=f"{name} cannot be written: No space left on device"):
            save_labels(np.ones((3, 3), np.uint8), path)
        assert sorted(entry.name for entry in tmp_path.rglob("*")) == before


def test_unknown_suffix(tmp_path):
    with pytest.raises(FileError, match=r"cannot be written as \.docx; expected one of \.tif"):
        save_labels(plane(), tmp_path / "a.docx")


def test_arrays_that_are_no_labels(tmp_path):
    with pytest.raises(LabelsError, match="fractional"):
        save_labels(np.array([[0.5, 1.0]]), tmp_path / "a.tif")
    with pytest.raises(LabelsError, match="1 dimensions"):
        save_labels(np.array([1, 2]), tmp_path / "a.tif")


def test_colour_images_are_no_labels(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 20, 3), np.uint8), photometric="rgb")
    with pytest.raises(LabelsError, match="one number per pixel"):
        read_labels(path)


def test_provenance_is_beside_the_output(tmp_path):
    path = write_provenance(tmp_path / "a.tif", {"model": "m", "threshold": np.float32(0.5), "to": tmp_path})
    assert path.name == "a.tif.provenance.json"
    assert json.loads(path.read_text()) == {"model": "m", "threshold": 0.5, "to": str(tmp_path)}


def test_numbers_that_no_tiff_holds(tmp_path):
    with pytest.raises(LabelsError, match="up to 4294967295"):
        save_labels(np.full((8, 8), 1 << 32, np.uint64), tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())
