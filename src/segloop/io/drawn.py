"""Drawn objects: outlines from a file, numbered and filled into a label image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
from skimage.draw import polygon

from segloop.errors import FileError
from segloop.io.frame import Frame
from segloop.io.planes import ORDER
from segloop.io.source import Source
from segloop.labels import smallest_dtype

_MOST_PIXELS = 2**33
"""Beyond this a size is not what a person drew on, but a damaged number."""


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """An object in one plane.

    Parameters
    ----------
    rings : sequence of float arrays (N, 2)
        x, y of the corners, the corner of the first pixel at (0, 0); inside is what an odd number of rings encloses.
    position : mapping of letter to int
        Plane along T and Z, from 0. An axis that is missing stands for all planes.
    label : int, optional
        Its number, if the file says it.
    """

    rings: Sequence[np.ndarray]
    position: Mapping[str, int]
    label: int | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Drawing:
    """What a file of outlines holds.

    Parameters
    ----------
    objects : sequence of Drawn
        Later ones lie on top.
    frame : Frame, optional
        That of the label image, if the file says it.
    """

    objects: Sequence[Drawn]
    frame: Frame | None = None


ReadOutlines = Callable[[Path], Drawing]


def fill(drawing: Drawing, path: Path, frame: Frame | None = None) -> Source:
    """Fill the outlines: a pixel belongs to an object when its centre lies inside.

    Objects keep their numbers if the file gives one to each and none twice in a plane; else they are numbered in the
    order of the file.

    Parameters
    ----------
    drawing : Drawing
        What ``path`` holds.
    path : Path
        Named in errors.
    frame : Frame, optional
        Of the image that they were drawn on. By default that of the file, or just large enough for all.

    Raises
    ------
    FileError
        If an object lies wholly outside the frame, so that the file belongs to another image.
    """
    objects = drawing.objects
    known = frame or drawing.frame
    place = known or _smallest(objects)
    if np.prod([float(extent) for extent in place.shape]) > _MOST_PIXELS:
        raise FileError(f"{path}: outlines reach to {place.shape}, more than a label image holds; is the file damaged?")
    numbers = _numbers(objects)
    array = np.zeros(place.shape, smallest_dtype(max(numbers, default=0)))
    outer = place.axes[:-2]
    for number, drawn in zip(numbers, objects):
        mask, rows, columns = _inside(drawn.rings, place.shape[-2:])
        position = _along(outer, drawn.position)
        beyond = [axis for axis, extent in zip(outer, place.shape) if position.get(axis, 0) >= extent]
        if mask is None or beyond:
            extents = ", ".join(f"{axis} {extent}" for axis, extent in zip(place.axes, place.shape))
            raise FileError(
                f"{path}: object {number} lies outside the image, whose size is {extents}; was it drawn on another one?"
            )
        # an axis that the file does not name stands for all its planes
        planes = [[position[axis]] if axis in position else range(n) for axis, n in zip(outer, place.shape)]
        for index in itertools.product(*planes):
            array[index][rows, columns][mask] = number
    if known is None:
        return Source(array, place.axes)
    classes = drawing.frame.classes if drawing.frame else ()
    return Source(array, place.axes, place.pixel_size, "" if place.unit == "pixel" else place.unit, classes)


def _along(outer: str, position: Mapping[str, int]) -> Mapping[str, int]:
    """Programs that know slices only mean the one axis that there is."""
    if len(outer) == len(position) == 1:
        return dict.fromkeys(outer, *position.values())
    return position


def _numbers(objects: Sequence[Drawn]) -> list[int]:
    given = [drawn.label for drawn in objects]
    places = {(drawn.label, tuple(sorted(drawn.position.items()))) for drawn in objects}
    if len(places) == len(objects) and all(label is not None and label > 0 for label in given):
        return [int(label) for label in given if label is not None]
    return list(range(1, len(objects) + 1))


def _smallest(objects: Sequence[Drawn]) -> Frame:
    """Just large enough; stacks have an axis if an object lies beyond its first plane."""
    corners = [ring.max(axis=0) for drawn in objects for ring in drawn.rings if len(ring)]
    width, height = np.ceil(np.max(corners, axis=0)).astype(int).tolist() if corners else (1, 1)
    extents = {axis: 1 + max((drawn.position.get(axis, 0) for drawn in objects), default=0) for axis in ORDER[:2]}
    extents |= {"Y": max(height, 1), "X": max(width, 1)}
    axes = "".join(axis for axis in ORDER if axis in "YX" or extents[axis] > 1)
    return Frame(axes, tuple(extents[axis] for axis in axes), dict.fromkeys(axes, 1.0))


def _inside(rings: Sequence[np.ndarray], size: tuple[int, ...]) -> tuple[np.ndarray | None, slice, slice]:
    """The pixels in a box within ``size``: bool (Y, X), its rows and columns; None if no part is in there."""
    corners = np.concatenate([ring for ring in rings if len(ring)] or [np.zeros((0, 2))])
    if not len(corners):
        return None, slice(0), slice(0)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    rows = slice(max(floor(top), 0), min(ceil(bottom), size[0]))
    columns = slice(max(floor(left), 0), min(ceil(right), size[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None, rows, columns
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    for ring in rings:
        # corners are counted from the edge of the first pixel, skimage's points from its centre
        own = polygon(ring[:, 1] - 0.5 - rows.start, ring[:, 0] - 0.5 - columns.start, mask.shape)
        mask[own] ^= True
    return mask, rows, columns
