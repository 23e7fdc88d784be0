"""TIFF: ImageJ hyperstacks, OME-TIFF, and plain files.

ImageJ's format and its limits: https://imagej.net/ij/docs/guide (it has no 32-bit integers).
OME-TIFF: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from segloop.errors import FileError, LabelsError
from segloop.image import AXES
from segloop.io.files import reading, writing
from segloop.io.notes import Notes
from segloop.io.planes import file_axes, file_shape, in_file_order, is_lazy, positions, read_block
from segloop.io.source import Header, Source
from segloop.io.units import full_name, short_name
from segloop.labels import Labels

if TYPE_CHECKING:
    import tifffile

BYTE_ORDERS = (b"II", b"MM", b"EP")
"""What TIFF files and their relatives begin with."""

LAZY_BYTES = 1 << 28
"""Larger files are not read at once, but where they are looked at."""

TILE = 512

IMAGEJ_BYTES = (1 << 32) - (1 << 20)
"""ImageJ cannot open classic TIFF files beyond 4 GB, and knows no BigTIFF."""


def read(path: Path) -> Source:
    """Read the first series of a TIFF file; large ones stay on disk.

    Raises
    ------
    FileError
    """
    with reading(path, "a TIFF file"):
        with _opened(path) as tif:
            series = tif.series[0]
            axes = _axes(series)
            sizes, unit = _calibration(tif)
            own = _own_notes(tif)
            colour = not axes and _is_colour(series)
            rgb = axes.endswith("S") or (colour and str(series.axes).endswith("S"))
            guess = _numbered_axes(str(series.axes)) if colour else ""
            shape, large = series.shape, series.nbytes > LAZY_BYTES
            data = None if large else series.asarray()
        if large:
            data = _lazy(path, str(series.axes))
        if own.get("axes") and math.prod(own.get("shape", ())) == math.prod(shape) and not large:
            # Our own files say also the axes of length 1, which TIFF readers leave out.
            axes, data = own["axes"], np.asarray(data).reshape(own["shape"])
        return Source(data, axes, sizes, unit, tuple(own.get("classes", ())), rgb, guess)


def read_header(path: Path) -> Header:
    """Return what a TIFF file says of its first series, as :func:`read` gives it, without the pixels.

    Raises
    ------
    FileError
    """
    with reading(path, "a TIFF file"), _opened(path) as tif:
        series = tif.series[0]
        sides = dict(zip(str(series.axes), series.shape))
        sizes, unit = _calibration(tif)
        return Header(_axes(series), tuple(series.shape), (sides.get("Y", 0), sides.get("X", 0)), sizes, unit)


def _opened(path: Path) -> tifffile.TiffFile:
    """Open a file whose first bytes say that it is a TIFF file."""
    import tifffile

    with path.open("rb") as file:
        if file.read(2) not in BYTE_ORDERS:
            raise FileError(f"{path} is not a TIFF file; give it the suffix of what it is")
    return tifffile.TiffFile(path)


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write labels as an ImageJ hyperstack of 16 bits or, with labels above 65535, as OME-TIFF of 32 bits.

    Fiji opens the first as it is and the second with Bio-Formats, both with pixel size and unit. Axes are
    written in the order T, Z, Y, X. Labels that may not fit in memory become a tiled OME-TIFF, band by band.

    Raises
    ------
    FileError
    LabelsError
        If labels do not fit 32 bits.
    """
    import tifffile

    own = {"segloop": {"axes": file_axes(labels), "shape": list(file_shape(labels)), "classes": list(labels.classes)}}
    if is_lazy(labels):
        _write_in_tiles(labels, path, overwrite, own)
        return
    array, axes = in_file_order(labels)
    largest = int(array.max())
    if largest >= 1 << 32:
        raise LabelsError(f"a TIFF holds labels up to {(1 << 32) - 1}, but the largest is {largest}; write .ome.zarr")
    sizes = labels.pixel_size
    calibrated = labels.unit != "pixel"
    with writing(path, overwrite) as draft:
        if largest <= 65535 and 2 * array.size < IMAGEJ_BYTES:
            metadata: dict[str, Any] = {"axes": axes, "Info": json.dumps(own)}
            if calibrated:
                metadata["unit"] = short_name(labels.unit)
            if "Z" in axes:
                metadata["spacing"] = sizes["Z"]
            if "T" in axes:
                metadata["finterval"] = sizes["T"]
            if largest:
                metadata |= {"min": 0.0, "max": float(largest)}
            tifffile.imwrite(
                draft,
                array.astype(np.uint16, copy=False),
                imagej=True,
                photometric="minisblack",
                resolution=(1 / sizes["X"], 1 / sizes["Y"]) if calibrated else None,
                compression="zlib",
                metadata=metadata,
            )
        else:
            tifffile.imwrite(
                draft,
                array.astype(np.uint32, copy=False),
                ome=True,
                bigtiff=array.size * 4 > IMAGEJ_BYTES,
                photometric="minisblack",
                compression="zlib",
                metadata=_ome_metadata(labels, own),
            )


