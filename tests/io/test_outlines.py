"""Outlines hold exactly the pixels of an object."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon
from skimage.draw import polygon2mask

from segloop.io.outlines import trace


def fill(rings, shape):
    """Even-odd filling by pixel centres, which is what ImageJ's PolygonFiller does."""
    mask = np.zeros(shape, bool)
    for ring in rings:
        mask ^= polygon2mask(shape, ring[:, ::-1] - 0.5)
    return mask


def redraw(plane):
    drawn = np.zeros_like(plane)
    for outline in trace(plane):
        for piece in outline.pieces:
            drawn[fill(piece, plane.shape)] = outline.label
    return drawn


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_outlines_filled_are_the_labels_and_valid_polygons(seed, height, width, numbers):
    plane = np.random.default_rng(seed).integers(0, numbers + 1, (height, width)).astype(np.uint16)
    np.testing.assert_array_equal(redraw(plane), plane)
    for outline in trace(plane):
        polygons = [Polygon(piece[0], piece[1:]) for piece in outline.pieces]
        assert all(polygon.is_valid for polygon in polygons)
        assert sum(polygon.area for polygon in polygons) == (plane == outline.label).sum()


def test_a_square_is_its_four_corners_clockwise_on_the_screen():
    plane = np.zeros((6, 7), np.uint8)
    plane[1:4, 2:6] = 5
    (outline,) = trace(plane)
    assert outline.label == 5
    ((ring,),) = outline.pieces
    corners = [tuple(corner) for corner in ring.tolist()]
    start = corners.index((2, 1))
    assert corners[start:] + corners[:start] == [(2, 1), (6, 1), (6, 4), (2, 4)]


def test_pieces_and_holes():
    plane = np.zeros((9, 9), np.uint8)
    plane[0:5, 0:5] = 1
    plane[2, 2] = 0
    plane[5, 5] = 1  # touches at a corner only: another piece
    (outline,) = trace(plane)
    assert [len(piece) for piece in outline.pieces] == [2, 1]


def test_nothing_to_trace():
    assert list(trace(np.zeros((4, 4), np.uint8))) == []
