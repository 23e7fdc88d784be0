"""OME-Zarr, versions 0.4 and 0.5, and plain Zarr arrays; read lazily.

Specification: https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segloop.errors import FileError
from segloop.image import check_axes
from segloop.io.files import reading, writing
from segloop.io.notes import Notes
from segloop.io.planes import file_axes, file_shape, positions, read_block, tiles_of
from segloop.io.source import Header, Source
from segloop.io.units import full_name
from segloop.labels import Labels

CHUNK = 512
BLOCK = 4 * CHUNK
"""Side of what is read and written at once."""

SMALLEST_LEVEL = 256
"""A pyramid ends where a plane fits this square."""

_TYPES = {"T": "time", "Z": "space", "Y": "space", "X": "space"}


def read(path: Path) -> Source:
    """Open the finest level of the first image; nothing but metadata is read.

    Raises
    ------
    FileError
    """
    import zarr

    with reading(path, "an OME-Zarr image or a Zarr array"):
        node = zarr.open(path, mode="r")
        return _plain_array(node) if isinstance(node, zarr.Array) else _multiscale(node, path)


def read_header(path: Path) -> Header:
    """Return what a Zarr folder says of what :func:`read` opens.

    Raises
    ------
    FileError
    """
    source = read(path)
    shape = tuple(int(n) for n in source.data.shape)
    sides = dict(zip(source.axes, shape))
    return Header(source.axes, shape, (sides.get("Y", 0), sides.get("X", 0)), source.pixel_size, source.unit)


def read_labels(path: Path) -> Source:
    """Open the first label image in an OME-Zarr image, or the image itself when it has no label images.

    Raises
    ------
    FileError
    """
    import zarr

    with reading(path, "an OME-Zarr label image"):
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Group) and "labels" in node:
            folder = node["labels"]
            names = _attributes(folder).get("labels", []) if isinstance(folder, zarr.Group) else []
            if names:
                return _multiscale(folder[names[0]], path)
    return read(path)


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write labels as an OME-Zarr 0.5 label image with a pyramid of every second pixel.

    Raises
    ------
    FileError
    """
    import zarr

    axes, shape = file_axes(labels), file_shape(labels)
    with writing(path, overwrite) as draft:
        group = zarr.open_group(draft, mode="w", zarr_format=3)
        datasets: list[dict[str, Any]] = []
        finer: Any = None
        while True:
            step = 2 ** len(datasets)
            sides = [-(-n // step) if axis in "YX" else n for axis, n in zip(axes, shape)]
            stored = group.create_array(
                str(len(datasets)),
                shape=sides,
                chunks=tuple(1 if axis in "TZ" else min(CHUNK, n) for axis, n in zip(axes, sides)),
                dtype=labels.data.dtype,
                dimension_names=[axis.lower() for axis in axes],
            )
            for place in positions(labels):
                # whole chunks at a time, each of which is written once
                for rows, columns in tiles_of(sides[-2], sides[-1], BLOCK):
                    target: Any = (*place, rows, columns)
                    stored[target] = (
                        read_block(labels, place, rows, columns)
                        if finer is None
                        else finer[(*place, *(slice(2 * side.start, 2 * side.stop, 2) for side in (rows, columns)))]
                    )
            finer = stored
            scale = [labels.pixel_size[axis] * (step if axis in "YX" else 1) for axis in axes]
            datasets.append(
                {"path": str(len(datasets)), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            )
            if max(sides[-2:]) <= SMALLEST_LEVEL:
                break
        named_axes = []
        for axis in axes:
            entry = {"name": axis.lower(), "type": _TYPES[axis]}
            if axis != "T" and labels.unit != "pixel":
                entry["unit"] = labels.unit
            named_axes.append(entry)
        ome: dict[str, Any] = {
            "version": "0.5",
            "multiscales": [{"name": "labels", "axes": named_axes, "datasets": datasets}],
            "image-label": {"version": "0.5"},
        }
        if labels.classes:
            ome["image-label"]["properties"] = [
                {"label-value": number, "class": name} for number, name in enumerate(labels.classes)
            ]
        group.attrs["ome"] = ome


def _attributes(group: Any) -> dict[str, Any]:
    """OME's metadata of a group: under "ome" since version 0.5, directly before."""
    attributes = dict(group.attrs)
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, dict) else {}


def _plain_array(array: Any) -> Source:
    names = getattr(array.metadata, "dimension_names", None) or ()
    axes = "".join(str(name).upper() for name in names) if all(names) else ""
    try:
        axes = check_axes(axes, len(array.shape))
    except ValueError:
        axes = ""
    return Source(array, axes)


def _multiscale(group: Any, path: Path) -> Source:
    ome = _attributes(group)
    if not ome.get("multiscales"):
        raise FileError(f"{path} is a Zarr group without an OME-Zarr image; give the folder of one image in it")
    first = ome["multiscales"][0]
    data = group[first["datasets"][0]["path"]]
    axes, units = "", {}
    for axis in first.get("axes", ()):
        name = axis if isinstance(axis, str) else str(axis["name"])
        axes += name[:1].upper()
        units[name[:1].upper()] = "" if isinstance(axis, str) else full_name(str(axis.get("unit", "")))
    scale = np.ones(len(axes))
    for transformation in (
        *first["datasets"][0].get("coordinateTransformations", ()),
        *first.get("coordinateTransformations", ()),
    ):
        if transformation.get("type") == "scale":
            scale = scale * np.asarray(transformation["scale"], float)
    unit = units.get("X", "")
    sizes = {
        axis: float(size)
        for axis, size in zip(axes, scale)
        if (axis in "ZYX" and unit and units[axis] in (unit, "")) or (axis == "T" and size > 0)
    }
    properties = ome.get("image-label", {}).get("properties", ())
    named = {p["label-value"]: p["class"] for p in properties if "class" in p and "label-value" in p}
    whole = bool(named) and sorted(named) == list(range(len(named)))
    classes = tuple(str(named[number]) for number in range(len(named))) if whole else ()
    return Source(data, axes, sizes, unit, classes)