def _write_in_tiles(labels: Labels, path: Path, overwrite: bool, own: dict[str, Any]) -> None:
    """Write labels that may not fit in memory as a tiled OME-TIFF, row of tiles by row of tiles."""
    import tifffile

    shape, dtype = file_shape(labels), labels.data.dtype
    if dtype.itemsize > 4:
        raise LabelsError(f"a TIFF holds labels up to {(1 << 32) - 1}, but these are {dtype}; write .ome.zarr")
    height, width = shape[-2:]

    def tiles() -> Iterator[np.ndarray]:
        for place in positions(labels):
            for top in range(0, height, TILE):
                band = read_block(labels, place, slice(top, min(top + TILE, height)), slice(0, width))
                for left in range(0, width, TILE):
                    part = band[:, left : left + TILE]
                    yield np.pad(part, [(0, TILE - n) for n in part.shape])

    with writing(path, overwrite) as draft:
        tifffile.imwrite(
            draft,
            tiles(),
            shape=shape,
            dtype=dtype,
            tile=(TILE, TILE),
            ome=True,
            bigtiff=True,
            photometric="minisblack",
            compression="zlib",
            metadata=_ome_metadata(labels, own),
        )


def _ome_metadata(labels: Labels, own: dict[str, Any]) -> dict[str, Any]:
    axes = file_axes(labels)
    metadata: dict[str, Any] = {"axes": axes, "Description": json.dumps(own)}
    if labels.unit != "pixel":
        for axis in axes.replace("T", ""):
            metadata |= {
                f"PhysicalSize{axis}": labels.pixel_size[axis],
                f"PhysicalSize{axis}Unit": _ome_unit(labels.unit),
            }
    if "T" in axes:
        metadata["TimeIncrement"] = labels.pixel_size["T"]
    return metadata


def _axes(series: tifffile.TiffPageSeries) -> str:
    """The axes that the file says, or "" where the reader only numbers them."""
    axes = str(series.axes)
    if "S" in axes and not _is_colour(series):
        return ""
    return axes if all(axis in AXES for axis in axes) else ""


def _numbered_axes(axes: str) -> str:
    """Give letters to the axes that the reader only numbers ("Q"), when it knows the others: "QSYX" is "ZSYX"."""
    free = [axis for axis in "ZT" if axis not in axes]
    if axes.count("Q") > len(free) or "S" not in axes:
        return ""
    names = iter(reversed(free[: axes.count("Q")]))
    return "".join(next(names) if axis == "Q" else axis for axis in axes)


def _is_colour(series: tifffile.TiffPageSeries) -> bool:
    import tifffile

    colour = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
    return series.keyframe.photometric in colour and "S" in series.axes


def _calibration(tif: tifffile.TiffFile) -> tuple[dict[str, float], str]:
    """Pixel size by letter and unit, from OME, ImageJ or resolution in centimetres."""
    if tif.is_ome and tif.ome_metadata:
        return _ome_calibration(tif.ome_metadata)
    tags = tif.pages.first.tags
    across = {axis: _pixels_per_unit(tags, f"{axis}Resolution") for axis in "YX"}
    if tif.is_imagej:
        facts = tif.imagej_metadata or {}
        unit = full_name(str(facts.get("unit", "")))
        sizes = {axis: 1 / density for axis, density in across.items() if density > 0} if unit else {}
        for axis, key in (("Z", "spacing"), ("T", "finterval")):
            value = facts.get(key, 0)
            if isinstance(value, (int, float)) and math.isfinite(value) and value > 0:
                sizes[axis] = float(value)
        return sizes, unit
    # Resolutions in inches are a printer's or a screen's and say nothing about the object.
    if "ResolutionUnit" in tags and int(tags["ResolutionUnit"].value) == 3 and min(across.values()) > 0:
        return {axis: 1e4 / density for axis, density in across.items()}, "micrometer"
    return {}, ""


