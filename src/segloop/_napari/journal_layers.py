"""What a journal says of a Labels layer beside its pixels, and how a layer is made from it again."""

from __future__ import annotations

import base64
import weakref
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import napari.layers
import numpy as np
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

from segloop._napari.reviewed import new_region_layer
from segloop._napari.session import Origin, Session

if TYPE_CHECKING:
    import pandas as pd

PLACED = ("scale", "translate", "rotate", "shear")
PACKED = "biuf"
"""Kinds of columns that are packed as they are."""

MOST_COLORS = 1 << 10
"""Longer cycles of colours are not kept: they would be most of the journal."""

LOOKS = ("opacity", "contour", "selected_label", "brush_size", "n_edit_dimensions", "preserve_labels")


def describe_layer(layer: napari.layers.Labels) -> dict[str, Any]:
    """Return what a layer is called, where it lies and how it looks, as a JSON document."""
    return {
        "name": layer.name,
        **{name: np.asarray(getattr(layer, name)).tolist() for name in PLACED},
        "affine": layer.affine.affine_matrix.tolist(),
        "units": [str(unit) for unit in layer.units],
        "axis_labels": list(layer.axis_labels),
        "looks": {name: getattr(layer, name) for name in LOOKS},
        "colors": _describe_colors(layer.colormap),
    }


def describe_origin(origin: Origin | None) -> dict[str, Any]:
    """Return where a layer comes from, its image left out, as a JSON document."""
    if origin is None:
        return {}
    names = ("axes", "channel", "task", "model", "untouched", "provenance")
    return {name: getattr(origin, name) for name in names} | {"classes": list(origin.classes)}


def describe_review(session: Session, layer: napari.layers.Labels) -> dict[str, Any]:
    """Return what of a layer is reviewed, as a JSON document."""
    regions = session.region_layer(layer)
    shapes = [] if regions is None else list(zip(regions.shape_type, regions.data))
    return {
        "whole": layer in session.wholly_reviewed,
        "regions": [{"kind": str(kind), "vertices": np.asarray(data).tolist()} for kind, data in shapes],
    }


def describe_table(table: pd.DataFrame) -> dict[str, Any]:
    """Return a layer's features as a JSON document. The table must be a copy: this may be called in a worker.

    Numbers are packed: as text, those of thousands of objects would keep the main thread waiting for the interpreter.
    """
    import pandas as pd

    columns = []
    for name in table.columns:
        column = table[name]
        said = {"name": str(name), "dtype": column.dtype.str if column.dtype.kind in PACKED else str(column.dtype)}
        if column.dtype.kind in PACKED:
            said["values"] = _pack(column.to_numpy())
        else:
            codes, values = pd.factorize(column)
            said |= {"codes": _pack(codes.astype("<i4")), "words": [_plain(value) for value in values]}
        columns.append(said)
    return {"columns": columns}


def make_table(document: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return the features that a journal holds, or None if it holds none."""
    import pandas as pd

    columns = document.get("columns") or []
    series = {}
    for column in columns:
        if "values" in column:
            series[column["name"]] = pd.Series(_unpack(column["values"], column["dtype"]))
            continue
        words = np.array([*column["words"], None], object)
        # -1 stands for nothing
        values = words[_unpack(column["codes"], "<i4")]
        try:
            series[column["name"]] = pd.Series(values, dtype=column["dtype"])
        except (TypeError, ValueError):
            series[column["name"]] = pd.Series(values)
    return pd.DataFrame(series) if columns else None


def make_layer(labels: np.ndarray, documents: Mapping[str, Any]) -> napari.layers.Labels:
    """Return a Labels layer with the pixels and all that a journal says of it; it takes over ``labels``."""
    said = documents.get("layer", {})
    placed = {name: said[name] for name in (*PLACED, "affine", "units", "axis_labels") if said.get(name)}
    colors = _make_colors(said.get("colors", {}))
    layer = napari.layers.Labels(
        labels,
        name=said.get("name", "restored"),
        features=make_table(documents.get("table", {})),
        metadata={"segloop": documents.get("origin", {}).get("provenance", {})},
        **placed,
        **({} if colors is None else {"colormap": colors}),
    )
    for name in LOOKS:
        if name in said.get("looks", {}):
            setattr(layer, name, said["looks"][name])
    return layer


def make_origin(document: Mapping[str, Any], image: napari.layers.Layer) -> Origin | None:
    """Return where a layer comes from, or None if its journal does not say."""
    if not document:
        return None
    names = ("axes", "channel", "task", "model", "untouched", "provenance")
    known = {name: document[name] for name in names if name in document}
    return Origin(image=weakref.ref(image), classes=tuple(document.get("classes", ())), **known)


def make_regions(layer: napari.layers.Labels, document: Mapping[str, Any]) -> napari.layers.Shapes | None:
    """Return the Shapes layer of the reviewed regions, or None if there are none."""
    regions = document.get("regions") or []
    if not regions:
        return None
    shapes = new_region_layer(layer)
    for region in regions:
        shapes.add(np.asarray(region["vertices"], float), shape_type=region["kind"])
    return shapes


def _describe_colors(colormap: Any) -> dict[str, Any]:
    if isinstance(colormap, DirectLabelColormap):
        return {"of": [[number, np.asarray(color).tolist()] for number, color in colormap.color_dict.items()]}
    if isinstance(colormap, CyclicLabelColormap):
        colors = np.asarray(colormap.colors)
        return {"cycle": colors.tolist(), "seed": float(colormap.seed)} if len(colors) <= MOST_COLORS else {}
    return {}


def _make_colors(document: Mapping[str, Any]) -> Any:
    if "of" in document:
        return DirectLabelColormap(color_dict={number: np.array(color) for number, color in document["of"]})
    if "cycle" in document:
        return CyclicLabelColormap(colors=np.array(document["cycle"]), seed=document["seed"])
    return None


def _pack(numbers: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(numbers).tobytes(), 1)).decode()


def _unpack(packed: str, dtype: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype).copy()


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else str(value)
