"""Outlines that people drew in other programs become label images."""

import json
import zipfile

import numpy as np
import pytest
import roifile
from skimage.draw import ellipse

from segloop.errors import FileError
from segloop.image import Image
from segloop.io import files_by_stem, read_label_pair, read_labels, save_labels, stem_of
from segloop.io.roi import _areas
from segloop.labels import Labels

POLYGON = [[3, 2], [13, 2], [13, 12], [3, 12]]


def plane() -> np.ndarray:
    """Two objects, one with a hole."""
    array = np.zeros((40, 50), np.uint8)
    array[2:12, 3:13] = 1
    array[5:8, 6:9] = 0
    array[39, 49] = 4
    return array


def stack() -> np.ndarray:
    array = np.zeros((2, 3, 40, 50), np.uint8)
    array[0, 1] = plane()
    array[1, 2, 5:9, 5:9] = 7
    return array


def test_an_image_is_as_good_as_labels(tmp_path):
    image = Image(np.zeros((3, 2, 3, 40, 50), np.uint8), "CTZYX", {"Z": 2.0, "Y": 0.5, "X": 0.5}, "micrometer")
    again = read_labels(save_labels(Labels(stack(), "TZYX"), tmp_path / "a.zip"), like=image)
    np.testing.assert_array_equal(again.data, stack())
    assert again.pixel_size == {"T": 1.0, "Z": 2.0, "Y": 0.5, "X": 0.5}


def test_without_an_image_it_is_just_large_enough(tmp_path):
    array = np.zeros((3, 30, 40), np.uint8)
    array[1, 4:9, 5:20] = 7
    again = read_labels(save_labels(Labels(array, "ZYX"), tmp_path / "a.zip"))
    assert again.axes == "ZYX"
    np.testing.assert_array_equal(again.data, array[:2, :9, :20])


def write_rois(path, *rois):
    with zipfile.ZipFile(path, "w") as archive:
        for number, roi in enumerate(rois):
            archive.writestr(f"{number}.roi", roi.tobytes())
        archive.writestr("__MACOSX/._0.roi", b"nothing")
    return path


def roi_of(corners, name="", **settings):
    roi = roifile.ImagejRoi.frompoints(np.array(corners), name=name)
    for key, value in settings.items():
        setattr(roi, key, value)
    return roi


def test_rois_drawn_in_fiji(tmp_path):
    oval = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.OVAL, left=20, top=2, right=31, bottom=9, version=228, name="0005-0025"
    )
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=0, top=20, right=4, bottom=25, name="0022-0002")
    line = roi_of([[1, 1], [30, 30]], "0015-0015", roitype=roifile.ROI_TYPE.POLYLINE)
    polygon = roi_of(POLYGON, "0007-0008", roitype=roifile.ROI_TYPE.POLYGON)
    path = write_rois(tmp_path / "RoiSet.zip", polygon, line, oval, rectangle)
    drawn = read_labels(path, like=Labels(np.zeros((30, 40), np.uint8), "YX")).data
    assert np.unique(drawn).tolist() == [0, 1, 2, 3]
    expected = np.zeros((30, 40), bool)
    expected[2:12, 3:13] = True
    np.testing.assert_array_equal(drawn == 1, expected)
    inside = np.zeros((30, 40), bool)
    inside[ellipse(5.0, 25.0, 3.5, 5.5)] = True
    np.testing.assert_array_equal(drawn == 2, inside)
    assert (drawn == 3).sum() == 20 and (drawn[20:25, :4] == 3).all()


def test_corners_between_pixels_take_the_pixels_whose_centres_are_inside(tmp_path):
    roi = roi_of(np.array([[1.6, 1.6], [4.4, 1.6], [4.4, 4.4], [1.6, 4.4]], np.float32))
    drawn = read_labels(write_rois(tmp_path / "a.zip", roi), like=Labels(np.zeros((8, 8), np.uint8), "YX")).data
    assert np.argwhere(drawn).min(axis=0).tolist() == [2, 2] and np.argwhere(drawn).max(axis=0).tolist() == [3, 3]


