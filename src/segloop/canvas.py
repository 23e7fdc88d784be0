"""Canvas: an array that results are put into block by block, in memory or, when it is large, in a file."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from segloop.memory import free_memory

LARGE = 1 << 30
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
    """An array in a file of its own, which goes when the array does. Zeros at first.

    Indexing by slices and numbers reads and writes; only what is touched is in memory, and only as long as it takes.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    scratch : path, optional
        An existing folder.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, scratch: Path | None = None) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype)
        folder = tempfile.mkdtemp(prefix="segloop-", dir=scratch)
        self._path = Path(folder) / "array"
        with self._path.open("wb") as file:
            os.truncate(file.fileno(), self.size * self.dtype.itemsize)
        self._finalizer = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

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
        return np.memmap(self._path, self.dtype, mode, shape=self.shape)
