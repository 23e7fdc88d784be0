"""Reading images and labels, writing labels: a table of formats by suffix.

A new format is one module with ``read`` and ``write``, and its line in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop.errors import FileError, ImageError, LabelsError
from segloop.image import CHANNEL_AXES, Image, guess_axes
from segloop.io import coco, geojson, measurements, ngff, npy, raster, roi, tiff
from segloop.io.drawn import Drawing, ReadOutlines, fill, losses, smallest
from segloop.io.files import check_target, check_writable, write_json
from segloop.io.frame import Frame
from segloop.io.measurements import measure
from segloop.io.notes import HiddenPart, Note, Notes
from segloop.io.source import Header, Source
from segloop.labels import Labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "IMAGE_SUFFIXES",
    "LABEL_SUFFIXES",
    "OUTLINE_SUFFIXES",
    "SAVE_SUFFIXES",
    "Header",
    "HiddenPart",
    "Note",
    "Notes",
    "OpenedImage",
    "check_target",
    "check_writable",
    "files_by_stem",
    "holds_outlines",
    "is_zarr",
    "measurement_table",
    "open_image",
    "outlines_lost",
    "read_header",
    "read_image",
    "read_label_pair",
    "read_labels",
    "save_labels",
    "stem_of",
    "suffix_of",
    "write_provenance",
]

Read = Callable[[Path], Source]
Write = Callable[[Labels, Path, Notes, bool], None]


@dataclass(frozen=True, slots=True)
class _Format:
    """What can be done with files of one suffix."""

    read_image: Read | None = None
    read_labels: Read | None = None
    read_outlines: ReadOutlines | None = None
    write: Write | None = None


_TIFF = _Format(tiff.read, tiff.read, write=tiff.write)
_ZARR = _Format(ngff.read, ngff.read_labels, write=ngff.write)
_FORMATS = {
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".ome.zarr": _ZARR,
    ".zarr": _ZARR,
    ".zip": _Format(read_outlines=roi.read, write=roi.write),
    ".roi": _Format(read_outlines=roi.read),
    ".json": _Format(read_labels=coco.read, write=coco.write),
    ".geojson": _Format(read_outlines=geojson.read, write=geojson.write),
    ".csv": _Format(write=measurements.write),
    ".png": _Format(raster.read, raster.read_indices, write=raster.write),
    ".npy": _Format(npy.read, npy.read, write=npy.write),
    ".jpg": _Format(raster.read),
    ".jpeg": _Format(raster.read),
    ".bmp": _Format(raster.read, raster.read),
}

IMAGE_SUFFIXES = tuple(suffix for suffix, known in _FORMATS.items() if known.read_image)
OUTLINE_SUFFIXES = tuple(suffix for suffix, known in _FORMATS.items() if known.read_outlines)
LABEL_SUFFIXES = (*(suffix for suffix, known in _FORMATS.items() if known.read_labels), *OUTLINE_SUFFIXES)
SAVE_SUFFIXES = tuple(suffix for suffix, known in _FORMATS.items() if known.write)


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image from a file, and whether its axes were guessed because the file does not say them."""

    image: Image
    axes_guessed: bool


def open_image(path: str | Path, axes: str = "") -> OpenedImage:
    """Open an image, with its axes and pixel size as far as the file knows them.

    Parameters
    ----------
    path : path
        .tif (plain, ImageJ, OME), .png, .jpg, .bmp, .npy, .zarr or .ome.zarr. TIFFs with more than one series
        give the first. Zarr, .npy and large TIFFs are opened, not read.
    axes : str
        One letter per dimension; they overrule the file. "" takes those of the file or, if it has none, a
        guess.

    Raises
    ------
    FileError
        If the file is missing, damaged or of an unknown kind.
    ImageError
        If the axes do not fit.
    """
    path = Path(path)
    source = _reader(path, "image", lambda known: known.read_image)(path)
    shape = tuple(int(n) for n in source.data.shape)
    try:
        letters = axes or source.axes or source.guess or guess_axes(shape, True if source.rgb else None)
        # a file may give the distance of planes without a unit, in which case it is relative to a pixel
        image = Image(source.data, letters, source.pixel_size, source.unit or "pixel", stem_of(path))
    except ImageError as error:
        raise ImageError(f"{path.name}: {error}") from error
    return OpenedImage(image, axes_guessed=not (axes or source.axes) and len(shape) > 2)


def read_image(path: str | Path, axes: str = "") -> Image:
    """Return the image of ``open_image``."""
    return open_image(path, axes).image


def read_header(path: str | Path) -> Header:
    """Return what a TIFF file or a Zarr folder says of the image that :func:`open_image` opens.

    Raises
    ------
    FileError
        If it is missing, damaged, or of another kind.
    """
    path = Path(path)
    known = _known(path)
    if known not in (_TIFF, _ZARR):
        raise FileError(f"{path} says nothing of its axes and pixels; expected a TIFF file or a Zarr folder")
    return tiff.read_header(path) if known is _TIFF else ngff.read_header(path)


