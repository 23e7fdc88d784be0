"""Matching: which predicted object is which reference object, by intersection over union (IoU)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segloop.errors import LabelsError, SettingsError
from segloop.labels import check_labels, consecutive


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Which objects were found, at one IoU threshold.

    Parameters
    ----------
    reference, prediction : uint64 (M,)
        The numbers of the matched objects, pair by pair.
    iou : float64 (M,) in (0, 1]
        IoU of each pair.
    missed : uint64 (K,)
        Numbers of reference objects without a partner: false negatives.
    extra : uint64 (L,)
        Numbers of predicted objects without a partner: false positives.
    """

    reference: np.ndarray
    prediction: np.ndarray
    iou: np.ndarray
    missed: np.ndarray
    extra: np.ndarray


def match(reference: Any, prediction: Any, iou_threshold: float = 0.5, reviewed: np.ndarray | None = None) -> Matching:
    """Pair the objects of two label images whose IoU is at least ``iou_threshold``.

    No object is used twice. Of all such pairings, the one with most pairs is taken, and among these the one
    with the largest sum of IoU. Above IoU 0.5 there is only one (Kirillov et al., CVPR 2019, section 4.1).

    Parameters
    ----------
    reference, prediction : integers (...) of one shape
        0 is background; the numbers need not be consecutive.
    iou_threshold : float in (0, 1]
        The least IoU of a pair; a pair exactly at it is one.
    reviewed : bool (...), optional
        Where the reference is vouched for; everywhere by default. Pixels elsewhere are left out of all IoU.
        Objects that lie mostly (more than half) elsewhere are neither missed nor extra, and a pair of two
        such objects does not count.

    Raises
    ------
    LabelsError
        If the shapes differ or the arrays are no labels.
    SettingsError
        If the threshold is out of range.
    """
    return Overlaps.of(reference, prediction, reviewed).match(iou_threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """The objects of two label images and which of them overlap; found once, matched at any threshold.

    Only pairs that share a pixel are kept, so that thousands of objects need no table of all pairs.

    Parameters
    ----------
    reference, prediction : uint64 (N,), uint64 (M,)
        The numbers of the objects.
    reference_counts, prediction_counts : bool (N,), bool (M,)
        Whether an object lies mostly in the reviewed region.
    rows, columns, iou : int64 (P,), int64 (P,), float64 (P,)
        Positions in ``reference`` and ``prediction`` of each overlapping pair, and its IoU.
    """

    reference: np.ndarray
    prediction: np.ndarray
    reference_counts: np.ndarray
    prediction_counts: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    iou: np.ndarray

    @classmethod
    def of(cls, reference: Any, prediction: Any, reviewed: np.ndarray | None = None) -> Overlaps:
        """Find the overlaps of two label images; parameters and errors as in :func:`match`."""
        reference, prediction, reviewed = check_pair(reference, prediction, reviewed)
        a_numbers, a = consecutive(reference.ravel())
        b_numbers, b = consecutive(prediction.ravel())
        a_sizes = a_inside = np.bincount(a, minlength=len(a_numbers) + 1)[1:]
        b_sizes = b_inside = np.bincount(b, minlength=len(b_numbers) + 1)[1:]
        if reviewed is not None:
            a, b = a[reviewed.ravel()], b[reviewed.ravel()]
            a_inside = np.bincount(a, minlength=len(a_numbers) + 1)[1:]
            b_inside = np.bincount(b, minlength=len(b_numbers) + 1)[1:]
        both = (a > 0) & (b > 0)
        pairs, shared = np.unique((a[both] - 1) * len(b_numbers) + (b[both] - 1), return_counts=True)
        rows, columns = pairs // max(1, len(b_numbers)), pairs % max(1, len(b_numbers))
        iou = shared / (a_inside[rows] + b_inside[columns] - shared)
        return cls(a_numbers, b_numbers, 2 * a_inside >= a_sizes, 2 * b_inside >= b_sizes, rows, columns, iou)

    def match(self, threshold: float) -> Matching:
        """Pair the objects whose IoU is at least ``threshold``; as :func:`match`."""
        if not 0 < threshold <= 1:
            raise SettingsError(f"the IoU threshold is {threshold}; expected a number above 0 and at most 1")
        near = self.iou >= threshold
        pairs = _assign(self.rows[near], self.columns[near], self.iou[near])
        rows, columns, iou = self.rows[near][pairs], self.columns[near][pairs], self.iou[near][pairs]
        missed, extra = self.reference_counts.copy(), self.prediction_counts.copy()
        counts = missed[rows] | extra[columns]
        missed[rows] = extra[columns] = False
        return Matching(
            self.reference[rows[counts]],
            self.prediction[columns[counts]],
            iou[counts],
            self.reference[missed],
            self.prediction[extra],
        )


def _assign(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Choose most pairs, then most IoU, with no row and no column used twice; returns positions."""
    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    free = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    chosen = [np.flatnonzero(free)]
    contested = np.flatnonzero(~free)
    if len(contested):
        # objects that compete form small groups, each of which is solved by itself
        nodes = int(rows.max()) + int(columns.max()) + 2
        ends = (rows[contested], columns[contested] + int(rows.max()) + 1)
        graph = coo_array((np.ones(len(contested), bool), ends), shape=(nodes, nodes))
        group = connected_components(graph, directed=False)[1][ends[0]]
        order = np.argsort(group, kind="stable")
        for members in np.split(contested[order], np.flatnonzero(np.diff(group[order])) + 1):
            chosen.append(members[_assign_group(rows[members], columns[members], iou[members])])
    return np.sort(np.concatenate(chosen))


def _assign_group(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray) -> np.ndarray:
    row_numbers, rows = np.unique(rows, return_inverse=True)
    column_numbers, columns = np.unique(columns, return_inverse=True)
    # one more pair is always worth more than all IoU together
    gain = np.zeros((len(row_numbers), len(column_numbers)))
    gain[rows, columns] = min(gain.shape) + 1 + iou
    position = np.full(gain.shape, -1)
    position[rows, columns] = np.arange(len(rows))
    chosen = position[linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen >= 0]


def check_pair(
    reference: Any, prediction: Any, reviewed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return two label images and a mask as arrays; LabelsError if they are none or differ in shape."""
    reference, prediction = check_labels(reference), check_labels(prediction)
    if reference.shape != prediction.shape:
        raise LabelsError(f"the prediction has shape {prediction.shape}; expected {reference.shape} as the reference")
    if reviewed is not None:
        reviewed = np.asarray(reviewed, bool)
        if reviewed.shape != reference.shape:
            raise LabelsError(f"the reviewed mask has shape {reviewed.shape}; expected {reference.shape} as the labels")
    return reference, prediction, reviewed
