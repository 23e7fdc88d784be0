"""Readers for what napari cannot open itself: COCO files as Labels layers.

TIFF, PNG and Zarr are left to napari: a second reader would make it ask which one to use, each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segloop import io
from segloop._napari.features import class_colors, class_features

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader if ``path`` is a COCO file."""
    first = Path(path if isinstance(path, str) else path[0])
    return read if first.suffix.lower() == ".json" and _is_coco(first) else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Read label images, with their axes, pixel size and classes."""
    paths = [path] if isinstance(path, str) else list(path)
    return [_read_one(Path(p)) for p in paths]


def _read_one(path: Path) -> LayerData:
    labels = io.read_labels(path)
    keywords: dict[str, Any] = {
        "name": io.stem_of(path),
        "scale": tuple(labels.pixel_size[axis] for axis in labels.axes),
        "units": tuple(labels.unit if axis in "ZYX" else "pixel" for axis in labels.axes),
        "axis_labels": tuple(labels.axes.lower()),
    }
    if labels.classes:
        keywords["features"] = class_features(labels.data, labels.classes)
        keywords["colormap"] = class_colors()
    return np.array(labels.data), keywords, "labels"


def _is_coco(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and {"images", "annotations"} <= set(document)
