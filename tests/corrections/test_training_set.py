from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import dask.array
import numpy as np
import pytest
import tifffile
import zarr

from segloop.corrections import Entry, TrainingSet
from segloop.corrections.pixels import hash_pixels, read_pixels, write_pixels
from segloop.errors import FileError, LabelsError, SettingsError, TrainingError
from segloop.image import Image
from segloop.labels import Labels, Task

LENGTHS = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6, "S": 3}


def pixels(axes: str, dtype: str = "u2", **lengths: int) -> np.ndarray:
    shape = [(LENGTHS | lengths)[axis] for axis in axes]
    return (np.random.default_rng(0).random(shape) * 2**10).astype(dtype)


def grey(value: int = 0, name: str = "image") -> Image:
    return Image(np.full((5, 6), value, np.uint8), "YX", name=name)


def labels_of(image: Image) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 300, image.label_shape)


def files_in(folder: Path) -> set[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {".training_set.lock"}


DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">i8", ">f2", ">f8"]
AXES = ["YX", "XY", "ZYX", "TYX", "CYX", "YXC", "YXS", "SYX", "TZYX", "XZCTY", "TCZYX", "TZYXS", "ZTSYX"]


@pytest.mark.parametrize("axes", AXES)
def test_every_layout_is_read_back_exactly(tmp_path: Path, axes: str) -> None:
    image = Image(pixels(axes), axes, 0.25, name="cells")
    labels, reviewed = labels_of(image), labels_of(image) > 100
    added = TrainingSet(tmp_path / "set").add(image, labels, reviewed)
    training_set = TrainingSet(tmp_path / "set")
    (entry,) = training_set.entries
    assert entry == added
    read, read_labels, read_reviewed = training_set.read(entry)
    assert (read.axes, read.unit, read.name) == (axes, "micrometer", "cells")
    assert dict(read.pixel_size) == dict(image.pixel_size)
    assert read.data.dtype == image.data.dtype and np.array_equal(read.data, image.data)
    assert read_labels.dtype == np.uint16 and np.array_equal(read_labels, labels)
    assert read_reviewed.dtype == bool and np.array_equal(read_reviewed, reviewed)
    assert training_set.verify() == ()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_is_read_back_exactly(tmp_path: Path, dtype: str) -> None:
    array = pixels("CYX", dtype)
    if array.dtype.kind == "f":
        array[0, 0, :3] = np.nan, np.inf, -0.0
    training_set = TrainingSet(tmp_path)
    read = training_set.read(training_set.add(Image(array, "CYX"), np.zeros((5, 6), int)))[0]
    assert read.data.dtype == array.dtype
    assert read.data.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.uint32, np.uint64])
def test_labels_keep_their_type(tmp_path: Path, dtype: type) -> None:
    labels = np.zeros((5, 6), dtype)
    labels[2, 3] = 1 if dtype is bool else np.iinfo(dtype).max
    training_set = TrainingSet(tmp_path)
    read = training_set.read(training_set.add(grey(), labels))[1]
    assert read.dtype == (np.uint8 if dtype is bool else dtype)
    assert np.array_equal(read, labels)


@pytest.mark.parametrize(("axes", "samples"), [("YXS", 4), ("YXS", 2), ("YXS", 1), ("TYXS", 5), ("SZYX", 4)])
def test_other_numbers_of_samples(tmp_path: Path, axes: str, samples: int) -> None:
    image = Image(pixels(axes, S=samples), axes)
    training_set = TrainingSet(tmp_path)
    entry = training_set.add(image, labels_of(image))
    assert np.array_equal(training_set.read(entry)[0].data, image.data)
    assert training_set.verify() == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (1, 1, 1, 1, 1), (1, 3, 1, 5, 6)])
def test_axes_of_length_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = Image(np.arange(np.prod(shape)).reshape(shape), "TCZYX"[-len(shape) :])
    training_set = TrainingSet(tmp_path)
    read, labels, _ = training_set.read(training_set.add(image, labels_of(image)))
    assert np.array_equal(read.data, image.data)
    assert np.array_equal(labels, labels_of(image))


