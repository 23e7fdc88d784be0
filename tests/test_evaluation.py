from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segloop.errors import FileError, LabelsError, SettingsError
from segloop.evaluation import Report, evaluate, evaluate_folders
from segloop.io import save_labels
from segloop.labels import Labels, Task, border_classes

NUMBERS = np.arange(1, 17).reshape(4, 4)
CELLS = np.kron(NUMBERS, np.pad(np.ones((6, 6), int), (0, 2)))
"""16 squares of 6 × 6 pixels, 2 apart."""
HALF = np.where(CELLS <= 8, CELLS, 0)
CLASSES = ("background", "inside", "border")


def save(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, labels.astype(np.uint16), photometric="minisblack")


def plain(report: Report) -> dict:
    """The report as a program reads it; no NaN, no NumPy numbers."""
    return json.loads(json.dumps(report.to_json(), allow_nan=False))


def test_instances_of_two_images() -> None:
    report = evaluate([CELLS, HALF], [CELLS, CELLS])
    assert report.task is Task.INSTANCE and report.images == 2 and not report.guessed
    assert report.classes is None
    document = plain(report)
    assert set(document) == {"images", "instances", "classes", "per_image"}
    assert document["images"] == 2 and document["classes"] == []
    assert list(document["instances"]["ap"]) == [f"0.{n}" for n in range(50, 100, 5)]
    assert document["instances"]["ap"]["0.50"] == document["instances"]["mean_ap"] == 24 / 32
    assert document["instances"]["precision"] == 1 and document["instances"]["recall"] == 24 / 32
    assert document["instances"]["f1"] == document["instances"]["pq"] == 24 / 28
    assert [row["mean_ap"] for row in document["per_image"]] == [1, 0.5]
    assert document["per_image"][1] == {"name": "1", **plain(evaluate(HALF, CELLS))["instances"]}


def test_classes() -> None:
    reference = border_classes(CELLS)
    prediction = np.where(reference == 2, 1, reference)
    report = evaluate(Labels(prediction, "YX", classes=CLASSES), Labels(reference, "YX", classes=CLASSES))
    assert report.task is Task.SEMANTIC and report.instances is None
    document = plain(report)
    inside, border = (reference == 1).sum(), (reference == 2).sum()
    assert document["instances"] is None
    assert [row["class"] for row in document["classes"]] == [*CLASSES]
    assert document["classes"][0] == {"class": "background", "dice": 1, "iou": 1}
    assert document["classes"][1]["iou"] == inside / (inside + border)
    assert document["classes"][2] == {"class": "border", "dice": 0, "iou": 0}
    (image,) = document["per_image"]
    assert image == {
        "name": "0",
        "dice": pytest.approx(2 * inside / (2 * inside + border) / 2),
        "iou": pytest.approx(inside / (inside + border) / 2),
    }


def test_what_says_the_task() -> None:
    mask = (CELLS > 0).astype(np.uint8)
    assert evaluate(mask, mask).task is Task.INSTANCE
    assert evaluate(mask, mask, classes=("background", "cell")).task is Task.SEMANTIC
    assert evaluate(mask, Labels(mask, "YX", classes=("background", "cell"))).task is Task.SEMANTIC
    assert evaluate(mask, mask, task="semantic").class_names == ("background", "class 1")
    named = Labels(mask, "YX", classes=("background", "cell"))
    assert evaluate(named, named, task=Task.INSTANCE).task is Task.INSTANCE
    with pytest.raises(SettingsError, match="unknown task 'both'; expected semantic or instance"):
        evaluate(mask, mask, task="both")


def test_classes_without_names_grow_with_the_images() -> None:
    a, b = np.array([[0, 1]]), np.array([[3, 1]])
    report = evaluate([a, b, a], [a, b, b], task="semantic")
    assert report.class_names == ("background", "class 1", "class 2", "class 3")
    assert report.classes.iou[:2] == (1 / 2, 1) and math.isnan(report.classes.iou[2])
    assert plain(report)["classes"][2] == {"class": "class 2", "dice": None, "iou": None}
    nothing = np.zeros((3, 3), int)
    assert evaluate(nothing, nothing, task="semantic").class_names == ("background", "class 1")


def test_one_image_many_or_a_list_of_numbers() -> None:
    assert evaluate(CELLS, CELLS) == evaluate([CELLS], (CELLS,))
    assert evaluate([[1, 0, 2]], [[1, 0, 2]]).images == 1
    assert evaluate(np.stack([CELLS, CELLS]), np.stack([CELLS, CELLS])).images == 1


