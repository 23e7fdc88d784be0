from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
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
DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">i8", ">f2", ">f8"]
AXES = ["YX", "XY", "ZYX", "TYX", "CYX", "YXC", "YXS", "SYX", "TZYX", "XZCTY", "TCZYX", "TZYXS", "ZTSYX"]


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


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def write(first: int) -> None:
        try:
            training_set = TrainingSet(tmp_path)
            for number in range(first, first + 6):
                training_set.add(grey(number), np.full((5, 6), number), key=str(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    training_set = TrainingSet(tmp_path)
    values = {int(entry.key): training_set.read(entry)[1].max() for entry in training_set.entries}
    assert values == {n: n for first in (0, 10, 20) for n in range(first, first + 6)}
    assert len({entry.id for entry in training_set.entries}) == 18


def test_a_lock_left_by_a_dead_program_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / ".training_set.lock").write_text("")
    TrainingSet(tmp_path).add(grey(), np.zeros((5, 6), int))


def test_a_lock_held_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segloop.corrections.training_set.LOCK_SECONDS", 0.1)
    training_set = TrainingSet(tmp_path)
    with training_set._changing():
        other = threading.Thread(target=lambda: errors.append(add_and_catch(tmp_path)))
        errors: list[str] = []
        other.start()
        other.join()
    assert "another program has been writing" in errors[0]


def add_and_catch(folder: Path) -> str:
    try:
        TrainingSet(folder).add(grey(), np.zeros((5, 6), int))
    except FileError as error:
        return str(error)
    return ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("action", ["add", "replace", "remove"])
def test_killed_at_any_moment(tmp_path: Path, action: str) -> None:
    script = Path(__file__).with_name("killed_writer.py")
    done = subprocess.run([sys.executable, script, tmp_path, action], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (5 if action == "remove" else 20)


@pytest.mark.parametrize("action", ["add", "replace", "remove"])
def test_full_disk_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    for step in itertools.count():
        folder = tmp_path / str(step)
        training_set = TrainingSet(folder)
        old = [training_set.add(grey(1), np.full((5, 6), 1), key=key) for key in "ab"]
        with monkeypatch.context() as patch:
            count = itertools.count()

            def failing(function: object) -> object:
                def wrapper(*args: object, **kwargs: object) -> object:
                    # the disk stays full from then on
                    if next(count) >= step:  # noqa: B023
                        raise OSError(errno.ENOSPC, "No space left on device")
                    return function(*args, **kwargs)

                return wrapper

            patch.setattr(os, "replace", failing(os.replace))
            patch.setattr(os, "fsync", failing(os.fsync))
            patch.setattr(tifffile, "imwrite", failing(tifffile.imwrite))
            patch.setattr(Path, "mkdir", failing(Path.mkdir))
            failed = False
            try:
                if action == "remove":
                    training_set.remove("0001")
                else:
                    training_set.add(grey(2), np.full((5, 6), 2), key="a" if action == "replace" else "c")
            except FileError as error:
                failed = True
                assert "No space left on device" in str(error)
        entries = training_set.entries
        assert entries == TrainingSet(folder).entries
        if failed:
            assert entries == tuple(old)
        assert training_set.verify() == ()
        training_set.add(grey(3), np.full((5, 6), 3), key="d")
        live = {file for entry in training_set.entries for file in entry.files}
        assert files_in(folder) == live | {"training_set.json"}
        if next(count) < step:
            break
    assert not failed and step > 5


def test_a_draft_left_over_is_taken_away(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    training_set.add(grey(), np.zeros((5, 6), int))
    for name in ("images/.0002-abcd.part", ".training_set-abcd.part"):
        (tmp_path / name).write_bytes(b"half")
    training_set.add(grey(), np.zeros((5, 6), int))
    assert not [file for file in files_in(tmp_path) if file.endswith(".part")]


def test_verify_finds_what_was_changed(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    entries = [training_set.add(Image(pixels("ZYX"), "ZYX"), np.ones((4, 5, 6), int)) for _ in range(5)]
    tifffile.imwrite(tmp_path / entries[0].files[1], np.full((4, 5, 6), 2, np.uint8), photometric="minisblack")
    (tmp_path / entries[1].files[0]).unlink()
    for entry, kind in ((entries[2], 0), (entries[3], 1)):
        file = tmp_path / entry.files[kind]
        file.write_bytes(file.read_bytes()[:300])
    tifffile.imwrite(tmp_path / entries[4].files[2], np.ones((3, 3), np.uint8))
    problems = training_set.verify()
    assert len(problems) == 5
    assert "labels/0001.tif was changed since it was saved" in problems[0].replace("\\", "/")
    assert "0002.tif is missing; restore it, or remove its entry" in problems[1]
    assert "0003.tif" in problems[2] and "0004.tif" in problems[3]
    assert "holds pixels of shape (3, 3), type uint8; expected (4, 5, 6), uint8" in problems[4]
    for entry in entries[1:]:
        with pytest.raises(FileError):
            training_set.read(entry)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": "something else"}'])
def test_damaged_json_is_said_and_left_alone(tmp_path: Path, content: bytes) -> None:
    training_set = TrainingSet(tmp_path)
    entry = training_set.add(grey(), np.zeros((5, 6), int))
    (tmp_path / "training_set.json").write_bytes(content)
    for act in (
        lambda: TrainingSet(tmp_path),
        lambda: training_set.entries,
        lambda: training_set.add(grey(), np.zeros((5, 6), int)),
        lambda: training_set.remove(entry.id),
    ):
        with pytest.raises(FileError, match=r"training_set\.json is damaged .*; restore it from a backup"):
            act()
    assert (tmp_path / "training_set.json").read_bytes() == content
    assert files_in(tmp_path) == {"training_set.json", *entry.files}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stem", "../../secret"),
        ("stem", "/etc/passwd"),
        ("stem", "0001/../../0002"),
        ("stem", "0001\n"),
        ("id", "../x"),
        ("axes", "QX"),
        ("axes", "ZYX"),
        ("shape", [5, -6]),
        ("shape", "Y"),
        ("shape", 5),
        ("dtype", "O"),
        ("dtype", "no type"),
        ("hashes", {}),
        ("object_classes", {"a": "b"}),
        ("surprise", 1),
    ],
)
def test_an_entry_that_lies_is_refused(tmp_path: Path, field: str, value: object) -> None:
    TrainingSet(tmp_path).add(grey(), np.zeros((5, 6), int))
    path = tmp_path / "training_set.json"
    document = json.loads(path.read_text())
    document["entries"][0][field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(FileError, match="is damaged"):
        TrainingSet(tmp_path)


@pytest.mark.parametrize("file", ["../outside.tif", "/etc/passwd", "images/../../outside.tif", "training_set.json"])
def test_files_to_delete_are_only_its_own(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "set"
    (tmp_path / "outside.tif").write_bytes(b"precious")
    TrainingSet(folder).add(grey(), np.zeros((5, 6), int))
    path = folder / "training_set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unused": [file]}))
    with pytest.raises(FileError, match="is no file of a training set"):
        TrainingSet(folder).add(grey(), np.zeros((5, 6), int))
    assert (tmp_path / "outside.tif").exists()


def test_files_in_use_are_never_deleted_as_unused(tmp_path: Path) -> None:
    entry = TrainingSet(tmp_path).add(grey(), np.zeros((5, 6), int))
    path = tmp_path / "training_set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unused": list(entry.files)}))
    training_set = TrainingSet(tmp_path)
    training_set.add(grey(), np.zeros((5, 6), int))
    assert len(training_set) == 2 and training_set.verify() == ()


def test_a_newer_version_is_said(tmp_path: Path) -> None:
    TrainingSet(tmp_path).add(grey(), np.zeros((5, 6), int))
    path = tmp_path / "training_set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(FileError, match=r"made by a newer SegLoop \(format 2\); update SegLoop"):
        TrainingSet(tmp_path)


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


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    training_set = TrainingSet(tmp_path / "file")
    with pytest.raises(FileError, match="cannot be written"):
        training_set.add(grey(), np.zeros((5, 6), int))
    (tmp_path / "set" / "training_set.json").mkdir(parents=True)
    with pytest.raises(FileError, match="cannot be read"):
        TrainingSet(tmp_path / "set")


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
