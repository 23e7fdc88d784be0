"""ImageJ ROIs in a zip file, as Fiji's ROI Manager opens them.

One ROI per object and plane. An object in one piece without holes is a polygon along its pixels' edges
("traced", what ImageJ's wand makes); any other is one composite ROI with all its pieces and holes. ImageJ
fills both by pixel centres, so that a mask made from them is the object to the pixel.
Format: ij.io.RoiDecoder and ij.gui.ShapeRoi of ImageJ.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segloop.io.files import writing
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
