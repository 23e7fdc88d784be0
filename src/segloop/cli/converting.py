"""``segloop convert``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.inputs import LABELS_ENDING
from segloop.cli.printing import counted, print_line
from segloop.cli.reports import note
from segloop.errors import FileError
from segloop.io import (
    OUTLINE_SUFFIXES,
    SAVE_SUFFIXES,
    check_writable,
    holds_outlines,
    outlines_lost,
    read_image,
    read_labels,
    save_labels,
    stem_of,
    suffix_of,
    write_provenance,
)
from segloop.labels import check_no_photograph, consecutive

if TYPE_CHECKING:
    import pandas as pd


def convert_file(labels: Path, out: Path, like: Path | None = None, overwrite: bool = False) -> None:
    """Write ``labels`` as ``out``, in the format its suffix says, with class, score and origin if they are known.

    ``cells_labels.tif`` finds them in ``cells_objects.csv`` beside it, which ``segloop segment`` writes.
    ``like`` is the image that outlines were drawn on.

    Raises
    ------
    FileError, LabelsError
        Also if ``out`` exists and may not be replaced, ``labels`` is an image, or ``like`` is given for a label image.
    """
    if out.exists() and labels.exists() and out.samefile(labels):
        raise FileError(f"{out} is the file to be converted; give another name")
    if suffix_of(out) in SAVE_SUFFIXES and out.exists() and not overwrite:
        raise FileError(f"{out} exists already; use --overwrite to replace it, or another name")
    if like is not None and not holds_outlines(labels):
        raise FileError(
            f"--like {like} says how large the image of outlines is, but {labels} is no file of outlines "
            f"({', '.join(OUTLINE_SUFFIXES)}) and knows it; leave --like out"
        )
    image = None if like is None else read_image(like)
    content = read_labels(labels, image)
    check_no_photograph(content.data, str(labels))
    if suffix_of(out) in SAVE_SUFFIXES:
        check_writable(out.parent)
    save_labels(content, out, _objects_beside(labels))
    write_provenance(out, _provenance(labels))
    many = counted(len(consecutive(content.data)[0]), "label")
    what = counted(len(content.classes), "class", "classes") if content.classes else many
    print_line(f"{labels}: {what} -> {out}")
    for lost in outlines_lost(labels, image) if holds_outlines(labels) else ():
        note(f"{labels}: {lost}")


def _objects_beside(labels: Path) -> pd.DataFrame | None:
    stem = stem_of(labels)
    table = labels.with_name(f"{stem.removesuffix(LABELS_ENDING)}_objects.csv")
    if not stem.endswith(LABELS_ENDING) or not table.is_file():
        return None
    import pandas as pd

    try:
        return pd.read_csv(table)
    except (OSError, ValueError) as error:
        raise FileError(f"{table} beside the labels cannot be read: {error}; repair it or move it away") from error


def _provenance(labels: Path) -> dict[str, Any]:
    """Where the labels came from; what is known of them goes along."""
    beside = labels.with_name(f"{labels.name}.provenance.json")
    try:
        origin = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        origin = {}
    converted = {"from": str(labels), "created": datetime.now(UTC).isoformat(timespec="seconds")}
    return {**origin, "converted": [*origin.get("converted", ()), converted]}
