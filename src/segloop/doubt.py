"""Doubt: how likely each object of a label image is wrong, and why; also objects that are probably missing.

There are no weights. Every piece of evidence is read as a probability of its own that the object is wrong, and pieces
are taken as independent: the object is right only if each of them is mistaken (noisy-or; Pearl, Probabilistic Reasoning
in Intelligent Systems, 1988, section 4.3).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from segloop.candidates import Candidates, ClassScores, rasterize
from segloop.errors import LabelsError
from segloop.labels import consecutive
from segloop.matching import Overlaps
from segloop.parting import part

LEAST = 0.05
"""Something hidden is worth a look from this probability on: what is below is not even kept as a candidate."""

SAME = 0.5
"""A candidate with at least this IoU with an object is that object; of several, the one that fits best."""

DISMISSED = 0.5
"""What lies to a larger share where a person said that there is nothing is not missing."""

LEVELS = (64, 96, 160, 192)
"""Thresholds of foreground, in 255ths, at which a semantic prediction is parted besides its own, one half."""

STRAY = 0.1
"""Share of objects whose size is taken to be arbitrary when sizes are judged."""

NARROWEST = 0.2
"""Least width of the distribution of sizes, as a natural logarithm: a fifth more or less is never odd."""

FEW = 5
"""Among fewer objects none has an odd size or shape."""


class Reason(IntEnum):
    """Why an object may be wrong; the columns of :attr:`Doubts.evidence`."""

    SCORE = 0
    OUTLINE = 1
    THRESHOLD = 2
    MISSING = 3
    SIZE = 4
    SHAPE = 5
    HOLES = 6
    PIECES = 7


@dataclass(frozen=True, eq=False)
class Doubts:
    """N things to look at: objects of a label image, and candidates that are not shown.

    Parameters
    ----------
    labels : int64 (N,)
        The object's number; 0 for what is not shown.
    planes : int64 (N,)
    boxes : int64 (N, 4)
        First row, first column, end row, end column (exclusive).
    evidence : float32 (N, R) in [0, 1]
        By itself, how probable each :class:`Reason` makes it that the object is wrong.
    ratios : float64 (N,)
        Area over that of a typical object of the plane.
    candidates : int64 (N,)
        Which candidate it is; -1 if none is known.
    """

    labels: np.ndarray
    planes: np.ndarray
    boxes: np.ndarray
    evidence: np.ndarray
    ratios: np.ndarray
    candidates: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls) -> Doubts:
        """Nothing to look at."""
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, empty.reshape(0, 4), np.zeros((0, len(Reason)), np.float32), np.zeros(0), empty)

    @classmethod
    def joined(cls, parts: list[Doubts]) -> Doubts:
        """Those of several planes together."""
        parts = [cls.none(), *parts]
        names = ("labels", "planes", "boxes", "evidence", "ratios", "candidates")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def probability(self) -> np.ndarray:
        """How probable it is that each is wrong: float64 (N,) in [0, 1]."""
        chance: np.ndarray = 1 - np.prod(1 - self.evidence.astype(np.float64), axis=1)
        return chance

    def why(self, number: int) -> str:
        """Say in words why thing ``number`` may be wrong, the weightiest reason first; at most two."""
        evidence = self.evidence[number]
        order = np.argsort(-evidence, kind="stable")[:2]
        weighty = [Reason(column) for column in order if evidence[column] >= max(0.1, evidence[order[0]] / 2)]
        name = f"Object {self.labels[number]}" if self.labels[number] else "Not marked"
        return f"{name}: {'; '.join(self._words(number, reason) for reason in weighty) or 'nothing odd'}"

    def _words(self, number: int, reason: Reason) -> str:
        weight, ratio = float(self.evidence[number, reason]), float(self.ratios[number])
        match reason:
            case Reason.SCORE:
                return f"score {1 - weight:.2f} only"
            case Reason.OUTLINE:
                return f"blurred outline ({weight:.0%} uncertain)"
            case Reason.THRESHOLD:
                return f"changes with the threshold (by {weight:.0%})"
            case Reason.MISSING:
                return f"an object with score {weight:.2f}"
            case Reason.SIZE:
                larger = ratio >= 1
                return f"{ratio if larger else 1 / ratio:.1f} times {'larger' if larger else 'smaller'} than usual"
            case Reason.SHAPE:
                return f"dented ({weight:.0%} more than usual): two in one?"
            case Reason.HOLES:
                return f"holes ({weight:.0%} of it)"
            case Reason.PIECES:
                return f"in pieces ({weight:.0%} lies apart)"


def examine(
    labels: np.ndarray,
    plane: int,
    found: Candidates | ClassScores | None,
    vouched: Collection[int] = frozenset(),
    dismissed: np.ndarray | None = None,
) -> Doubts:
    """Look for what may be wrong in one plane of objects.

    Which candidate an object is, is told from its pixels, so that labels may have been edited or renumbered since.

    Parameters
    ----------
    labels : unsigned integers (Y, X)
        0 is background.
    plane : int
        Its number among the planes of ``found``; those of a volume count one by one.
    found : Candidates or ClassScores, optional
        What the model found. Without it, size and shape are all there is to go by.
    vouched : collection of int
        Objects that a person drew, edited or confirmed: their probability of being wrong is 0.
    dismissed : bool (Y, X), optional
        Where a person said that there is nothing: what is not shown, and lies mostly there, is not missing.

    Raises
    ------
    LabelsError
        If ``labels`` do not have the shape that ``found`` is of.
    """
    shape = _plane_shape(found, labels)
    if labels.shape != shape:
        raise LabelsError(f"the labels of plane {plane} have shape {labels.shape}; expected {shape} as the candidates")
    numbers, dense = consecutive(labels)
    evidence, ratios, boxes = _look(dense, len(numbers))
    own = np.full(len(numbers), -1, np.int64)
    hidden = Doubts.none()
    match found:
        case Candidates():
            areas = np.bincount(dense.ravel(), minlength=len(numbers) + 1)
            hidden = _compare(dense, areas, plane, found, evidence, own, dismissed)
        case ClassScores():
            hidden = _part_again(dense, plane, found.plane(plane), evidence, dismissed)
    evidence[np.isin(numbers, list(vouched))] = 0
    shown = Doubts(numbers.astype(np.int64), np.full(len(numbers), plane), boxes, evidence, ratios, own)
    return Doubts.joined([shown, hidden])


def uncertain_pixels(found: ClassScores, plane: int) -> np.ndarray:
    """How probable it is that each pixel's class is wrong, by the model's own numbers: float32 (Y, X) in [0, 1]."""
    scores = found.plane(plane)
    return 1 - scores.max(axis=0).astype(np.float32) / 255


def _plane_shape(found: Candidates | ClassScores | None, labels: np.ndarray) -> tuple[int, ...]:
    match found:
        case Candidates():
            return found.shape[1:]
        case ClassScores():
            return found.shape[-2:]
        case _:
            return labels.shape


def _look(dense: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What objects 1…N tell by themselves: evidence, area over the typical one, box."""
    evidence = np.zeros((count, len(Reason)), np.float32)
    boxes, areas, dents = np.zeros((count, 4), np.int64), np.ones(count), np.zeros(count)
    cut = np.zeros(count, bool)
    for number, (rows, columns) in enumerate(ndimage.find_objects(dense, max_label=count)):
        boxes[number] = rows.start, columns.start, rows.stop, columns.stop
        cut[number] = min(rows.start, columns.start) == 0 or (rows.stop, columns.stop) == dense.shape
        cut[number] |= rows.stop == dense.shape[0] or columns.stop == dense.shape[1]
        mask = dense[rows, columns] == number + 1
        filled = ndimage.binary_fill_holes(mask)
        # with its holes: they are a reason by themselves
        areas[number] = np.count_nonzero(filled)
        area = np.count_nonzero(mask)
        evidence[number, Reason.HOLES] = 1 - area / areas[number]
        pieces, several = ndimage.label(mask, np.ones((3, 3)))
        if several > 1:
            evidence[number, Reason.PIECES] = 1 - np.bincount(pieces.ravel())[1:].max() / area
        dents[number] = 1 - areas[number] / hull_area(filled)
    ratios = np.ones(count)
    # what the border of the image cuts off says nothing of size
    whole = ~cut if np.count_nonzero(~cut) >= FEW else np.ones(count, bool)
    if np.count_nonzero(whole) >= FEW:
        ratios = areas / np.median(areas[whole])
        odd = odd_sizes(areas, areas[whole])
        evidence[:, Reason.SIZE] = np.where(cut & (ratios < 1), 0, odd)
        evidence[:, Reason.SHAPE] = np.clip(dents - np.median(dents[whole]), 0, 1)
    return evidence, ratios, boxes


