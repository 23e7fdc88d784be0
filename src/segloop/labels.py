"""Labels: label images, their invariants, and the ways between instances and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import label as connected_components
from skimage.segmentation import find_boundaries

from segloop.errors import LabelsError
from segloop.image import Image, check_axes

_MOST_CLASSES = 32
_SAMPLED = 1024


class Task(StrEnum):
    """What the numbers of a label image mean."""

    SEMANTIC = "semantic"
    INSTANCE = "instance"


@dataclass(frozen=True, eq=False)
class Labels:
    """A label image with its axes and pixel size. ``numpy.asarray(labels)`` gives the array.

    Parameters
    ----------
    data : unsigned integers, one number per pixel
        0 is background. Instances: 1…N, one number per object in the whole array, stacks included.
        Classes: the class's number. NumPy's, or any array that gives blocks when indexed, for images too large for
        memory.
    axes : str
        One letter per dimension, of T, Z, Y, X.
    pixel_size : mapping of letter to float
    unit : str
        Unit of the pixel size along Z, Y and X.
    classes : tuple of str
        Names of the classes when ``data`` holds class numbers; empty for instances.
    """

    data: Any
    axes: str
    pixel_size: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", check_labels(self.data))
        object.__setattr__(self, "axes", check_axes(self.axes, len(self.data.shape)))
        sizes = {axis: float(self.pixel_size.get(axis, 1.0)) for axis in self.axes}
        object.__setattr__(self, "pixel_size", sizes)

    @classmethod
    def like(cls, image: Image, data: np.ndarray, classes: tuple[str, ...] = ()) -> Labels:
        """Return ``data`` as labels of ``image``, with its axes and pixel size.

        Raises
        ------
        LabelsError
            If the shape is not ``image.label_shape``.
        """
        check_shape(data.shape, image)
        return cls(data, image.label_axes, image.pixel_size, image.unit, classes)

    @property
    def is_instances(self) -> bool:
        """Whether each number is one object, rather than a class."""
        return not self.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(n) for n in self.data.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.asarray(self.data, dtype=dtype)
        return array.copy() if copy else array


def check_labels(array: Any) -> Any:
    """Return ``array`` as unsigned integers without changing a value.

    Bool becomes uint8; signed integers and floats with whole non-negative values become the smallest unsigned type
    from uint8 to uint32 (uint64 if need be) that holds them. Unsigned arrays are returned as they are.

    Raises
    ------
    LabelsError
        If values are negative, fractional, NaN, or the array has no pixels.
    """
    is_lazy = not isinstance(array, np.ndarray) and hasattr(array, "dtype") and hasattr(array, "shape")
    if is_lazy and np.dtype(array.dtype).kind == "u" and 0 not in array.shape:
        return array  # it may not fit in memory
    array = np.asarray(array)
    if array.dtype.kind not in "buif":
        raise LabelsError(f"labels of type {array.dtype}; expected whole numbers")
    if array.size == 0:
        raise LabelsError(f"the label image has no pixels: shape {array.shape}")
    if array.dtype.byteorder not in "=|":
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "u":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.floor(array)).all()):
        raise LabelsError("the label image has fractional or NaN values; expected whole numbers, 0 for background")
    if array.min() < 0:
        raise LabelsError(f"the label image has negative values ({array.min()}); expected 0 for background and 1…N")
    return array.astype(smallest_dtype(int(array.max())))


def check_shape(shape: tuple[int, ...], image: Image) -> None:
    """Raise LabelsError unless ``shape`` is that of a label image of ``image``."""
    if tuple(shape) != image.label_shape:
        raise LabelsError(
            f"labels of shape {tuple(shape)} do not fit the image {image.name!r}: expected {image.label_shape} "
            f"(axes {image.label_axes})"
        )


def smallest_dtype(largest: int) -> np.dtype:
    """The smallest of uint8, uint16, uint32, uint64 that holds ``largest``.

    Raises
    ------
    LabelsError
        If none does.
    """
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        if largest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise LabelsError(f"the label {largest:.3g} is too large; expected at most {np.iinfo(np.uint64).max}")


def consecutive(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the objects from 1 without gaps, in the order of their numbers.

    Parameters
    ----------
    labels : unsigned integers (...)
        0 is background; numbers may be any, up to the largest uint64.

    Returns
    -------
    numbers : uint64 (N,)
        The number that object 1…N has in ``labels``.
    places : int64 (...)
        0…N.
    """
    largest = int(labels.max())
    if largest <= 4 * labels.size + 65536:  # a table is much faster than sorting
        present = np.zeros(largest + 1, bool)
        present[labels] = True
        present[0] = False
        return np.flatnonzero(present).astype(np.uint64), np.cumsum(present, dtype=np.int64)[labels]
    numbers, places = np.unique(labels, return_inverse=True)
    places = places.reshape(labels.shape).astype(np.int64)
    if numbers[0] == 0:
        return numbers[1:].astype(np.uint64), places
    return numbers.astype(np.uint64), places + 1


