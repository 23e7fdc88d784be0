"""What is wrong with single objects: kinds of errors, and what each kind costs.

Objects without a partner at an IoU of 0.5 are of one of these kinds:

- *joined*: an object of the model covers most (more than half) of two objects of the reference, or more; those, and it;
- *parted*: most of two objects of the model, or more, lies in one object of the reference; that one, and they;
- *outline*: one object for one, neither with another partner, which agree by an IoU between 0.1 and 0.5;
- *missed*: nothing, or nearly nothing, was found there that is not another object's;
- *extra*: nothing, or nearly nothing, is annotated there that is not another object's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

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
    for row, column, iou in zip(rows, columns, overlaps.iou):
        shared = iou * (own[row] + other[column]) / (1 + iou)
        if shared > own[row] / 2:
            holds.setdefault(column, []).append(row)
        if shared > other[column] / 2:
            parts.setdefault(row, []).append(column)
    joined = {row for members in holds.values() if len(members) > 1 for row in members}
    joining = {column for column, members in holds.items() if len(members) > 1}
    parted = {row for row, members in parts.items() if len(members) > 1}
    pieces = {column for members in parts.values() if len(members) > 1 for column in members}

    def kind(number: int, first: set[int], second: set[int], last: Kind) -> Kind:
        return Kind.JOINED if number in first else Kind.PARTED if number in second else last

    missed = {int(n): kind(int(n), joined, parted, Kind.MISSED) for n in matching.missed}
    extra = {int(n): kind(int(n), joining, pieces, Kind.EXTRA) for n in matching.extra}
    for iou, row, column in sorted(zip(overlaps.iou, rows, columns), reverse=True):
        # the best pairs first: each object is in one of them at most
        if iou >= NEAR and missed.get(row) is Kind.MISSED and extra.get(column) is Kind.EXTRA:
            missed[row] = extra[column] = Kind.OUTLINE
    return Errors(len(matching.iou), missed, extra)


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
