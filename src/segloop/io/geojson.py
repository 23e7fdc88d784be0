"""GeoJSON as QuPath reads it: one feature per object and plane, outlined along pixel edges.

QuPath's dialect: https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
"""

from __future__ import annotations

import colorsys
import json
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from segloop.errors import FileError
from segloop.io.drawn import MOST_DIGITS, Drawing, Drawn
from segloop.io.files import reading, write_json
from segloop.io.frame import KEY, Frame
from segloop.io.notes import Notes
from segloop.io.outlines import Ring, trace
from segloop.io.planes import planes
from segloop.labels import Labels

_NAMESPACE = uuid.UUID("7c7a8e2c-3f0b-5d5e-9b86-5d1f6f2f7f60")


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write a feature collection in pixels; instances become QuPath's detections, classes its annotations.

    The label is the feature's name and a measurement, so that it can be matched with the measurements in CSV. Size and
    calibration of the label image are a member of their own.

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
    document = {"type": "FeatureCollection", KEY: Frame.of(labels).to_json(), "features": features}
    write_json(path, document, overwrite, indent=None)


def read(path: Path) -> Drawing:
    """Read the polygons of a feature collection, of a list of features as older versions of QuPath write, or of one.

    Points and lines are passed over.

    Raises
    ------
    FileError
        Also if there is no polygon in it.
    """
    with reading(path, "a GeoJSON file"):
        document = json.loads(path.read_text(encoding="utf-8"))
        features = _features(document)
        if features is None:
            raise FileError(f"{path} is JSON, but not GeoJSON: it has no features")
        drawn = [part for feature in features if (part := _drawn(feature)) is not None]
        frame = document.get(KEY) if isinstance(document, dict) else None
        if features and not drawn:
            raise FileError(f"{path} has {len(features)} features, but no polygon; points and lines outline no object")
        return Drawing(drawn, Frame.from_json(frame) if frame else None, len(features) - len(drawn))


def _features(document: Any) -> list[dict[str, Any]] | None:
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        return list(document["features"])
    if isinstance(document, dict) and document.get("type") == "Feature":
        return [document]
    if isinstance(document, list) and all(isinstance(part, dict) and "geometry" in part for part in document):
        return document
    return None


def _drawn(feature: dict[str, Any]) -> Drawn | None:
    geometry = feature["geometry"] or {}
    polygons = geometry.get("coordinates", [])
    match geometry.get("type"):
        case "Polygon":
            polygons = [polygons]
        case "MultiPolygon":
            pass
        case _:
            return None
    # QuPath leaves out what is 0, and all of it for the first plane
    plane = geometry.get("plane") or {}
    measurements = (feature.get("properties") or {}).get("measurements")
    label = measurements.get("Label") if isinstance(measurements, dict) else None
    return Drawn(
        [np.asarray(ring, float)[:, :2] for polygon in polygons for ring in polygon],
        {axis: int(plane.get(axis.lower()) or 0) for axis in "TZ"},
        _number(label),
    )


def _number(label: Any) -> int | None:
    """The label, unless it is a measurement of something else that has this name."""
    whole = isinstance(label, (int, float)) and 0 < label < 10**MOST_DIGITS and label == int(label)
    return int(label) if whole else None


def _closed(ring: Ring) -> list[list[int]]:
    vertices: list[list[int]] = ring.tolist()
    return [*vertices, vertices[0]]


def _colour(names: list[str], name: str) -> list[int]:
    """Evenly spread hues, one per class."""
    hue = names.index(name) / len(names) if name in names else 0.0
    return [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.8, 0.9)]
