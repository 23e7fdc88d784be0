"""Metrics: how well predicted labels agree with reference labels.

Instances are matched by intersection over union (IoU); classes are compared pixel by pixel. Scores keep their
counts, so that scores of many images add up to one score over all objects or pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segloop.errors import LabelsError, SettingsError
from segloop.matching import Overlaps, check_pair

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The IoU thresholds of COCO's and the Data Science Bowl's mean AP."""


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Counts of matched and unmatched objects at each IoU threshold, and the scores that follow from them.

    Scores add: ``a + b`` pools the objects of both, which weighs each object alike (StarDist's way), rather
    than each image. Where there is nothing to find and nothing was found, all scores are 1.

    Parameters
    ----------
    thresholds : tuple of float (N,)
    tp, fp, fn : tuple of int (N,)
        Matched pairs, unmatched predicted objects, unmatched reference objects.
    iou_sum : tuple of float (N,)
        Sum of the IoU of the matched pairs.
    """

    thresholds: tuple[float, ...]
    tp: tuple[int, ...]
    fp: tuple[int, ...]
    fn: tuple[int, ...]
    iou_sum: tuple[float, ...]

    def __add__(self, other: InstanceScores) -> InstanceScores:
        if self.thresholds != other.thresholds:
            thresholds = f"{self.thresholds} and {other.thresholds}"
            raise SettingsError(f"scores at IoU {thresholds} cannot be added; score all images at the same IoU")
        return InstanceScores(
            self.thresholds,
            _add(self.tp, other.tp),
            _add(self.fp, other.fp),
            _add(self.fn, other.fn),
            _add(self.iou_sum, other.iou_sum),
        )

    def ap(self, threshold: float = 0.5) -> float:
        """Average precision TP / (TP + FP + FN), as the Data Science Bowl 2018 and StarDist define it."""
        n = self._at(threshold)
        return _ratio(self.tp[n], self.tp[n] + self.fp[n] + self.fn[n])

    def precision(self, threshold: float = 0.5) -> float:
        """Share of the predicted objects that are right, TP / (TP + FP); 0 if all objects are missed."""
        n = self._at(threshold)
        return _ratio(self.tp[n], self.tp[n] + self.fp[n], empty=float(self.fn[n] == 0))

    def recall(self, threshold: float = 0.5) -> float:
        """Share of the reference objects that were found, TP / (TP + FN); 0 if there are only extra ones."""
        n = self._at(threshold)
        return _ratio(self.tp[n], self.tp[n] + self.fn[n], empty=float(self.fp[n] == 0))

    def f1(self, threshold: float = 0.5) -> float:
        """Harmonic mean of precision and recall, TP / (TP + (FP + FN) / 2)."""
        n = self._at(threshold)
        return _ratio(self.tp[n], self.tp[n] + (self.fp[n] + self.fn[n]) / 2)

    def pq(self, threshold: float = 0.5) -> float:
        """Panoptic quality, sum of IoU / (TP + (FP + FN) / 2) (Kirillov et al., CVPR 2019)."""
        n = self._at(threshold)
        return _ratio(self.iou_sum[n], self.tp[n] + (self.fp[n] + self.fn[n]) / 2)

    @property
    def mean_ap(self) -> float:
        """Mean of ``ap`` over all thresholds; IoU 0.5, 0.55 … 0.95 unless others were asked for."""
        return sum(self.ap(threshold) for threshold in self.thresholds) / len(self.thresholds)

    def _at(self, threshold: float) -> int:
        if threshold not in self.thresholds:
            raise SettingsError(f"no score at IoU {threshold}; there are scores at {self.thresholds}")
        return self.thresholds.index(threshold)


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Pixel counts of each class, and the scores that follow from them.

    Scores add: ``a + b`` pools the pixels of both.

    Parameters
    ----------
    intersection, reference, prediction : tuple of int (K,)
        Pixels of each class in both, in the reference, in the prediction; class 0 is the background.
    """

    intersection: tuple[int, ...]
    reference: tuple[int, ...]
    prediction: tuple[int, ...]

    def __add__(self, other: ClassScores) -> ClassScores:
        if len(self.reference) != len(other.reference):
            raise SettingsError(f"scores of {len(self.reference)} and {len(other.reference)} classes cannot be added")
        return ClassScores(
            _add(self.intersection, other.intersection),
            _add(self.reference, other.reference),
            _add(self.prediction, other.prediction),
        )

    @property
    def dice(self) -> tuple[float, ...]:
        """Dice coefficient 2 |A ∩ B| / (|A| + |B|) of each class (Dice 1945); NaN for a class in neither."""
        counts = zip(self.intersection, self.reference, self.prediction)
        return tuple(_ratio(2 * both, a + b, empty=np.nan) for both, a, b in counts)

    @property
    def iou(self) -> tuple[float, ...]:
        """Intersection over union |A ∩ B| / |A ∪ B| of each class (Jaccard 1901); NaN if in neither."""
        counts = zip(self.intersection, self.reference, self.prediction)
        return tuple(_ratio(both, a + b - both, empty=np.nan) for both, a, b in counts)

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the foreground classes that occur; 1 if none occurs, for then nothing is wrong."""
        return _mean_foreground(self.dice)

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the foreground classes that occur; 1 if none occurs, for then nothing is wrong."""
        return _mean_foreground(self.iou)


def instance_scores(
    reference: Any,
    prediction: Any,
    thresholds: Sequence[float] = THRESHOLDS,
    reviewed: np.ndarray | None = None,
) -> InstanceScores:
    """Score predicted instances against reference instances; parameters and errors as in :func:`match`.

    Examples
    --------
    >>> instance_scores([[1, 1, 0, 2]], [[5, 5, 0, 0]]).ap(0.5)
    0.5
    """
    overlaps = Overlaps.of(reference, prediction, reviewed)
    matchings = [overlaps.match(threshold) for threshold in thresholds]
    return InstanceScores(
        tuple(float(threshold) for threshold in thresholds),
        tuple(len(matching.iou) for matching in matchings),
        tuple(len(matching.extra) for matching in matchings),
        tuple(len(matching.missed) for matching in matchings),
        tuple(float(matching.iou.sum()) for matching in matchings),
    )


def class_scores(reference: Any, prediction: Any, classes: int, reviewed: np.ndarray | None = None) -> ClassScores:
    """Score predicted classes against reference classes, pixel by pixel.

    Parameters
    ----------
    reference, prediction : integers (...) of one shape
        The class of each pixel, in [0, classes).
    classes : int
        Number of classes K, background included.
    reviewed : bool (...), optional
        Pixels elsewhere are left out.

    Raises
    ------
    LabelsError
        If the shapes differ, the arrays are no labels, or a number is not one of the classes.
    """
    reference, prediction, reviewed = check_pair(reference, prediction, reviewed)
    if reviewed is not None:
        reference, prediction = reference[reviewed], prediction[reviewed]
    for name, labels in (("reference", reference), ("prediction", prediction)):
        if labels.size and (largest := int(labels.max())) >= classes:
            raise LabelsError(f"the {name} has class {largest}; expected 0 to {classes - 1}, one number per class")
    pairs = reference.astype(np.intp).ravel() * classes + prediction.astype(np.intp).ravel()
    table = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    counts = (np.diagonal(table), table.sum(axis=1), table.sum(axis=0))
    return ClassScores(*(tuple(int(count) for count in column) for column in counts))


def _add(a: tuple, b: tuple) -> tuple:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _ratio(part: float, whole: float, empty: float = 1.0) -> float:
    return float(part / whole) if whole else empty


def _mean_foreground(scores: tuple[float, ...]) -> float:
    known = [score for score in scores[1:] if not np.isnan(score)]
    return sum(known) / len(known) if known else 1.0
