"""The versions of an own model: folders named 1, 2, …, and beside them what says which one is in use."""

from __future__ import annotations

import json
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from segloop.errors import FileError

MARKS = "versions.json"
ABANDONED = 3600.0
"""Seconds after which nobody writes a draft any more."""

_NUMBER = re.compile(r"[1-9]\d{0,8}")


def versions_in(folder: Path) -> tuple[int, ...]:
    """Return the numbers of the versions in a model's folder, oldest first, also of damaged ones."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(int(p.name) for p in folder.iterdir() if _NUMBER.fullmatch(p.name) and p.is_dir()))


def version_in_use(folder: Path) -> int:
    """Return the version that the model's name alone means: the one put into use, else the newest.

    Raises
    ------
    ValueError
        If there is no version.
    """
    versions = versions_in(folder)
    marked = _read(folder).get("in_use", 0)
    return marked if marked in versions else max(versions)


def next_version(folder: Path) -> int:
    """Return a number for a new version that no version had before, also none that was deleted since."""
    return max(*versions_in(folder), _read(folder).get("newest", 0), 0) + 1


def mark_in_use(folder: Path, version: int) -> None:
    """Write down that a version is in use.

    Raises
    ------
    FileError
        If that cannot be written.
    """
    _write(folder, in_use=version)


def mark_saved(folder: Path, version: int) -> None:
    """Take note of a new version, which is in use at once; nothing is written where it is so without a word.

    Raises
    ------
    FileError
        If it has to be written down and cannot be.
    """
    if _read(folder):
        _write(folder, newest=version)


def mark_deleted(folder: Path, version: int) -> None:
    """Take note that a version is about to be deleted: its number stays taken, for what was made from it names it.

    Raises
    ------
    FileError
        If that cannot be written.
    """
    if version == max(versions_in(folder)):
        _write(folder, **_read(folder) | {"newest": version})


def _read(folder: Path) -> dict[str, int]:
    try:
        document = json.loads((folder / MARKS).read_text(encoding="utf-8"))
        return {name: int(document[name]) for name in ("in_use", "newest") if name in document}
    except (OSError, ValueError, TypeError):
        return {}


def _write(folder: Path, **marks: int) -> None:
    marks["newest"] = max(next_version(folder) - 1, marks.get("newest", 0))
    draft = folder / f".{MARKS}-{secrets.token_hex(4)}.part"
    try:
        draft.write_text(json.dumps(marks) + "\n", encoding="utf-8")
        draft.replace(folder / MARKS)
        _clear(folder)
    except OSError as error:
        raise FileError(f"{folder / MARKS} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Delete the drafts of programs that were killed while they wrote."""
    for draft in folder.glob(f".{MARKS}-*.part"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > ABANDONED:
                draft.unlink()
