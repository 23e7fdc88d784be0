"""GeoJSON as QuPath reads it: one feature per object and plane, outlined along pixel edges.

QuPath's dialect: https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
"""

from __future__ import annotations

import colorsys
import math
import uuid
from pathlib import Path
from typing import Any

from segloop.io.files import write_json
from segloop.io.notes import Notes
from segloop.io.outlines import Ring, trace
from segloop.io.planes import planes
from segloop.labels import Labels

_NAMESPACE = uuid.UUID("7c7a8e2c-3f0b-5d5e-9b86-5d1f6f2f7f60")


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write a feature collection in pixels; instances become QuPath's detections, classes its annotations.

    The label is the feature's name and a measurement, so that it can be matched with the measurements in CSV.

    Raises
    ------
    FileError
    """
    names = notes.names(labels)
    features: list[dict[str, Any]] = []
    for position, plane in planes(labels):
        for outline in trace(plane):
            note = notes[outline.label]
            polygons = [[_closed(ring) for ring in piece] for piece in outline.pieces]
            geometry: dict[str, Any] = (
                {"type": "Polygon", "coordinates": polygons[0]}
                if len(polygons) == 1
                else {"type": "MultiPolygon", "coordinates": polygons}
            )
            if position:
                geometry["plane"] = {"c": -1, "z": position.get("Z", 0), "t": position.get("T", 0)}
            measurements: dict[str, float] = {"Label": outline.label}
            if not math.isnan(note.score):
                measurements["Score"] = note.score
            features.append(
                {
                    "type": "Feature",
                    # The same labels give the same file.
                    "id": str(uuid.uuid5(_NAMESPACE, f"{path.stem}/{sorted(position.items())}/{outline.label}")),
                    "geometry": geometry,
                    "properties": {
                        "objectType": "detection" if labels.is_instances else "annotation",
                        "name": str(outline.label),
                        "classification": {"name": note.name, "color": _colour(names, note.name)},
                        "measurements": measurements,
                        **({"origin": note.origin} if note.origin else {}),
                    },
                }
            )
    write_json(path, {"type": "FeatureCollection", "features": features}, overwrite, indent=None)


def _closed(ring: Ring) -> list[list[int]]:
    vertices: list[list[int]] = ring.tolist()
    return [*vertices, vertices[0]]


def _colour(names: list[str], name: str) -> list[int]:
    """Evenly spread hues, one per class."""
    hue = names.index(name) / len(names) if name in names else 0.0
    return [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.8, 0.9)]