def test_summary_can_be_read() -> None:
    text = evaluate([CELLS, HALF], [CELLS, CELLS]).summary()
    assert text.splitlines()[0] == "2 images, compared as instances"
    assert "0.50  0.750  0.857  0.857      1.000   0.750" in text
    assert "mean AP 0.750" in text
    assert text.splitlines()[-1].split() == ["1", "0.500", "0.667", "0.667", "0.500"]
    text = evaluate(border_classes(CELLS), border_classes(CELLS), classes=CLASSES).summary()
    assert text.splitlines()[0] == "1 image, compared as classes"
    assert [line.split() for line in text.splitlines()[3:6]] == [[name, "1.000", "1.000"] for name in CLASSES]
    assert "mean without background: Dice 1.000, IoU 1.000" in text


def test_what_does_not_fit() -> None:
    with pytest.raises(LabelsError, match="2 label images and 1 references; expected as many of both"):
        evaluate([CELLS, CELLS], [CELLS])
    with pytest.raises(LabelsError, match="no label images to compare"):
        evaluate([], [])
    with pytest.raises(LabelsError, match=r"image 1: the prediction has shape \(3, 3\); expected \(32, 32\)"):
        evaluate([CELLS, CELLS[:3, :3]], [CELLS, CELLS])
    with pytest.raises(LabelsError, match="image 0: the prediction has class 16; expected 0 to 2"):
        evaluate(CELLS, border_classes(CELLS), classes=CLASSES)
    two, three = (Labels(CELLS > 0, "YX", classes=names) for names in (CLASSES[:2], CLASSES))
    with pytest.raises(LabelsError, match="different classes"):
        evaluate(two, three)


def test_folders_pair_by_stem(tmp_path: Path) -> None:
    reference, prediction = tmp_path / "reference", tmp_path / "prediction"
    save(reference / "a.tif", CELLS)
    save(reference / "b_labels.tif", CELLS)
    np.save(reference / "c.npy", CELLS)
    save(prediction / "a_labels.tif", CELLS)
    save(prediction / "a.tif", CELLS * 0)  # the image that was segmented, beside its labels
    save(prediction / "b.tif", HALF)
    save(prediction / "c_labels.tif", CELLS)
    save(prediction / "d_labels.tif", CELLS)
    (prediction / "a_objects.csv").write_text("label")
    (prediction / "a_labels.tif.provenance.json").write_text("{}")
    (prediction / "notes.txt").write_text("hello")
    (prediction / ".hidden.tif").write_text("nothing")
    report = evaluate_folders(reference, prediction)
    assert [image.name for image in report.per_image] == ["a", "b", "c"]
    assert [image.instances.ap() for image in report.per_image] == [1, 0.5, 1]
    assert report.instances == evaluate([CELLS, HALF, CELLS], [CELLS] * 3).instances
    assert report.unscored == ("d",)
    assert "without reference, not scored: d" in report.summary()


def test_folders_of_classes_are_recognised_and_it_is_said(tmp_path: Path) -> None:
    save(tmp_path / "r" / "a.tif", border_classes(CELLS))
    save(tmp_path / "p" / "a.tif", border_classes(CELLS))
    report = evaluate_folders(tmp_path / "r", tmp_path / "p")
    assert report.task is Task.SEMANTIC and report.guessed
    assert report.summary().startswith(
        "1 image, compared as classes (guessed from the reference; --labels-are instances, in Python task='instance')"
    )
    asked = evaluate_folders(tmp_path / "r", tmp_path / "p", classes=CLASSES)
    assert asked.class_names == CLASSES and not asked.guessed and asked.classes == report.classes
    assert evaluate_folders(tmp_path / "r", tmp_path / "p", task="instance").task is Task.INSTANCE
    save(tmp_path / "r" / "a.tif", (CELLS == 6) * 6)
    assert evaluate_folders(tmp_path / "r", tmp_path / "p").task is Task.INSTANCE


def test_two_files_pair_whatever_they_are_called(tmp_path: Path) -> None:
    save(tmp_path / "r" / "cells_labels.tif", CELLS)
    save(tmp_path / "p" / "found.tif", CELLS)
    report = evaluate_folders(tmp_path / "r" / "cells_labels.tif", tmp_path / "p" / "found.tif")
    assert [image.name for image in report.per_image] == ["cells"] and report.instances.ap(0.5) == 1
    # of a folder, the one that has its name
    save(tmp_path / "p" / "cells.tif", CELLS)
    assert evaluate_folders(tmp_path / "r" / "cells_labels.tif", tmp_path / "p").images == 1
    with pytest.raises(FileError, match=r"no such file: .*x\.tif"):
        evaluate_folders(tmp_path / "r" / "cells_labels.tif", tmp_path / "p" / "x.tif")


