"""The training set as a folder that several programs may open, and that survives being interrupted."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from segloop.corrections.entries import KINDS, Entry, Record, parse
from segloop.corrections.pixels import hash_pixels, read_pixels, write_pixels
from segloop.errors import FileError, SegloopError, SettingsError, TrainingError
from segloop.image import Image
from segloop.labels import Task, check_labels, check_shape
from segloop.settings import AUTO, Auto

JSON_NAME = "training_set.json"
LOCK_SECONDS = 60.0
ONE_CLASS: Mapping[int, int] = MappingProxyType({})
"""Object classes of a set in which every object is of the first class."""

UNNAMED = ("object",)
"""Classes of a set of objects for which nobody named any."""


class TrainingSet:
    """The images that a person corrected, with their labels and what of them is reviewed, in a folder.

    Several programs may use one folder: each sees what the others added, and they take turns to write.

    Parameters
    ----------
    folder : path
        Opened if it holds a training set; otherwise made when the first image is added.
    task : Task, "semantic" or "instance", or AUTO
        AUTO is what the folder holds; for a new one, instances.
    classes : sequence of str, or AUTO
        Semantic: the name of each label value, background first. Instance: the object classes. AUTO is what
        the folder holds; for a new one, ("object",), or ("background", "foreground") if semantic. Objects of the
        one class "object" are those whose class nobody named: they agree with any one class, and a set of them is
        named after it with the next image.

    Raises
    ------
    FileError
        If the folder cannot be read, or its training_set.json is damaged or of a newer version.
    TrainingError
        If the folder holds a training set of another task or other classes.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        task: Task | str | Auto = AUTO,
        classes: Sequence[str] | Auto = AUTO,
    ) -> None:
        self.folder = Path(folder).absolute()
        self._task = _as_task(task)
        self._classes = classes if isinstance(classes, Auto) else tuple(str(name) for name in classes)
        self._signature: tuple[int, ...] = ()
        self._state = self._empty_state()
        self._reload()

    @property
    def task(self) -> Task:
        """What the labels mean; compares equal to "semantic" or "instance"."""
        return self._reload().task

    @property
    def classes(self) -> tuple[str, ...]:
        """Semantic: the name of each label value, background first. Instance: the object classes."""
        return self._reload().classes

    def can_hold(self, task: Task | str, classes: Sequence[str]) -> bool:
        """Whether labels of a task and of these classes can be added: it holds such, or objects nobody named."""
        has = self._reload()
        return has.task is Task(task) and _agree(has.task, has.classes, tuple(classes))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first."""
        return self._reload().entries

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"TrainingSet({str(self.folder)!r}, {self.task.value!r}, {len(self)} entries)"

    def add(
        self,
        image: Image,
        labels: Any,
        reviewed: Any = None,
        *,
        source: str | os.PathLike[str] = "",
        model: str = "",
        key: str = "",
        object_classes: Mapping[int, int] = ONE_CLASS,
    ) -> Entry:
        """Save an image with its corrected labels; what is returned is safely on the disk.

        An entry with the same key that holds just this already stays as it is.

        Parameters
        ----------
        image : Image
            Stored as it is, all axes and its type included; read plane by plane, so it may be lazy.
        labels : integers, ``image.label_shape``
            Array or Labels.
        reviewed : bool, ``image.label_shape``, optional
            Where a person vouches for the labels; everywhere by default.
        source : path
            Where the image came from.
        model : str
            Name and version of the model whose labels were corrected.
        key : str
            What the caller knows the image by. An entry with this key is replaced; "" makes a new one.
        object_classes : mapping of int to int
            Class (1…K) of an object's number; objects not named are of class 1.

        Raises
        ------
        LabelsError
            If labels or mask do not fit the image, or name a class that does not exist.
        FileError
            If the disk is full or the folder cannot be written; the training set is then as it was before.
        """
        labels = check_labels(labels)
        check_shape(labels.shape, image)
        reviewed = np.ones(image.label_shape, bool) if reviewed is None else np.asarray(reviewed, bool)
        check_shape(reviewed.shape, image)
        with self._changing():
            self._state.check_classes(labels, object_classes)
            classes = self._state.classes
            if self._state.task is Task.INSTANCE and classes == UNNAMED and not isinstance(self._classes, Auto):
                classes = self._classes
            old = next((entry for entry in self._state.entries if key and entry.key == key), None)
            number = int(old.id) if old else self._state.last_id + 1
            now = datetime.now(UTC).isoformat(timespec="seconds")
            entry = Entry(
                id=f"{number:04}" if old is None else old.id,
                stem=self._free_stem(f"{number:04}"),
                key=key,
                name=image.name,
                axes=image.axes,
                shape=image.shape,
                dtype=np.dtype(image.data.dtype).str,
                pixel_size=dict(image.pixel_size),
                unit=image.unit,
                source=os.fspath(source),
                model=model,
                object_classes={int(label): int(number) for label, number in object_classes.items()},
                hashes={},
                created=old.created if old else now,
                modified=now,
            )
            drafts = [self.folder / kind / f".{entry.stem}-{secrets.token_hex(4)}.part" for kind in KINDS]
            try:
                hashes = [
                    write_pixels(drafts[0], image.data, image.axes, compress=False),
                    write_pixels(drafts[1], labels, image.label_axes, compress=True),
                    write_pixels(drafts[2], reviewed.astype(np.uint8) * 255, image.label_axes, compress=True),
                ]
                entry = replace(entry, hashes=dict(zip(KINDS, hashes)))
                same = old is not None and entry == replace(old, stem=entry.stem, modified=now)
                if old is not None and same and classes == self._state.classes and self._has_files(old):
                    return old
                # should one of the next steps fail, the files under their final names are known as leftovers
                self._save(replace(self._state, unused=entry.files))
                for draft, file in zip(drafts, entry.files):
                    draft.replace(self.folder / file)
                    _sync_folder(draft.parent)
                kept = self._state.entries
                self._save(
                    replace(
                        self._state,
                        entries=tuple(entry if e.id == entry.id else e for e in kept) if old else (*kept, entry),
                        classes=classes,
                        last_id=max(number, self._state.last_id),
                        unused=old.files if old else (),
                    )
                )
            finally:
                _unlink(drafts)
        return entry

    def remove(self, entry_id: str) -> None:
        """Take an entry out and delete its files.

        Raises
        ------
        TrainingError
            If there is no such entry.
        FileError
            If the folder cannot be written.
        """
        with self._changing():
            entry = next((entry for entry in self._state.entries if entry.id == entry_id), None)
            if entry is None:
                known = ", ".join(e.id for e in self._state.entries) or "none"
                raise TrainingError(f"the training set {self.folder} has no entry {entry_id!r}; it has {known}")
            kept = tuple(e for e in self._state.entries if e.id != entry_id)
            self._save(replace(self._state, entries=kept, unused=entry.files))

    def read(self, entry: Entry) -> tuple[Image, np.ndarray, np.ndarray]:
        """Read an entry: the image (a memory map, read when used), its labels, and where they are reviewed.

        Returns
        -------
        image : Image
        labels : unsigned integers, ``entry.label_shape``
        reviewed : bool, ``entry.label_shape``

        Raises
        ------
        FileError
            If a file is missing or damaged, or the entry was replaced or removed since.
        """
        pixels, labels, reviewed = self._read_arrays(entry)
        image = Image(pixels, entry.axes, entry.pixel_size, entry.unit, entry.name)
        return image, check_labels(labels), np.not_equal(reviewed, 0)

    def verify(self) -> tuple[str, ...]:
        """Read all files and compare them with their hashes; one line for each that is damaged."""
        problems = []
        for entry in self.entries:
            try:
                arrays = self._read_arrays(entry)
            except FileError as error:
                problems.append(str(error))
                continue
            for kind, file, array in zip(KINDS, entry.files, arrays):
                axes = entry.axes if kind == "images" else entry.label_axes
                if hash_pixels(array, axes) != entry.hashes[kind]:
                    problems.append(
                        f"{self.folder / file} was changed since it was saved: its pixels have another hash"
                    )
        return tuple(problems)

    def _read_arrays(self, entry: Entry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        paths = [self.folder / file for file in entry.files]
        if next((own for own in self.entries if own.id == entry.id), None) != entry:
            raise FileError(f"entry {entry.id} was replaced or removed; take it from the training set's entries again")
        return (
            read_pixels(paths[0], entry.axes, entry.shape, entry.dtype),
            read_pixels(paths[1], entry.label_axes, entry.label_shape),
            read_pixels(paths[2], entry.label_axes, entry.label_shape),
        )

    def _empty_state(self) -> Record:
        task = Task.INSTANCE if isinstance(self._task, Auto) else self._task
        usual = ("object",) if task is Task.INSTANCE else ("background", "foreground")
        return Record(task, usual if isinstance(self._classes, Auto) else self._classes)

    def _reload(self) -> Record:
        """Read the JSON again if another program (or this one) replaced it."""
        path = self.folder / JSON_NAME
        try:
            stat = path.stat()
            signature = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if signature != self._signature:
                self._state = parse(path.read_bytes(), path)
                self._signature = signature
                self._check_agrees()
        except (FileNotFoundError, NotADirectoryError):
            self._state, self._signature = self._empty_state(), ()
        except SegloopError:
            self._signature = ()
            raise
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}") from error
        return self._state

    def _check_agrees(self) -> None:
        has, asked = self._state, self._empty_state()
        if not isinstance(self._task, Auto) and has.task is not asked.task:
            raise TrainingError(
                f"{self.folder} holds a training set of {has.task.value} labels; "
                f"expected {asked.task.value}. Choose another folder"
            )
        if not isinstance(self._classes, Auto) and not _agree(has.task, has.classes, asked.classes):
            raise TrainingError(
                f"{self.folder} holds a training set with the classes {', '.join(has.classes)}; "
                f"expected {', '.join(asked.classes)}. Choose another folder"
            )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the folder for one change, under a lock that ends with the program that holds it."""
        try:
            for kind in KINDS:
                (self.folder / kind).mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".training_set.lock", timeout=LOCK_SECONDS):
                self._reload()
                self._clean()
                try:
                    yield
                finally:
                    self._clean()
        except Timeout as error:
            raise FileError(f"another program has been writing to {self.folder} for {LOCK_SECONDS:g} s") from error
        except SegloopError:
            raise
        except OSError as error:
            raise FileError(
                f"{self.folder} cannot be written: {error.strerror or error}; nothing was changed"
            ) from error

    def _clean(self) -> None:
        """Delete what an interrupted change left over; what cannot be deleted now is deleted next time."""
        with suppress(OSError):
            drafts = [path for kind in ("", *KINDS) for path in (self.folder / kind).glob(".*.part")]
            state = self._reload()
            live = {file for entry in state.entries for file in entry.files}
            _unlink([*drafts, *(self.folder / file for file in state.unused if file not in live)])
            # Windows does not delete a file that somebody still reads
            left = tuple(file for file in state.unused if file not in live and (self.folder / file).exists())
            if left != state.unused:
                self._save(replace(state, unused=left))

    def _save(self, state: Record) -> None:
        """Replace the JSON in one step."""
        draft = self.folder / f".training_set-{secrets.token_hex(4)}.part"
        try:
            with draft.open("xb") as file:
                file.write(state.to_bytes())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.folder / JSON_NAME)
        finally:
            _unlink([draft])
        _sync_folder(self.folder)
        self._reload()

    def _has_files(self, entry: Entry) -> bool:
        return all((self.folder / file).is_file() for file in entry.files)

    def _free_stem(self, entry_id: str) -> str:
        """Find a name that no file has, not even one that somebody put there by hand."""
        taken = {path.stem for kind in KINDS for path in (self.folder / kind).iterdir()}
        revision, stem = 1, entry_id
        while stem in taken:
            revision += 1
            stem = f"{entry_id}-{revision}"
        return stem


def _agree(task: Task, some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether labels of these classes can lie in one training set."""
    return some == others or (task is Task.INSTANCE and len(some) == len(others) == 1 and UNNAMED in (some, others))


def _as_task(task: Task | str | Auto) -> Task | Auto:
    try:
        return task if isinstance(task, Auto) else Task(task)
    except ValueError as error:
        raise SettingsError(f"unknown task {task!r}; expected semantic or instance") from error


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power failure, where the system can (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