def look_like_instances(labels: np.ndarray) -> bool:
    """Guess whether a label image holds instances: nearly every number is one connected piece, and there are many.

    Class images have few numbers with many pieces each. The guess is to be shown and may be changed.
    """
    numbers = np.unique(labels)
    numbers = numbers[numbers > 0]
    if len(numbers) == 0:
        return False
    pieces = int(connected_components(labels, background=0, connectivity=labels.ndim).max())
    return len(numbers) >= 3 and pieces <= 1.5 * len(numbers)


def check_no_photograph(labels: np.ndarray, name: str) -> None:
    """Raise LabelsError if what was given as labels is certainly an image: its values lie scattered in tiny pieces.

    Labels are never called an image, however small their objects are, or in however many pieces: they have few numbers
    (classes), few pieces of each (objects), or much background between the pieces.

    Parameters
    ----------
    labels : unsigned integers (..., Y, X)
        One plane of it is looked at, up to 1024 x 1024 pixels.
    name : str
        What the error calls it.
    """
    plane = sample_plane(labels)
    values, filled = len(np.unique(plane[plane > 0])), int(np.count_nonzero(plane))
    if values < _MOST_CLASSES or 2 * filled < plane.size:
        return
    pieces = int(connected_components(plane, background=0, connectivity=plane.ndim).max())
    # of 16 bits hardly two pixels are alike
    if (filled < 8 * pieces and pieces > 4 * values) or filled < 2 * pieces:
        raise LabelsError(
            f"{name} looks like an image, not like labels: its {values} values lie in {pieces} pieces of about "
            f"{filled / pieces:.1f} pixels; expected one number per object or class, 0 for background"
        )


def sample_plane(array: np.ndarray) -> np.ndarray:
    """Return the middle of the middle plane (Y, X), at most 1024 x 1024 pixels: enough to see what an array is."""
    while len(array.shape) > 2:
        array = array[array.shape[0] // 2]
    sides = [(max(0, n - _SAMPLED) // 2, min(n, _SAMPLED)) for n in array.shape]
    return np.asarray(array[tuple(slice(start, start + n) for start, n in sides)])


def border_classes(labels: np.ndarray) -> np.ndarray:
    """Turn instances into the classes 0 background, 1 inside, 2 border.

    The border is the outermost pixel ring *inside* each object (4-connected), so that inside and border together
    are the foreground, and touching objects are parted by a border two pixels wide.

    Parameters
    ----------
    labels : integers (..., Y, X)
        One 2D plane, or one 3D volume.

    Returns
    -------
    uint8, same shape
    """
    classes = (labels > 0).astype(np.uint8)
    classes[find_boundaries(labels, connectivity=1, mode="inner", background=0)] = 2
    return classes


def diameters(labels: np.ndarray) -> np.ndarray:
    """Diameter of the circle (sphere) of each object's area (volume), in pixels: float64 (N,)."""
    areas = np.bincount(consecutive(labels)[1].ravel())[1:]
    if labels.ndim == 2:
        return np.sqrt(4 * areas / np.pi)
    return np.cbrt(6 * areas / np.pi)


def bounding_boxes(labels: np.ndarray) -> dict[int, tuple[slice, ...]]:
    """The box of each object as slices, by its number."""
    numbers, places = consecutive(labels)
    return dict(zip(numbers.tolist(), ndimage.find_objects(places)))


def object_table(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Label, area (pixels), centroid and box of each object, as columns of length N.

    Columns are ``label``, ``area``, ``centroid-0`` … and ``bbox-0`` … (scikit-image's names).
    """
    # as scikit-image's regionprops_table, which takes no more than 3 dimensions and a time for each object
    numbers, places = consecutive(labels)
    corners = [box for box in ndimage.find_objects(places, max_label=len(numbers)) if box is not None]
    pixels = np.nonzero(places)
    objects = places[pixels] - 1
    area = np.bincount(objects, minlength=len(numbers)).astype(np.float64)
    # signed, as everything else in a table, so that joining tables does not make floats of the numbers
    label = numbers.astype(np.int64) if numbers.max(initial=0) < 1 << 63 else numbers
    table: dict[str, np.ndarray] = {"label": label, "area": area}
    for axis, places_along in enumerate(pixels):
        table[f"centroid-{axis}"] = np.bincount(objects, weights=places_along, minlength=len(numbers)) / area
    edges = np.array([[s.start for s in box] + [s.stop for s in box] for box in corners], np.int64)
    for column, values in enumerate(edges.reshape(-1, 2 * labels.ndim).T):
        table[f"bbox-{column}"] = values
    return table
