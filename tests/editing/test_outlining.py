"""Objects drawn by their outlines: what is inside, and what becomes of the objects under it."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.editing.outlining import claim, fill_outline


def square(top: float, left: float, bottom: float, right: float) -> np.ndarray:
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])


def test_pixels_whose_centres_are_inside():
    rows, columns, inside = fill_outline(square(1.6, 2.4, 5.4, 7.4), (20, 20))
    assert (rows, columns) == (slice(2, 6), slice(3, 8)) and inside.all()


def test_what_is_outside_the_plane_is_left_out():
    rows, columns, inside = fill_outline(square(-5.5, 15.5, 3.4, 40), (20, 20))
    assert (rows, columns) == (slice(0, 4), slice(16, 20)) and inside.all()
    *_, nothing = fill_outline(square(30, 30, 40, 40), (20, 20))
    assert nothing.shape == (0, 0)


@pytest.fixture
def plane() -> np.ndarray:
    labels = np.zeros((12, 12), np.uint16)
    labels[2:6, 2:6] = 1
    labels[2:6, 6:10] = 2
    return labels


def claimed(plane, rows, columns, vouched=()):
    inside = np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
    return claim(inside, plane[rows, columns], dict(enumerate(np.bincount(plane.ravel()).tolist())), vouched)


def test_the_object_inside_is_meant_and_its_neighbour_makes_way(plane):
    found = claimed(plane, slice(1, 7), slice(1, 7))
    assert found.number == 1 and found.replaced == (1,) and found.taken.all()


def test_what_a_person_vouched_for_stays(plane):
    found = claimed(plane, slice(1, 7), slice(1, 7), vouched=(2,))
    assert found.number == 1 and found.taken.sum() == 36 - 4
    # unless it is what is meant
    found = claimed(plane, slice(1, 7), slice(1, 7), vouched=(1,))
    assert found.number == 1 and found.taken.all()


def test_half_of_two_in_one_takes_not_the_other_half_away(plane):
    plane[plane == 2] = 1
    found = claimed(plane, slice(2, 6), slice(2, 7))
    assert found.number == 0 and found.replaced == () and found.taken.all()


def test_several_inside_become_one(plane):
    plane[5, 2:6] = 3
    found = claimed(plane, slice(0, 8), slice(0, 11))
    assert set(found.replaced) == {1, 2, 3} and found.number == 2


def test_nothing_under_it(plane):
    found = claimed(plane, slice(8, 12), slice(0, 4))
    assert found.number == 0 and not found.replaced and found.taken.all()
