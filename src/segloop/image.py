"""Image: pixels, what their axes mean, and how large a pixel is. The only place where axes are converted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from segloop.errors import ImageError

AXES = "TCZYXS"
"""Time, channel, depth, row, column, samples of a pixel (RGB). OME's letters; S is tifffile's for RGB."""

CHANNEL_AXES = "CS"
MICROMETER = "micrometer"
SMALLEST_SIDE = 8
"""Images with a shorter spatial side than this cannot hold an object that a network sees."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image as a biologist means it: an array, its axes as letters, the size of a pixel.

    Parameters
    ----------
    data : array of bool, integers or floats
        NumPy, dask or zarr array, memory map; read block by block and never changed.
    axes : str
        One letter per dimension of ``data``: T (time), C (channel), Z (depth), Y (row), X (column), S (RGB
        samples). Y and X are required, no letter twice, and only one of C and S.
    pixel_size : float, sequence or mapping, optional
        Distance between neighbouring pixels in ``unit``. A number holds for Z, Y and X; a sequence gives one
        number per axis that is not C or S, in the order of ``axes``; a mapping goes from letter to number.
        Axes not given have size 1.
    unit : str
        Unit of ``pixel_size`` along Z, Y and X, "pixel" when uncalibrated.
    name : str
        Shown to the user and used for file names.

    Raises
    ------
    ImageError
        If letters and array do not fit, the array is empty or not numeric, or a pixel size is not positive.
    """

    data: Any
    axes: str
    pixel_size: Any = field(default_factory=dict)
    unit: str = ""
    name: str = "image"

    def __post_init__(self) -> None:
        data = self.data if hasattr(self.data, "shape") and hasattr(self.data, "dtype") else np.asarray(self.data)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "axes", check_axes(self.axes, len(data.shape)))
        if data.dtype.kind not in "buif":
            raise ImageError(
                f"the image has pixels of type {data.dtype}; expected bool, integer or float. "
                "Convert complex or structured data to one real number per pixel"
            )
        if 0 in data.shape:
            raise ImageError(f"the image has no pixels: shape {tuple(data.shape)} for axes {self.axes}")
        if self.pixel_size is None:
            object.__setattr__(self, "pixel_size", {})
        calibrated = not isinstance(self.pixel_size, Mapping) or any(a.upper() in "ZYX" for a in self.pixel_size)
        sizes = _pixel_sizes(self.pixel_size, self.label_axes)
        object.__setattr__(self, "pixel_size", MappingProxyType(sizes))
        if not self.unit:
            object.__setattr__(self, "unit", MICROMETER if calibrated else "pixel")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, one number per letter of ``axes``."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis by its letter."""
        return dict(zip(self.axes, self.shape))

    @property
    def label_axes(self) -> str:
        """The axes that a label image of this image has: all but C and S, in the image's order."""
        return "".join(axis for axis in self.axes if axis not in CHANNEL_AXES)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of a label image of this image."""
        return tuple(self.sizes[axis] for axis in self.label_axes)

    @property
    def channel_axis(self) -> str:
        """The letter of the channel axis, C or S, or "" for an image without one."""
        return next((axis for axis in self.axes if axis in CHANNEL_AXES), "")

    @property
    def channels(self) -> int:
        """Number of channels or RGB samples; 1 for an image without a channel axis."""
        return self.sizes.get(self.channel_axis, 1)

    @property
    def is_calibrated(self) -> bool:
        """Whether the pixel size is a physical length."""
        return self.unit != "pixel"

    @property
    def pixel_sizes(self) -> tuple[float, ...]:
        """Pixel size along each of ``label_axes``."""
        return tuple(self.pixel_size[axis] for axis in self.label_axes)

    def channel(self, number: int) -> Image:
        """Return the image of one channel, without a channel axis.

        Raises
        ------
        ImageError
            If there is no such channel.
        """
        if not 0 <= number < self.channels:
            raise ImageError(f"channel {number} does not exist: the image has channels 0 to {self.channels - 1}")
        return self.take(self.channel_axis, number) if self.channel_axis else self

    def take(self, axis: str, number: int) -> Image:
        """Return the image at one position along ``axis``, without that axis. Nothing is read from disk."""
        place = self.axes.index(axis)
        index = (slice(None),) * place + (number,)
        sizes = {letter: size for letter, size in self.pixel_size.items() if letter != axis}
        data = (
            self.data[index]
            if isinstance(self.data, np.ndarray) or hasattr(self.data, "dask")
            else _Taken(self.data, index)
        )
        return replace(self, data=data, axes=self.axes.replace(axis, ""), pixel_size=sizes, unit=self.unit)

    def without_alpha(self) -> Image:
        """Return an RGBA image as RGB if its alpha is the same everywhere; any other image as it is.

        Raises
        ------
        ImageError
            If an RGBA image is transparent somewhere: what lies under it is not known.
        """
        if self.channel_axis != "S" or self.channels != 4:
            return self
        alpha = np.asarray(self.take("S", 3).data)
        if alpha.min() != alpha.max():
            raise ImageError(
                "the image is RGBA with transparent pixels; expected grey or RGB. Flatten it onto a background "
                "(in Fiji: Image > Type > RGB Color) and try again"
            )
        place = self.axes.index("S")
        return replace(self, data=self.data[(slice(None),) * place + (slice(0, 3),)])

    def blocks(self, ndim: int) -> Iterator[tuple[tuple[int, ...], Image]]:
        """Iterate over the 2D planes (``ndim`` 2) or volumes (3) that a model takes one at a time.

        Yields
        ------
        index : tuple of int
            Position along the axes that were taken away, in the order of ``label_axes``.
        block : Image
            Image with axes [C or S], [Z], Y, X only.

        Raises
        ------
        ImageError
            If ``ndim`` is 3 and the image has no Z axis.
        """
        if ndim == 3 and "Z" not in self.axes:
            raise ImageError(
                f"a 3D model needs a Z axis, but the image has axes {self.axes}; say its axes, such as ZYX"
            )
        outer = self.outer_axes(ndim)
        for index in itertools.product(*(range(self.sizes[axis]) for axis in outer)):
            block = self
            for axis, number in zip(outer, index):
                block = block.take(axis, number)
            yield index, block

    def outer_axes(self, ndim: int) -> str:
        """The axes over which ``blocks`` iterates."""
        inner = "ZYX" if ndim == 3 else "YX"
        return "".join(axis for axis in self.label_axes if axis not in inner)

    def spatial_shape(self) -> tuple[int, ...]:
        """Lengths of the spatial axes, in the order [Z], Y, X."""
        return tuple(self.sizes[axis] for axis in "ZYX" if axis in self.axes)

    def read(self, region: Sequence[slice] | None = None) -> np.ndarray:
        """Read a region of an image without T axis.

        Parameters
        ----------
        region : sequence of slice, optional
            One slice per spatial axis in the order [Z], Y, X; everything by default.

        Returns
        -------
        ndarray (C, [Z], Y, X), the image's dtype in native byte order
        """
        spatial = [axis for axis in "ZYX" if axis in self.axes]
        if "T" in self.axes:
            raise ImageError(f"read() takes one time point, but the image has axes {self.axes}; use blocks() or take()")
        place = dict(zip(spatial, region if region is not None else [slice(None)] * len(spatial)))
        array = np.asarray(self.data[tuple(place.get(axis, slice(None)) for axis in self.axes)])
        if array.dtype.byteorder not in "=|":
            array = array.astype(array.dtype.newbyteorder("="))
        array = array.transpose([self.axes.index(axis) for axis in [self.channel_axis, *spatial] if axis])
        return array if self.channel_axis else array[np.newaxis]

    def sample(self, pixels: int = 1 << 22) -> np.ndarray:
        """Read about ``pixels`` pixels per channel, spread evenly over the whole image.

        Returns
        -------
        ndarray (C, N)
            Every pixel when the image is small; otherwise evenly spread blocks, so that only a few chunks of a lazy
            array are read. The choice depends on the shape alone: a file read lazily gives what an array gives.
        """
        channel = self.axes.index(self.channel_axis) if self.channel_axis else -1
        if math.prod(self.label_shape) <= pixels:
            return _channel_rows(np.asarray(self.data[(slice(None),) * len(self.axes)]), channel)
        block = {axis: min(512, n) if axis in "YX" else 1 for axis, n in zip(self.label_axes, self.label_shape)}
        while block["Y"] * block["X"] > pixels:
            longer = max("YX", key=lambda axis: block[axis])
            block[longer] = max(1, block[longer] // 2)
        most = pixels // (block["Y"] * block["X"])
        counts = dict.fromkeys(block, 1)
        room = {axis: math.ceil(self.sizes[axis] / side) for axis, side in block.items()}
        while growing := [
            axis
            for axis, count in counts.items()
            if count < room[axis] and math.prod(counts.values()) // count * (count + 1) <= most
        ]:
            counts[min(growing, key=lambda axis: counts[axis] / room[axis])] += 1
        starts = {
            axis: ((self.sizes[axis] - side) * (np.arange(n) / (n - 1) if n > 1 else np.array([0.5]))).astype(int)
            for axis, side, n in zip(block, block.values(), counts.values())
        }
        rows = []
        for corner in itertools.product(*starts.values()):
            at = dict(zip(self.label_axes, corner))
            index = tuple(
                slice(None) if axis in CHANNEL_AXES else slice(int(at[axis]), int(at[axis]) + block[axis])
                for axis in self.axes
            )
            rows.append(_channel_rows(np.asarray(self.data[index]), channel))
        return np.concatenate(rows, axis=1)


class _Taken:
    """One position of an array that reads from disk when indexed (zarr), kept unread until a region is asked for."""

    def __init__(self, data: Any, index: tuple[int | slice, ...]) -> None:
        self._data = data
        self._place = len(index) - 1
        self._number = index[-1]
        self.shape = data.shape[: self._place] + data.shape[self._place + 1 :]
        self.dtype = data.dtype

    def __getitem__(self, index: Any) -> Any:
        index = index if isinstance(index, tuple) else (index,)
        index = index + (slice(None),) * (len(self.shape) - len(index))
        return self._data[(*index[: self._place], self._number, *index[self._place :])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[()], dtype=dtype)


class ChannelStack:
    """Arrays of one shape as the channels of an image, the first axis; read when it is indexed.

    Parameters
    ----------
    parts : sequence of arrays (...)
        NumPy, dask or zarr arrays, memory maps.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)
        self.shape = (len(self.parts), *self.parts[0].shape)
        self.dtype = np.result_type(*(part.dtype for part in self.parts))

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        index = index + (slice(None),) * (len(self.shape) - len(index))
        chosen = self.parts[index[0]]
        if isinstance(chosen, tuple):
            return np.stack([np.asarray(part[index[1:]]) for part in chosen]).astype(self.dtype, copy=False)
        return np.asarray(chosen[index[1:]]).astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def stack_channels(images: Sequence[Image]) -> Image:
    """Return one image of which the given ones are the channels, in that order; nothing is read.

    Parameters
    ----------
    images : sequence of Image
        Without channels of their own, of the same axes and lengths. Pixel size, unit and name are the first one's.

    Raises
    ------
    ImageError
        If there are none, one has channels, or they differ in axes or lengths.
    """
    if not images:
        raise ImageError("there is no image to take as a channel; expected at least one")
    first = images[0]
    for image in images:
        if image.channel_axis:
            raise ImageError(
                f"the image {image.name!r} has channels of its own (axes {image.axes}); expected one without, "
                "such as Image.channel(0)"
            )
        if image.sizes != first.sizes or image.axes != first.axes:
            raise ImageError(
                f"the images {first.name!r} ({first.axes} {first.shape}) and {image.name!r} ({image.axes} "
                f"{image.shape}) cannot be channels of one image; expected the same axes and lengths"
            )
    if len(images) == 1:
        return first
    return replace(first, data=ChannelStack([image.data for image in images]), axes="C" + first.axes)


