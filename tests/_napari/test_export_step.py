"""Export: the file that was asked for, calibrated, with how it was made."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from qtpy.QtCore import Qt

from segloop import io
from segloop.labels import Labels

PATIENCE = 60_000


@pytest.fixture
def exporting(dock, errors, tmp_path):
    labels = np.zeros((40, 50), np.uint16)
    labels[5:15, 5:20], labels[20:30, 30:45] = 1, 2
    table = pd.DataFrame(
        {
            "index": [1, 2],
            "label": [1, 2],
            "class": "cell",
            "score": [0.9, 0.8],
            "area": 150,
            "origin": ["model", "edited"],
        }
    )
    dock._viewer.add_labels(labels, name="cells – model", scale=(0.5, 0.25), units=("um", "um"), features=table)
    type_path(dock, tmp_path / "out.tif")
    return dock


def type_path(dock, path):
    dock.export.path.setText(str(path))
    dock.export.path.textEdited.emit(str(path))


def export(qtbot, dock):
    assert dock.export.export.isEnabled()
    qtbot.mouseClick(dock.export.export, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.export_step.job is None, timeout=PATIENCE)


def test_a_file_is_proposed(dock):
    dock._viewer.add_labels(np.ones((4, 5), np.uint8), name="cells – model")
    assert dock.export.path.text().endswith("cells_model.tif")
    dock.export.format.setCurrentIndex(1)
    dock.export.format.activated.emit(1)
    assert dock.export.path.text().endswith("cells_model.zip")


@pytest.mark.parametrize("suffix", [".tif", ".zip", ".json", ".geojson", ".ome.zarr", ".png", ".csv"])
def test_every_format_is_written(qtbot, exporting, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    type_path(exporting, path)
    assert exporting.export.format.current().suffix == suffix
    export(qtbot, exporting)
    assert path.exists()
    assert exporting.status.text() == f"out{suffix} is written."
    provenance = json.loads((tmp_path / f"out{suffix}.provenance.json").read_text())
    assert provenance["edited"] == [2] and provenance["added"] == provenance["confirmed"] == []
    if suffix in io.LABEL_SUFFIXES:
        labels = exporting._viewer.layers[-1].data
        # ROIs do not know how large their image is
        np.testing.assert_array_equal(io.read_labels(path, like=Labels(labels, "YX")).data, labels)


def test_a_tiff_is_calibrated(qtbot, exporting, tmp_path):
    export(qtbot, exporting)
    labels = io.read_labels(tmp_path / "out.tif")
    assert labels.pixel_size == pytest.approx({"Y": 0.5, "X": 0.25})
    assert labels.unit == "micrometer"
    assert tifffile.imread(tmp_path / "out.tif").max() == 2


def test_measurements_have_class_score_and_origin(qtbot, exporting, tmp_path):
    type_path(exporting, tmp_path / "out.csv")
    export(qtbot, exporting)
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table["label"]) == [1, 2]
    assert list(table["origin"]) == ["model", "edited"]


@pytest.mark.parametrize(
    "name, reason", [("file/out.tif", "is a file"), ("out.xyz", "is no format"), ("", "Choose a file")]
)
def test_paths_that_cannot_be_written_are_marked(exporting, tmp_path, name, reason):
    (tmp_path / "file").touch()
    type_path(exporting, tmp_path / name if name else "")
    assert reason in exporting.export.path_field.reason
    assert not exporting.export.export.isEnabled()


def test_replacing_a_file_is_said_beforehand(qtbot, exporting):
    assert exporting.export.export.text() == "Export"
    export(qtbot, exporting)
    assert "replaces" in exporting.export.export.text()


def test_a_folder_that_is_not_there_is_made(qtbot, exporting, errors, tmp_path):
    path = tmp_path / "results" / "Monday" / "out.tif"
    type_path(exporting, path)
    assert exporting.export.export.text() == "Export (makes the folder)" and not path.parent.exists()
    export(qtbot, exporting)
    assert path.is_file() and not errors


def test_a_folder_that_cannot_be_made_is_said_at_the_file(qtbot, exporting, errors, tmp_path, monkeypatch):
    path = tmp_path / "results" / "out.tif"
    type_path(exporting, path)

    real = type(path).mkdir

    def refuse(folder, *given, **named):
        if folder == path.parent:
            raise PermissionError(13, "Permission denied", str(folder))
        real(folder, *given, **named)

    monkeypatch.setattr(type(path), "mkdir", refuse)
    export(qtbot, exporting)
    assert errors == [f"nothing can be written to {path.parent}: Permission denied"]
    assert exporting.export.path_field.reason == errors[0]


def test_an_error_is_marked_at_the_file(qtbot, exporting, errors, tmp_path):
    exporting._viewer.add_labels(np.zeros((4, 5, 6), np.uint8) + 1)
    type_path(exporting, tmp_path / "out.png")
    export(qtbot, exporting)
    assert exporting.status.property("role") == "error"
    assert exporting.export.path_field.reason == errors[0]
    assert exporting.export.export.isEnabled()


def test_an_empty_layer_is_refused(qtbot, exporting, errors, tmp_path):
    exporting._viewer.add_labels(np.zeros((4, 5), np.uint8))
    type_path(exporting, tmp_path / "out.tif")
    export(qtbot, exporting)
    assert "no labels" in errors[0]
    assert not (tmp_path / "out.tif").exists()
