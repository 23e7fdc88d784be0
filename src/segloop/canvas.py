"""Canvas: an array that results are put into block by block, in memory or, when it is large, in a file."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from segloop.errors import SegmentError
from segloop.memory import free_memory

LARGE = 1 << 29
"""Bytes from which a canvas is a file, whatever memory is free."""


def new_canvas(shape: tuple[int, ...], dtype: np.dtype, scratch: Path | None = None) -> Any:
    """Return an array of zeros: NumPy's, or a :class:`DiskArray` if it is large for this machine.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    scratch : path, optional
        Folder for the file; that of temporary files (``TMPDIR``) by default.
    """
    dtype = np.dtype(dtype)
    if is_large(math.prod(shape) * dtype.itemsize):
        return DiskArray(shape, dtype, scratch)
    return np.zeros(shape, dtype)


def is_large(size: int) -> bool:
    """Whether ``size`` bytes are better not held in memory."""
    return size > min(LARGE, free_memory() // 4)


class DiskArray:
    """An array in a temporary file, which goes when the array or the process does. Zeros at first.

    Indexing by slices and numbers reads and writes; only what is touched is in memory, and only as long as it takes.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    scratch : path, optional
        An existing folder; that of temporary files (``TMPDIR``) by default.

    Raises
    ------
    SegmentError
        If there is no room for it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, scratch: Path | None = None) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype)
        size = self.size * self.dtype.itemsize
        with _room(f"{size / 1e9:.3g} GB", scratch):
            # without a name where the system allows it: nothing is left behind even after a crash
            self._file = tempfile.TemporaryFile(prefix="segloop-", dir=scratch)  # noqa: SIM115
            self._finalizer = weakref.finalize(self, self._file.close)
            _reserve(self._file.fileno(), size)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(self._map("r")[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._map("r+")[index] = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype=dtype)

    def _map(self, mode: Any) -> np.ndarray:
        # a map that is kept would keep all it ever touched in memory
        return np.memmap(self._file, self.dtype, mode, shape=self.shape)


class DiskBytes:
    """Strings of bytes in a temporary file, which goes when they or the process do. Only added to.

    Raises
    ------
    SegmentError
        If there is no room for one.
    """

    def __init__(self) -> None:
        with _room("a temporary file"):
            self._file = tempfile.TemporaryFile(prefix="segloop-")  # noqa: SIM115
        self._finalizer = weakref.finalize(self, _close, self._file)
        self._places: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> bytes:
        start, length = self._places[number]
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)

    def append(self, data: bytes) -> None:
        """Keep a string."""
        with self._lock:
            start = self._file.seek(0, os.SEEK_END)
            with _room(f"{(start + len(data)) / 1e9:.3g} GB"):
                self._file.write(data)
                self._file.flush()
        self._places.append((start, len(data)))


def _close(file: IO[bytes]) -> None:
    """Close a file that may still hold what the disk had no room for."""
    with suppress(OSError):
        file.close()


@contextmanager
def _room(needed: str, folder: Path | None = None) -> Iterator[None]:
    """Say in which folder there is no room for what is needed, if the system refuses it."""
    try:
        yield
    except OSError as error:
        # unknown as long as no folder for temporary files could be had at all; asking again would raise
        where = folder or tempfile.tempdir or "any folder for temporary files"
        raise SegmentError(
            f"the results need {needed} in {where}, which cannot be had ({error.strerror}); make room there, or set "
            "TMPDIR to a folder that has it"
        ) from error


def _reserve(file: int, size: int) -> None:
    """Make a file of ``size`` bytes of zeros for which there is room: writing a map on a full disk ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
