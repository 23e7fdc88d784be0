"""Doubt: small cases worked out by hand, and that wrong objects of a real image are found among the first."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.candidates import Candidates, ClassScores
from segloop.doubt import Doubts, Reason, examine, expected_iou, hull_area, odd_sizes, uncertain_pixels
from segloop.errors import LabelsError


def candidates(boxes, scores, shape=(1, 40, 60), planes=None):
    count = len(boxes)
    return Candidates(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.ones(count, np.int64),
        np.full((count, 28, 28), 255, np.uint8),
        np.arange(count),
        np.zeros(count, np.int64) if planes is None else np.array(planes),
        shape,
    )


def test_a_mask_that_is_certain_will_fit():
    mask = np.zeros((28, 28), np.uint8)
    mask[7:21, 7:21] = 255
    assert expected_iou(mask) == 1
    assert expected_iou(np.zeros((28, 28), np.uint8)) == 0


def test_expected_iou_by_hand():
    # inside 2 cells of 0.8, outside 2 of 0.2: 1.6 expected of a union of 2 + 0.4
    mask = np.array([[204, 204], [51, 51]], np.uint8)
    assert expected_iou(mask) == pytest.approx(1.6 / 2.4)


def test_hull_of_pixels_by_hand():
    # an L of three pixels: the hull of 2 × 2 less half a pixel
    assert hull_area(np.array([[1, 0], [1, 1]], bool)) == pytest.approx(3.5)
    assert hull_area(np.ones((1, 1), bool)) == 1


def test_sizes_are_odd_far_from_the_median_only():
    usual = np.array([90.0, 95, 100, 105, 110, 100, 98])
    few, typical, many = odd_sizes(np.array([20.0, 100.0, 500.0]), usual)
    assert typical == pytest.approx(0, abs=1e-12)
    assert few > 0.95 and many > 0.95
    assert (odd_sizes(usual, usual) < 0.1).all()


def test_score_and_outline_of_the_candidate_that_an_object_is():
    labels = np.zeros((40, 60), np.uint16)
    labels[5:15, 5:15] = 7
    labels[5:15, 30:40] = 300
    found = candidates([(5, 5, 15, 15), (30, 5, 40, 15)], [0.9, 0.6])
    doubts = examine(labels, 0, found)
    np.testing.assert_array_equal(doubts.labels, [7, 300])
    np.testing.assert_array_equal(doubts.candidates, [0, 1])
    np.testing.assert_array_equal(doubts.boxes, [[5, 5, 15, 15], [5, 30, 15, 40]])
    np.testing.assert_allclose(doubts.evidence[:, Reason.SCORE], [0.1, 0.4], atol=1e-6)
    np.testing.assert_allclose(doubts.probability, [0.1, 0.4], atol=1e-6)
    assert doubts.why(1) == "Object 300: score 0.60 only"


def test_reasons_are_joined_as_independent():
    evidence = np.zeros((1, len(Reason)), np.float32)
    evidence[0, [Reason.SCORE, Reason.HOLES]] = 0.5
    doubts = Doubts(np.array([3]), np.array([0]), np.array([[0, 0, 4, 4]]), evidence, np.ones(1), np.array([-1]))
    assert doubts.probability[0] == 0.75
    assert doubts.why(0) == "Object 3: score 0.50 only; holes (50% of it)"


def test_what_is_hidden_is_missing_as_far_as_nothing_covers_it():
    labels = np.zeros((40, 60), np.uint8)
    labels[0:10, 0:10] = 1
    found = candidates([(0, 0, 10, 10), (20, 20, 30, 30), (0, 0, 20, 10), (40, 0, 50, 10)], [0.9, 0.4, 0.3, 0.04])
    doubts = examine(labels, 0, found)
    np.testing.assert_array_equal(doubts.labels, [1, 0, 0])
    np.testing.assert_array_equal(doubts.candidates, [0, 1, 2])
    np.testing.assert_allclose(doubts.probability, [0.1, 0.4, 0.15], atol=1e-6)
    assert doubts.why(1) == "Not marked: an object with score 0.40"


def test_what_a_person_removed_is_not_missing():
    labels = np.zeros((40, 60), np.uint8)
    dismissed = np.zeros((40, 60), bool)
    dismissed[20:30, 20:30] = True
    # the thing itself, another of the same, one that is mostly something else, and one elsewhere
    boxes = [(20, 20, 30, 30), (21, 21, 31, 31), (20, 20, 45, 30), (40, 0, 50, 10)]
    doubts = examine(labels, 0, candidates(boxes, [0.9, 0.6, 0.5, 0.4]), dismissed=dismissed)
    np.testing.assert_array_equal(doubts.candidates, [2, 3])
    np.testing.assert_allclose(doubts.evidence[:, Reason.MISSING], [0.5 * 0.6, 0.4], atol=1e-6)
    # what lies there by now covers as before
    labels[20:30, 20:30] = 5
    doubts = examine(labels, 0, candidates(boxes, [0.9, 0.6, 0.5, 0.4]), dismissed=dismissed)
    np.testing.assert_allclose(
        doubts.evidence[doubts.labels == 0][:, Reason.MISSING], [0.6 * 0.19, 0.3, 0.4], atol=1e-6
    )


def test_objects_of_other_thresholds_are_not_missing_where_a_person_cleared():
    scores = np.zeros((1, 2, 60, 60), np.uint8)
    scores[0, 1, 10:22, 10:22] = scores[0, 1, 35:47, 35:47] = 100
    scores[0, 0] = 255 - scores[0, 1]
    labels = np.zeros((60, 60), np.uint16)
    assert len(examine(labels, 0, ClassScores(scores))) == 2
    cleared = np.zeros((60, 60), bool)
    cleared[8:24, 8:24] = True
    doubts = examine(labels, 0, ClassScores(scores), dismissed=cleared)
    assert doubts.boxes.tolist() == [[35, 35, 47, 47]]


def test_what_a_person_did_is_not_doubted():
    labels = np.zeros((40, 60), np.uint8)
    labels[5:15, 5:15] = 1
    labels[8:12, 8:12] = 0
    assert examine(labels, 0, None).probability[0] == pytest.approx(16 / 100, abs=1e-6)
    assert examine(labels, 0, None, {1}).probability[0] == 0


def test_labels_alone_tell_of_holes_pieces_dents_and_sizes():
    labels = np.zeros((100, 200), np.uint8)
    for number in range(8):
        labels[10:20, 10 + 20 * number : 20 + 20 * number] = number + 1
    labels[12:18, 12:18] = 0  # object 1 has a hole of 36 of 100 pixels
    labels[40:50, 10:20] = 2  # object 2 is in two equal pieces
    labels[60:90, 60:90] = 9  # object 9 is nine times as large
    labels[60:75, 120:130] = 10
    labels[65:75, 130:140] = 10  # object 10 is an L, larger, too
    doubts = examine(labels, 0, None)
    by_label = {int(label): evidence for label, evidence in zip(doubts.labels, doubts.evidence)}
    assert by_label[1][Reason.HOLES] == pytest.approx(0.36)
    assert by_label[2][Reason.PIECES] == pytest.approx(0.5)
    assert by_label[9][Reason.SIZE] > 0.9
    assert by_label[10][Reason.SHAPE] > 0.04
    assert by_label[5].max() == 0
    worst = doubts.why(int(np.flatnonzero(doubts.labels == 9)[0]))
    assert worst == "Object 9: 9.0 times larger than usual"


def test_objects_at_the_border_are_not_too_small():
    labels = np.zeros((100, 200), np.uint8)
    for number in range(8):
        labels[10:20, 10 + 20 * number : 20 + 20 * number] = number + 1
    labels[98:, 0:10] = 9
    labels[50:52, 50:60] = 10
    doubts = examine(labels, 0, None)
    assert doubts.evidence[8, Reason.SIZE] == 0
    assert doubts.evidence[9, Reason.SIZE] > 0.5


def test_semantic_objects_change_with_the_threshold():
    scores = np.zeros((1, 3, 40, 60), np.uint8)
    scores[0, 0] = 255
    for columns, inside in ((slice(5, 15), 250), (slice(25, 35), 130), (slice(45, 55), 90)):
        scores[0, 1, 10:20, columns], scores[0, 0, 10:20, columns] = inside, 255 - inside
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 5:15] = 1
    labels[10:20, 25:35] = 2
    doubts = examine(labels, 0, ClassScores(scores))
    # object 2 is gone at two thresholds of four; what lies right is there at the lowest one only
    np.testing.assert_allclose(doubts.evidence[:2, Reason.THRESHOLD], [0, 0.5])
    np.testing.assert_allclose(doubts.evidence[:2, Reason.SCORE], [5 / 255, 125 / 255], atol=1e-6)
    np.testing.assert_array_equal(doubts.labels, [1, 2, 0])
    np.testing.assert_array_equal(doubts.boxes[2], [10, 45, 20, 55])
    assert doubts.probability[2] == pytest.approx(90 / 255)


def test_planes_of_volumes_are_counted_one_by_one():
    scores = np.full((2, 2, 3, 8, 8), 51, np.uint8)
    scores[1, 0, 2] = 204
    np.testing.assert_allclose(uncertain_pixels(ClassScores(scores), 5), 0.2, atol=1e-6)
    np.testing.assert_allclose(uncertain_pixels(ClassScores(scores), 4), 0.8, atol=1e-6)


def test_nothing_to_look_at():
    assert len(examine(np.zeros((40, 60), np.uint8), 0, candidates([], []))) == 0
    assert len(examine(np.zeros((40, 60), np.uint8), 0, None)) == 0
    assert len(Doubts.joined([])) == 0


def test_candidates_of_another_image_are_refused():
    with pytest.raises(LabelsError, match=r"\(30, 30\); expected \(40, 60\)"):
        examine(np.zeros((30, 30), np.uint8), 0, candidates([], []))
