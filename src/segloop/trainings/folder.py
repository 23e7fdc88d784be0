"""The folder of a training: what was ordered, how far it is, how it ended.

``<home>/trainings/<name>-<number>/`` holds

- ``order.json``: base model, training set and its hashes, settings, new name;
- ``process.json``: the process that trains, and the one that started it;
- ``events.jsonl``: what happened so far, a line each, the last one saying how it ended;
- ``checkpoint.pt``: the state after the last whole epoch;
- ``result/``: the new model, as models are stored;
- ``stop``: there once the training is to end; ``settled``: there once somebody took or refused the result;
- ``log.txt``: what the process wrote to its standard error.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from segloop.corrections import TrainingSet
from segloop.errors import FileError, TrainingError
from segloop.settings import settings_from_json, settings_to_json
from segloop.store import home
from segloop.train.finetune import FinetuneSettings

KEPT = 3
"""So many trainings that nobody resumed are kept."""


@dataclass(frozen=True)
class Order:
    """What is to be trained.

    Parameters
    ----------
    base : Path
        Folder of the model to start from.
    training_set : Path
    name : str
        Of the new model.
    settings : FinetuneSettings
    """

    base: Path
    training_set: Path
    name: str
    settings: FinetuneSettings


class Ended(Enum):
    """How a training ended."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """One training on the disk; everything is read when asked for."""

    path: Path

    @property
    def order(self) -> Order:
        """What was ordered.

        Raises
        ------
        FileError
            If order.json is missing or damaged.
        """
        document = self._document()
        try:
            return Order(
                Path(document["base"]),
                Path(document["training_set"]),
                str(document["name"]),
                settings_from_json(FinetuneSettings, document["settings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{self.path / 'order.json'} is damaged ({error}); start the training anew") from error

    def check_training_set(self) -> None:
        """Raise TrainingError if the training set is no longer the one that the training began with."""
        if _hashes(TrainingSet(self.order.training_set)) != self._document()["entries"]:
            raise TrainingError(
                "the training set has changed since this training began, so that it cannot go on; start it anew"
            )

    def messages(self) -> list[dict[str, Any]]:
        """Return what the process told so far, oldest first; a line that is being written is left out."""
        return self.messages_from(0)[0]

    def messages_from(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Return what was told from a place in the file on, and the place to go on from."""
        try:
            with (self.path / "events.jsonl").open("rb") as file:
                file.seek(offset)
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return [], offset
        return [json.loads(line) for line in lines], offset + sum(len(line) + 1 for line in lines)

    @property
    def ended(self) -> Ended | None:
        """How the training ended; None while it runs, and if its process was lost."""
        messages = self.messages()
        return Ended(messages[-1]["ended"]) if messages and "ended" in messages[-1] else None

    @property
    def epochs_done(self) -> int:
        """Number of the last epoch that was told of."""
        return max((m["epoch"] for m in self.messages() if m.get("event") == "EpochDone"), default=0)

    @property
    def checkpoint(self) -> Path:
        """Where the state after the last whole epoch is kept."""
        return self.path / "checkpoint.pt"

    @property
    def result(self) -> Path:
        """Where the new model is put."""
        return self.path / "result"

    @property
    def has_process(self) -> bool:
        """Whether its process is alive, be it only to clear up."""
        return _is_alive(self._process("process"))

    @property
    def is_running(self) -> bool:
        """Whether it is at work."""
        return self.has_process and self.ended is None

    @property
    def is_watched_elsewhere(self) -> bool:
        """Whether it was started by another program that still runs."""
        owner = self._process("owner")
        return owner is not None and owner[0] != os.getpid() and _is_alive(owner)

    @property
    def is_settled(self) -> bool:
        """Whether somebody took or refused the result."""
        return (self.path / "settled").exists()

    @property
    def can_resume(self) -> bool:
        """Whether there is more to train: it was stopped or lost, not done, and did not fail by its own fault."""
        if self.is_running:
            return False
        messages = self.messages()
        if messages and messages[-1].get("ended") == Ended.FAILED.value:
            return not messages[-1]["expected"]
        if self.ended is None and self.checkpoint.is_file():
            # be it that all epochs are told: its process was lost while it scored or saved what it had learned
            return True
        return self.ended is not Ended.DONE and self.epochs_done < self.order.settings.epochs

    def ask_to_stop(self) -> None:
        """Let the training end after its current step, with what it learned as its result."""
        (self.path / "stop").touch()

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether it was asked to stop."""
        return (self.path / "stop").exists()

    def settle(self) -> None:
        """Take note that the result was taken or refused."""
        (self.path / "settled").touch()

    def forget(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def clear(self) -> None:
        """Take away all that an earlier process left but its checkpoint."""
        for name in ("events.jsonl", "process.json", "exit.json", "stop", "settled"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.result, ignore_errors=True)

    def note_process(self, pid: int) -> None:
        """Write down which process trains, and that this one started it."""
        own = psutil.Process()
        document: dict[str, Any] = {"owner": [own.pid, own.create_time()], "process": [pid, 0.0]}
        # a process that has ended already is not alive, whatever its time
        if psutil.pid_exists(pid):
            document["process"] = [pid, psutil.Process(pid).create_time()]
        self.write("process.json", document)

    def write(self, name: str, document: dict[str, Any]) -> None:
        """Write one of the folder's JSON files, which appears whole or not at all."""
        draft = self.path / f".{name}.part"
        draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        draft.replace(self.path / name)

    def read(self, name: str) -> dict[str, Any] | None:
        """Read one of the folder's JSON files; None if there is none, or it is damaged."""
        try:
            document = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def _document(self) -> dict[str, Any]:
        document = self.read("order.json")
        if document is None:
            raise FileError(f"{self.path} holds no training; start it anew")
        return document

    def _process(self, role: str) -> tuple[int, float] | None:
        document = self.read("process.json")
        return None if document is None else (int(document[role][0]), float(document[role][1]))


