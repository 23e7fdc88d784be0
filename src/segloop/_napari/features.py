"""The table of objects that goes with a Labels layer, and the colours of classes.

pandas is imported when it is needed: the dock is to open at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import CyclicLabelColormap

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
"""What is known of one object, by column."""


class ObjectOrigin(StrEnum):
    """Who an object comes from."""

    MODEL = "model"
    EDITED = "edited"
    """A person changed its pixels or its class."""
    ADDED = "added"
    """A person drew it."""
    CONFIRMED = "confirmed"
    """A person looked at it and said that it is right."""
    DRAFT = "draft"
    """It was there before SegLoop was: from another program or a file."""


_KINDS = {
    "index": int,
    "label": int,
    "class": object,
    "score": float,
    "area": int,
    "origin": object,
    "reviewed": bool,
}

COLUMNS = ("index", "label", "class", "score", "area", "origin", "reviewed")
"""napari looks a label up in "index"; "label" is the name that every other program uses."""

CHECKSUMS = 2**64
"""How many different checksums there are; they are added modulo this."""

CLASS_COLORS = ("#3fb7ff", "#ffb000", "#e5484d", "#46c46a", "#b57bee", "#ff7ac6", "#a5b8c7", "#d6d64a")
"""Told apart by people with any colour vision as far as eight colours can be."""


def from_objects(objects: pd.DataFrame) -> pd.DataFrame:
    """Arrange the objects of a segmentation as napari shows them: one row per label, ``COLUMNS`` and no more.

    napari writes the whole row into its status bar. What can be measured is measured when it is exported.
    """
    return objects.assign(index=objects["label"].astype(int), reviewed=False)[list(COLUMNS)].reset_index(drop=True)


def class_features(labels: np.ndarray, classes: tuple[str, ...], origin: str = "model") -> pd.DataFrame:
    """One row per class of a class image: its number, name and area in pixels."""
    import pandas as pd

    numbers = np.arange(1, len(classes))
    areas = np.bincount(labels.ravel(), minlength=len(classes))[1 : len(classes)]
    return pd.DataFrame(
        {
            "index": numbers,
            "label": numbers,
            "class": classes[1:],
            "score": np.nan,
            "area": areas,
            "origin": origin,
            "reviewed": False,
        }
    )


def class_colors() -> CyclicLabelColormap:
    """One colour per class number; background is transparent.

    A direct colormap would say the same, but napari compiles code for the first one, and the window stands still for
    seconds.
    """
    return CyclicLabelColormap(colors=["transparent", *CLASS_COLORS])


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """Give any table of features the columns of a table of objects; what else it holds stays.

    As napari takes it, the nth row of a table without a column "index" is about the label n.
    """
    import pandas as pd

    if not len(table.columns):
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _KINDS.items()})
    if set(COLUMNS) <= set(table.columns):
        return table
    table = table.copy() if "index" in table else table.assign(index=np.arange(len(table)))
    own = {
        "label": table["index"],
        "class": "",
        "score": np.nan,
        "area": 0,
        "origin": ObjectOrigin.DRAFT.value,
        "reviewed": False,
    }
    return table.assign(**{name: value for name, value in own.items() if name not in table})


def disagreeing(table: pd.DataFrame, areas: Mapping[int, int]) -> dict[int, Row | None]:
    """Rows that must change for the table to hold these objects: None for objects that are not there, else the row with
    the right area.
    """
    found: dict[int, Row | None] = {}
    for number, area in zip(table["index"].astype(int), table["area"]):
        if number not in areas:
            found[number] = None
        elif area != areas[number]:
            found[number] = {"area": areas[number]}
    places = {int(number): place for place, number in enumerate(table["index"])}
    return {n: row if row is None else {**dict(table.iloc[places[n]]), **row} for n, row in found.items()}


def with_rows(table: pd.DataFrame, rows: Mapping[int, Row | None]) -> pd.DataFrame:
    """Return the table with other rows for some objects; None takes an object's row away."""
    import pandas as pd

    table = by_label(table)
    kept = table[~table["index"].isin(list(rows))]
    new = pd.DataFrame([row for row in rows.values() if row is not None], columns=table.columns)
    if not len(new):
        return kept.reset_index(drop=True)
    for name in new.columns:
        kind = table[name].dtype
        if new[name].dtype != kind and not new[name].isna().any():
            new[name] = new[name].astype(kind)
    joined = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    return joined.sort_values("index", kind="stable", ignore_index=True)


def with_reviewed(table: pd.DataFrame, numbers: Collection[int]) -> pd.DataFrame:
    """Return the table with just these objects reviewed; the same table if that is what it says."""
    table = by_label(table)
    reviewed = table["index"].isin(list(numbers))
    return table if (reviewed == table["reviewed"]).all() else table.assign(reviewed=reviewed)


def object_classes(features: pd.DataFrame, classes: tuple[str, ...]) -> dict[int, int]:
    """Class number (1…K) of each object whose class the table names."""
    if "index" not in features or "class" not in features:
        return {}
    numbers = {name: number for number, name in enumerate(classes, 1)}
    pairs = zip(features["index"], features["class"])
    return {int(label): numbers[name] for label, name in pairs if name in numbers}


def to_objects(features: pd.DataFrame) -> pd.DataFrame | None:
    """Turn a layer's features into the table that is exported, or None if they are not a table of labels."""
    if "label" not in features or not len(features):
        return None
    return features.drop(columns=["index"], errors="ignore")


def checksum(labels: np.ndarray) -> int:
    """A number that changes when any pixel changes; tells whether a person touched a result."""
    from segloop.checksum import checksum as weighed

    return weighed(labels)


def changed(number: int, box: tuple[slice, ...], before: np.ndarray, after: np.ndarray) -> int:
    """The checksum of labels of which a box, that held ``before``, holds ``after``; ``number`` is what it was."""
    from segloop.checksum import changed as weighed

    return weighed(number, box, before, after)


def extent(mask: np.ndarray) -> tuple[slice, ...]:
    """The box around what is true in a mask; empty if nothing is."""
    sides = []
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        sides.append(slice(int(along[0]), int(along[-1]) + 1) if len(along) else slice(0, 0))
    return tuple(sides)
