"""Orphans: journals that no program writes, to be offered for restoring, or discarded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloop.corrections.journal import LOG, open_log, scan
from segloop.corrections.journal_blocks import Blocks
from segloop.corrections.journal_folders import TRASH, empty_trash, lock_folder, move_to_trash
from segloop.errors import FileError


@dataclass(frozen=True)
class Orphan:
    """A journal that no program writes: its folder, the layout of its labels, its documents, when it was written."""

    folder: Path
    blocks: Blocks
    documents: Mapping[str, Any]
    complete: bool
    modified: float


def find_orphans(home: Path) -> list[Orphan]:
    """Return the journals in ``home`` that no program writes and that can be read, the newest first.

    What was discarded long ago is deleted on the way, and so are journals that were cut off before they held anything.
    """
    empty_trash(home / TRASH)
    found = []
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        if folder.name == TRASH or not folder.is_dir():
            continue
        try:
            lock = lock_folder(folder)
        except (FileError, OSError):
            continue
        try:
            orphan = _look_into(folder)
            if orphan is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                found.append(orphan)
        except (FileError, OSError, ValueError, KeyError, TypeError):
            continue
        finally:
            lock.release()
    return sorted(found, key=lambda orphan: -orphan.modified)


def discard(folder: Path) -> None:
    """Move a journal that no program writes to what was discarded; it is deleted after some weeks.

    Raises
    ------
    FileError
        If another program writes it, or it cannot be moved.
    """
    try:
        # an open file could not be moved everywhere
        lock_folder(folder).release()
        move_to_trash(folder)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{folder} cannot be discarded: {error.strerror or error}") from error


def _look_into(folder: Path) -> Orphan | None:
    """Return what a journal says of itself, or None if it was cut off before it held any labels."""
    with open_log(folder) as file:
        content = scan(file)
    if content.blocks is None or not (content.found or content.documents):
        return None
    modified = (folder / LOG).stat().st_mtime
    return Orphan(folder, content.blocks, content.documents, content.complete, modified)
