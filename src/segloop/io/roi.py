"""ImageJ ROIs in a zip file, as Fiji's ROI Manager opens them.

One ROI per object and plane. An object in one piece without holes is a polygon along its pixels' edges
("traced", what ImageJ's wand makes); any other is one composite ROI with all its pieces and holes. ImageJ
fills both by pixel centres, so that a mask made from them is the object to the pixel.
Format: ij.io.RoiDecoder and ij.gui.ShapeRoi of ImageJ.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segloop.errors import FileError
from segloop.io.drawn import MOST_DIGITS, Drawing, Drawn
from segloop.io.files import reading, writing
from segloop.io.notes import DEFAULT_CLASS, Notes
from segloop.io.outlines import Outline, trace
from segloop.io.planes import plane_name, planes
from segloop.labels import Labels

if TYPE_CHECKING:
    from roifile import ImagejRoi

_MOVE_TO, _LINE_TO, _CLOSE = 0.0, 1.0, 4.0
"""Segment types of a composite ROI, those of java.awt.geom.PathIterator."""

_LARGEST_SHORT = 32767
_GROUPS = 255
_OWN_NAME = re.compile(rf"(\d{{4,{MOST_DIGITS}}})(_.*)?")
"""0012, 0012_round, 0012_z0003: how :func:`write` names ROIs. ImageJ's own names are 0012-0345."""

_CORNERS_OF_OVALS = 720


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write one ROI per object and plane, named by label and class, in ImageJ's group of its class.

    In stacks each ROI has the slice and frame of its plane, for all channels. An existing file is replaced;
    an empty label image gives an empty zip.

    Raises
    ------
    FileError
    """
    groups = {name: number for number, name in enumerate(notes.names(labels), 1)}
    with writing(path, overwrite) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for position, plane in planes(labels):
            for outline in trace(plane):
                roi = _roi(outline)
                name = notes[outline.label].name
                roi.name = f"{outline.label:04d}" + ("" if name == DEFAULT_CLASS else f"_{name}") + plane_name(position)
                roi.z_position = position.get("Z", -1) + 1
                roi.t_position = position.get("T", -1) + 1
                roi.group = min(groups.get(name, 0), _GROUPS) if len(groups) > 1 else 0
                archive.writestr(roi.name.replace("/", "-").replace("\\", "-") + ".roi", roi.tobytes())


def _roi(outline: Outline) -> ImagejRoi:
    from roifile import ROI_TYPE, ImagejRoi

    rings = [ring for piece in outline.pieces for ring in piece]
    corners = np.concatenate(rings)
    if len(rings) == 1:
        # Corners beyond 16 bits need ImageJ's float coordinates.
        roi = ImagejRoi.frompoints(rings[0] if corners.max() <= _LARGEST_SHORT else rings[0].astype(np.float32))
        roi.roitype = ROI_TYPE.TRACED
        return roi
    segments: list[float] = []
    for ring in rings:
        for number, (x, y) in enumerate(ring.tolist()):
            segments += [_LINE_TO if number else _MOVE_TO, x, y]
        segments.append(_CLOSE)
    # ImageJ takes the bounds of a composite from its path; those in the header are for other readers.
    left, top = corners.min(axis=0).clip(max=_LARGEST_SHORT).tolist()
    right, bottom = corners.max(axis=0).clip(max=_LARGEST_SHORT).tolist()
    roi = ImagejRoi()
    roi.roitype = ROI_TYPE.RECT
    roi.left, roi.top, roi.right, roi.bottom = left, top, right, bottom
    roi.multi_coordinates = np.array(segments, np.float32)
    roi.shape_roi_size = len(segments)
    return roi


def is_roi_file(path: Path) -> bool:
    """Whether it is a single ROI or a zip file of ROIs; one without any is what an empty label image gives."""
    try:
        if path.suffix.lower() == ".roi":
            with path.open("rb") as file:
                return file.read(4) == b"Iout"
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            return not names or any(_is_entry(name) for name in names)
    except (OSError, zipfile.BadZipFile):
        return False


def read(path: Path) -> Drawing:
    """Read the areas of a zip file of ROIs, or of a single one; lines, points, texts and pictures are passed over.

    Raises
    ------
    FileError
        Also if there is no area in it.
    """
    from roifile import ImagejRoi

    with reading(path, "ImageJ ROIs"):
        if path.suffix.lower() == ".roi":
            contents = {path.stem: path.read_bytes()}
        else:
            with zipfile.ZipFile(path) as archive:
                contents = {name: archive.read(name) for name in archive.namelist() if _is_entry(name)}
                others = len(archive.namelist()) - len(contents)
            if others and not contents:
                raise FileError(f"{path} is a zip file, but holds no ImageJ ROI; expected entries such as 0001.roi")
        rois = [ImagejRoi.frombytes(content) for content in contents.values()]
        areas = [list(_areas(roi)) for roi in rois]
        drawn = [
            Drawn(rings, _position(roi), _number(roi.name), _slice(roi))
            for roi, own in zip(rois, areas)
            for rings in own
        ]
    if rois and not drawn:
        held = f"{len(rois)} ROI{'s' * (len(rois) > 1)}"
        raise FileError(f"{path} holds {held}, but no area: lines, points and texts outline no object")
    return Drawing(drawn, passed_over=sum(not own for own in areas))


def _is_entry(name: str) -> bool:
    # macOS adds a hidden twin to each file that it packs
    return name.lower().endswith(".roi") and not name.startswith("__MACOSX/")


def _areas(roi: ImagejRoi) -> Iterator[list[np.ndarray]]:
    """The rings of the ROI, if it is an area."""
    from roifile import ROI_SUBTYPE, ROI_TYPE

    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE):
        return  # of the type of rectangles
    if roi.composite:
        yield [np.asarray(ring, float) for ring in roi.coordinates(multi=True)]
    elif roi.roitype == ROI_TYPE.OVAL:
        centre = np.array([roi.left + roi.right, roi.top + roi.bottom]) / 2
        radii = np.array([roi.right - roi.left, roi.bottom - roi.top]) / 2
        angles = np.linspace(0, 2 * np.pi, _CORNERS_OF_OVALS, endpoint=False)
        yield [centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)]
    elif roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED, ROI_TYPE.RECT):
        yield [np.asarray(roi.coordinates(), float)]


def _position(roi: ImagejRoi) -> dict[str, int]:
    """Planes of a hyperstack from 0; ImageJ counts from 1, and 0 is none."""
    return {axis: number - 1 for axis, number in (("T", roi.t_position), ("Z", roi.z_position)) if number > 0}


def _slice(roi: ImagejRoi) -> int | None:
    """The slice, which is all that ImageJ knows outside hyperstacks."""
    return None if roi.position <= 0 or _position(roi) else roi.position - 1


def _number(name: str) -> int | None:
    own = _OWN_NAME.fullmatch(name or "")
    return int(own[1]) if own else None
