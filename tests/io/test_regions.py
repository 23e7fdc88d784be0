"""Measurements against scikit-image's, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops_table

from segloop.io import regions
from segloop.io.region_sums import add_block
from segloop.io.regions import region_table
from segloop.samples import load_reference

FLAT = ("perimeter", "eccentricity", "axis_major_length", "axis_minor_length", "orientation")


def check(labels: np.ndarray) -> None:
    """Compare with scikit-image."""
    properties = ("label", "area", "centroid", "bbox", *(FLAT if labels.ndim == 2 else ()))
    expected = regionprops_table(labels.astype(np.int64), properties=properties)
    got = region_table(lambda box: labels[box], labels.shape)
    assert set(got) == set(expected)
    for name, column in expected.items():
        # at equal moments rounding decides on the axis: any is right
        if name == "orientation":
            round_ones = np.isclose(expected["axis_major_length"], expected["axis_minor_length"])
            difference = np.abs(got[name] - column)[~round_ones]
            assert (np.minimum(difference, np.abs(np.pi - difference)) < 1e-6).all()
        else:
            np.testing.assert_allclose(got[name], column, rtol=1e-9, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("block", [7, 16, 64, 2048])
def test_shapes_of_any_kind(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(regions, "BLOCK", block)
    rng = np.random.default_rng(0)
    noise = rng.random((70, 83))
    for threshold in (0.1, 0.5, 0.9):
        check(label(noise > threshold, connectivity=1))
    # objects that touch, have holes, lie in pieces, or are one pixel large
    check(rng.integers(0, 6, (40, 30)).astype(np.uint16))
    check(np.kron(rng.integers(0, 9, (8, 9)), np.ones((7, 6), int)).astype(np.uint32))


def test_real_nuclei() -> None:
    check(np.asarray(load_reference("fluorescence")))


@pytest.mark.parametrize("block", [5, 2048])
def test_volumes(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(regions, "BLOCK", block)
    check(label(np.random.default_rng(0).random((9, 20, 17)) > 0.6))


def test_an_empty_image_has_no_rows() -> None:
    got = region_table(lambda box: np.zeros((5, 6), np.uint8)[box], (5, 6))
    assert all(len(column) == 0 for column in got.values()) and {"label", "area", "perimeter"} <= set(got)


def test_far_from_the_origin_nothing_is_lost() -> None:
    """Sums of squares of large coordinates would not fit float64 exactly: they are relative to the object."""
    labels = np.zeros((1, 60, 60), np.int64)
    labels[0, 10:20, 30:55] = 1
    labels[0, 12, 40] = 0
    inner = np.array([(0, 1), (0, 60), (0, 60)])
    near, far = (add_block(labels, np.array([0, start, start]), inner, 1)[0] for start in (0, 1 << 40))
    assert np.array_equal(near[:, :7], far[:, :7])
    assert np.array_equal(far[:, [8, 9, 11, 12]] - near[:, [8, 9, 11, 12]], np.full((1, 4), 1 << 40))
