"""Drawn objects: outlines from a file, numbered and filled into a label image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path

import numpy as np
from skimage.draw import polygon

from segloop.errors import FileError
from segloop.io.frame import Frame
from segloop.io.planes import ORDER
from segloop.io.source import Source
from segloop.labels import smallest_dtype

MOST_DIGITS = 9
"""Numbers of more digits are dates or the like, and no labels: they would not fit into 32 bits."""

_MOST_PIXELS = 2**33
_FARTHEST = 2.0**31
"""Beyond these a size or a coordinate is not what a person drew, but a damaged number."""


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
    slice : int, optional
        Plane from 0 in a stack of one axis, if the file does not say which axis that is.
    """

    rings: Sequence[np.ndarray]
    position: Mapping[str, int]
    label: int | None = None
    slice: int | None = None

    def zoomed(self, zoom: Mapping[str, float]) -> Drawn:
        """The object in an image with ``zoom`` times as many pixels along each axis; 1 where none is given."""
        rings = [ring * (zoom.get("X", 1.0), zoom.get("Y", 1.0)) for ring in self.rings]
        position = {axis: floor(number * zoom.get(axis, 1.0)) for axis, number in self.position.items()}
        number = None if self.slice is None else floor(self.slice * zoom.get("Z", 1.0))
        return replace(self, rings=rings, position=position, slice=number)


@dataclass(frozen=True, eq=False, slots=True)
class Drawing:
    """What a file of outlines holds.

    Parameters
    ----------
    objects : sequence of Drawn
        Later ones lie on top.
    frame : Frame, optional
        That of the label image, if the file says it.
    passed_over : int
        How many lines, points and the like the file holds besides, which outline no object.
    """

    objects: Sequence[Drawn]
    frame: Frame | None = None
    passed_over: int = 0


ReadOutlines = Callable[[Path], Drawing]


def fill(drawing: Drawing, path: Path, frame: Frame | None = None, zoom: Mapping[str, float] | None = None) -> Source:
    """Fill the outlines: a pixel belongs to an object when its centre lies inside.

    An object so small that it holds no centre takes the pixel that its middle lies in, if no other has it.

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
    zoom : mapping of letter to float, optional
        Pixels of ``frame`` for one of the image that they were drawn on, if ``frame`` is that of a coarser copy. It
        does not count for a file that says the size of ``frame`` itself.

    Raises
    ------
    FileError
        If an object lies wholly outside the frame, or in different planes along an axis that the frame lacks, so
        that the file belongs to another image; or if a coordinate is damaged.
    """
    objects = drawing.objects
    if not all(np.isfinite(ring).all() and (np.abs(ring) < _FARTHEST).all() for own in objects for ring in own.rings):
        raise FileError(
            f"{path} has coordinates that are no numbers or beyond {_FARTHEST:.0f} pixels; is the file damaged?"
        )
    known = frame or drawing.frame
    place = known or smallest(objects)
    if zoom and not (drawing.frame and drawing.frame.shape[-2:] == place.shape[-2:]):
        objects = [drawn.zoomed(zoom) for drawn in objects]
    if np.prod([float(extent) for extent in place.shape]) > _MOST_PIXELS:
        raise FileError(f"{path}: outlines reach to {place.shape}, more than a label image holds; is the file damaged?")
    numbers = _numbers(objects)
    array = np.zeros(place.shape, smallest_dtype(max(numbers, default=0)))
    outer = place.axes[:-2]
    named = (
        drawing.frame.axes[:-2] if drawing.frame else "".join({axis: "" for own in objects for axis in own.position})
    )
    _check_axes(objects, named, place.axes, path)
    for number, drawn in zip(numbers, objects):
        mask, rows, columns = _inside(drawn.rings, place.shape[-2:])
        position = _along(outer, named, drawn)
        beyond = [axis for axis, extent in zip(outer, place.shape) if not 0 <= position.get(axis, 0) < extent]
        if mask is None and known is None:
            raise FileError(
                f"{path}: object {number} lies left of or above the first pixel; say which image it was drawn on "
                "(convert --like IMAGE, in Python like=)"
            )
        if mask is None or beyond:
            extents = ", ".join(f"{axis} {extent}" for axis, extent in zip(place.axes, place.shape))
            raise FileError(
                f"{path}: object {number} lies outside the image, whose size is {extents}; was it drawn on another one?"
            )
        # an axis that the file does not name stands for all its planes
        planes = [[position[axis]] if axis in position else range(n) for axis, n in zip(outer, place.shape)]
        small = None if mask.any() else _middle(drawn.rings, place.shape[-2:])
        for index in itertools.product(*planes):
            array[index][rows, columns][mask] = number
            if small and not array[index][small]:
                array[index][small] = number
    if known is None:
        return Source(array, place.axes)
    return replace(known, classes=drawing.frame.classes if drawing.frame else ()).source(array)