def test_a_slice_outside_hyperstacks_and_no_slice_at_all(tmp_path):
    second = roi_of(POLYGON, position=2)
    everywhere = roi_of([[20, 2], [22, 2], [22, 4], [20, 4]])
    volume = Labels(np.zeros((3, 20, 30), np.uint8), "ZYX")
    drawn = read_labels(write_rois(tmp_path / "a.zip", second, everywhere), like=volume).data
    assert [(part == 1).sum() for part in drawn] == [0, 100, 0]
    assert [(part == 2).sum() for part in drawn] == [4, 4, 4]
    frames = read_labels(tmp_path / "a.zip", like=Labels(volume.data, "TYX")).data
    np.testing.assert_array_equal(frames, drawn)
    flat = read_labels(tmp_path / "a.zip", like=Labels(volume.data[0], "YX")).data
    assert (flat == 1).sum() == 100


def test_a_single_roi(tmp_path):
    path = tmp_path / "cell.roi"
    path.write_bytes(roi_of(POLYGON).tobytes())
    assert read_labels(path).data.sum() == 100


def test_outlines_of_another_image_are_refused(tmp_path):
    path = save_labels(plane(), tmp_path / "a.zip")
    with pytest.raises(FileError, match=r"object 4 lies outside the image, whose size is Y 30, X 30; was it drawn"):
        read_labels(path, like=Labels(np.zeros((30, 30), np.uint8), "YX"))
    path = save_labels(Labels(stack()[0], "ZYX"), tmp_path / "b.zip")
    with pytest.raises(FileError, match=r"outside the image, whose size is Z 1, Y 40, X 50"):
        read_labels(path, like=Labels(np.zeros((1, 40, 50), np.uint8), "ZYX"))


def test_what_is_cut_by_the_border_is_kept(tmp_path):
    path = write_rois(tmp_path / "a.zip", roi_of([[-5, -5], [3, -5], [3, 4], [-5, 4]]))
    drawn = read_labels(path, like=Labels(np.zeros((10, 10), np.uint8), "YX")).data
    assert drawn.sum() == 12 and drawn[:4, :3].all()


def test_zips_of_something_else(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no")
    with pytest.raises(FileError, match="holds no ImageJ ROI"):
        read_labels(path)
    path.write_bytes(b"PK")
    with pytest.raises(FileError, match="damaged"):
        read_labels(path)
    with pytest.raises(FileError, match=r"1 ROI, but no area: lines, points and texts"):
        read_labels(write_rois(path, roi_of(POLYGON, roitype=roifile.ROI_TYPE.POINT)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.roi", b"Iout and then nothing")
    with pytest.raises(FileError, match="damaged"):
        read_labels(path)


def feature(coordinates, kind="Polygon", **properties):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def test_polygons_drawn_in_qupath(tmp_path):
    ring = [*POLYGON, POLYGON[0]]
    hole = [[5, 5], [8, 5], [8, 8], [5, 8], [5, 5]]
    other = [[[20.2, 2.2], [24.2, 2.2], [24.2, 6.2], [20.2, 6.2], [20.2, 2.2]]]
    features = [
        feature([ring, hole], objectType="annotation"),
        feature([3, 4], "Point"),
        feature([other], "MultiPolygon", measurements=[{"name": "Area", "value": 16}]),
    ]
    path = tmp_path / "a.geojson"
    for document in ({"type": "FeatureCollection", "features": features}, features):
        path.write_text(json.dumps(document))
        drawn = read_labels(path, like=Labels(np.zeros((30, 40), np.uint8), "YX")).data
        assert [(drawn == number).sum() for number in (1, 2)] == [91, 16]
        assert not drawn[5:8, 5:8].any()


@pytest.mark.parametrize(
    "document, message",
    [
        ({"a": 1}, "not GeoJSON"),
        ([feature([3, 4], "Point")], "1 features, but no polygon"),
        ({"type": "FeatureCollection"}, "damaged"),
        ([feature([[["x", 1]]])], "damaged"),
    ],
)
def test_geojson_that_cannot_be_read(document, message, tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(document))
    with pytest.raises(FileError, match=message):
        read_labels(path)


def test_numbers_that_a_plane_has_twice_are_given_anew(tmp_path):
    ring = [*POLYGON, POLYGON[0]]
    far = [[x + 15, y] for x, y in ring]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature([part], measurements={"Label": 5}) for part in (ring, far)]))
    assert np.unique(read_labels(path).data).tolist() == [0, 1, 2]


