"""Files that appear whole or not at all, and decoders' errors as one clear line."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from segloop.errors import FileError, SegloopError


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a FileError that names the file and what was expected.

    Raises
    ------
    FileError
    """
    try:
        if path.is_file() and not path.stat().st_size:
            raise FileError(f"{path} is empty (0 bytes); expected {expected}")
        yield
    except SegloopError:
        raise
    except FileNotFoundError as error:
        if path.exists():
            raise FileError(f"{path} does not hold what it should; expected {expected}") from error
        raise FileError(f"no such file: {path}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {_reason(error)}; expected {expected}") from error
    except MemoryError as error:
        raise FileError(f"{path} does not fit in memory; convert it to OME-Zarr, which is read in parts") from error
    # Decoders raise struct.error, zlib.error, KeyError and classes of their own on damaged files.
    except Exception as error:
        raise FileError(
            f"{path} is damaged or not what its name says: {_reason(error)}; expected {expected}"
        ) from error


@contextmanager
def writing(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and move it to ``path`` when all went well.

    Works for files and for folders (Zarr). After an error nothing is left behind and an existing file
    is as it was.

    Yields
    ------
    Path
        Does not exist yet; same folder and same suffix as ``path``.

    Raises
    ------
    FileError
        If the folder is missing, ``path`` exists and may not be overwritten, or the disk refuses.
    """
    check_target(path, overwrite)
    draft = path.parent / f".{secrets.token_hex(4)}{path.suffix}"
    try:
        yield draft
        _move(draft, path)
    except SegloopError:
        raise
    except OSError as error:
        raise FileError(f"{path} cannot be written: {_reason(error)}") from error
    finally:
        _remove(draft)


def check_target(path: Path, overwrite: bool) -> None:
    """Raise FileError if ``path`` has no folder, or exists and may not be overwritten."""
    if not path.parent.is_dir():
        raise FileError(f"{path} cannot be written: the folder {path.parent} does not exist; make it first")
    if path.exists() and not overwrite:
        raise FileError(f"{path} exists already; choose another name or allow overwriting")


def check_writable(folder: Path) -> None:
    """Make ``folder`` if need be and prove that a file can be made in it.

    Raises
    ------
    FileError
    """
    probe = folder / f".{secrets.token_hex(4)}"
    if taken := next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None):
        raise FileError(f"nothing can be written to {folder}: {taken} is a file, not a folder; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise FileError(f"nothing can be written to {folder}: {_reason(error)}") from error


def write_json(path: Path, document: Mapping[str, Any], overwrite: bool = True, indent: int | None = 2) -> None:
    """Write a JSON document, with NumPy numbers and paths as plain values; ``indent`` None is the shortest.

    Raises
    ------
    FileError
    """
    text = json.dumps(document, indent=indent, default=_plain)
    with writing(path, overwrite) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _move(draft: Path, path: Path) -> None:
    if draft.is_dir() and path.exists():
        # A folder cannot replace another in one step: keep the old one until the new one stands.
        old = path.parent / f".{secrets.token_hex(4)}{path.suffix}"
        path.rename(old)
        try:
            draft.rename(path)
        except OSError:
            old.rename(path)
            raise
        _remove(old)
    else:
        draft.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # Zarr writes from several threads, and some may still be busy when the first has failed.
        for _ in range(20):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break
            time.sleep(0.05)
    else:
        path.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """The system's words for an OSError, the first line of any other error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
