"""Interpolation between slices: hand-worked small cases."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.editing.interpolation import gaps, interpolate


def square(side: int, y: int, x: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_a_square_grows_evenly():
    filled = interpolate(square(3, 18, 18), square(11, 14, 14), 3)
    for number, side in enumerate((5, 7, 9)):
        np.testing.assert_array_equal(filled[number], square(side, 17 - number, 17 - number))


def test_an_object_that_moves_keeps_its_shape():
    # the two do not overlap: a plain blend would be empty
    filled = interpolate(square(7, 5, 5), square(7, 21, 45), 3)
    for number in range(3):
        np.testing.assert_array_equal(filled[number], square(7, 9 + 4 * number, 15 + 10 * number))


def test_an_object_may_move_along_the_border():
    filled = interpolate(square(6, 0, 0), square(6, 0, 54), 5)
    assert [int(mask.sum()) for mask in filled] == [36] * 5


def test_the_same_outline_stays_itself():
    random = np.random.default_rng(0).random((30, 30)) > 0.5
    for mask in interpolate(random, random, 2):
        np.testing.assert_array_equal(mask, random)


@pytest.mark.parametrize("swapped", [False, True])
def test_it_is_the_same_in_both_directions(swapped):
    y, x = np.mgrid[:40, :60]
    first = (y - 15) ** 2 + (x - 15) ** 2 < 64
    last = (y - 20) ** 2 / 4 + (x - 40) ** 2 < 36
    filled = interpolate(last, first, 4)[::-1] if swapped else interpolate(first, last, 4)
    areas = [int(mask.sum()) for mask in (first, *filled, last)]
    assert areas == sorted(areas) or areas == sorted(areas, reverse=True)
    np.testing.assert_array_equal(filled, interpolate(first, last, 4))


def test_gaps_are_found():
    assert gaps(np.array([0, 1, 0, 0, 1, 1, 0, 1, 0], bool)) == [(1, 4), (5, 7)]
    assert gaps(np.array([0, 1, 1, 0], bool)) == []
    assert gaps(np.zeros(3, bool)) == []
