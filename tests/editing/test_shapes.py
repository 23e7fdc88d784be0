"""Outlines: hand-worked small cases."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.editing import shapes


def block(*rows: str) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in rows])


def applied(labels: np.ndarray, result: shapes.Reshaped, number: int = 1) -> np.ndarray:
    after = labels.copy()
    after[result.leaves] = 0
    after[result.joins] = number
    return after


def test_growing_by_a_pixel_over_background_only():
    labels = block("00000", "00120", "00000")
    result = shapes.grow(labels, 1)
    np.testing.assert_array_equal(applied(labels, result), block("00100", "01120", "00100"))
    assert result.pixels == 3


def test_shrinking_leaves_the_border_of_the_image():
    labels = block("1110", "1110", "1110")
    np.testing.assert_array_equal(applied(labels, shapes.shrink(labels, 1)), block("1100", "1100", "1100"))
    labels = block("00000", "01110", "01110", "01110", "00000")
    np.testing.assert_array_equal(
        applied(labels, shapes.shrink(labels, 1)), block("00000", "00000", "00100", "00000", "00000")
    )


def test_holes_are_filled_around_other_objects():
    labels = block("11111", "10021", "10001", "11111")
    filled = applied(labels, shapes.fill_holes(labels, 1))
    np.testing.assert_array_equal(filled, block("11111", "11121", "11111", "11111"))
    assert shapes.fill_holes(filled, 1).pixels == 0
    # a bay is no hole
    assert shapes.fill_holes(block("111", "100", "111"), 1).pixels == 0


def test_smoothing_takes_off_a_spike_and_fills_a_notch():
    labels = np.zeros((40, 40), int)
    labels[10:30, 10:30] = 1
    straight = labels.copy()
    labels[20, 30:34] = 1
    labels[20, 10:13] = 0
    labels[5, 5] = 2
    after = applied(labels, shapes.smooth(labels, 1))
    assert not after[20, 31:34].any()
    assert after[20, 11:13].all()
    assert after[5, 5] == 2
    # the sides stay where they are, but for the corners
    np.testing.assert_array_equal(after[14:18, 6:34], straight[14:18, 6:34])


def test_smoothing_does_not_wear_an_object_down():
    y, x = np.mgrid[:80, :80]
    labels = ((y - 40) ** 2 + (x - 40) ** 2 <= 20**2).astype(int)
    area = labels.sum()
    for _ in range(5):
        labels = applied(labels, shapes.smooth(labels, 1))
    assert labels.sum() == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize("tool", [shapes.grow, shapes.shrink, shapes.smooth, shapes.fill_holes])
def test_each_plane_of_a_stack_is_one_of_its_own(tool):
    random = np.random.default_rng(0)
    stack = np.pad(random.integers(0, 3, (2, 3, 14, 15)), [(0, 0), (0, 0), (6, 6), (6, 6)])
    result = tool(stack, 1)
    for plane in np.ndindex(2, 3):
        single = tool(stack[plane], 1)
        np.testing.assert_array_equal(result.joins[plane], single.joins)
        np.testing.assert_array_equal(result.leaves[plane], single.leaves)
    assert not (result.joins & (stack != 0)).any()
    assert not (result.leaves & (stack != 1)).any()
