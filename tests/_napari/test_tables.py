"""Features tables, class colours, checksums; what exports say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from segloop._napari import features
from segloop._napari.exports import layer_provenance, make_labels
from segloop.errors import LabelsError

OBJECTS = pd.DataFrame(
    {"label": [1, 2, 3], "score": [0.9, 0.8, 0.7], "class": "nucleus", "area": [4, 2, 3], "origin": "model"}
)
DATA = np.array([[1, 1, 0, 2], [1, 1, 0, 2], [0, 3, 3, 3]], np.uint16)


def test_napari_finds_the_row_of_a_label():
    table = features.from_objects(OBJECTS)
    assert list(table.columns) == ["index", "label", "class", "score", "area", "origin"]
    layer = Labels(DATA, features=table)
    assert "score: 0.8" in layer.get_status((0, 3), world=True)["coordinates"].replace("0.80", "0.8")


def test_the_table_follows_edits():
    table = features.from_objects(OBJECTS)
    edited = DATA.copy()
    edited[2, 1] = 0
    edited[0, 2] = 7
    edited[edited == 2] = 0
    table = features.follow_edits(table, edited, "nucleus")
    assert table.set_index("label")["origin"].to_dict() == {1: "model", 3: "edited", 7: "added"}
    assert table.set_index("label")["area"].to_dict() == {1: 4, 3: 2, 7: 1}
    assert table.set_index("label")["class"].to_dict() == {1: "nucleus", 3: "nucleus", 7: "nucleus"}


def test_the_table_of_foreign_labels_is_made():
    table = features.follow_edits(Labels(DATA).features, DATA, "object")
    assert list(table["index"]) == [1, 2, 3]
    assert set(table["origin"]) == {"added"}
    assert len(features.follow_edits(table, np.zeros_like(DATA))) == 0


def test_classes():
    classes = ("background", "nucleus", "border")
    table = features.class_features(np.array([[0, 1, 1, 2]], np.uint8), classes)
    assert table[["label", "class", "area"]].values.tolist() == [[1, "nucleus", 2], [2, "border", 1]]
    colors = features.class_colors()
    assert colors.map(0)[3] == 0
    assert len({tuple(colors.map(number)) for number in range(1, 9)}) == 8
    named = pd.DataFrame({"index": [4, 5, 6], "class": ["b", "a", "unknown"]})
    assert features.object_classes(named, ("a", "b")) == {4: 2, 5: 1}
    assert features.object_classes(pd.DataFrame(), ("a",)) == {}


def test_a_checksum_tells_a_single_pixel():
    before = features.checksum(DATA)
    other = DATA.copy()
    assert features.checksum(other) == before
    other[0, 0] = 9
    assert features.checksum(other) != before


def test_labels_of_a_layer():
    labels = make_labels(np.ones((2, 1, 4, 5), int), ("z", "c", "y", "x"), (2, 3, 0.5, 0.5), ("um", "", "um", "um"))
    assert (labels.axes, labels.shape, labels.unit) == ("ZYX", (2, 4, 5), "um")
    assert labels.pixel_size == {"Z": 2, "Y": 0.5, "X": 0.5}
    assert make_labels(np.ones((4, 5), int), ("-2", "-1"), (1, 1), ("pixel", "pixel")).axes == "YX"
    with pytest.raises(LabelsError, match="5 dimensions"):
        make_labels(np.ones((1, 1, 1, 4, 5), int), ("",) * 5, (1,) * 5, ("pixel",) * 5)


def test_provenance_names_what_a_person_touched():
    table = features.from_objects(OBJECTS)
    table.loc[1, "origin"] = "edited"
    document = layer_provenance(Labels(DATA, features=table, name="x"), None)
    assert document["edited"] == [2]
    assert document["layer"] == "x"