def test_other_programs_can_read_the_files(tmp_path: Path) -> None:
    image = Image(pixels("XYZC"), "XYZC")
    labels = Labels(labels_of(image), "XYZ")
    entry = TrainingSet(tmp_path).add(image, labels, np.asarray(labels) > 0)
    assert entry.files == ("images/0001.tif", "labels/0001.tif", "reviewed/0001.tif")
    with tifffile.TiffFile(tmp_path / "images/0001.tif") as file:
        assert file.series[0].axes == "CZYX"
        assert np.array_equal(file.asarray(), image.data.transpose(3, 2, 1, 0))
    assert np.array_equal(tifffile.imread(tmp_path / "labels/0001.tif"), np.asarray(labels).transpose(2, 1, 0))
    mask = tifffile.imread(tmp_path / "reviewed/0001.tif")
    assert np.array_equal(mask, (np.asarray(labels).transpose(2, 1, 0) > 0) * 255)
    rgb = TrainingSet(tmp_path).add(Image(pixels("YXS", "u1"), "YXS"), np.zeros((5, 6), int))
    with tifffile.TiffFile(tmp_path / rgb.files[0]) as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
    document = json.loads((tmp_path / "training_set.json").read_text())
    assert document["task"] == "instance" and document["classes"] == ["object"]
    assert [row["axes"] for row in document["entries"]] == ["XYZC", "YXS"]


def test_images_are_memory_maps(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    for axes in ("YX", "TCZYX", "TZYXS", "XZCTY"):
        image = Image(pixels(axes), axes)
        read = training_set.read(training_set.add(image, labels_of(image)))[0]
        assert isinstance(read.data, np.memmap) and not read.data.flags.writeable


def test_lazy_images_are_written_plane_by_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = pixels("TZCYX")
    stored = zarr.create_array({}, shape=array.shape, chunks=(1, 1, 3, 5, 6), dtype=array.dtype)
    stored[...] = array
    monkeypatch.setattr("segloop.corrections.pixels.SLAB_BYTES", 2 * 5 * 6 * array.itemsize)
    largest = 0

    class Watched:
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, index: object) -> np.ndarray:
            nonlocal largest
            part = array[index]
            largest = max(largest, part.size)
            return part

    training_set = TrainingSet(tmp_path)
    hashes = set()
    for lazy in (array, Watched(), stored, dask.array.from_array(array, chunks=2)):
        entry = training_set.add(Image(lazy, "TZCYX"), np.zeros((2, 4, 5, 6), int))
        hashes.add(entry.hashes["images"])
        assert np.array_equal(training_set.read(entry)[0].data, array)
    assert largest == 2 * 5 * 6
    assert len(hashes) == 1


def test_entry_tells_all(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path, "instance", ["live", "dead"])
    image = Image(pixels("ZYX"), "ZYX", {"Z": 2, "Y": 0.5, "X": 0.5}, name="embryo 3")
    training_set.add(
        image, labels_of(image), source=Path("some") / "embryo.tif", model="nuclei@2", key="k", object_classes={7: 2}
    )
    (entry,) = TrainingSet(tmp_path).entries
    assert (entry.id, entry.key, entry.name, entry.axes, entry.shape) == ("0001", "k", "embryo 3", "ZYX", (4, 5, 6))
    assert (entry.dtype, entry.unit, entry.model) == ("<u2", "micrometer", "nuclei@2")
    assert entry.source == os.path.join("some", "embryo.tif")  # noqa: PTH118 - as the system writes it
    assert entry.pixel_size == {"Z": 2, "Y": 0.5, "X": 0.5} and entry.object_classes == {7: 2}
    assert entry.label_axes == "ZYX" and entry.label_shape == (4, 5, 6)
    assert entry.created == entry.modified and entry.created.endswith("+00:00")
    assert {len(value) for value in entry.hashes.values()} == {64}