def new_training(order: Order) -> TrainingFolder:
    """Make the folder of a training; older ones that nobody resumed are deleted, but for the newest few.

    Raises
    ------
    FileError
        If the folder cannot be made.
    """
    for old in [folder for folder in open_trainings() if not folder.is_running][KEPT - 1 :]:
        old.forget()
    parent = home() / "trainings"
    number = 1
    while (parent / f"{order.name}-{number}").exists():
        number += 1
    folder = TrainingFolder(parent / f"{order.name}-{number}")
    try:
        folder.path.mkdir(parents=True)
        folder.write(
            "order.json",
            {
                "base": str(order.base),
                "training_set": str(order.training_set),
                "name": order.name,
                "settings": settings_to_json(order.settings),
                "entries": _hashes(TrainingSet(order.training_set)),
            },
        )
    except OSError as error:
        raise FileError(f"{folder.path} cannot be written: {error.strerror or error}") from error
    return folder


def open_trainings() -> list[TrainingFolder]:
    """List the trainings on the disk, newest first; damaged ones are left out."""
    return sorted(_intact(), key=lambda folder: -(folder.path / "order.json").stat().st_mtime)


def _intact() -> Iterator[TrainingFolder]:
    parent = home() / "trainings"
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        folder = TrainingFolder(path)
        try:
            folder.order  # noqa: B018
            folder.messages()
        except (FileError, ValueError):
            continue
        yield folder


def _hashes(training_set: TrainingSet) -> list[dict[str, str]]:
    return [{"id": entry.id, **entry.hashes} for entry in training_set.entries]


def _is_alive(process: tuple[int, float] | None) -> bool:
    if process is None:
        return False
    pid, created = process
    try:
        running = psutil.Process(pid)
        # numbers are used again: the time tells whether it is the same process
        return abs(running.create_time() - created) < 1 and running.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