def check_axes(axes: str, ndim: int) -> str:
    """Return ``axes`` in capitals, or say what is wrong with them for an array of ``ndim`` dimensions.

    Raises
    ------
    ImageError
        Unknown or repeated letters, no Y or X, both C and S, or another number of letters than dimensions.
    """
    letters = str(axes).upper()
    if unknown := [axis for axis in letters if axis not in AXES]:
        raise ImageError(f"unknown axis {unknown[0]!r} in {axes!r}; the letters are T, C, Z, Y, X and S (RGB samples)")
    if len(letters) != ndim:
        raise ImageError(
            f"axes {letters!r} name {len(letters)} dimensions, but the image has {ndim}; give one letter per dimension"
        )
    if len(set(letters)) != len(letters):
        raise ImageError(f"axes {letters!r} name one letter twice; each letter may stand once")
    if "Y" not in letters or "X" not in letters:
        raise ImageError(f"axes {letters!r} lack Y or X; an image needs both")
    if "C" in letters and "S" in letters:
        raise ImageError(f"axes {letters!r} have both C and S; keep one of them as the channel axis")
    return letters


def guess_axes(shape: Sequence[int], rgb: bool | None = None) -> str:
    """Guess the axes of an array from its shape alone. A guess is to be shown and may be changed.

    A last axis of length 3 or 4 behind two longer ones is S (unless ``rgb`` is False); then Y and X are last; of
    what remains, an axis of at most 4 in front of the plane is C when nothing else is left to be it, and
    Z and T follow.

    Raises
    ------
    ImageError
        For arrays with fewer than 2 or more than 5 dimensions.
    """
    shape = tuple(int(n) for n in shape)
    if rgb is None:
        rgb = len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4
    tail = "YXS" if rgb else "YX"
    front = len(shape) - len(tail)
    if front < 0 or front > (2 if rgb else 3):
        raise ImageError(f"an array of {len(shape)} dimensions cannot be read as an image; give its axes, such as ZYX")
    if rgb or front == 0:
        return ("", "Z", "TZ")[front] + tail
    if front == 1:
        return ("C" if shape[0] <= 4 else "Z") + tail
    if front == 2:
        if shape[0] <= 4:
            return "CZ" + tail
        return ("ZC" if shape[1] <= 4 else "TZ") + tail
    return ("TCZ" if shape[1] <= 4 or shape[2] > 4 else "TZC") + tail


def _channel_rows(array: np.ndarray, channel: int) -> np.ndarray:
    if array.dtype.byteorder not in "=|":
        array = array.astype(array.dtype.newbyteorder("="))
    array = array[np.newaxis] if channel < 0 else np.moveaxis(array, channel, 0)
    return array.reshape(array.shape[0], -1)


def _pixel_sizes(given: Any, axes: str) -> dict[str, float]:
    sizes = dict.fromkeys(axes, 1.0)
    if isinstance(given, Mapping):
        sizes |= {str(axis).upper(): float(size) for axis, size in given.items() if str(axis).upper() in axes}
    elif isinstance(given, (int, float, np.number)):
        sizes |= {axis: float(given) for axis in axes if axis in "ZYX"}
    else:
        values = [float(size) for size in given]
        if len(values) != len(axes):
            raise ImageError(f"pixel_size has {len(values)} numbers, but the axes {axes} need {len(axes)}")
        sizes |= dict(zip(axes, values))
    for axis, size in sizes.items():
        if not (math.isfinite(size) and size > 0):
            raise ImageError(f"the pixel size along {axis} is {size}; expected a positive number")
    return sizes
