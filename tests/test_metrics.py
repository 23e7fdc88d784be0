from __future__ import annotations

import importlib.util
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segloop.errors import LabelsError, SettingsError
from segloop.labels import Labels
from segloop.matching import match
from segloop.metrics import THRESHOLDS, ClassScores, InstanceScores, class_scores, instance_scores

REFERENCE = Path(__file__).parent / "reference"
STARDIST = json.loads((REFERENCE / "instance_scores.json").read_text())


def load_cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    spec = importlib.util.spec_from_file_location("instance_cases", REFERENCE / "instance_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: (reference, prediction) for name, reference, prediction in module.cases()}


CASES = load_cases()

small_labels = arrays(np.uint8, (4, 5), elements=st.integers(0, 4))


def dense_ious(reference: np.ndarray, prediction: np.ndarray, reviewed: np.ndarray) -> np.ndarray:
    """Every IoU, written as it is defined."""
    return np.array(
        [
            [
                ((reference == a) & (prediction == b) & reviewed).sum()
                / (((reference == a) | (prediction == b)) & reviewed).sum()
                if (((reference == a) | (prediction == b)) & reviewed).any()
                else 0
                for b in np.unique(prediction[prediction > 0])
            ]
            for a in np.unique(reference[reference > 0])
        ]
    ).reshape(len(np.unique(reference[reference > 0])), len(np.unique(prediction[prediction > 0])))


def best_assignment(ious: np.ndarray, threshold: float) -> tuple[int, float]:
    """Try every pairing: the largest number of pairs, then the largest sum of IoU."""
    rows, columns = ious.shape
    if rows > columns:
        return best_assignment(ious.T, threshold)
    best = (0, 0.0)
    for places in itertools.permutations([*range(columns)], rows):
        hits = [ious[row, column] for row, column in enumerate(places) if ious[row, column] >= threshold]
        best = max(best, (len(hits), sum(hits)))
    return best


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_stardist(name: str) -> None:
    reference, prediction = CASES[name]
    expected = STARDIST["cases"][name]
    scores = instance_scores(reference, prediction, STARDIST["iou"])
    assert list(scores.tp) == expected["tp"]
    assert list(scores.fp) == expected["fp"]
    assert list(scores.fn) == expected["fn"]
    if name == "empty_empty":
        assert expected["accuracy"] == [0] * len(STARDIST["iou"])  # nothing against nothing is 1 here
        return
    for number, iou in enumerate(STARDIST["iou"]):
        assert scores.ap(iou) == pytest.approx(expected["accuracy"][number], abs=1e-6)
        assert scores.precision(iou) == pytest.approx(expected["precision"][number], abs=1e-6)
        assert scores.recall(iou) == pytest.approx(expected["recall"][number], abs=1e-6)
        assert scores.f1(iou) == pytest.approx(expected["f1"][number], abs=1e-6)
        assert scores.pq(iou) == pytest.approx(expected["panoptic_quality"][number], abs=2e-6)


def test_pooling_agrees_with_stardist() -> None:
    pooled = None
    for reference, prediction in CASES.values():
        scores = instance_scores(reference, prediction, STARDIST["iou"])
        pooled = scores if pooled is None else pooled + scores
    expected = STARDIST["pooled"]
    assert list(pooled.tp) == expected["tp"]
    assert list(pooled.fp) == expected["fp"]
    assert list(pooled.fn) == expected["fn"]
    assert [pooled.ap(iou) for iou in STARDIST["iou"]] == pytest.approx(expected["accuracy"], abs=1e-6)
    assert [pooled.pq(iou) for iou in STARDIST["iou"]] == pytest.approx(expected["panoptic_quality"], abs=2e-6)


def test_hand_worked_case() -> None:
    # 1: 4 of 4 pixels found in an object of 5, IoU 0.8.  2: 2 of 4, IoU 0.5.  3: missed.  9: extra.
    reference = np.array([[1, 1, 1, 1, 0, 2, 2, 2, 2, 0, 3, 3, 0, 0]])
    prediction = np.array([[7, 7, 7, 7, 7, 0, 0, 5, 5, 0, 0, 0, 9, 9]])
    scores = instance_scores(reference, prediction)
    assert scores.tp == (2, 1, 1, 1, 1, 1, 1, 0, 0, 0)
    assert scores.fp == (1, 2, 2, 2, 2, 2, 2, 3, 3, 3)
    assert scores.fn == scores.fp
    assert scores.ap(0.5) == 2 / 4
    assert scores.precision(0.5) == scores.recall(0.5) == scores.f1(0.5) == 2 / 3
    assert scores.pq(0.5) == pytest.approx((0.8 + 0.5) / (2 + 0.5 + 0.5))
    assert scores.mean_ap == pytest.approx((2 / 4 + 6 * 1 / 5 + 3 * 0) / 10)
    matching = match(reference, prediction, 0.5)
    assert matching.reference.tolist() == [1, 2]
    assert matching.prediction.tolist() == [7, 5]
    assert matching.iou.tolist() == [0.8, 0.5]
    assert matching.missed.tolist() == [3]
    assert matching.extra.tolist() == [9]


def test_iou_exactly_at_each_threshold_matches() -> None:
    for percent in range(50, 100, 5):
        reference = np.ones((1, 100), int)
        prediction = np.zeros((1, 100), int)
        prediction[0, :percent] = 1
        threshold = THRESHOLDS[(percent - 50) // 5]
        assert instance_scores(reference, prediction).ap(threshold) == 1, threshold


def test_two_halves_at_one_half_are_used_once() -> None:
    scores = instance_scores([[1, 1, 2, 2]], [[4, 4, 4, 4]])
    assert (scores.tp[0], scores.fp[0], scores.fn[0]) == (1, 0, 1)


def test_more_pairs_are_worth_more_than_a_better_pair() -> None:
    # a greedy match would take (1, 1) with IoU 4/9 and leave 2 and 2 alone
    reference = np.array([[1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0]])
    prediction = np.array([[2, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0]])
    ious = dense_ious(reference, prediction, np.ones(reference.shape, bool))
    assert ious.tolist() == [[4 / 9, 2 / 6], [3 / 7, 0]]
    matching = match(reference, prediction, 0.3)
    assert sorted(zip(matching.reference.tolist(), matching.prediction.tolist())) == [(1, 2), (2, 1)]


@settings(deadline=None)
@given(small_labels, small_labels, st.sampled_from([0.05, 0.2, 0.34, 0.5, 0.6, 1.0]))
def test_matching_is_the_best_of_all_pairings(reference: np.ndarray, prediction: np.ndarray, threshold: float) -> None:
    ious = dense_ious(reference, prediction, np.ones(reference.shape, bool))
    pairs, iou_sum = best_assignment(ious, threshold)
    scores = instance_scores(reference, prediction, (threshold,))
    assert scores.tp == (pairs,)
    assert scores.iou_sum[0] == pytest.approx(iou_sum)
    assert scores.fn == (ious.shape[0] - pairs,)
    assert scores.fp == (ious.shape[1] - pairs,)


@settings(deadline=None)
@given(small_labels, small_labels, arrays(bool, (4, 5)))
def test_reviewed_mask_against_dense(reference: np.ndarray, prediction: np.ndarray, reviewed: np.ndarray) -> None:
    ious = dense_ious(reference, prediction, reviewed)
    numbers = [[n for n in np.unique(labels) if n] for labels in (reference, prediction)]
    counts = [
        [(labels == n)[reviewed].sum() * 2 >= (labels == n).sum() for n in known]
        for labels, known in zip((reference, prediction), numbers)
    ]
    threshold = 0.51  # above one half, pairs are unique
    pairs = [(a, b) for a, b in zip(*np.nonzero(ious >= threshold))]
    matched = [{a for a, _ in pairs}, {b for _, b in pairs}]
    scores = instance_scores(reference, prediction, (threshold,), reviewed)
    assert scores.tp == (sum(bool(counts[0][a] or counts[1][b]) for a, b in pairs),)
    assert scores.fn == (sum(bool(c) for a, c in enumerate(counts[0]) if a not in matched[0]),)
    assert scores.fp == (sum(bool(c) for b, c in enumerate(counts[1]) if b not in matched[1]),)


def test_reviewed_mask_hand_worked() -> None:
    reviewed = np.array([[1, 1, 1, 1, 1, 1, 0, 0, 0, 0]], bool)
    # reference 1 lies inside; 2 is cut, one of its two reviewed pixels of five; 3 is outside
    reference = np.array([[1, 1, 0, 0, 2, 2, 2, 2, 2, 3]])
    nothing = np.zeros_like(reference)
    assert instance_scores(reference, nothing, reviewed=reviewed).fn[0] == 1
    assert instance_scores(nothing, reference, reviewed=reviewed).fp[0] == 1
    # what happens outside does not matter at all
    prediction = reference.copy()
    prediction[~reviewed] = [9, 0, 8, 8]
    assert instance_scores(reference, prediction, reviewed=reviewed).mean_ap == 1


@settings(deadline=None)
@given(small_labels, small_labels, st.permutations(range(5)), st.integers(1, 10**15))
def test_numbers_do_not_matter(reference: np.ndarray, prediction: np.ndarray, order: list[int], factor: int) -> None:
    names = np.array([0, *(1 + number for number in order if number < 4)][:5], np.uint64) * factor
    renamed = names[prediction]
    assert instance_scores(reference, renamed) == instance_scores(reference, prediction)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.uint64, np.float32, ">u4"])
