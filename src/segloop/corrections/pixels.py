"""Stored pixels: arrays of any axes as plain TIFF files, written plane by plane and read back exactly."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from segloop.errors import FileError, ImageError

SLAB_BYTES = 1 << 26
"""How much of a lazy array is read at once."""


def write_pixels(path: Path, data: Any, axes: str, *, compress: bool) -> str:
    """Write an array to a TIFF file in the order TCZYXS, and wait until it is on the disk.

    RGB(A) pixels stay together; other numbers of samples become planes. Bool becomes 0 and 1. Without
    compression the file can be memory mapped.

    Parameters
    ----------
    path : Path
        Written as it is; whoever wants it to appear whole writes beside and renames.
    data : array of bool, integers or floats
        NumPy, dask or zarr array.
    axes : str
        One letter per dimension.
    compress : bool
        Whether to deflate, which is lossless and shrinks labels to a few per cent.

    Returns
    -------
    str
        SHA-256 as of :func:`hash_pixels`.

    Raises
    ------
    OSError
        If the disk is full or the file cannot be written.
    ImageError
        If TIFF cannot hold the type of pixel.
    """
    dtype = np.dtype(data.dtype)
    if dtype.itemsize > 8:
        raise ImageError(f"pixels of type {dtype} cannot be stored in TIFF; convert the image to float64")
    order = _stored_axes(axes, data.shape)
    stored = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    digest = hashlib.sha256()

    def planes() -> Iterator[np.ndarray]:
        for plane in _planes(data, axes):
            digest.update(_little_endian(plane))
            yield plane.astype(stored, copy=False)

    with path.open("xb") as file:
        tifffile.imwrite(
            file,
            planes(),
            shape=tuple(data.shape[axes.index(axis)] for axis in order),
            dtype=stored,
            byteorder=">" if stored.str.startswith(">") else "<",
            photometric="rgb" if order.endswith("S") else "minisblack",
            compression="zlib" if compress else None,
            metadata={"axes": order},
            software="SegLoop",
        )
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def read_pixels(path: Path, axes: str, shape: Sequence[int], dtype: str = "") -> np.ndarray:
    """Read what :func:`write_pixels` wrote, in the axes that were given to it.

    Parameters
    ----------
    path : Path
        Of the file.
    axes, shape : str, sequence of int
        Of the array as it was given.
    dtype : str
        Of the array as it was given; what the file holds by default.

    Returns
    -------
    ndarray, ``shape``
        A read-only memory map if the file is not compressed.

    Raises
    ------
    FileError
        If the file is missing, damaged, or holds something else.
    """
    order = _stored_axes(axes, shape)
    try:
        try:
            array: np.ndarray = tifffile.memmap(path, mode="r")
        except ValueError:  # compressed
            array = tifffile.imread(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(f"{path} is missing; restore it, or remove its entry from the training set") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of their own on damaged files
        raise FileError(f"{path} is damaged: {error}; restore it, or remove its entry from the training set") from error
    stored_shape = tuple(shape[axes.index(axis)] for axis in order)
    wanted = np.dtype(dtype or array.dtype)
    stored = np.dtype(np.uint8) if wanted.kind == "b" else wanted
    if array.size != math.prod(stored_shape) or array.dtype != stored:
        raise FileError(
            f"{path} holds pixels of shape {array.shape}, type {array.dtype}; expected {stored_shape}, "
            f"{stored}; restore it, or remove its entry from the training set"
        )
    array = array.view(bool) if wanted.kind == "b" else array
    return array.reshape(stored_shape).transpose([order.index(axis) for axis in axes])


def hash_pixels(data: Any, axes: str) -> str:
    """SHA-256 of the pixels in the files' order (TCZYXS, or TSCZYX unless RGB), little-endian."""
    digest = hashlib.sha256()
    for plane in _planes(data, axes):
        digest.update(_little_endian(plane))
    return digest.hexdigest()


def _stored_axes(axes: str, shape: Sequence[int]) -> str:
    rgb = "S" in axes and shape[axes.index("S")] in (3, 4)
    return "".join(axis for axis in ("TCZYXS" if rgb else "TSCZYX") if axis in axes)


def _planes(data: Any, axes: str) -> Iterator[np.ndarray]:
    """Yield the planes (Y, X) or (Y, X, S) in the files' order, C-contiguous."""
    order = _stored_axes(axes, data.shape)
    inner = "YXS" if order.endswith("S") else "YX"
    outer = order[: -len(inner)]
    sizes = dict(zip(axes, data.shape))
    plane_bytes = math.prod(sizes[axis] for axis in inner) * np.dtype(data.dtype).itemsize
    # several planes at a time, so that a chunk of a lazy array is not decoded once for each of its planes
    step = max(1, SLAB_BYTES // plane_bytes)
    for place in np.ndindex(*(sizes[axis] for axis in outer[:-1])):
        for start in range(0, sizes[outer[-1]] if outer else 1, step):
            at: dict[str, Any] = dict(zip(outer, place))
            if outer:
                at[outer[-1]] = slice(start, min(start + step, sizes[outer[-1]]))
            slab = np.asarray(data[tuple(at.get(axis, slice(None)) for axis in axes)])
            left = [axis for axis in axes if not isinstance(at.get(axis), int)]
            slab = slab.transpose([left.index(axis) for axis in outer[-1:] + inner])
            for plane in slab if outer else [slab]:
                yield np.ascontiguousarray(plane)


def _little_endian(plane: np.ndarray) -> memoryview:
    return plane.astype(plane.dtype.newbyteorder("<"), copy=False).view(np.uint8).data
