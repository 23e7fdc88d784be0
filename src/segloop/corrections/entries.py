"""Entries: what training_set.json says of a training set and of each image in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segloop.errors import FileError, LabelsError
from segloop.image import CHANNEL_AXES, check_axes
from segloop.labels import Task

KINDS = ("images", "labels", "reviewed")
"""The folders of a training set."""

FORMAT = "segloop training set"
VERSION = 1
STEM = r"\d{4,9}(-\d{1,9})?"
"""Names of files: digits only, so that no name in the JSON can lead out of the folder."""


@dataclass(frozen=True)
class Entry:
    """One corrected image of a training set.

    Parameters
    ----------
    id : str
        "0001" and so on; stays the same when the entry is corrected again, and is never used twice.
    stem : str
        Name of its three files without suffix.
    key : str
        What the caller knows the image by, or "".
    name : str
        The image's name.
    axes, shape, dtype : str, tuple of int, str
        Of the image, as given; the files hold it in the order TCZYXS.
    pixel_size, unit : mapping of letter to float, str
    source : str
        Where the image came from, such as a path.
    model : str
        Name and version of the model whose labels were corrected.
    object_classes : mapping of int to int
        Class (1…K) of an object's number; objects not named are of class 1.
    hashes : mapping of str to str
        SHA-256 of the pixels of "images", "labels" and "reviewed", in the files' order, little-endian.
    created, modified : str
        ISO 8601, UTC.
    """

    id: str
    stem: str
    key: str
    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    pixel_size: Mapping[str, float]
    unit: str
    source: str
    model: str
    object_classes: Mapping[int, int]
    hashes: Mapping[str, str]
    created: str
    modified: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Entry:
        """Read an entry from the values of training_set.json.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the values are not those of an entry; names that could lead out of the folder are not.
        """
        entry = cls(**document)
        shape = tuple(int(n) for n in entry.shape)
        classes = {int(number): int(value) for number, value in entry.object_classes.items()}
        if not re.fullmatch(r"\d{4,9}", entry.id) or not re.fullmatch(STEM, entry.stem):
            raise ValueError(f"{entry.id!r} with files {entry.stem!r} is no entry's name")
        if min(shape) < 1 or np.dtype(entry.dtype).kind not in "buif" or set(entry.hashes) != set(KINDS):
            raise ValueError(f"entry {entry.id} has shape {shape}, type {entry.dtype!r}, hashes {entry.hashes!r}")
        check_axes(entry.axes, len(shape))
        return replace(entry, shape=shape, object_classes=classes)

    @property
    def files(self) -> tuple[str, ...]:
        """Its files, relative to the training set's folder: image, labels, reviewed."""
        return tuple(f"{kind}/{self.stem}.tif" for kind in KINDS)

    @property
    def label_axes(self) -> str:
        """Axes of its labels and of the reviewed mask."""
        return "".join(axis for axis in self.axes if axis not in CHANNEL_AXES)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of its labels and of the reviewed mask."""
        return tuple(n for axis, n in zip(self.axes, self.shape) if axis not in CHANNEL_AXES)


@dataclass(frozen=True)
class Record:
    """What training_set.json says. ``unused`` are files that are not yet, or no longer, part of the set."""

    task: Task
    classes: tuple[str, ...]
    entries: tuple[Entry, ...] = ()
    last_id: int = 0
    unused: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the JSON document."""
        document = {"format": FORMAT, "version": VERSION} | asdict(self)
        return (json.dumps(document, indent=2) + "\n").encode()

    def check_classes(self, labels: np.ndarray, object_classes: Mapping[int, int]) -> None:
        """Raise LabelsError if labels or objects have a class that the training set does not have."""
        names = ", ".join(
            f"{number} {name}" for number, name in enumerate(self.classes, int(self.task is Task.INSTANCE))
        )
        if self.task is Task.SEMANTIC and (largest := int(labels.max())) >= len(self.classes):
            raise LabelsError(f"the labels have class {largest}; expected the classes of the training set: {names}")
        if bad := [number for number in object_classes.values() if not 1 <= number <= len(self.classes)]:
            raise LabelsError(f"an object has class {bad[0]}; expected the classes of the training set: {names}")


def parse(content: bytes, path: Path) -> Record:
    """Read the JSON; ``path`` is for the messages.

    Raises
    ------
    FileError
        If it is damaged, of a newer version, or names files outside the training set.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}")
        if document["version"] > VERSION:
            raise FileError(f"{path} was made by a newer SegLoop (format {document['version']}); update SegLoop")
        entries = tuple(Entry.from_json(entry) for entry in document["entries"])
        unused = tuple(str(file) for file in document["unused"])
        if bad := [file for file in unused if not re.fullmatch(rf"({'|'.join(KINDS)})/{STEM}\.tif", file)]:
            raise ValueError(f"{bad[0]!r} is no file of a training set")
        if len({entry.id for entry in entries}) != len(entries):
            raise ValueError("two entries have one id")
        last_id = max([int(document["last_id"]), *(int(entry.id) for entry in entries)])
        classes = tuple(str(name) for name in document["classes"])
        return Record(Task(document["task"]), classes, entries, last_id, unused)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f"{path} is damaged ({type(error).__name__}: {error}); restore it from a backup. "
            "The images and labels beside it are not touched"
        ) from error