def test_a_damaged_coordinate_does_not_fill_the_memory(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature([[[0, 0], [1e12, 0], [1e12, 1e12]]])]))
    with pytest.raises(FileError, match="is the file damaged"):
        read_labels(path)


def geojson(path, *features):
    path.write_text(json.dumps(list(features)))
    return path


def on_plane(plane, **properties):
    part = feature([[*POLYGON, POLYGON[0]]], **properties)
    part["geometry"]["plane"] = plane
    return part


def test_qupath_leaves_out_the_first_plane(tmp_path):
    first, null = feature([[[20, 2], [22, 2], [22, 4], [20, 4]]]), on_plane(None)
    path = geojson(tmp_path / "a.geojson", first, null, on_plane({"c": -1, "z": 2}))
    drawn = read_labels(path, like=Labels(np.zeros((3, 20, 30), np.uint8), "ZYX")).data
    assert [np.unique(part).tolist() for part in drawn] == [[0, 1, 2], [0], [0, 3]]
    np.testing.assert_array_equal(read_labels(path).data, drawn[:, :12, :22])


@pytest.mark.parametrize("z", [-1, 3])
def test_planes_that_a_stack_has_not(z, tmp_path):
    path = geojson(tmp_path / "a.geojson", on_plane({"z": z}))
    with pytest.raises(FileError, match="object 1 lies outside the image, whose size is Z 3"):
        read_labels(path, like=Labels(np.zeros((3, 20, 30), np.uint8), "ZYX"))


@pytest.mark.parametrize("name", ["a.zip", "a.geojson"])
def test_planes_of_a_stack_do_not_fall_into_one(name, tmp_path):
    path = save_labels(Labels(stack()[:, 2:], "TZYX"), tmp_path / name)
    flat = Labels(np.zeros((40, 50), np.uint8), "YX")
    assert np.unique(read_labels(path, like=flat).data).tolist() == [0, 7], "one plane of a stack is an image"
    whole = np.stack([plane(), 2 * plane()])
    path = save_labels(Labels(whole, "ZYX"), tmp_path / name)
    with pytest.raises(FileError, match=r"planes 1 to 2 along Z, but the image has axes YX; expected the stack"):
        read_labels(path, like=flat)
    # slices and frames are taken for each other, which loses nothing
    frames = read_labels(path, like=Labels(np.zeros_like(whole), "TYX"))
    assert frames.axes == "TYX"
    if name == "a.geojson":
        np.testing.assert_array_equal(frames.data, whole)


def test_planes_drawn_in_qupath_do_not_fall_into_one_frame(tmp_path):
    path = geojson(tmp_path / "a.geojson", on_plane({"z": 0}), on_plane({"z": 1}))
    with pytest.raises(FileError, match=r"along Z, but the image has axes TYX"):
        read_labels(path, like=Labels(np.zeros((2, 20, 30), np.uint8), "TYX"))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300, -1e12])
def test_damaged_coordinates(number, tmp_path):
    path = geojson(tmp_path / "a.geojson", feature([[[3, 2], [13, 2], [13, number]]]))
    for like in (None, plane()):
        with pytest.raises(FileError, match=r"a\.geojson has coordinates .* is the file damaged"):
            read_labels(path, like=None if like is None else Labels(like, "YX"))


def test_texts_and_pictures_are_no_objects(tmp_path):
    kinds = (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE)
    others = [
        roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, subtype=kind, left=0, top=0, right=9, bottom=9, text="cell 1")
        for kind in kinds
    ]
    for roi in others:
        assert list(_areas(roi)) == []
    path = write_rois(tmp_path / "a.zip", others[0], roi_of(POLYGON))
    assert read_labels(path).data.sum() == 100


@pytest.mark.parametrize("name, number", [("202401151230_cell", 1), ("123456789", 123456789), ("0012_round", 12)])
def test_names_of_dates_are_no_numbers(name, number, tmp_path):
    assert read_labels(write_rois(tmp_path / "a.zip", roi_of(POLYGON, name))).data.max() == number


