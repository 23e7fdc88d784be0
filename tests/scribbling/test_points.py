"""Painted pixels as points; filters by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segloop.errors import LabelsError
from segloop.scribbling import Points
from segloop.scribbling.filters import SCALES, filtered


def test_painted_pixels_are_found():
    scribbles = np.zeros((2, 3, 4), np.uint8)
    scribbles[0, 1, 2], scribbles[1, 2, 3] = 1, 3
    points = Points.of(scribbles)
    assert [list(a) for a in (points.planes, points.rows, points.columns, points.classes)] == [
        [0, 1],
        [1, 2],
        [2, 3],
        [0, 2],
    ]
    assert points.painted == (0, 2) and len(points) == 2


def test_parts_put_together_are_the_whole():
    scribbles = np.zeros((4, 6), np.uint8)
    scribbles[:2], scribbles[3, 3] = 1, 2
    points = Points.of(scribbles)
    joined = Points.joined([points.take(np.arange(12)), points.take(np.arange(12, 13))])
    assert joined.equals(points)
    assert not points.take(np.arange(3)).equals(points)
    assert len(Points.joined([])) == 0


def test_thinning_keeps_rare_classes():
    scribbles = np.ones((20, 20), np.uint8)
    scribbles[5, 5] = 2
    thin = Points.of(scribbles).thinned(10)
    assert np.bincount(thin.classes).tolist() == [10, 1]


def test_only_integers_are_scribbles():
    with pytest.raises(LabelsError, match="expected integers"):
        Points.of(np.zeros((3, 3)))


@pytest.mark.parametrize("number", [-1, 256])
def test_classes_that_a_prediction_could_not_show_are_refused(number):
    """It is of 8 bits: 256 would come out as 0."""
    scribbles = np.zeros((3, 3), np.int32)
    scribbles[0, :2] = 255, number
    with pytest.raises(LabelsError, match=f"{number}.*; .* classes from 1 to 255"):
        Points.of(scribbles)
    assert Points.of(scribbles[:, :1]).painted == (254,)


def test_filters_of_a_flat_image_are_its_intensity_and_nothing_else():
    maps = filtered(torch.full((1, 40, 40), 0.25))
    assert maps.shape == (1 + 4 * len(SCALES), 40, 40)
    for number, one in enumerate(maps):
        want = 0.25 if number == 0 or (number - 1) % 4 == 0 else 0.0
        torch.testing.assert_close(one, torch.full_like(one, want), atol=1e-5, rtol=0)


def test_a_bright_line_is_bent_across_and_not_along():
    image = torch.zeros(1, 41, 41)
    image[0, 20] = 1
    maps = filtered(image)
    larger, smaller = maps[7, 20, 20], maps[8, 20, 20]
    # scale 2: the second derivative of a Gaussian of σ at its middle is -1 / (σ³ √(2π)), times σ² is -0.1995;
    # differences of differences over two pixels make it a little less
    assert smaller == pytest.approx(-0.1995, rel=0.25)
    assert abs(larger) < 1e-4