def test_types_of_labels(dtype: object) -> None:
    reference = np.array([[0, 1, 1, 0]]).astype(dtype)
    assert instance_scores(reference, reference).mean_ap == 1
    assert class_scores(reference, reference, 2).dice == (1, 1)


def test_largest_number() -> None:
    labels = np.array([[0, 2**64 - 1, 2**63]], np.uint64)
    matching = match(labels, labels)
    assert sorted(matching.reference.tolist()) == [2**63, 2**64 - 1]


def test_labels_volumes_and_stacks() -> None:
    labels = np.zeros((2, 3, 4, 5), int)
    labels[:, :, 1:3, 2:4] = 1
    assert instance_scores(Labels(labels, "TZYX"), labels).mean_ap == 1


def test_nothing_to_find() -> None:
    nothing, something = np.zeros((4, 4), int), np.ones((4, 4), int)
    same = instance_scores(nothing, nothing)
    assert (same.ap(), same.f1(), same.pq(), same.precision(), same.recall(), same.mean_ap) == (
        1,
        1,
        1,
        1,
        1,
        1,
    )
    for scores in (instance_scores(nothing, something), instance_scores(something, nothing)):
        assert (scores.ap(), scores.f1(), scores.pq(), scores.mean_ap) == (0, 0, 0, 0)
        assert (scores.precision(), scores.recall()) == (0, 0)


