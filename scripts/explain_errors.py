"""Say what a model of nuclei gets wrong on a fold that it has not seen, how often, and in which fields of view.

    python scripts/explain_errors.py runs/m0-calibrated --fold 0 --data DATA/nuclei_dsb2018 [--labels FOLDER]

Objects without a partner at an IoU of 0.5 are of one of these kinds:

- *joined*: an object of the model covers most (more than half) of two objects of the reference, or more; those, and it;
- *parted*: most of two objects of the model, or more, lies in one object of the reference; that one, and they;
- *outline*: one object for one, which agree by an IoU between 0.1 and 0.5;
- *missed*: nothing, or nearly nothing, was found there;
- *extra*: nothing, or nearly nothing, is annotated there.

"without" is what AP50 would be if all errors of the kind were put right, and no other. ``--labels`` keeps what the
model makes of the images, and takes it from there next time.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from nuclei_data import NucleiImage, read_nuclei

import segloop
from segloop.labels import Task, diameters
from segloop.matching import Overlaps

NEAR = 0.1
"""Two objects that agree by less have nothing to do with each other."""


class Kind(Enum):
    """What is wrong with an object."""

    JOINED = "joined"
    PARTED = "parted"
    OUTLINE = "outline"
    MISSED = "missed"
    EXTRA = "extra"


@dataclass(frozen=True, eq=False)
class Errors:
    """What is wrong in one image at an IoU of 0.5.

    Parameters
    ----------
    right : int
        Pairs.
    missed, extra : dict of int to Kind
        Of each object of the reference, or of the model, that has no partner.
    """

    right: int
    missed: dict[int, Kind]
    extra: dict[int, Kind]


def explain(reference: np.ndarray, found: np.ndarray) -> Errors:
    """Find the kind of each error; ``reference``, ``found`` : unsigned integers (Y, X)."""
    overlaps = Overlaps.of(reference, found)
    matching = overlaps.match(0.5)
    own, other = (np.bincount(labels.ravel()) for labels in (reference, found))
    rows = [int(number) for number in overlaps.reference[overlaps.rows]]
    columns = [int(number) for number in overlaps.prediction[overlaps.columns]]
    holds: dict[int, list[int]] = {}
    parts: dict[int, list[int]] = {}
    near: dict[int, float] = {}
    beside: dict[int, float] = {}
    for row, column, iou in zip(rows, columns, overlaps.iou):
        shared = iou * (own[row] + other[column]) / (1 + iou)
        if shared > own[row] / 2:
            holds.setdefault(column, []).append(row)
        if shared > other[column] / 2:
            parts.setdefault(row, []).append(column)
        near[row] = max(near.get(row, 0.0), iou)
        beside[column] = max(beside.get(column, 0.0), iou)
    joined = {row for members in holds.values() if len(members) > 1 for row in members}
    joining = {column for column, members in holds.items() if len(members) > 1}
    parted = {row for row, members in parts.items() if len(members) > 1}
    pieces = {column for members in parts.values() if len(members) > 1 for column in members}

    def kind(number: int, first: set[int], second: set[int], iou: dict[int, float], last: Kind) -> Kind:
        if number in first:
            return Kind.JOINED
        if number in second:
            return Kind.PARTED
        return Kind.OUTLINE if iou.get(number, 0.0) >= NEAR else last

    return Errors(
        len(matching.iou),
        {int(n): kind(int(n), joined, parted, near, Kind.MISSED) for n in matching.missed},
        {int(n): kind(int(n), joining, pieces, beside, Kind.EXTRA) for n in matching.extra},
    )


def ap(right: int, missed: int, extra: int) -> float:
    """AP at an IoU of 0.5."""
    return right / max(1, right + missed + extra)


def without(errors: Sequence[Errors], kind: Kind) -> float:
    """AP50 if all of a kind were right: what was missed is found, what is extra is gone."""
    mended = sum(sum(own is kind for own in item.missed.values()) for item in errors)
    gone = sum(sum(own is kind for own in item.extra.values()) for item in errors)
    right, missed, extra = totals(errors)
    return ap(right + mended, missed - mended, extra - gone)


def totals(errors: Sequence[Errors]) -> tuple[int, int, int]:
    """Objects that are right, missed, and extra."""
    return (
        sum(item.right for item in errors),
        sum(len(item.missed) for item in errors),
        sum(len(item.extra) for item in errors),
    )


def kinds_table(errors: Sequence[Errors]) -> str:
    """A line for each kind."""
    missed = Counter(kind for item in errors for kind in item.missed.values())
    extra = Counter(kind for item in errors for kind in item.extra.values())
    right, *wrong = totals(errors)
    lines = [f"{right} right, {wrong[0]} missed, {wrong[1]} extra: AP50 {ap(right, *wrong):.3f}\n"]
    lines += ["| kind | of the reference | of the model | AP50 without |", "|---|---|---|---|"]
    lines += [f"| {kind.value} | {missed[kind]} | {extra[kind]} | {without(errors, kind):.3f} |" for kind in Kind]
    return "\n".join(lines)


def groups_table(images: Sequence[NucleiImage], errors: Sequence[Errors], count: int) -> str:
    """A line for each of the fields of view that lose most, and what AP50 of the others is."""
    members: dict[str, list[int]] = {}
    for number, item in enumerate(images):
        members.setdefault(item.group, []).append(number)

    def lost(group: str) -> int:
        _, missed, extra = totals([errors[number] for number in members[group]])
        return missed + extra

    order = sorted(members, key=lost, reverse=True)
    whole = sum(lost(group) for group in order)
    lines = [
        "| field of view | images | objects | diameter | AP50 | share of what is wrong | AP50 of the others |",
        "|---" * 7 + "|",
    ]
    for place, group in enumerate(order[:count]):
        own = [errors[number] for number in members[group]]
        right, missed, extra = totals(own)
        left = totals([errors[number] for other in order[place + 1 :] for number in members[other]])
        sizes = np.concatenate([diameters(images[number].labels) for number in members[group]])
        first = images[members[group][0]]
        lines.append(
            f"| {group}, {first.id[:6]} | {len(own)} | {right + missed} | {np.median(sizes):.0f} | "
            f"{ap(right, missed, extra):.2f} | {lost(group) / whole:.2f} | {ap(*left):.3f} |"
        )
    return "\n".join(lines)


def segmented(
    images: Sequence[NucleiImage], model: Path, settings: segloop.SegmentSettings, kept: Path | None
) -> list[np.ndarray]:
    """What the model makes of each image: unsigned integers (Y, X)."""
    loaded, found = segloop.load_model(model), []
    for item in images:
        file = None if kept is None else kept / f"{item.id}.npz"
        if file is not None and file.exists():
            found.append(np.load(file)["labels"])
            continue
        found.append(np.asarray(segloop.segment(loaded, item.image, settings).labels.data))
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(file, labels=found[-1])
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--stardist", action="store_true", help="only fluorescence images of StarDist's split")
    parser.add_argument("--groups", type=int, default=12, help="fields of view to list")
    parser.add_argument("--labels", type=Path, help="folder for what the model makes of the images")
    options = parser.parse_args()
    images = [item for item in read_nuclei(options.data, {options.fold}) if item.stardist_train or not options.stardist]
    task = segloop.load_model(options.model).spec.task
    settings = segloop.SegmentSettings(instances=task is Task.SEMANTIC)
    found = segmented(images, options.model, settings, options.labels)
    errors = [explain(item.labels, labels) for item, labels in zip(images, found)]
    for modality in sorted({item.modality for item in images}):
        print(f"{modality}: {kinds_table([own for item, own in zip(images, errors) if item.modality == modality])}\n")
    print(groups_table(images, errors, options.groups))


if __name__ == "__main__":
    main()
