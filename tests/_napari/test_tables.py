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
    assert list(table.columns) == ["index", "label", "class", "score", "area", "origin", "reviewed"]
    layer = Labels(DATA, features=table)
    assert "score: 0.8" in layer.get_status((0, 3), world=True)["coordinates"].replace("0.80", "0.8")


def test_rows_are_changed_added_and_taken_away():
    table = features.from_objects(OBJECTS).assign(extra=[0.1, 0.2, 0.3])
    new = {"index": 7, "label": 7, "class": "nucleus", "score": np.nan, "area": 1, "origin": "added"}
    changed = features.with_rows(table, {3: {**dict(table.iloc[2]), "area": 2, "origin": "edited"}, 2: None, 7: new})
    by_label = changed.set_index("label")
    assert by_label["origin"].to_dict() == {1: "model", 3: "edited", 7: "added"}
    assert by_label["area"].to_dict() == {1: 4, 3: 2, 7: 1}
    assert by_label["extra"].to_dict() == {1: 0.1, 3: 0.3, 7: pytest.approx(np.nan, nan_ok=True)}
    assert changed.dtypes["area"] == table.dtypes["area"]
    assert len(features.with_rows(table, dict.fromkeys((1, 2, 3)))) == 0


def test_what_a_table_says_wrong():
    table = features.from_objects(OBJECTS)
    rows = features.disagreeing(table, {1: 4, 2: 9, 8: 1})
    assert rows[3] is None and rows[2]["area"] == 9 and rows[2]["score"] == 0.8
    assert set(rows) == {2, 3}


def test_foreign_tables_keep_their_columns():
    assert list(features.by_label(Labels(DATA).features)) == list(features.COLUMNS)
    table = features.by_label(pd.DataFrame({"Circ.": [0.0, 0.5, 0.6]}))
    assert table["index"].tolist() == [0, 1, 2]
    assert table.loc[1, ["Circ.", "origin"]].tolist() == [0.5, "draft"]
    assert features.by_label(features.from_objects(OBJECTS)).equals(features.from_objects(OBJECTS))


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