def test_scores_pool_objects_not_images() -> None:
    many = np.arange(1, 10).reshape(3, 3)
    good, bad = instance_scores(many, many), instance_scores(np.ones((3, 3), int), np.zeros((3, 3), int))
    assert (good + bad).ap() == 9 / 10
    assert (good + bad).recall() == 9 / 10
    assert good + bad == bad + good


def test_thousands_of_objects_are_quick() -> None:
    side = 60
    labels = np.kron(np.arange(1, side * side + 1).reshape(side, side), np.ones((8, 8), int))
    start = time.perf_counter()
    scores = instance_scores(labels, np.roll(labels, 1, 0), (0.1, *THRESHOLDS))
    assert time.perf_counter() - start < 30  # a fraction of a second on an idle machine
    # 7 of 9 rows of pixels are shared; the first row of squares lies over the border and is in two pieces
    assert scores.tp[0] == side * side
    assert scores.ap(0.75) == 3600 / 3600
    assert scores.ap(0.8) == 0


def test_dice_and_iou_hand_worked() -> None:
    reference = np.array([[0, 0, 1, 1, 2, 2, 2, 2]])
    prediction = np.array([[0, 1, 1, 1, 2, 2, 0, 0]])
    scores = class_scores(reference, prediction, 4)
    assert scores == ClassScores((1, 2, 2, 0), (2, 2, 4, 0), (3, 3, 2, 0))
    assert scores.dice[:3] == (2 / 5, 4 / 5, 4 / 6)
    assert scores.iou[:3] == (1 / 4, 2 / 3, 2 / 4)
    assert math.isnan(scores.dice[3]) and math.isnan(scores.iou[3])
    assert scores.mean_dice == pytest.approx((4 / 5 + 4 / 6) / 2)
    assert scores.mean_iou == pytest.approx((2 / 3 + 2 / 4) / 2)