def read_labels(
    path: str | Path, like: Image | Labels | None = None, zoom: Mapping[str, float] | None = None
) -> Labels:
    """Read labels: an image of them, COCO's masks, or outlines, which are filled.

    Parameters
    ----------
    path : path
        .tif, .png, .npy, .zarr, .ome.zarr; COCO .json; ImageJ's .zip and .roi, .geojson.
    like : Image or Labels, optional
        What outlines were drawn on: they do not know how large it is. The result has its size, axes, planes and
        pixel size. Without it, files that SegLoop wrote as .geojson know them; all others become just large enough.
        Other formats pass it over.
    zoom : mapping of letter to float, optional
        If ``like`` is a coarser copy of what outlines were drawn on: its pixels for one of those, by axis.

    Returns
    -------
    Labels
        With axes, pixel size and class names as far as the file knows them. Where outlines overlap, later ones lie on
        top.

    Raises
    ------
    FileError
        If the file is missing, damaged, of a kind that holds no labels, or has outlines outside ``like`` or in planes
        along an axis that ``like`` lacks.
    LabelsError
        If it holds something else than whole numbers, or has channels.
    """
    path = Path(path)
    return _as_read(_reader(path, "label image", _labels_of(like, zoom))(path), path)


def outlines_lost(path: str | Path, like: Image | Labels | None = None) -> tuple[str, ...]:
    """Say what of a file of outlines :func:`read_labels` leaves out: lines and points, and what sticks out of ``like``.

    Raises
    ------
    FileError
        As ``read_labels``; also if the file holds no outlines.
    """
    return losses(_drawing(Path(path)), None if like is None else Frame.of(like))


def read_label_pair(first: Path, second: Path) -> tuple[Labels, Labels]:
    """Read two label files of one image, such as a prediction and its reference.

    Outlines take the size of the other file. Where neither knows how large the image is, it is just large enough for
    both.

    Raises
    ------
    FileError, LabelsError
        As ``read_labels``; whether the shapes are the same is not looked at.
    """
    if not holds_outlines(first):
        known = read_labels(first)
        return known, read_labels(second, known) if holds_outlines(second) else read_labels(second)
    if not holds_outlines(second):
        known = read_labels(second)
        return read_labels(first, known), known
    one, other = _drawing(first), _drawing(second)
    frame = one.frame or other.frame or smallest([*one.objects, *other.objects])
    filled = [
        _as_read(fill(drawing, path, drawing.frame or frame), path) for drawing, path in ((one, first), (other, second))
    ]
    return filled[0], filled[1]


def _drawing(path: Path) -> Drawing:
    _reader(path, "label image", _labels_of(None))
    read = _known(path).read_outlines
    if read is None:
        raise FileError(f"{path} holds no outlines; expected one of {', '.join(OUTLINE_SUFFIXES)}")
    return read(path)


def _as_read(source: Source, path: Path) -> Labels:
    array, axes = np.asarray(source.data), source.axes
    for axis in CHANNEL_AXES:
        if axis in axes and array.shape[axes.index(axis)] == 1:
            array, axes = array.squeeze(axes.index(axis)), axes.replace(axis, "")
    if any(axis in CHANNEL_AXES for axis in axes):
        raise LabelsError(
            f"{path.name}: a label image has one number per pixel, but this has axes {axes}; is it an image?"
        )
    if not axes and 2 <= array.ndim <= 4:
        axes = ("YX", "ZYX", "TZYX")[array.ndim - 2]
    try:
        return Labels(array, axes, source.pixel_size, source.unit or "pixel", source.classes)
    except (LabelsError, ImageError) as error:
        raise LabelsError(f"{path.name}: {error}") from error


def save_labels(
    labels: Labels | np.ndarray,
    path: str | Path,
    objects: pd.DataFrame | None = None,
    overwrite: bool = True,
    hidden: Sequence[HiddenPart] = (),
) -> Path:
    """Write labels in the format that the suffix of ``path`` says; the file appears whole or not at all.

    ========== ==============================================================================
    .tif       ImageJ hyperstack (16 bits) or, with labels above 65535, OME-TIFF (32 bits)
    .ome.zarr  OME-Zarr 0.5 label image with pyramid
    .zip       ImageJ ROIs, exact to the pixel
    .json      COCO, masks as compressed RLE
    .geojson   polygons for QuPath
    .csv       measurements
    .png       8 or 16 bits, 2D
    .npy       the bare array
    ========== ==============================================================================

    Parameters
    ----------
    labels : Labels or array
        Integers (Y, X), (Z, Y, X) or (T, Z, Y, X).
    path : path
        Its folder must exist.
    objects : DataFrame, optional
        Columns ``label``, ``class``, ``score``, ``origin``: used where the format has room for them.
    overwrite : bool
        Whether an existing file may be replaced.
    hidden : sequence of HiddenPart
        Parts of objects that lie under others; COCO has room for them, the other formats leave them out.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    FileError
        If the suffix is unknown, the format cannot hold these labels, or the disk refuses.
    LabelsError
        If ``labels`` are not whole numbers.
    """
    path = Path(path)
    write = _known(path).write
    if write is None:
        raise FileError(f"labels cannot be written as {suffix_of(path)}; expected one of {', '.join(SAVE_SUFFIXES)}")
    labels = _as_labels(labels)
    write(labels, path, Notes(labels, objects, hidden), overwrite)
    return path