def test_folders_that_do_not_pair(tmp_path: Path) -> None:
    reference, prediction = tmp_path / "reference", tmp_path / "prediction"
    for n in range(8):
        save(reference / f"cell{n}.tif", CELLS)
    with pytest.raises(FileError, match=r"no such folder: .*prediction"):
        evaluate_folders(reference, prediction)
    prediction.mkdir()
    with pytest.raises(FileError, match=r"cell0, cell1, cell2, cell3, cell4 and 3 more\) pairs with .* \(none\)"):
        evaluate_folders(reference, prediction)
    save(prediction / "other.tif", CELLS)
    with pytest.raises(FileError, match=r"give both the same name, such as cells\.tif"):
        evaluate_folders(reference, prediction)
    save(prediction / "cell3_labels.tif", CELLS)
    with pytest.raises(
        FileError, match=r"no prediction in .* for the reference cell0, cell1, cell2, cell4, cell5 and 2"
    ):
        evaluate_folders(reference, prediction)


def test_folders_with_two_files_of_one_stem(tmp_path: Path) -> None:
    save(tmp_path / "r" / "a.tif", CELLS)
    save(tmp_path / "p" / "a_labels.tif", CELLS)
    np.save(tmp_path / "p" / "a_labels.npy", CELLS)
    with pytest.raises(FileError, match=r"two files for 'a': a_labels\.npy and a_labels\.tif; move one away"):
        evaluate_folders(tmp_path / "r", tmp_path / "p")


def test_folders_with_labels_that_do_not_fit(tmp_path: Path) -> None:
    save(tmp_path / "r" / "a.tif", CELLS)
    save(tmp_path / "p" / "a.tif", CELLS[:20])
    with pytest.raises(LabelsError, match=r"image a: the prediction has shape \(20, 32\); expected \(32, 32\)"):
        evaluate_folders(tmp_path / "r", tmp_path / "p")
    (tmp_path / "p" / "a.tif").write_bytes(b"no tiff")
    with pytest.raises(FileError, match=r"a\.tif"):
        evaluate_folders(tmp_path / "r", tmp_path / "p")


def test_only_one_pair_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    import segloop.io

    alive: set[int] = set()
    most = 0

    def counting(path: Path, read: object = segloop.io.read_labels) -> Labels:
        nonlocal most
        labels = read(path)
        alive.add(id(labels))
        weakref.finalize(labels, alive.discard, id(labels))
        most = max(most, len(alive))
        return labels

    for n in range(6):
        save(tmp_path / "r" / f"{n}.tif", CELLS)
        save(tmp_path / "p" / f"{n}.tif", CELLS)
    monkeypatch.setattr(segloop.io, "read_labels", counting)
    assert evaluate_folders(tmp_path / "r", tmp_path / "p", task="instance").images == 6
    assert most <= 2


def test_folders_of_images_are_no_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    squares = np.kron(np.arange(64).reshape(8, 8), np.ones((8, 8), int)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    save(tmp_path / "images" / "a.tif", random.integers(0, 255, (64, 64)).astype(np.uint8))
    save(tmp_path / "labels" / "a.tif", squares)
    for reference, prediction in (("images", "labels"), ("labels", "images")):
        with pytest.raises(LabelsError, match=r"images.a\.tif looks like an image, not like labels: its .* values"):
            evaluate_folders(tmp_path / reference, tmp_path / prediction)
    assert evaluate_folders(tmp_path / "labels", tmp_path / "labels").images == 1


def test_folders_of_outlines(tmp_path: Path) -> None:
    found = CELLS.copy()
    found[-2:, -2:] = 99
    for name in ("r", "p"):
        (tmp_path / name).mkdir()
    save_labels(CELLS[:, :-4] * (CELLS[:, :-4] < 3), tmp_path / "r" / "a.zip")
    save_labels(found, tmp_path / "p" / "a.zip")
    with zipfile.ZipFile(tmp_path / "r" / "dataset.zip", "w") as archive:
        archive.writestr("readme.txt", "no labels")
    scores = evaluate_folders(tmp_path / "r", tmp_path / "p").instances
    assert scores is not None
    assert scores.recall() == 1.0 and 0 < scores.precision() < 1.0
