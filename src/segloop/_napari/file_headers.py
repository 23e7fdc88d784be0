"""File headers: what the file that napari read a layer from says of its axes and pixels.

napari reads TIFF files and Zarr folders for their pixels only: what an axis means, and how large a pixel is, stays in
the file.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import napari.layers

from segloop.errors import FileError

if TYPE_CHECKING:
    from segloop.io import Header

SUFFIXES = (".tif", ".tiff")
FOLDER_SUFFIX = ".zarr"


def header_of(layer: napari.layers.Image) -> Header | None:
    """Return what the file of a layer says; None if there is no such file, or it says nothing."""
    source = layer.source.path
    if not isinstance(source, (str, Path)):
        return None
    path = Path(source)
    in_zarr = any(part.lower().endswith(FOLDER_SUFFIX) for part in path.parts)
    if path.suffix.lower() not in SUFFIXES and not in_zarr:
        return None
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    return _read(path, changed)


def axes_in_file(layer: napari.layers.Image) -> str:
    """Return the axes that the file of a layer says, one letter per dimension of the layer's pixels; "" if unknown.

    They are not known where the layer has not the shape of the file: it was cropped, binned or put together since. One
    channel of it, which napari made a layer of, has the file's other axes.
    """
    header = header_of(layer)
    if header is None:
        return ""
    shape = tuple(int(n) for n in (layer.data[0] if layer.multiscale else layer.data).shape)
    sides = dict(zip(header.axes, header.shape))
    for axes in (header.axes, header.axes.replace("C", "")):
        if axes and tuple(sides[axis] for axis in axes) == shape and ("S" in axes) == layer.rgb == axes.endswith("S"):
            return axes
    return ""


@functools.lru_cache(maxsize=256)
def _read(path: Path, changed: int) -> Header | None:
    # not before the dock is on screen: importing the file formats takes long
    from segloop.io import read_header

    try:
        return read_header(path)
    except FileError:
        # napari could read it, somehow
        return None
