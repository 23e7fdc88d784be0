"""Measurements of every object, in pixels and calibrated, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop.io.files import writing
from segloop.io.notes import Notes
from segloop.io.planes import file_axes, file_shape
from segloop.io.regions import region_table
from segloop.io.units import short_name
from segloop.labels import Labels

if TYPE_CHECKING:
    import pandas as pd

_FLAT = ("perimeter", "eccentricity", "axis_major_length", "axis_minor_length", "orientation")
"""What is measured in planes only."""


def measure(labels: Labels, notes: Notes) -> pd.DataFrame:
    """Measure every object; in a time-lapse, every object in every frame.

    Returns
    -------
    DataFrame
        One row per object (and frame). ``label``, ``t`` (frame, from 0; time-lapse only), ``class``,
        ``score``, ``origin``; ``area`` (pixels, or voxels in a z-stack), ``centroid_z|y|x``,
        ``bbox_z|y|x_min|max`` (pixels, the upper end exclusive), ``equivalent_diameter``; in planes also
        ``perimeter``, ``eccentricity``, ``axis_major_length``, ``axis_minor_length`` (pixels) and
        ``orientation`` (radians, from the row axis to the major axis). With a pixel size also ``area_um2``
        (``volume_um3``), ``centroid_y_um`` …, ``equivalent_diameter_um`` and, where pixels are square, the
        perimeter and the axes. All as scikit-image's ``regionprops`` defines them.
    """
    import pandas as pd

    axes, shape = file_axes(labels), file_shape(labels)
    space = axes.replace("T", "")
    tables = []
    for t in range(shape[0] if "T" in axes else 1):

        def read(box: tuple[slice, ...], t: int = t) -> np.ndarray:
            at = dict(zip(space, box)) | {"T": t}
            block = np.asarray(labels.data[tuple(at[axis] for axis in labels.axes)])
            return block.transpose([labels.axes.replace("T", "").index(axis) for axis in space])

        found = region_table(read, shape[-len(space) :])
        label = found["label"]
        known = [notes[number] for number in label.tolist()]
        table: dict[str, Any] = {"label": label}
        if "T" in axes:
            table["t"] = t
        table |= {
            "class": np.array([note.name for note in known], object),
            "score": np.array([note.score for note in known], float),
            "origin": np.array([note.origin for note in known], object),
            "area": found["area"].astype(np.int64),
        }
        for place, axis in enumerate(space.lower()):
            table[f"centroid_{axis}"] = found[f"centroid-{place}"]
        for place, axis in enumerate(space.lower()):
            table[f"bbox_{axis}_min"] = found[f"bbox-{place}"]
            table[f"bbox_{axis}_max"] = found[f"bbox-{place + len(space)}"]
        table["equivalent_diameter"] = _diameter(found["area"].astype(float), len(space))
        table |= {name: found[name] for name in _FLAT if name in found}
        tables.append(pd.DataFrame(table | _calibrated(table, labels, space)))
    return pd.concat(tables, ignore_index=True)


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write the measurements as CSV (UTF-8, decimal point, comma between columns).

    Raises
    ------
    FileError
    """
    table = measure(labels, notes)
    with writing(path, overwrite) as draft:
        table.to_csv(draft, index=False, float_format="%.10g")


def _calibrated(table: dict[str, Any], labels: Labels, space: str) -> dict[str, Any]:
    if labels.unit == "pixel":
        return {}
    unit = short_name(labels.unit)
    sizes = [labels.pixel_size[axis] for axis in space]
    real = table["area"] * float(np.prod(sizes))
    columns = {f"area_{unit}2" if len(space) == 2 else f"volume_{unit}3": real}
    columns |= {f"centroid_{a.lower()}_{unit}": table[f"centroid_{a.lower()}"] * s for a, s in zip(space, sizes)}
    columns[f"equivalent_diameter_{unit}"] = _diameter(real, len(space))
    if len(set(sizes)) == 1:
        lengths = [name for name in ("perimeter", "axis_major_length", "axis_minor_length") if name in table]
        columns |= {f"{name}_{unit}": table[name] * sizes[0] for name in lengths}
    return columns


def _diameter(size: np.ndarray, ndim: int) -> np.ndarray:
    """Diameter of the circle or the sphere of this area or volume."""
    return np.sqrt(4 * size / np.pi) if ndim == 2 else np.cbrt(6 * size / np.pi)
