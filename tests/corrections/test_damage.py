from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segloop.corrections import TrainingSet
from segloop.errors import FileError
from segloop.image import Image


def grey(value: int = 0, name: str = "image") -> Image:
    return Image(np.full((5, 6), value, np.uint8), "YX", name=name)


def files_in(folder: Path) -> set[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {".training_set.lock"}


def test_verify_finds_what_was_changed(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    entries = [
        training_set.add(Image(np.arange(120).reshape(4, 5, 6), "ZYX"), np.ones((4, 5, 6), int)) for _ in range(5)
    ]
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


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    training_set = TrainingSet(tmp_path / "file")
    with pytest.raises(FileError, match="cannot be written"):
        training_set.add(grey(), np.zeros((5, 6), int))
    (tmp_path / "set" / "training_set.json").mkdir(parents=True)
    with pytest.raises(FileError, match="cannot be read"):
        TrainingSet(tmp_path / "set")
