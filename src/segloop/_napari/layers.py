"""The border between napari layers and SegLoop's images: axes, pixel size, and where results lie.

Everything here runs in the main thread; what it returns may go to a worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import napari.layers
import numpy as np
from napari.utils.transforms import Affine

from segloop._napari.calibration import calibration_of
from segloop._napari.file_headers import axes_in_file
from segloop.errors import ImageError, LabelsError
from segloop.image import CHANNEL_AXES, ChannelStack, Image, check_axes, guess_axes

MOST_PIXELS = 1 << 28
"""Of a multiscale image, the finest level with at most this many pixels is used: its labels must fit in memory."""

_LETTERS = {
    "t": "T", "time": "T", "frame": "T",
    "c": "C", "ch": "C", "channel": "C", "channels": "C",
    "z": "Z", "depth": "Z", "slice": "Z", "plane": "Z",
    "y": "Y", "row": "Y", "height": "Y",
    "x": "X", "col": "X", "column": "X", "width": "X",
}  # fmt: skip


def level_shapes(layer: napari.layers.Image) -> list[tuple[int, ...]]:
    """Shapes of the levels of a multiscale layer, finest first; one shape for an ordinary layer."""
    return [tuple(int(n) for n in data.shape) for data in (layer.data if layer.multiscale else [layer.data])]


def choose_level(layer: napari.layers.Image) -> int:
    """Number of the finest level that fits into memory."""
    shapes = level_shapes(layer)
    fitting = (number for number, shape in enumerate(shapes) if math.prod(shape) <= MOST_PIXELS)
    return next(fitting, len(shapes) - 1)


def guess_layer_axes(layer: napari.layers.Image, ask_file: bool = True) -> str:
    """Guess the axes of an image layer: from its axis labels where they are telling, else from its file or shape.

    Parameters
    ----------
    layer : Image
    ask_file : bool
        Whether the file it was read from may be opened, if it is a TIFF file or a Zarr folder.

    Raises
    ------
    ImageError
        If there are too few or too many dimensions to guess.
    """
    letters = [_LETTERS.get(label.strip().lower(), "") for label in layer.axis_labels]
    telling = all(letters) and len(set(letters)) == len(letters) and {"Y", "X"} <= set(letters)
    if telling and not (layer.rgb and "C" in letters):
        return "".join(letters) + ("S" if layer.rgb else "")
    shape = level_shapes(layer)[0]
    asked = ask_file and len(shape) - layer.rgb > 2
    return (axes_in_file(layer) if asked else "") or guess_axes(shape, rgb=layer.rgb)


def as_image(layer: napari.layers.Image, axes: str) -> Image:
    """Describe an image layer as an image that has the layer's own pixels, copied and read by nobody yet.

    Its pixels are as large as the layer says or, where nobody told the layer, its file.

    Raises
    ------
    ImageError
        If the axes do not fit the layer.
    """
    data = layer.data[choose_level(layer)] if layer.multiscale else layer.data
    axes = check_axes(axes, len(data.shape))
    if not (hasattr(data, "shape") and hasattr(data, "dtype")):
        data = np.asarray(data)
    place = Placement.of(layer, axes)
    sizes = {axis: abs(float(size)) for axis, size in zip(place.axes, place.scale) if axis not in CHANNEL_AXES}
    unit = str(layer.units[axes.index("X")])
    said = calibration_of(layer)
    if said is not None and said.covers(sizes):
        # of a coarser level, each pixel is as large as several
        sizes, unit = {axis: said.sizes.get(axis, 1.0) * size for axis, size in sizes.items()}, said.unit
    return Image(data, axes, sizes, unit=unit, name=layer.name)


def freeze_image(layer: napari.layers.Image, axes: str) -> Image:
    """Copy what a worker needs of an image layer. Arrays in memory are copied; lazy arrays are passed on unread.

    Raises
    ------
    ImageError
        If the axes do not fit the layer.
    """
    return copied(as_image(layer, axes))


def copied(image: Image) -> Image:
    """Return the image with pixels of its own, if they are in memory. May be called in a worker."""
    if isinstance(image.data, ChannelStack):
        return replace(image, data=ChannelStack([_copied(part) for part in image.data.parts]))
    return replace(image, data=_copied(image.data))


def _copied(data: Any) -> Any:
    return data.copy() if isinstance(data, np.ndarray) and not isinstance(data, np.memmap) else data


def visible_part(
    viewer: napari.Viewer, layer: napari.layers.Image, axes: str
) -> tuple[tuple[slice, slice] | None, int]:
    """Return what a person sees of an image layer, in pixels of the level that is segmented.

    Returns
    -------
    rows, columns : slices
        The part of the plane that is on screen; None instead of both where no plane is seen as such, or none of it.
    plane : int
        The plane on screen, counted over all axes but C, Y and X, in their order.
    """
    level, shapes = choose_level(layer), level_shapes(layer)
    size = dict(zip(axes, shapes[level]))
    letters = axes[: layer.ndim]
    plane = plane_on_screen(viewer, layer, letters, shapes[level], _shrinkage(shapes, 0, level, layer.ndim))
    # napari aligns layers by their last dimensions
    shown = {number - viewer.dims.ndim for number in viewer.dims.displayed}
    if viewer.dims.ndisplay != 2 or shown != {letters.index(axis) - layer.ndim for axis in "YX"}:
        return None, plane
    seen_at = layer.data_level if layer.multiscale else level
    corners = layer.corner_pixels * _shrinkage(shapes, seen_at, level, layer.ndim)
    part = []
    for axis in "YX":
        low, high = corners[:, letters.index(axis)]
        part.append(slice(max(0, math.floor(low)), min(size[axis], math.ceil(high) + 1)))
    rows, columns = part
    seen = rows.stop > rows.start and columns.stop > columns.start and layer.corner_pixels.any()
    return (rows, columns) if seen else None, plane


def plane_on_screen(
    viewer: napari.Viewer,
    layer: napari.layers.Layer,
    axes: str,
    shape: tuple[int, ...],
    shrinkage: np.ndarray | float = 1.0,
) -> int:
    """Return the number of the plane at which the viewer stands, counted over all axes but C, Y and X."""
    point = np.asarray(layer.world_to_data(viewer.dims.point[-layer.ndim :])) * shrinkage
    outer = [number for number, axis in enumerate(axes) if axis not in "CYX"]
    sizes = [shape[number] for number in outer]
    place = [int(np.clip(round(point[number]), 0, size - 1)) for number, size in zip(outer, sizes)]
    return int(np.ravel_multi_index(place, sizes)) if outer else 0


def _shrinkage(shapes: list[tuple[int, ...]], level: int, other: int, ndim: int) -> np.ndarray:
    """What coordinates in one level are multiplied by to be those in another."""
    return np.array(shapes[other][:ndim]) / np.array(shapes[level][:ndim])


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a label image lies in the viewer: over its image layer, in each dimension.

    Parameters
    ----------
    axes : str
        Letters of the Labels layer's dimensions. napari aligns layers by their *last* dimensions, so a
        channel axis that is not the first one keeps its place, with length 1, stretched over all channels.
    shape : tuple of int
        Shape of the Labels layer's data, one number per letter of ``axes``.
    scale, translate, rotate, shear, affine, units, axis_labels
        As napari's layers take them.
    """

    axes: str
    shape: tuple[int, ...]
    scale: np.ndarray
    translate: np.ndarray
    rotate: np.ndarray
    shear: np.ndarray
    affine: np.ndarray
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]

    @classmethod
    def of(cls, layer: napari.layers.Image, axes: str) -> Placement:
        """Return where the labels of ``layer`` lie, when its dimensions mean ``axes``."""
        shapes = level_shapes(layer)
        level = choose_level(layer)
        axes = check_axes(axes, len(shapes[0]))
        if layer.rgb and not axes.endswith("S"):
            raise ImageError(
                f"axes {axes!r} do not end in S, but the layer {layer.name!r} is shown as RGB; end them in S"
            )
        spatial = axes[: layer.ndim]
        if spatial.endswith("C") or "S" in spatial:
            raise ImageError(
                f"the channels of layer {layer.name!r} are its last axis ({axes}); "
                "open it as RGB, or move the channels to the front (for example YXC to CYX)"
            )
        own = Affine(
            scale=layer.scale,
            translate=layer.translate,
            rotate=layer.rotate,
            shear=layer.shear,
            ndim=layer.ndim,
        )
        linear, translate = own.linear_matrix.copy(), own.translate.copy()
        shape, stretch = list(shapes[level][: layer.ndim]), np.ones(layer.ndim)
        for number, axis in enumerate(spatial):
            stretch[number] = shapes[0][number] / shapes[level][number]
            if axis == "C":
                stretch[number], shape[number] = shapes[0][number], 1
        translate += linear @ ((stretch - 1) / 2)
        linear = linear @ np.diag(stretch)
        keep = list(range(layer.ndim))
        if spatial.startswith("C"):
            keep = keep[1:]
        placed = Affine(linear_matrix=linear, translate=translate).set_slice(keep)
        # the decomposition of a plain scaling goes through square roots: take the numbers as they were
        plain = np.allclose(linear, np.diag(np.diag(linear)))
        return cls(
            axes="".join(spatial[number] for number in keep),
            shape=tuple(shape[number] for number in keep),
            scale=np.diag(linear)[keep] if plain else placed.scale,
            translate=placed.translate,
            rotate=np.eye(len(keep)) if plain else placed.rotate,
            shear=np.zeros(len(keep) * (len(keep) - 1) // 2) if plain else placed.shear,
            affine=layer.affine.set_slice(keep).affine_matrix,
            units=tuple(layer.units[number] for number in keep),
            axis_labels=tuple(layer.axis_labels[number] for number in keep),
        )

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of the label image, without an axis for the channels."""
        return tuple(n for n, axis in zip(self.shape, self.axes) if axis != "C")

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments that put a layer of this shape into place."""
        names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
        return {name: getattr(self, name) for name in names}

    def block(self, plane: int, rows: slice, columns: slice) -> tuple[int | slice, ...]:
        """Index of a part of a plane in the layer's data; planes are counted over all axes but C, Y and X."""
        sizes = dict(zip(self.axes, self.shape))
        outer = [axis for axis in self.axes if axis not in "CYX"]
        at: dict[str, Any] = {"C": 0, "Y": rows, "X": columns}
        if outer:
            at |= dict(zip(outer, map(int, np.unravel_index(plane, [sizes[axis] for axis in outer]))))
        return tuple(at[axis] for axis in self.axes)

    @property
    def rows_first(self) -> bool:
        """Whether rows come before columns, as nearly always."""
        return self.axes.index("Y") < self.axes.index("X")

    def to_layer(self, labels: np.ndarray) -> np.ndarray:
        """Give a label image the dimensions of its Labels layer."""
        return labels.reshape(self.shape)

    def from_layer(self, array: np.ndarray) -> np.ndarray:
        """Give the data of a Labels layer (or a mask of its shape) the dimensions of its image's label image."""
        return array.reshape(self.label_shape)


def freeze_labels(layer: napari.layers.Labels, image: Image, place: Placement) -> np.ndarray:
    """Copy the data of a Labels layer as a label image of ``image``.

    Raises
    ------
    LabelsError
        If the layer does not cover the image pixel by pixel.
    """
    if layer.multiscale:
        raise LabelsError(
            f"the layer {layer.name!r} is multiscale, which napari cannot edit; use its finest level alone"
        )
    if not fits(layer, place):
        raise LabelsError(
            f"the labels {layer.name!r} have shape {tuple(layer.data.shape)}, but labels of {image.name!r} have "
            f"{image.label_shape} (axes {image.label_axes}); choose the image that they were drawn on"
        )
    array = np.array(layer.data)
    return array.reshape(image.label_shape)


def fits(layer: napari.layers.Labels, place: Placement) -> bool:
    """Whether the layer has the shape of labels that lie there, with or without an axis for the channels."""
    return not layer.multiscale and tuple(layer.data.shape) in (place.shape, place.label_shape)
