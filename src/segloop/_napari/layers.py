"""The border between napari layers and SegLoop's images: axes, pixel size, and where results lie.

Everything here runs in the main thread; what it returns may go to a worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import napari.layers
import numpy as np
from napari.utils.transforms import Affine

from segloop.errors import ImageError, LabelsError
from segloop.image import CHANNEL_AXES, Image, check_axes, guess_axes

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


def guess_layer_axes(layer: napari.layers.Image) -> str:
    """Guess the axes of an image layer: from its axis labels where they are telling, else from its shape.

    Raises
    ------
    ImageError
        If there are too few or too many dimensions to guess.
    """
    letters = [_LETTERS.get(label.strip().lower(), "") for label in layer.axis_labels]
    telling = all(letters) and len(set(letters)) == len(letters) and {"Y", "X"} <= set(letters)
    if telling and not (layer.rgb and "C" in letters):
        return "".join(letters) + ("S" if layer.rgb else "")
    return guess_axes(level_shapes(layer)[0], rgb=layer.rgb)


def freeze_image(layer: napari.layers.Image, axes: str) -> Image:
    """Copy what a worker needs of an image layer. Arrays in memory are copied; lazy arrays are passed on unread.

    Raises
    ------
    ImageError
        If the axes do not fit the layer.
    """
    data = layer.data[choose_level(layer)] if layer.multiscale else layer.data
    axes = check_axes(axes, len(data.shape))
    if isinstance(data, np.ndarray) and not isinstance(data, np.memmap):
        data = data.copy()
    elif not (hasattr(data, "shape") and hasattr(data, "dtype")):
        data = np.asarray(data)
    place = Placement.of(layer, axes)
    sizes = {axis: abs(float(size)) for axis, size in zip(place.axes, place.scale) if axis not in CHANNEL_AXES}
    return Image(data, axes, sizes, unit=str(layer.units[axes.index("X")]), name=layer.name)


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
