"""The folders of journals: who has one, and where those go that were discarded."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from segloop.errors import FileError

TRASH = "discarded"
TRASH_DAYS = 30
"""For so long, what was discarded can be put back by hand."""


def lock_folder(folder: Path) -> FileLock:
    """Take a journal for this program; the system gives it back when the program ends, however it ends.

    Raises
    ------
    FileError
        If another program has it.
    """
    lock = FileLock(folder / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileError(f"{folder} is in use by another napari; close that one first") from error
    return lock


def move_to_trash(folder: Path) -> None:
    """Move a journal, however damaged, to what was discarded."""
    trash = folder.parent / TRASH
    trash.mkdir(exist_ok=True)
    folder.rename(trash / folder.name)
    os.utime(trash / folder.name)


def empty_trash(trash: Path) -> None:
    """Delete what was discarded long ago."""
    oldest = time.time() - TRASH_DAYS * 86_400
    for folder in _entries(trash):
        with suppress(OSError):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from list(folder.iterdir())