def test_nothing_is_made_before_the_first_image(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path / "new" / "set")
    assert len(training_set) == 0 and training_set.entries == () and training_set.verify() == ()
    assert training_set.task is Task.INSTANCE and training_set.classes == ("object",)
    assert TrainingSet(tmp_path / "new", "semantic").classes == ("background", "foreground")
    assert not (tmp_path / "new").exists()
    training_set.add(grey(), np.zeros((5, 6), int))
    assert (tmp_path / "new" / "set" / "training_set.json").exists()


def test_the_same_key_replaces(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    training_set.add(grey(0), np.full((5, 6), 1), key="other")
    first = training_set.add(grey(1), np.full((5, 6), 1), key="cells")
    second = training_set.add(grey(2), np.full((5, 6), 2), key="cells")
    assert (second.id, second.created) == (first.id, first.created)
    assert training_set.entries[1] == second and len(training_set) == 2
    image, labels, _ = training_set.read(second)
    assert image.data.max() == labels.max() == 2
    assert files_in(tmp_path) == {"training_set.json", *training_set.entries[0].files, *second.files}
    with pytest.raises(FileError, match="entry 0002 was replaced or removed; take it from"):
        training_set.read(first)
    # back to the first name: an old entry still is not taken for the new one
    third = training_set.add(grey(3), np.full((5, 6), 3), key="cells")
    assert third.stem == first.stem
    with pytest.raises(FileError, match="replaced or removed"):
        training_set.read(first)


def test_no_key_appends(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    ids = [training_set.add(grey(), np.zeros((5, 6), int)).id for _ in range(3)]
    assert ids == ["0001", "0002", "0003"]


def test_remove(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    entries = [training_set.add(grey(n), np.full((5, 6), n)) for n in range(3)]
    training_set.remove("0003")
    training_set.remove("0001")
    assert training_set.entries == (entries[1],)
    assert files_in(tmp_path) == {"training_set.json", *entries[1].files}
    assert training_set.add(grey(), np.zeros((5, 6), int)).id == "0004"
    with pytest.raises(TrainingError, match="has no entry '0001'; it has 0002, 0004"):
        training_set.remove("0001")


def test_a_memory_map_outlives_its_entry(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    image, *_ = training_set.read(training_set.add(grey(5), np.zeros((5, 6), int), key="a"))
    training_set.add(grey(6), np.zeros((5, 6), int), key="a")
    training_set.remove("0001")
    assert (np.asarray(image.data) == 5).all()


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0001.tif").write_bytes(b"somebody's")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "notes.txt").write_text("mine")
    training_set = TrainingSet(tmp_path)
    entry = training_set.add(grey(), np.zeros((5, 6), int))
    assert entry.stem == "0001-2"
    training_set.remove(entry.id)
    assert (tmp_path / "images" / "0001.tif").read_bytes() == b"somebody's"
    assert files_in(tmp_path) == {"images/0001.tif", "labels/notes.txt", "training_set.json"}


def test_two_objects_see_each_other(tmp_path: Path) -> None:
    one, two = TrainingSet(tmp_path), TrainingSet(tmp_path)
    entry = one.add(grey(1), np.zeros((5, 6), int), key="a")
    assert two.entries == (entry,)
    two.add(grey(2), np.zeros((5, 6), int), key="b")
    two.add(grey(3), np.zeros((5, 6), int), key="a")
    assert [one.read(entry)[0].data.max() for entry in one.entries] == [3, 2]
    shutil.rmtree(tmp_path)
    assert len(one) == len(two) == 0


def test_task_and_classes_are_the_folders(tmp_path: Path) -> None:
    TrainingSet(tmp_path, Task.SEMANTIC, ("background", "inside", "border")).add(grey(), np.full((5, 6), 2))
    training_set = TrainingSet(tmp_path)
    assert training_set.task is Task.SEMANTIC and training_set.classes == ("background", "inside", "border")
    TrainingSet(tmp_path, "semantic", ["background", "inside", "border"])
    with pytest.raises(TrainingError, match=r"holds a training set of semantic labels; expected instance\. Choose"):
        TrainingSet(tmp_path, "instance")
    with pytest.raises(TrainingError, match="with the classes background, inside, border; expected a, b"):
        TrainingSet(tmp_path, classes=("a", "b"))
    with pytest.raises(SettingsError, match="unknown task 'panoptic'; expected semantic or instance"):
        TrainingSet(tmp_path, "panoptic")


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    image = Image(pixels("CYX"), "CYX")
    instances = TrainingSet(tmp_path / "instances", classes=("live", "dead"))
    classes = TrainingSet(tmp_path / "classes", "semantic")
    good = np.zeros((5, 6), int)
    with pytest.raises(LabelsError, match=r"labels of shape \(3, 5, 6\) do not fit"):
        instances.add(image, np.zeros((3, 5, 6), int))
    with pytest.raises(LabelsError, match="do not fit"):
        instances.add(image, good, np.ones((6, 5), bool))
    with pytest.raises(LabelsError, match="negative"):
        instances.add(image, good - 1)
    with pytest.raises(LabelsError, match=r"an object has class 3; expected .*: 1 live, 2 dead"):
        instances.add(image, good, object_classes={1: 3})
    with pytest.raises(LabelsError, match=r"the labels have class 2; expected .*: 0 background, 1 foreground"):
        classes.add(image, good + 2)
    assert not files_in(tmp_path / "instances") and not files_in(tmp_path / "classes")


def test_hash_is_that_of_the_pixels(tmp_path: Path) -> None:
    import hashlib

    array = pixels("XYC", ">u2")
    expected = hashlib.sha256(array.transpose(2, 1, 0).astype("<u2").tobytes()).hexdigest()
    assert hash_pixels(array, "XYC") == expected
    assert write_pixels(tmp_path / "a.tif", array, "XYC", compress=True) == expected
    assert np.array_equal(read_pixels(tmp_path / "a.tif", "XYC", array.shape), array)


def test_entries_are_frozen(tmp_path: Path) -> None:
    entry = TrainingSet(tmp_path).add(grey(), np.zeros((5, 6), int))
    assert isinstance(entry, Entry)
    with pytest.raises(AttributeError):
        entry.key = "x"
    assert "1 entries" in repr(TrainingSet(tmp_path))


def test_objects_that_nobody_named_take_the_name_of_those_that_follow(tmp_path: Path) -> None:
    TrainingSet(tmp_path / "set").add(grey(1), labels_of(grey()))
    named = TrainingSet(tmp_path / "set", "instance", ("nucleus",))
    assert named.classes == ("object",) and named.can_hold("instance", ("cell",))
    named.add(grey(2), labels_of(grey()), object_classes={1: 1})
    assert TrainingSet(tmp_path / "set").classes == ("nucleus",) and len(named) == 2
    # and those without a name fit in afterwards, too; another name does not
    TrainingSet(tmp_path / "set", "instance", ("object",)).add(grey(3), labels_of(grey()))
    assert TrainingSet(tmp_path / "set").classes == ("nucleus",)
    for other in (("cell",), ("nucleus", "cell"), ("object", "cell")):
        assert not named.can_hold("instance", other)
        with pytest.raises(TrainingError, match="holds a training set with the classes nucleus"):
            TrainingSet(tmp_path / "set", "instance", other)
    assert not named.can_hold("semantic", ("nucleus",))


def test_an_image_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    training_set, labels = TrainingSet(tmp_path / "set"), labels_of(grey())
    first = training_set.add(grey(), labels, key="a")
    before, files = (tmp_path / "set" / "training_set.json").read_bytes(), files_in(tmp_path / "set")
    assert training_set.add(grey(), labels, key="a") == first
    assert files_in(tmp_path / "set") == files
    assert (tmp_path / "set" / "training_set.json").read_bytes() == before
    labels[0, 0] += 1
    again = training_set.add(grey(), labels, key="a")
    assert again.stem == "0001-2" and len(training_set) == 1
    # what was lost on the disk is written anew
    (tmp_path / "set" / "labels" / "0001-2.tif").unlink()
    assert training_set.add(grey(), labels, key="a") != again and training_set.verify() == ()
