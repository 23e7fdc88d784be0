"""Reviewed regions: where a person vouches for the labels, drawn as rectangles and polygons on a Shapes layer."""

from __future__ import annotations

import math
from typing import Any

import napari.layers
import numpy as np

from segloop.errors import LabelsError

COLOR = "#46c46a"
"""Green: in order."""

EDGE = 2.0
"""Pixels of the screen."""

STYLE = {"edge_color": COLOR, "face_color": [0.27, 0.77, 0.42, 0.10], "edge_width": EDGE, "opacity": 1.0}


def new_region_layer(labels: napari.layers.Labels) -> napari.layers.Shapes:
    """Return an empty Shapes layer that lies exactly over ``labels``; its frames are as wide on screen at any zoom."""
    placed = ("scale", "translate", "rotate", "shear", "units", "axis_labels")
    regions = napari.layers.Shapes(
        ndim=labels.ndim,
        name=f"{labels.name} – reviewed",
        affine=labels.affine.affine_matrix,
        **{name: getattr(labels, name) for name in placed},
        **STYLE,
    )
    regions.events.scale_factor.connect(_follow_zoom)
    return regions


def _follow_zoom(event: Any) -> None:
    # napari's frames are so many pixels of the layer wide
    regions: napari.layers.Shapes = event.source
    width = EDGE * regions.scale_factor / float(np.abs(regions.scale[-2:]).max())
    regions.edge_width = width
    # tells napari to draw them, and is for the next one
    regions.current_edge_width = width


def plane_rectangle(shape: tuple[int, ...], plane: tuple[int, ...]) -> np.ndarray:
    """Corners of one whole plane: float (4, D), pixel borders at ±0.5."""
    return rectangle(plane, slice(0, shape[-2]), slice(0, shape[-1]))


def rectangle(plane: tuple[int, ...], rows: slice, columns: slice) -> np.ndarray:
    """Corners of a part of one plane, in order around it: float (4, D), pixel borders at ±0.5."""
    top, bottom, left, right = (edge - 0.5 for edge in (rows.start, rows.stop, columns.start, columns.stop))
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return np.array([(*plane, y, x) for y, x in corners], float)


def region_mask(layer: napari.layers.Shapes | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels that lie inside the layer's regions.

    Parameters
    ----------
    layer : Shapes or None
        Rectangles, ellipses, polygons; lines and paths enclose nothing. None stands for no region.
    shape : tuple of int
        Shape of the Labels layer that the regions lie over.

    Returns
    -------
    bool, ``shape``

    Raises
    ------
    LabelsError
        If a region was drawn across planes (in a view other than Y against X).
    """
    mask = np.zeros(shape, bool)
    if layer is None:
        return mask
    from skimage.draw import polygon as fill_polygon

    for vertices, kind in zip(layer.data, layer.shape_type):
        if kind in ("line", "path"):
            continue
        vertices = np.asarray(vertices, float)
        leading = np.round(vertices[:, :-2]).astype(int)
        if len(leading) and not (leading == leading[0]).all():
            raise LabelsError(
                "a reviewed region was drawn across planes; draw regions in the ordinary view, Y against X"
            )
        plane = tuple(int(n) for n in leading[0])
        if any(not 0 <= n < size for n, size in zip(plane, shape)):
            continue
        if kind == "ellipse":
            vertices = _ellipse(vertices)
        rows, columns = fill_polygon(vertices[:, -2], vertices[:, -1], shape[-2:])
        mask[(*plane, rows, columns)] = True
    return mask


def _ellipse(box: np.ndarray) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)[:, None]
    center = box.mean(axis=0)
    across, down = (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    return center + np.cos(angles) * across + np.sin(angles) * down