def measurement_table(labels: Labels | np.ndarray, objects: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the measurements that are written as .csv; see ``segloop.io.measurements.measure``."""
    labels = _as_labels(labels)
    return measure(labels, Notes(labels, objects))


def write_provenance(output: str | Path, document: Mapping[str, Any]) -> Path:
    """Write how ``output`` came to be, as ``<output>.provenance.json`` beside it; an older one is replaced.

    Raises
    ------
    FileError
    """
    output = Path(output)
    path = output.with_name(f"{output.name}.provenance.json")
    write_json(path, document)
    return path


def holds_outlines(path: Path) -> bool:
    """Whether a label file holds outlines, which do not know how large the image is."""
    return suffix_of(path) in OUTLINE_SUFFIXES


def files_by_stem(folder: Path, suffixes: Sequence[str], stem: Callable[[Path], str | None]) -> dict[str, list[Path]]:
    """The files of a folder, hidden ones and provenance left out, in lists by what ``stem`` says; None leaves one out.

    Outlines count where nothing else has their stem, and one file of them only: they are exported from label images,
    in several formats. A zip file counts if it holds ROIs.

    Raises
    ------
    FileError
        If there is no such folder, or it is a file.
    """
    if not folder.is_dir():
        what = "file" if folder.suffix else "folder"
        raise FileError(f"{folder} is a file; give its folder" if folder.exists() else f"no such {what}: {folder}")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (holds_outlines(path), path)):
        suffix = suffix_of(path)
        if path.name.startswith(".") or suffix not in suffixes or ".provenance." in path.name:
            continue
        name = None if suffix == ".zip" and not roi.is_roi_file(path) else stem(path)
        if name is None or (name in files and holds_outlines(path)):
            continue
        files.setdefault(name, []).append(path)
    return files


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that is a Zarr array or group, and so one image."""
    return path.is_dir() and _known(path) is _ZARR


def suffix_of(path: Path) -> str:
    """The suffix that decides on the format, in small letters; ".ome.zarr" counts as one."""
    name = path.name.lower()
    return ".ome.zarr" if name.endswith(".ome.zarr") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """The file name without its format: "cells" for cells.tif, cells.ome.tif and cells.ome.zarr."""
    name = path.name.removesuffix(path.suffix) if suffix_of(path) in _FORMATS else path.name
    return name[:-4] if name.lower().endswith(".ome") else name


def _as_labels(labels: Labels | np.ndarray) -> Labels:
    if isinstance(labels, Labels):
        return labels
    array = np.asarray(labels)
    if not 2 <= array.ndim <= 4:
        raise LabelsError(f"labels of {array.ndim} dimensions; expected 2 (YX), 3 (ZYX) or 4 (TZYX)")
    return Labels(array, ("YX", "ZYX", "TZYX")[array.ndim - 2])


def _labels_of(
    like: Image | Labels | None, zoom: Mapping[str, float] | None = None
) -> Callable[[_Format], Read | None]:
    """Chooses how labels are read; outlines are filled in the frame of ``like``."""
    frame = None if like is None else Frame.of(like)

    def choose(known: _Format) -> Read | None:
        outlines = known.read_outlines
        return known.read_labels if outlines is None else lambda path: fill(outlines(path), path, frame, zoom)

    return choose


def _known(path: Path) -> _Format:
    suffix = suffix_of(path)
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    if path.is_dir() and any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
        return _ZARR
    return _Format()


def _reader(path: Path, what: str, choose: Callable[[_Format], Read | None]) -> Read:
    read = choose(_known(path))
    if not path.exists():
        raise FileError(f"no such {'file' if path.suffix else 'file or folder'}: {path}")
    if read is None:
        kinds = ", ".join(suffix for suffix, known in _FORMATS.items() if choose(known))
        raise FileError(f"{path} cannot be read as {what}: {suffix_of(path) or 'no suffix'}; expected one of {kinds}")
    if path.is_dir() and read not in (ngff.read, ngff.read_labels):
        raise FileError(f"{path} is a folder; expected a file")
    return read
