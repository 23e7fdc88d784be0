"""The table of objects that goes with a Labels layer, and the colours of classes.

pandas is imported when it is needed: the dock is to open at once.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import CyclicLabelColormap

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("index", "label", "class", "score", "area", "origin")
"""napari looks a label up in "index"; "label" is the name that every other program uses."""

CLASS_COLORS = ("#3fb7ff", "#ffb000", "#e5484d", "#46c46a", "#b57bee", "#ff7ac6", "#a5b8c7", "#d6d64a")
"""Told apart by people with any colour vision as far as eight colours can be."""


def from_objects(objects: pd.DataFrame) -> pd.DataFrame:
    """Arrange the objects of a segmentation as napari shows them: one row per label, ``COLUMNS`` and no more.

    napari writes the whole row into its status bar. What can be measured is measured when it is exported.
    """
    return objects.assign(index=objects["label"].astype(int))[list(COLUMNS)].reset_index(drop=True)


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
        }
    )


def class_colors() -> CyclicLabelColormap:
    """One colour per class number; background is transparent.

    A direct colormap would say the same, but napari compiles code for the first one, and the window stands still for
    seconds.
    """
    return CyclicLabelColormap(colors=["transparent", *CLASS_COLORS])


def follow_edits(features: pd.DataFrame, labels: np.ndarray, first_class: str = "") -> pd.DataFrame:
    """Bring the table up to date with labels that were edited.

    Objects of another area than before are of origin "edited", new ones "added"; those that are gone lose
    their row.
    """
    import pandas as pd

    numbers, counts = np.unique(labels, return_counts=True)
    areas = {int(n): int(count) for n, count in zip(numbers, counts) if n}
    if "index" not in features:
        features = pd.DataFrame(columns=list(COLUMNS))
    table = features[features["index"].isin(list(areas))].copy()
    known = table["index"].astype(int)
    now = known.map(areas)
    if "area" in table and "origin" in table:
        changed = (table["area"] != now) & (table["origin"] == "model")
        table.loc[changed, "origin"] = "edited"
        table["area"] = now
    new = [number for number in areas if number not in set(known)]
    if new:
        rows = pd.DataFrame({"index": new, "label": new, "class": first_class, "score": np.nan})
        rows["area"], rows["origin"] = [areas[number] for number in new], "added"
        table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
    return table.reset_index(drop=True)


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
    return zlib.crc32(np.ascontiguousarray(labels).data)