@settings(deadline=None)
@given(small_labels, small_labels, arrays(bool, (4, 5)))
def test_dice_and_iou_against_dense(reference: np.ndarray, prediction: np.ndarray, reviewed: np.ndarray) -> None:
    scores = class_scores(reference, prediction, 5, reviewed)
    for number in range(5):
        a, b = (reference == number) & reviewed, (prediction == number) & reviewed
        if not (a | b).any():
            assert math.isnan(scores.dice[number]) and math.isnan(scores.iou[number])
            continue
        assert scores.dice[number] == 2 * (a & b).sum() / (a.sum() + b.sum())
        assert scores.iou[number] == (a & b).sum() / (a | b).sum()


def test_class_scores_pool_pixels() -> None:
    a, b = np.array([[0, 1, 1]]), np.array([[0, 0, 1]])
    both = class_scores(a, b, 2) + class_scores(b, b, 2)
    assert both == class_scores(np.concatenate([a, b]), np.concatenate([b, b]), 2)


def test_no_class_occurs() -> None:
    nothing = np.zeros((3, 3), int)
    assert class_scores(nothing, nothing, 3).mean_dice == class_scores(nothing, nothing, 3).mean_iou == 1
    assert class_scores(nothing, nothing, 3, np.zeros((3, 3), bool)).mean_dice == 1


def test_errors_say_what_is_wrong() -> None:
    a = np.ones((3, 4), int)
    with pytest.raises(LabelsError, match=r"prediction has shape \(4, 3\); expected \(3, 4\)"):
        instance_scores(a, a.T)
    with pytest.raises(LabelsError, match=r"reviewed mask has shape \(2,\); expected \(3, 4\)"):
        instance_scores(a, a, reviewed=np.ones(2, bool))
    with pytest.raises(LabelsError, match="negative values"):
        instance_scores(a, -a)
    with pytest.raises(LabelsError, match="fractional"):
        class_scores(a * 0.5, a, 2)
    with pytest.raises(LabelsError, match="the prediction has class 5; expected 0 to 1"):
        class_scores(a, a * 5, 2)
    for threshold in (0, -1, 1.5, math.nan):
        with pytest.raises(SettingsError, match="above 0 and at most 1"):
            match(a, a, threshold)
    with pytest.raises(SettingsError, match=r"no score at IoU 0\.52"):
        instance_scores(a, a).ap(0.52)
    with pytest.raises(SettingsError, match="cannot be added"):
        instance_scores(a, a) + instance_scores(a, a, (0.5,))
    with pytest.raises(SettingsError, match="cannot be added"):
        class_scores(a, a, 2) + class_scores(a, a, 3)


def test_scores_are_plain_numbers() -> None:
    scores = instance_scores(np.ones((2, 2), int), np.ones((2, 2), int))
    assert scores == InstanceScores(THRESHOLDS, (1,) * 10, (0,) * 10, (0,) * 10, (1.0,) * 10)
    assert all(type(n) is int for n in scores.tp) and type(scores.mean_ap) is float