def hull_area(mask: np.ndarray) -> float:
    """Area of the convex hull of a mask's pixels, each a unit square; ``mask`` : bool (Y, X), not empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [(rows + down, side) for down in (0, 1) for side in (first, last)]
    points = np.concatenate([np.stack(pair, axis=1) for pair in corners])
    return float(ConvexHull(points.astype(float)).volume)


def odd_sizes(areas: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """How probable it is that each area is not of the kind that is usual.

    Logarithms of areas are taken for a mixture: a normal distribution about the median, its width from the median
    deviation, and, with a share of ``STRAY``, anything between the smallest and the largest area.

    Parameters
    ----------
    areas, usual : float (N,), float (M,)
        In pixels, at least 1; those to be judged and those to judge by.

    Returns
    -------
    float64 (N,) in [0, 1]
    """
    logs, center = np.log(areas), np.median(np.log(usual))
    width = max(1.4826 * float(np.median(np.abs(np.log(usual) - center))), NARROWEST)
    usually = np.exp(-0.5 * ((logs - center) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    anything = 1 / max(float(np.ptp(np.append(logs, np.log(usual)))), 6 * width)
    stray: np.ndarray = STRAY * anything / (STRAY * anything + (1 - STRAY) * usually)
    # the middle of the distribution is no reason for doubt at all
    least = STRAY * anything / (STRAY * anything + (1 - STRAY) / (width * math.sqrt(2 * math.pi)))
    return (stray - least) / (1 - least)


def _compare(
    dense: np.ndarray,
    areas: np.ndarray,
    plane: int,
    found: Candidates,
    evidence: np.ndarray,
    own: np.ndarray,
    dismissed: np.ndarray | None,
) -> Doubts:
    """Find each object among the candidates, and candidates of which nothing is shown."""
    members = np.flatnonzero(found.planes == plane)
    best = np.full(len(own), SAME)
    uncovered, sizes, regions = np.zeros(len(members)), np.zeros(len(members)), np.zeros((len(members), 4), np.int64)
    for place, index in enumerate(members.tolist()):
        (rows, columns), inside = rasterize(found.masks[index], found.boxes[index], dense.shape)
        under = np.bincount(dense[rows, columns][inside])
        size = int(under.sum())
        if not size:
            continue
        regions[place] = rows.start, columns.start, rows.stop, columns.stop
        uncovered[place], sizes[place] = under[0] / size, size
        if dismissed is not None:
            nothing = np.count_nonzero(inside & dismissed[rows, columns] & (dense[rows, columns] == 0)) / size
            uncovered[place] = 0 if nothing > DISMISSED else uncovered[place] - nothing
        if len(under) > 1:
            number = int(under[1:].argmax())
            shared = under[number + 1]
            iou = shared / (size + areas[number + 1] - shared)
            if iou >= best[number]:
                best[number], own[number] = iou, index
    known = own >= 0
    evidence[known, Reason.SCORE] = 1 - found.scores[own[known]]
    evidence[known, Reason.OUTLINE] = [1 - expected_iou(found.masks[index]) for index in own[known]]
    chance = np.where(np.isin(members, own), 0, uncovered * found.scores[members])
    missing = np.flatnonzero(chance >= LEAST)
    typical = float(np.median(areas[1:])) if len(own) else 0.0
    return _hidden(plane, regions[missing], chance[missing], sizes[missing], typical, members[missing])


def _hidden(
    plane: int, boxes: np.ndarray, chance: np.ndarray, sizes: np.ndarray, typical: float, candidates: np.ndarray
) -> Doubts:
    count = len(boxes)
    evidence = np.zeros((count, len(Reason)), np.float32)
    evidence[:, Reason.MISSING] = chance
    ratios = sizes / typical if typical else np.ones(count)
    return Doubts(np.zeros(count, np.int64), np.full(count, plane), boxes, evidence, ratios, candidates)


def expected_iou(mask: np.ndarray) -> float:
    """IoU that a mask has with the object, if each cell belongs to it with the probability given.

    ``mask`` : uint8 (M, M), in 255ths. The ratio of the expected intersection to the expected union.
    """
    inside = mask >= 128
    certain = int(mask[inside].sum(dtype=np.int64))
    union = 255 * int(np.count_nonzero(inside)) + int(mask[~inside].sum(dtype=np.int64))
    return certain / union if union else 0.0


def _part_again(
    dense: np.ndarray, plane: int, scores: np.ndarray, evidence: np.ndarray, dismissed: np.ndarray | None
) -> Doubts:
    """Compare objects with those that other thresholds would give."""
    count = len(evidence)
    areas = np.bincount(dense.ravel(), minlength=count + 1)
    background = np.bincount(dense.ravel(), scores[0].ravel(), count + 1)
    evidence[:, Reason.SCORE] = background[1:] / (255 * np.maximum(areas[1:], 1))
    agreeing = np.zeros((len(LEVELS), count))
    hidden = Doubts.none()
    for place, level in enumerate(LEVELS):
        others = _part_at(scores, level)
        overlaps = Overlaps.of(dense, others)
        np.maximum.at(agreeing[place], overlaps.reference[overlaps.rows].astype(np.int64) - 1, overlaps.iou)
        if level == min(LEVELS):
            alone = np.setdiff1d(overlaps.prediction, overlaps.prediction[overlaps.columns]).astype(np.int64)
            if dismissed is not None:
                inside = np.bincount(others[dismissed], minlength=int(others.max(initial=0)) + 1)
                alone = alone[inside[alone] <= DISMISSED * np.bincount(others.ravel())[alone]]
            hidden = _appearing(others, alone, plane, scores[0], areas[1:])
    evidence[:, Reason.THRESHOLD] = 1 - agreeing.mean(axis=0)
    return hidden


def _part_at(scores: np.ndarray, level: int) -> np.ndarray:
    """Single objects at another threshold than one half: uint32 (Y, X)."""
    inside, background = (scores[kind].astype(np.int16) for kind in (1, 0))
    moved = (inside + 128 - level, background - 128 + level)
    labels: np.ndarray = part(*(np.clip(values, 0, 255).astype(np.uint8) for values in moved))
    return labels


def _appearing(others: np.ndarray, alone: np.ndarray, plane: int, background: np.ndarray, areas: np.ndarray) -> Doubts:
    """Objects of another threshold that touch none that is shown: missing with the probability of foreground there."""
    slices = ndimage.find_objects(others)
    regions = [slices[number - 1] for number in alone.tolist()]
    boxes = np.array([(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in regions], np.int64)
    sizes = np.bincount(others.ravel())[alone].astype(float)
    chance = 1 - np.bincount(others.ravel(), background.ravel())[alone] / (255 * np.maximum(sizes, 1))
    if len(areas) >= FEW:
        # specks are no objects
        chance *= 1 - odd_sizes(sizes, areas)
    kept = chance >= LEAST
    typical = float(np.median(areas)) if len(areas) else 0.0
    candidates = np.full(np.count_nonzero(kept), -1)
    return _hidden(plane, boxes.reshape(-1, 4)[kept], chance[kept], sizes[kept], typical, candidates)
