"""Start the process of a training, or find it at work, and tell what happens there as events."""

from __future__ import annotations

import builtins
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from segloop import errors
from segloop.errors import SegloopError, TrainingError
from segloop.events import EpochDone, Event, StillTraining
from segloop.pictures import read_pictures
from segloop.store import load_model
from segloop.train.finetune import FinetuneResult
from segloop.train.own_domain import OwnScores
from segloop.trainings.folder import Ended, TrainingFolder
from segloop.trainings.messages import from_message
from segloop.versions import PICTURES

LOOK = 0.25
"""Seconds between two looks at what happened."""

FOLLOWER = "follower"
"""The file that says who follows: the last one who came."""


class FollowedElsewhere(TrainingError):
    """Another one follows the training, who will have its result."""


def follow(folder: TrainingFolder, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, FinetuneResult]:
    """Follow a training to its end; its events from the first on, then its result.

    A training that nobody has begun, or that was stopped or lost, begins or goes on, in a process of its own. Closing
    the generator leaves it at work, and it can be followed again; it ends with the program that started it.

    Parameters
    ----------
    folder : TrainingFolder
    stop : callable
        When it returns true, the training ends after its current step with what it learned.

    Raises
    ------
    FollowedElsewhere
        If another program is at work on it, or somebody began to follow it later than this.
    TrainingError
        If the training set has changed since it began, or its process was lost: killed, most often.
    SegloopError
        What the training itself raised.
    """
    if folder.is_watched_elsewhere:
        raise FollowedElsewhere(f"another program is at work on the training of {folder.order.name}; wait for it")
    token = secrets.token_hex(8)
    (folder.path / FOLLOWER).write_text(token, encoding="utf-8")
    if not folder.is_running and (folder.can_resume or not folder.messages()):
        folder.check_training_set()
        folder.clear()
        _start(folder)
    return (yield from _events(folder, token, stop))


def _events(folder: TrainingFolder, token: str, stop: Callable[[], bool]) -> Generator[Event, None, FinetuneResult]:
    told = 0
    while True:
        # asked first: what was written before the process ended is read after it
        running = folder.has_process
        if (folder.path / FOLLOWER).read_text(encoding="utf-8") != token:
            raise FollowedElsewhere(f"another window follows the training of {folder.order.name} now")
        messages, told = folder.messages_from(told)
        for message in messages:
            if "ended" in message:
                _wait_for_end(folder)
                return _result(folder, message)
            yield from_message(message, folder.path)
        if not running:
            raise TrainingError(_why_lost(folder))
        if stop() and not folder.is_asked_to_stop:
            folder.ask_to_stop()
        time.sleep(LOOK)
        yield StillTraining()


def _start(folder: TrainingFolder) -> None:
    command = [sys.executable, "-m", "segloop.trainings.apprentice", str(folder.path)]
    low: dict[str, Any] = {}
    if sys.platform == "win32":
        low["creationflags"] = subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
    with (folder.path / "log.txt").open("ab") as log:
        try:
            # a new program, not a copy of this one: what torch and Qt hold does not survive a fork
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, **low
            )
        except OSError as error:
            raise TrainingError(f"the training's process cannot be started: {error}") from error
    folder.note_process(process.pid)
    # the thread keeps the pipe open, by whose end the process knows that this one has ended
    threading.Thread(target=_wait, args=(process, folder), daemon=True, name="segloop-training").start()


def _wait(process: subprocess.Popen[bytes], folder: TrainingFolder) -> None:
    code = process.wait()
    if process.stdin is not None:
        process.stdin.close()
    with suppress(OSError):
        folder.write("exit.json", {"code": code})


def _wait_for_end(folder: TrainingFolder, longest: float = 10.0) -> None:
    """Wait until a process that has told all is gone, so that the next one does not meet it."""
    deadline = time.monotonic() + longest
    while folder.has_process and time.monotonic() < deadline:
        time.sleep(LOOK)


def _result(folder: TrainingFolder, message: dict[str, Any]) -> FinetuneResult:
    if message["ended"] == Ended.FAILED.value:
        raise _error(message, folder)
    values = {name: value for name, value in message.items() if name != "ended"}
    values["history"] = tuple(EpochDone(**epoch) for epoch in values["history"])
    values["notices"] = tuple(values["notices"])
    values["own"] = OwnScores(**values.get("own", {}))
    pictures = read_pictures(folder.result / PICTURES) if (folder.result / PICTURES).is_file() else {}
    return FinetuneResult(model=load_model(folder.result, folder.order.settings.device), pictures=pictures, **values)


def _error(message: dict[str, Any], folder: TrainingFolder) -> Exception:
    """The error that the process raised, as the same kind of error here."""
    kind = getattr(errors, message["kind"], None)
    if isinstance(kind, type) and issubclass(kind, SegloopError):
        return kind(message["error"])
    if message["kind"] in ("MemoryError", "OutOfMemoryError") or "out of memory" in message["error"].lower():
        return TrainingError(
            f"there was not enough memory to train; {_kept(folder)} "
            "Close other programs and resume, or start anew with a smaller batch or crop"
        )
    own = getattr(builtins, message["kind"], RuntimeError)
    told = f"training failed ({own.__name__}): {message['error']}; {_kept(folder)} Details are in {folder.path}/log.txt"
    return TrainingError(told)


def _why_lost(folder: TrainingFolder) -> str:
    deadline = time.monotonic() + 1
    while (ending := folder.read("exit.json")) is None and time.monotonic() < deadline:
        time.sleep(LOOK / 2)
    code = None if ending is None else int(ending["code"])
    if code is not None and code == -getattr(signal, "SIGKILL", 9):
        how = "was killed by the system, most often because memory ran out; close other programs before you resume"
    elif code is not None and code < 0:
        how = f"crashed (signal {-code})"
    else:
        how = "ended unexpectedly" + ("" if code is None else f" (exit code {code})")
    return f"the training's process {how}. {_kept(folder)}"


def _kept(folder: TrainingFolder) -> str:
    epochs = folder.order.settings.epochs
    if folder.checkpoint.is_file():
        return f"Resume goes on after epoch {folder.epochs_done} of {epochs}; nothing until there is lost."
    return "No epoch had ended yet: Resume begins again."
