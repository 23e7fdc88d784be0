"""Readers for what napari cannot open itself: COCO files, ImageJ ROIs and polygons as Labels layers.

TIFF, PNG and Zarr are left to napari: a second reader would make it ask which one to use, each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np

from segloop import io
from segloop._napari.features import class_colors, class_features
from segloop._napari.layers import Placement, as_image, choose_level, guess_layer_axes, level_shapes
from segloop.errors import FileError, ImageError
from segloop.io.roi import is_roi_file
from segloop.labels import Labels

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader if ``path`` holds objects: COCO, a zip of ROIs, a ROI, or GeoJSON."""
    first = Path(path if isinstance(path, str) else path[0])
    match first.suffix.lower():
        case ".json":
            ours = _is_coco(first)
        case ".zip" | ".roi":
            ours = is_roi_file(first)
        case suffix:
            ours = suffix == ".geojson"
    return read if ours else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Read labels, with their axes, pixel size and classes; outlines over the image that is active."""
    paths = [path] if isinstance(path, str) else list(path)
    return [_read_one(Path(p)) for p in paths]


def _read_one(path: Path) -> LayerData:
    labels, place = _read_outlines(path) if io.holds_outlines(path) else (io.read_labels(path), None)
    data = np.array(labels.data)
    if place is None:
        keywords: dict[str, Any] = {
            "scale": tuple(labels.pixel_size[axis] for axis in labels.axes),
            "units": tuple(labels.unit if axis in "ZYX" else "pixel" for axis in labels.axes),
            "axis_labels": tuple(labels.axes.lower()),
        }
    else:
        data = place.to_layer(data.transpose([labels.axes.index(axis) for axis in place.axes if axis != "C"]))
        keywords = place.keywords()
    if labels.classes:
        keywords["features"] = class_features(labels.data, labels.classes)
        keywords["colormap"] = class_colors()
    return data, {"name": io.stem_of(path), **keywords}, "labels"


def _read_outlines(path: Path) -> tuple[Labels, Placement | None]:
    """In size and place of the image they were probably drawn on, for they do not know it; else just large enough."""
    viewer = napari.current_viewer()
    images = [] if viewer is None else [layer for layer in viewer.layers if isinstance(layer, napari.layers.Image)]
    chosen = [layer for layer in images if layer is viewer.layers.selection.active] or images[-1:]
    for layer in chosen:
        try:
            axes = guess_layer_axes(layer)
            image = as_image(layer, axes)
            shapes = level_shapes(layer)
            coarser = zip(image.axes, shapes[choose_level(layer)], shapes[0])
            zoom = {axis: own / finest for axis, own, finest in coarser}
            return io.read_labels(path, image, zoom), Placement.of(layer, image.axes)
        except (FileError, ImageError):
            continue  # drawn on another image, or damaged, which is said below
    return io.read_labels(path), None


def _is_coco(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and {"images", "annotations"} <= set(document)
