"""Cutting and splitting: hand-worked small cases."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.editing.splitting import rasterize, split_by_line, split_by_seeds, split_pieces


@pytest.fixture
def dumbbell() -> np.ndarray:
    y, x = np.mgrid[:40, :80]
    return ((y - 20) ** 2 + (x - 22) ** 2 < 16**2) | ((y - 20) ** 2 + (x - 54) ** 2 < 18**2)


def test_a_line_cuts_a_bar_in_two():
    mask = np.zeros((5, 10), bool)
    mask[1:4, 1:9] = True
    parts = split_by_line(mask, np.array([[0.0, 3.0], [4.0, 3.0]]))
    # the larger part is 1; the pixels under the line go to the part beside them
    np.testing.assert_array_equal(parts > 0, mask)
    assert (parts[1:4, 1:3] == 2).all() and (parts[1:4, 4:9] == 1).all()


def test_a_line_that_ends_inside_goes_on():
    mask = np.zeros((30, 60), bool)
    mask[5:25, 5:55] = True
    parts = split_by_line(mask, np.array([[12.0, 30.0], [18.0, 30.0]]))
    assert parts.max() == 2
    assert abs(np.count_nonzero(parts == 1) - np.count_nonzero(parts == 2)) <= 2 * 20


def test_a_line_beside_the_object_cuts_nothing():
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    np.testing.assert_array_equal(split_by_line(mask, np.array([[1.0, 0.0], [1.0, 19.0]])), mask)


def test_a_crooked_line_makes_three_parts():
    mask = np.ones((20, 60), bool)
    line = np.array([[-1.0, 15.0], [22.0, 15.0], [22.0, 40.0], [-1.0, 40.0]])
    parts = split_by_line(mask, line)
    assert sorted(np.bincount(parts.ravel())[1:] > 250) == [True] * 3
    assert parts[10, 2] != parts[10, 28] != parts[10, 50]


def test_slivers_are_no_parts():
    mask = np.zeros((12, 12), bool)
    mask[2:10, 2:10] = True
    assert split_by_line(mask, np.array([[0.0, 3.0], [3.0, 0.0]])).max() == 1


def test_pieces_that_are_not_cut_stay_with_the_largest_part():
    mask = np.zeros((10, 30), bool)
    mask[2:8, 1:12], mask[4:7, 20:25] = True, True
    parts = split_by_line(mask, np.array([[0.0, 4.0], [9.0, 4.0]]))
    assert parts.max() == 2
    assert (parts[4:7, 20:25] == 1).all()


def test_a_line_cuts_each_plane_of_a_stack(dumbbell):
    stack = np.stack([dumbbell] * 3)
    parts = split_by_line(stack, np.array([[0.0, 38.0], [39.0, 38.0]]))
    assert parts.max() == 2
    for plane in parts[1:]:
        np.testing.assert_array_equal(plane, parts[0])


def test_seeds_share_a_dumbbell_at_its_waist(dumbbell):
    parts = split_by_seeds(dumbbell, [(20, 15), (25, 60)])
    np.testing.assert_array_equal(parts > 0, dumbbell)
    assert (parts[:, :33][dumbbell[:, :33]] == 1).all()
    assert (parts[:, 42:][dumbbell[:, 42:]] == 2).all()


@pytest.mark.parametrize("left", [(20, 8), (8, 22), (20, 22), (30, 14)])
@pytest.mark.parametrize("right", [(20, 70), (5, 54), (20, 44), (36, 54)])
def test_seeds_may_be_anywhere_in_their_part(dumbbell, left, right):
    # lower than the waist, too: the flood of one must not run over into the other
    parts = split_by_seeds(dumbbell, [left, right])
    waist = dumbbell.sum(axis=0)[30:45].argmin() + 30
    assert np.count_nonzero(parts[:, : waist - 2] == 2) == 0
    assert np.count_nonzero(parts[:, waist + 3 :] == 1) == 0


def test_pixels_outside_do_not_matter_and_the_border_is_no_outline_to_fear():
    mask = np.ones((10, 40), bool)
    parts = split_by_seeds(mask, [(0, 0), (9, 39)])
    assert abs(int((parts == 1).sum()) - 200) <= 20 and (parts > 0).all()


def test_each_seed_has_a_part(dumbbell):
    parts = split_by_seeds(dumbbell, [(20, 15), (20, 28), (20, 54)])
    assert [parts[20, x] for x in (15, 28, 54)] == [1, 2, 3]


def test_pieces_without_a_seed_go_to_the_nearest_part(dumbbell):
    mask = np.pad(dumbbell, ((0, 0), (0, 10)))
    mask[2:4, 86:88] = True
    parts = split_by_seeds(mask, [(20, 22), (20, 54)])
    assert (parts[2:4, 86:88] == 2).all()


def test_pixels_may_be_longer_than_wide():
    # two beads along z that are round only if a slice is four pixels thick
    z, y, x = np.mgrid[:12, :24, :24]
    mask = (4 * z - 12) ** 2 + (y - 12) ** 2 + (x - 12) ** 2 < 121
    mask |= (4 * z - 32) ** 2 + (y - 12) ** 2 + (x - 12) ** 2 < 121
    parts = split_by_seeds(mask, [(3, 12, 12), (8, 12, 12)], (4.0, 1.0, 1.0))
    assert (parts[:5][mask[:5]] == 1).all() and (parts[7:][mask[7:]] == 2).all()


def test_lines_have_no_gaps_and_stay_inside():
    rows, columns = rasterize(np.array([[-3.0, 2.0], [9.0, 30.0]]), (8, 20))
    assert rows.min() >= 0 and rows.max() < 8 and columns.max() < 20
    assert np.maximum(np.abs(np.diff(rows)), np.abs(np.diff(columns))).max() == 1


def test_pieces_go_to_the_sides_of_a_line_between_them():
    mask = np.zeros((10, 30), bool)
    mask[2:8, 1:12], mask[1:3, 20:25], mask[7:9, 20:24] = True, True, True
    # it ends before it has passed the pieces on the right
    parts = split_pieces(mask, np.array([[4.0, 15.0], [5.0, 15.0]]))
    np.testing.assert_array_equal(parts > 0, mask)
    assert (parts[2:8, 1:12] == 1).all()
    assert (parts[1:3, 20:25] == 2).all() and (parts[7:9, 20:24] == 2).all()


def test_a_line_with_all_pieces_on_one_side_parts_nothing():
    mask = np.zeros((10, 30), bool)
    mask[2:4, 1:6], mask[6:8, 1:6] = True, True
    assert split_pieces(mask, np.array([[0.0, 20.0], [9.0, 20.0]])).max() == 1
