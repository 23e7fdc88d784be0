"""A training set as it will be: what is to be added counts already, and nothing is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segloop.corrections.entries import KINDS, Entry
from segloop.corrections.pixels import hash_pixels
from segloop.corrections.training_set import UNNAMED, TrainingSet
from segloop.image import Image
from segloop.labels import Task, check_labels, check_shape
from segloop.settings import AUTO, Auto


@dataclass(frozen=True, eq=False)
class Addition:
    """An image that is to be added to a training set, as :meth:`TrainingSet.add` takes it."""

    image: Image
    labels: Any
    reviewed: Any = None
    key: str = ""
    object_classes: Mapping[int, int] = field(default_factory=dict)


class ForeseenSet(TrainingSet):
    """A training set to be read as if images had been added to it.

    Parameters
    ----------
    folder, task, classes
        As of a training set.
    additions : sequence of Addition

    Attributes
    ----------
    added, renewed : tuple of int
        Numbers of the additions that make a new entry, and of those that change one; others leave all as it is.

    Raises
    ------
    LabelsError
        If labels or masks do not fit their image.
    FileError, TrainingError
        As of a training set.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        additions: Sequence[Addition],
        task: Task | str | Auto = AUTO,
        classes: Sequence[str] | Auto = AUTO,
    ) -> None:
        super().__init__(folder, task, classes)
        state = self._reload()
        self._pending: dict[str, tuple[Image, np.ndarray, np.ndarray]] = {}
        entries = list(state.entries)
        added: list[int] = []
        renewed: list[int] = []
        for number, addition in enumerate(additions):
            place = next((n for n, e in enumerate(entries) if addition.key and e.key == addition.key), len(entries))
            old = entries[place] if place < len(entries) else None
            entry, read = self._foresee(addition, old, f"{state.last_id + len(added) + 1:04}")
            if old is not None and _is_same(old, entry):
                continue
            (added if old is None else renewed).append(number)
            entries[place : place + 1] = [entry]
            self._pending[entry.id] = read
        self._entries = tuple(entries)
        self.added, self.renewed = tuple(added), tuple(renewed)

    @property
    def classes(self) -> tuple[str, ...]:
        """As they will be: a set whose objects nobody named takes the names that were given."""
        has = super().classes
        is_named = self.task is Task.INSTANCE and has == UNNAMED and not isinstance(self._classes, Auto)
        return tuple(self._classes) if is_named and not isinstance(self._classes, Auto) else has

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, with those to come."""
        return self._entries

    def read(self, entry: Entry) -> tuple[Image, np.ndarray, np.ndarray]:
        """Read an entry, or return what is to become one."""
        return self._pending[entry.id] if entry.id in self._pending else super().read(entry)

    def _foresee(
        self, addition: Addition, old: Entry | None, new_id: str
    ) -> tuple[Entry, tuple[Image, np.ndarray, np.ndarray]]:
        image, labels = addition.image, check_labels(addition.labels)
        check_shape(labels.shape, image)
        whole = addition.reviewed is None
        reviewed = np.ones(image.label_shape, bool) if whole else np.asarray(addition.reviewed, bool)
        check_shape(reviewed.shape, image)
        mask = reviewed.astype(np.uint8) * 255
        stored = ((image.data, image.axes), (labels, image.label_axes), (mask, image.label_axes))
        entry_id = new_id if old is None else old.id
        entry = Entry(
            id=entry_id,
            stem=entry_id if old is None else old.stem,
            key=addition.key,
            name=image.name,
            axes=image.axes,
            shape=image.shape,
            dtype=np.dtype(image.data.dtype).str,
            pixel_size=dict(image.pixel_size),
            unit=image.unit,
            source="",
            model="",
            object_classes={int(label): int(number) for label, number in addition.object_classes.items()},
            hashes={kind: hash_pixels(data, axes) for kind, (data, axes) in zip(KINDS, stored)},
            created="" if old is None else old.created,
            modified="",
        )
        return entry, (image, labels, reviewed)


def _is_same(old: Entry, new: Entry) -> bool:
    """Whether what is learned of two entries is the same."""
    same = replace(
        new,
        name=old.name,
        source=old.source,
        model=old.model,
        object_classes=old.object_classes,
        modified=old.modified,
    )
    return old == same and _beyond_the_first(old) == _beyond_the_first(new)


def _beyond_the_first(entry: Entry) -> dict[int, int]:
    """The objects that are not of class 1, of which those are that are not named."""
    return {label: number for label, number in entry.object_classes.items() if number != 1}
