"""NumPy's own files: an array without axes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from segloop.io.files import reading, writing
from segloop.io.notes import Notes
from segloop.io.planes import in_file_order
from segloop.io.source import Source
from segloop.labels import Labels


def read(path: Path) -> Source:
    """Map a .npy file into memory. Pickled objects are refused: they can run code.

    Raises
    ------
    FileError
    """
    with reading(path, "a NumPy array file (.npy) of numbers"):
        return Source(np.load(path, mmap_mode="r", allow_pickle=False))


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write the array, axes in the order T, Z, Y, X.

    Raises
    ------
    FileError
    """
    array, _ = in_file_order(labels)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with writing(path, overwrite) as draft:
        # not straight to the file: when the disk is full, NumPy counts bytes where Python says what is wrong
        draft.write_bytes(buffer.getbuffer())
