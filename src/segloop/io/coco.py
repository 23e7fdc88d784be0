"""COCO JSON: one annotation per object and plane, with its exact mask as compressed RLE.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from segloop.errors import FileError
from segloop.io.files import reading, write_json
from segloop.io.frame import KEY, Frame
from segloop.io.notes import HiddenPart, Notes
from segloop.io.planes import plane_name, planes
from segloop.io.source import Source
from segloop.labels import Labels, bounding_boxes, consecutive, smallest_dtype


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write one image entry per plane and one annotation per object in it.

    Boxes are x, y, width, height in pixels. Beyond COCO, an annotation has ``label`` (its number in the label
    image) and, if known, ``score`` and ``origin``. Regions of a class, rather than of an object, have
    ``iscrowd`` 1. Objects that lie partly under others (``notes.hidden``) have their whole mask, how many of its pixels
    are ``hidden``, and come before those on top, as other programs and :func:`read` draw them.

    Raises
    ------
    FileError
    """
    names = notes.names(labels)
    categories = {name: number for number, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for position, plane in planes(labels):
        height, width = plane.shape
        name = path.stem + plane_name(position)
        image = {
            "id": len(images) + 1,
            "file_name": name,
            "height": height,
            "width": width,
            "plane": position,
        }
        images.append(image)
        numbers, compact = consecutive(plane)
        hidden = {part.label: part for part in notes.hidden if dict(part.position) == dict(position)}
        boxes = [(int(numbers[index - 1]), index, box) for index, box in bounding_boxes(compact).items()]
        # those that lie under others first, the least sure one at the bottom; a person is sure
        sure = {label: 1.0 if math.isnan(notes[label].score) else notes[label].score for label in hidden}
        boxes.sort(key=lambda own: (own[0] not in hidden, sure.get(own[0], 0.0)))
        for label, index, (rows, columns) in boxes:
            mask, note = compact[rows, columns] == index, notes[label]
            part = hidden.get(label)
            if part is not None:
                rows, columns, mask = _with_hidden(rows, columns, mask, part)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": categories.get(note.name, 1),
                "segmentation": _encode(mask, rows.start, columns.start, height, width),
                "area": int(mask.sum()),
                "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                "iscrowd": 0 if labels.is_instances else 1,
                "label": label,
            }
            if part is not None:
                annotation["hidden"] = int(part.mask.sum())
            if not math.isnan(note.score):
                annotation["score"] = note.score
            if note.origin:
                annotation["origin"] = note.origin
            annotations.append(annotation)
    info = {"description": "Written by SegLoop", KEY: Frame.of(labels).to_json()}
    document = {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()],
    }
    write_json(path, document, overwrite, indent=None)


def read(path: Path) -> Source:
    """Read the annotations as a label image; where objects overlap, the later one is on top.

    Files of other programs are read when they describe one image.

    Raises
    ------
    FileError
    """
    with reading(path, "a COCO JSON file"):
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or "images" not in document or "annotations" not in document:
            raise FileError(f"{path} is JSON, but not COCO: it has no images and annotations")
        images = {image["id"]: image for image in document["images"]}
        own = document.get("info", {}).get(KEY)
        frame = None if own is None else Frame.from_json(own)
        if frame is None and len(images) != 1:
            raise FileError(f"{path} describes {len(images)} images; expected one, or a file written by SegLoop")
        first = next(iter(images.values()))
        axes, shape = (frame.axes, frame.shape) if frame else ("YX", (first["height"], first["width"]))
        labels = [int(entry.get("label", entry["id"])) for entry in document["annotations"]]
        array = np.zeros(shape, smallest_dtype(max(labels, default=0)))
        for label, entry in zip(labels, document["annotations"]):
            image = images[entry["image_id"]]
            place = tuple(image.get("plane", {}).get(axis, 0) for axis in axes[:-2])
            array[place][_decode(entry["segmentation"], image)] = label
        return Source(array, axes) if frame is None else frame.source(array)


def _with_hidden(rows: slice, columns: slice, mask: np.ndarray, part: HiddenPart) -> tuple[slice, slice, np.ndarray]:
    """The box and the mask of an object with its hidden part."""
    under, across = np.flatnonzero(part.mask.any(axis=1)), np.flatnonzero(part.mask.any(axis=0))
    inner = part.mask[under[0] : under[-1] + 1, across[0] : across[-1] + 1]
    top, left = part.row + int(under[0]), part.column + int(across[0])
    whole_rows = slice(min(rows.start, top), max(rows.stop, top + inner.shape[0]))
    whole_columns = slice(min(columns.start, left), max(columns.stop, left + inner.shape[1]))
    whole = np.zeros((whole_rows.stop - whole_rows.start, whole_columns.stop - whole_columns.start), bool)
    for row, column, own in ((rows.start, columns.start, mask), (top, left, inner)):
        y, x = row - whole_rows.start, column - whole_columns.start
        whole[y : y + own.shape[0], x : x + own.shape[1]] |= own
    return whole_rows, whole_columns, whole


def _decode(segmentation: Any, image: dict[str, Any]) -> np.ndarray:
    """The mask of a COCO segmentation (polygons, RLE, compressed RLE): bool (Y, X)."""
    from pycocotools import mask as coco

    encoded = segmentation
    if isinstance(segmentation, list) or isinstance(segmentation.get("counts"), list):
        encoded = coco.frPyObjects(segmentation, image["height"], image["width"])
    if isinstance(encoded, list):
        encoded = coco.merge(encoded)
    mask: np.ndarray = coco.decode(encoded).astype(bool)
    return mask


def _encode(mask: np.ndarray, row: int, column: int, height: int, width: int) -> dict[str, Any]:
    """Encode an object as COCO's compressed RLE, from the mask of its box only.

    RLE counts down the columns of the whole plane, pixels outside and inside by turns, outside first.

    Parameters
    ----------
    mask : bool (Y, X)
        The object in its box.
    row, column : int
        First row and column of the box.
    height, width : int
        Size of the plane.
    """
    from pycocotools import mask as coco

    columns, rows = np.nonzero(mask.T)
    places = (columns + column) * height + rows + row
    gaps = np.flatnonzero(np.diff(places) > 1)
    starts, ends = places[np.r_[0, gaps + 1]], places[np.r_[gaps, -1]] + 1
    turns = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.r_[0, turns, height * width])
    if counts[-1] == 0:
        counts = counts[:-1]
    encoded = coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}
