from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segloop.corrections import TrainingSet
from segloop.errors import FileError
from segloop.image import Image


def grey(value: int = 0, name: str = "image") -> Image:
    return Image(np.full((5, 6), value, np.uint8), "YX", name=name)


def files_in(folder: Path) -> set[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {".training_set.lock"}


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def write(first: int) -> None:
        try:
            training_set = TrainingSet(tmp_path)
            for number in range(first, first + 6):
                training_set.add(grey(number), np.full((5, 6), number), key=str(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    training_set = TrainingSet(tmp_path)
    values = {int(entry.key): training_set.read(entry)[1].max() for entry in training_set.entries}
    assert values == {n: n for first in (0, 10, 20) for n in range(first, first + 6)}
    assert len({entry.id for entry in training_set.entries}) == 18


def test_a_lock_left_by_a_dead_program_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / ".training_set.lock").write_text("")
    entry = TrainingSet(tmp_path).add(grey(), np.zeros((5, 6), int))
    assert TrainingSet(tmp_path).entries == (entry,)


def test_a_lock_held_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segloop.corrections.training_set.LOCK_SECONDS", 0.1)
    training_set = TrainingSet(tmp_path)
    with training_set._changing():
        other = threading.Thread(target=lambda: errors.append(add_and_catch(tmp_path)))
        errors: list[str] = []
        other.start()
        other.join()
    assert "another program has been writing" in errors[0]


def add_and_catch(folder: Path) -> str:
    try:
        TrainingSet(folder).add(grey(), np.zeros((5, 6), int))
    except FileError as error:
        return str(error)
    return ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("action", ["add", "replace", "remove"])
def test_killed_at_any_moment(tmp_path: Path, action: str) -> None:
    script = Path(__file__).with_name("killed_writer.py")
    done = subprocess.run([sys.executable, script, tmp_path, action], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (5 if action == "remove" else 20)


@pytest.mark.parametrize("action", ["add", "replace", "remove"])
def test_full_disk_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    for step in itertools.count():
        folder = tmp_path / str(step)
        training_set = TrainingSet(folder)
        old = [training_set.add(grey(1), np.full((5, 6), 1), key=key) for key in "ab"]
        with monkeypatch.context() as patch:
            count = itertools.count()

            def failing(function: object) -> object:
                def wrapper(*args: object, **kwargs: object) -> object:
                    # the disk stays full from then on
                    if next(count) >= step:  # noqa: B023
                        raise OSError(errno.ENOSPC, "No space left on device")
                    return function(*args, **kwargs)

                return wrapper

            patch.setattr(os, "replace", failing(os.replace))
            patch.setattr(os, "fsync", failing(os.fsync))
            patch.setattr(tifffile, "imwrite", failing(tifffile.imwrite))
            patch.setattr(Path, "mkdir", failing(Path.mkdir))
            failed = False
            try:
                if action == "remove":
                    training_set.remove("0001")
                else:
                    training_set.add(grey(2), np.full((5, 6), 2), key="a" if action == "replace" else "c")
            except FileError as error:
                failed = True
                assert "No space left on device" in str(error)
        entries = training_set.entries
        assert entries == TrainingSet(folder).entries
        if failed:
            assert entries == tuple(old)
        assert training_set.verify() == ()
        training_set.add(grey(3), np.full((5, 6), 3), key="d")
        live = {file for entry in training_set.entries for file in entry.files}
        assert files_in(folder) == live | {"training_set.json"}
        if next(count) < step:
            break
    assert not failed and step > 5


def test_a_draft_left_over_is_taken_away(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    training_set.add(grey(), np.zeros((5, 6), int))
    for name in ("images/.0002-abcd.part", ".training_set-abcd.part"):
        (tmp_path / name).write_bytes(b"half")
    training_set.add(grey(), np.zeros((5, 6), int))
    assert not [file for file in files_in(tmp_path) if file.endswith(".part")]
