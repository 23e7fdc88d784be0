"""Reviewed regions: where a person vouches for the labels, drawn as rectangles and polygons on a Shapes layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import napari.layers
import numpy as np

from segloop.errors import LabelsError

COLOR = "#46c46a"
"""Green: in order."""

EDGE = 2.0
"""Pixels of the screen."""

FOLLOWED = "segloop_edge_width"
"""Under this name the layer's metadata have the width that its frames have at the present zoom."""

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
    last = regions.metadata.get(FOLLOWED, EDGE)
    regions.metadata[FOLLOWED] = width
    # those that a person gave another width keep it
    regions.edge_width = [width if math.isclose(own, last) else own for own in regions.edge_width]
    if math.isclose(regions.current_edge_width, last):
        # tells napari to draw them, and is for the next one
        regions.current_edge_width = width
    else:
        regions.refresh(extent=False, thumbnail=False, highlight=False)


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
    return Regions.of(layer).mask(shape)


@dataclass(frozen=True)
class Regions:
    """Outlines of reviewed regions, apart from their layer: drawing them takes a while where they are many.

    Parameters
    ----------
    outlines : tuple of (tuple of int, float ndarray (N, 2))
        The plane of each, and Y and X of its corners.
    """

    outlines: tuple[tuple[tuple[int, ...], np.ndarray], ...] = ()

    @classmethod
    def of(cls, layer: napari.layers.Shapes | None) -> Regions:
        """Those of a layer, as :func:`region_mask` takes and refuses them."""
        outlines = []
        for vertices, kind in () if layer is None else zip(layer.data, layer.shape_type):
            if kind in ("line", "path"):
                continue
            vertices = np.asarray(vertices, float)
            leading = np.round(vertices[:, :-2]).astype(int)
            if len(leading) and not (leading == leading[0]).all():
                raise LabelsError(
                    "a reviewed region was drawn across planes; draw regions in the ordinary view, Y against X"
                )
            corners = _ellipse(vertices) if kind == "ellipse" else vertices
            outlines.append((tuple(int(n) for n in leading[0]), corners[:, -2:].copy()))
        return cls(tuple(outlines))

    def mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """The pixels that lie inside of them, or on their borders: bool, ``shape``."""
        from skimage.draw import polygon as fill_polygon

        mask = np.zeros(shape, bool)
        for plane, corners in self.outlines:
            if any(not 0 <= n < size for n, size in zip(plane, shape)):
                continue
            if _is_upright(corners):
                low, high = np.ceil(corners.min(axis=0)), np.floor(corners.max(axis=0)) + 1
                rows, columns = (slice(max(0, int(start)), max(0, int(stop))) for start, stop in zip(low, high))
                mask[plane][rows, columns] = True
            else:
                y, x = fill_polygon(corners[:, 0], corners[:, 1], shape[-2:])
                mask[(*plane, y, x)] = True
        return mask


def _is_upright(corners: np.ndarray) -> bool:
    """Whether corners (N, 2) are those of a rectangle along the axes, which takes no look at each pixel."""
    if len(corners) != 4:
        return False
    steps = np.roll(corners, -1, axis=0) - corners
    return bool(
        ((steps == 0).sum(axis=1) == 1).all() and (steps[:2] + steps[2:] == 0).all() and steps[0] @ steps[1] == 0
    )


def _ellipse(box: np.ndarray) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)[:, None]
    center = box.mean(axis=0)
    across, down = (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    return center + np.cos(angles) * across + np.sin(angles) * down