def _pixels_per_unit(tags: tifffile.TiffTags, name: str) -> float:
    value = tags[name].value if name in tags else (0, 1)
    over, under = value if isinstance(value, tuple) else (value, 1)
    return over / under if under else 0.0


def _ome_calibration(xml: str) -> tuple[dict[str, float], str]:
    pixels = next((node for node in ElementTree.fromstring(xml).iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return {}, ""
    found = {axis: (pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"}
    units = {axis: full_name(unit) for axis, (size, unit) in found.items() if size}
    unit = units.get("X", "")
    # One unit holds for all axes: sizes in another are left out rather than misread.
    sizes = {axis: float(found[axis][0] or 1) for axis in units if units[axis] == unit and unit}
    sizes = {axis: size for axis, size in sizes.items() if math.isfinite(size) and size > 0}
    if increment := pixels.get("TimeIncrement"):
        sizes["T"] = float(increment)
    return sizes, unit


def _ome_unit(unit: str) -> str:
    return {"micrometer": "µm"}.get(unit, short_name(unit))


def _own_notes(tif: tifffile.TiffFile) -> dict[str, Any]:
    """What ``write`` noted in the file: axes, shape and class names; empty for files of other programs."""
    text = ""
    if tif.is_imagej:
        text = str((tif.imagej_metadata or {}).get("Info", ""))
    elif tif.is_ome and tif.ome_metadata:
        nodes = ElementTree.fromstring(tif.ome_metadata).iter()
        text = next((node.text or "" for node in nodes if node.tag.endswith("}Description")), "")
    try:
        notes = json.loads(text)["segloop"]
    except (ValueError, KeyError, TypeError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _lazy(path: Path, series_axes: str) -> Any:
    """The first series as a memory map when it is stored plainly, else as a zarr array over its tiles."""
    import tifffile

    try:
        return tifffile.memmap(path, mode="r")
    except ValueError:
        import zarr

        store = tifffile.imread(path, aszarr=True)
        array: Any = zarr.open(store, mode="r")
        # A pyramid opens as a group of its levels.
        array = array if isinstance(array, zarr.Array) else array["0"]
        # The store keeps the file open as long as someone may still read the array.
        weakref.finalize(array, store.close)
        across = series_axes.find("X")
        in_strips = across >= 0 and array.chunks[across] >= array.shape[across] > TILE
        return _Strips(array, across) if in_strips else array


class _Strips:
    """An array stored in strips as wide as the image. A tile needs whole strips: those of the last rows are kept."""

    def __init__(self, array: Any, across: int) -> None:
        self._array, self._across = array, across
        self.shape, self.dtype = tuple(array.shape), array.dtype
        # one attribute, so that threads see key and rows of one read
        self._kept: tuple[Any, np.ndarray] = (None, np.empty(0))

    def __getitem__(self, index: Any) -> np.ndarray:
        whole = index if isinstance(index, tuple) else (index,)
        if len(whole) != len(self.shape) or not all(isinstance(own, (int, slice)) for own in whole):
            return np.asarray(self._array[index])
        wide = (*whole[: self._across], slice(None), *whole[self._across + 1 :])
        key = tuple((own.start, own.stop, own.step) if isinstance(own, slice) else own for own in wide)
        kept = self._kept
        if kept[0] != key:
            kept = self._kept = (key, np.asarray(self._array[wide]))
        # where the numbers before X have taken axes away
        place = self._across - sum(isinstance(own, int) for own in whole[: self._across])
        return kept[1][(slice(None),) * place + (whole[self._across],)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._array[...], dtype=dtype)