@pytest.mark.parametrize(
    "label, number", [(202401151230, 1), (1e300, 1), (2.5, 1), ("x", 1), (float("nan"), 1), (7, 7)]
)
def test_measurements_called_label_that_are_none(label, number, tmp_path):
    path = geojson(tmp_path / "a.geojson", on_plane(None, measurements={"Label": label}))
    assert read_labels(path).data.max() == number


def test_objects_between_the_centres_of_pixels_take_one(tmp_path):
    small = [[20.6, 2.6], [20.9, 2.6], [20.9, 2.9], [20.6, 2.9]]
    covered = [[5.6, 5.6], [5.9, 5.6], [5.9, 5.9], [5.6, 5.9]]
    flat = [[25, 2], [25, 2], [25, 2]]
    path = geojson(tmp_path / "a.geojson", on_plane(None), *(feature([part]) for part in (small, covered, flat)))
    drawn = read_labels(path, like=Labels(np.zeros((20, 30), np.uint8), "YX")).data
    assert np.argwhere(drawn == 2).tolist() == [[2, 20]]
    assert (drawn == 1).sum() == 100, "no other object loses a pixel to them"
    assert np.argwhere(drawn == 4).tolist() == [[2, 25]]


def test_objects_beyond_the_first_pixel_ask_for_the_image(tmp_path):
    path = geojson(tmp_path / "a.geojson", feature([[[-9, -9], [-5, -9], [-5, -5]]]))
    with pytest.raises(FileError, match=r"object 1 lies left of or above the first pixel; say which image .*--like"):
        read_labels(path)


def test_outlines_of_the_full_size_on_a_coarser_copy(tmp_path):
    fine = np.kron(stack()[0], np.ones((1, 4, 2), np.uint8))
    coarse = Labels(np.zeros((3, 40, 50), np.uint8), "ZYX")
    rois = save_labels(Labels(fine, "ZYX"), tmp_path / "a.zip")
    again = read_labels(rois, coarse, {"Z": 1.0, "Y": 1 / 4, "X": 1 / 2})
    np.testing.assert_array_equal(again.data, stack()[0])
    own = save_labels(Labels(stack()[0], "ZYX"), tmp_path / "a.geojson")
    np.testing.assert_array_equal(read_labels(own, coarse, {"Y": 1 / 4, "X": 1 / 2}).data, stack()[0])


def test_two_files_of_outlines_have_the_size_of_both(tmp_path):
    array, more = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    array[2:5, 3:9], more[20:22, 30:32] = 1, 3
    pair = [save_labels(part, tmp_path / f"{number}.zip") for number, part in enumerate((array, array + more))]
    first, second = read_label_pair(*pair)
    np.testing.assert_array_equal(first.data, array[:22, :32])
    np.testing.assert_array_equal(second.data, (array + more)[:22, :32])
    knows = save_labels(array, tmp_path / "a.geojson")
    assert [part.shape for part in read_label_pair(pair[1], knows)] == [(30, 40)] * 2
    other = save_labels(np.pad(array, 5), tmp_path / "b.geojson")
    assert [part.shape for part in read_label_pair(other, knows)] == [(40, 50), (30, 40)], "each its own"


def test_files_of_a_folder_by_stem(tmp_path):
    for name in ("a.tif", "a.zip", "b.zip", "b.geojson", "c.npy", "c.tif", "empty.zip", ".hidden.tif"):
        save_labels(np.zeros((9, 9), np.uint8) if name == "empty.zip" else plane(), tmp_path / name)
    with zipfile.ZipFile(tmp_path / "dataset.zip", "w") as archive:
        archive.writestr("readme.txt", "no")
    files = files_by_stem(tmp_path, (".tif", ".npy", ".zip", ".geojson"), lambda path: stem_of(path).upper())
    assert {stem: [path.name for path in paths] for stem, paths in files.items()} == {
        "A": ["a.tif"],
        "B": ["b.geojson"],
        "C": ["c.npy", "c.tif"],
        "EMPTY": ["empty.zip"],
    }