def losses(drawing: Drawing, frame: Frame | None = None) -> tuple[str, ...]:
    """Say what of a file :func:`fill` leaves out: lines and points, and what sticks out of ``frame``."""
    said = []
    if drawing.passed_over:
        many = "1 is" if drawing.passed_over == 1 else f"{drawing.passed_over} are"
        said.append(f"{many} left out, being lines, points, texts or pictures: they outline no object")
    known = frame or drawing.frame
    # without a frame all that lies right of and below the first pixel is inside
    height, width = known.shape[-2:] if known else (np.inf, np.inf)
    cut = 0
    for drawn in drawing.objects:
        corners = np.concatenate([np.zeros((0, 2)), *drawn.rings])
        cut += bool((corners < 0).any() or (corners > (width, height)).any())
    if cut:
        objects = "1 object sticks" if cut == 1 else f"{cut} objects stick"
        said.append(f"{objects} out of the image, and the part outside is cut off")
    return tuple(said)


def _check_axes(objects: Sequence[Drawn], named: str, axes: str, path: Path) -> None:
    """Planes along an axis that the image lacks would all fall into one."""
    if len(named) == len(axes) - 2 == 1:
        return
    for axis in sorted(set(named) - set(axes)):
        planes = {drawn.position[axis] for drawn in objects if axis in drawn.position}
        if len(planes) > 1:
            raise FileError(
                f"{path}: outlines lie in planes {min(planes) + 1} to {max(planes) + 1} along {axis}, but the image "
                f"has axes {axes}; expected the stack that they were drawn on"
            )


def _along(outer: str, named: str, drawn: Drawn) -> Mapping[str, int]:
    """Where there is one axis only, it is the one that is meant, whatever its name: stacks are taken for either."""
    if drawn.slice is not None:
        return {outer if len(outer) == 1 else "Z": drawn.slice}
    if len(outer) == len(named) == 1 and named in drawn.position:
        return {outer: drawn.position[named]}
    return drawn.position


def _numbers(objects: Sequence[Drawn]) -> list[int]:
    given = [drawn.label for drawn in objects]
    places = {(drawn.label, drawn.slice, tuple(sorted(drawn.position.items()))) for drawn in objects}
    if len(places) == len(objects) and all(label is not None and label > 0 for label in given):
        return [int(label) for label in given if label is not None]
    return list(range(1, len(objects) + 1))


def smallest(objects: Sequence[Drawn]) -> Frame:
    """Just large enough; stacks have an axis if an object lies beyond its first plane."""
    corners = [ring.max(axis=0) for drawn in objects for ring in drawn.rings if len(ring)]
    width, height = np.ceil(np.max(corners, axis=0)).astype(int).tolist() if corners else (1, 1)
    positions = [_along("Z", "", drawn) for drawn in objects]
    extents = {axis: 1 + max((position.get(axis, 0) for position in positions), default=0) for axis in ORDER[:2]}
    extents |= {"Y": max(height, 1), "X": max(width, 1)}
    axes = "".join(axis for axis in ORDER if axis in "YX" or extents[axis] > 1)
    return Frame(axes, tuple(extents[axis] for axis in axes), dict.fromkeys(axes, 1.0))


def _inside(rings: Sequence[np.ndarray], size: tuple[int, ...]) -> tuple[np.ndarray | None, slice, slice]:
    """The pixels in a box within ``size``: bool (Y, X), its rows and columns; None if no part is in there."""
    corners = np.concatenate([ring for ring in rings if len(ring)] or [np.zeros((0, 2))])
    if not len(corners):
        return None, slice(0), slice(0)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    # what has no width still lies in a pixel
    rows = slice(max(floor(top), 0), min(max(ceil(bottom), floor(top) + 1), size[0]))
    columns = slice(max(floor(left), 0), min(max(ceil(right), floor(left) + 1), size[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None, rows, columns
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    for ring in rings:
        # corners are counted from the edge of the first pixel, skimage's points from its centre
        own = polygon(ring[:, 1] - 0.5 - rows.start, ring[:, 0] - 0.5 - columns.start, mask.shape)
        mask[own] ^= True
    return mask, rows, columns


def _middle(rings: Sequence[np.ndarray], size: tuple[int, ...]) -> tuple[int, int] | None:
    """Row and column of the pixel in the middle of the corners; None if that is outside ``size``."""
    column, row = (floor(middle) for middle in np.concatenate(rings).mean(axis=0))
    return (row, column) if 0 <= row < size[0] and 0 <= column < size[1] else None
