"""What is known about each label besides its pixels: class, score, origin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from segloop.labels import Labels

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_CLASS = "object"
"""Class of objects of which nobody said one."""


@dataclass(frozen=True, slots=True)
class Note:
    """Class name, score in [0, 1] (NaN if there is none) and origin ("" if unknown) of one label."""

    name: str = DEFAULT_CLASS
    score: float = math.nan
    origin: str = ""


@dataclass(frozen=True, eq=False)
class HiddenPart:
    """Pixels of an object that lie under others, where the label image shows those.

    Parameters
    ----------
    label : int
        The object's number in the label image.
    position : dict of str to int
        The plane: its place along each axis but Y and X.
    row, column : int
        First pixel of ``mask`` in the plane.
    mask : bool (Y, X)
    """

    label: int
    position: Mapping[str, int]
    row: int
    column: int
    mask: np.ndarray


class Notes(Mapping[int, Note]):
    """A note for any label; labels nobody wrote about have the default one.

    Parameters
    ----------
    labels : Labels
        Its class names, if it has any, are the notes.
    objects : DataFrame, optional
        Columns ``label`` and any of ``class``, ``score``, ``origin``.
    hidden : sequence of HiddenPart
        What a label image cannot show.
    """

    def __init__(self, labels: Labels, objects: pd.DataFrame | None = None, hidden: Sequence[HiddenPart] = ()) -> None:
        self.hidden = tuple(hidden)
        self._notes = {number: Note(name) for number, name in enumerate(labels.classes) if number}
        if objects is None or "label" not in objects:
            return
        for row in objects.to_dict("records"):
            label = int(row["label"])
            name, score, origin = (row.get(key) for key in ("class", "score", "origin"))
            known = self._notes.get(label, Note(name) if isinstance(name, str) and name else Note())
            self._notes[label] = Note(
                known.name,
                math.nan if score is None else float(score),
                origin if isinstance(origin, str) else "",
            )

    def __getitem__(self, label: int) -> Note:
        return self._notes.get(label, Note())

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)

    def names(self, labels: Labels) -> list[str]:
        """The class names, each once: in the order of the classes, or of first mention."""
        if labels.classes:
            return list(labels.classes[1:])
        return list(dict.fromkeys(note.name for note in self._notes.values())) or [DEFAULT_CLASS]
