from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segloop.errors import ImageError, LabelsError
from segloop.image import Image
from segloop.labels import (
    Labels,
    Task,
    border_classes,
    bounding_boxes,
    check_labels,
    check_no_photograph,
    check_shape,
    consecutive,
    diameters,
    look_like_instances,
    object_table,
    smallest_dtype,
)
from segloop.samples import load_reference, load_sample

LARGEST = 2**64 - 1


def squares(count: int, side: int, gap: int) -> np.ndarray:
    """A square of ``count`` × ``count`` objects."""
    numbers = np.arange(1, count * count + 1).reshape(count, count)
    square = np.pad(np.ones((side, side), int), (0, gap))
    return np.kron(numbers, square)


def test_tasks_compare_with_their_names() -> None:
    assert Task("instance") is Task.INSTANCE and Task.SEMANTIC == "semantic"


def test_labels_of_an_image_have_its_axes_and_pixel_size() -> None:
    image = Image(np.zeros((2, 3, 4, 5)), "TCYX", {"T": 10, "Y": 0.5, "X": 0.25})
    labels = Labels.like(image, np.ones((2, 4, 5), int), ("background", "cell"))
    assert labels.axes == "TYX" and labels.shape == (2, 4, 5)
    assert labels.pixel_size == {"T": 10, "Y": 0.5, "X": 0.25} and labels.unit == "micrometer"
    assert not labels.is_instances and Labels.like(image, np.ones((2, 4, 5), int)).is_instances
    with pytest.raises(LabelsError, match=r"labels of shape \(4, 5\) do not fit .*: expected \(2, 4, 5\) \(axes TYX\)"):
        Labels.like(image, np.ones((4, 5), int))
    with pytest.raises(LabelsError, match="do not fit the image 'image'"):
        check_shape((3, 2, 4, 5), image)


def test_labels_are_arrays() -> None:
    labels = Labels(np.array([[1, 2]], np.uint8), "YX")
    assert np.asarray(labels).tolist() == [[1, 2]]
    assert np.asarray(labels) is labels.data
    assert np.array(labels) is not labels.data
    assert np.asarray(labels, np.int64).dtype == np.int64
    with pytest.raises(ImageError, match="name 2 dimensions, but the image has 3"):
        Labels(np.ones((2, 2, 2), int), "YX")


@pytest.mark.parametrize(
    ("given_dtype", "largest", "dtype"),
    [
        (bool, 1, np.uint8),
        (np.int8, 100, np.uint8),
        (np.int64, 255, np.uint8),
        (np.int64, 256, np.uint16),
        (np.int64, 65536, np.uint32),
        (np.int64, 2**32, np.uint64),
        (np.float32, 1000, np.uint16),
        (np.uint32, 3, np.uint32),
        (np.uint64, LARGEST, np.uint64),
        (">u2", 500, np.uint16),
        (">i4", 500, np.uint16),
    ],
)
def test_types_of_labels(given_dtype: object, largest: int, dtype: type) -> None:
    array = np.zeros((2, 3), given_dtype)
    array[1, 2] = largest
    checked = check_labels(array)
    assert checked.dtype == dtype and checked.dtype.isnative
    assert checked.tolist() == [[0, 0, 0], [0, 0, largest]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[-3, 1]]), r"negative values \(-3\); expected 0 for background and 1…N"),
        (np.array([[0.5, 1]]), "fractional or NaN values"),
        (np.array([[np.nan, 1]]), "fractional or NaN values"),
        (np.array([[np.inf, 1]]), "fractional or NaN values"),
        (np.array([[1e30]]), r"the label 1e\+30 is too large; expected at most 18446744073709551615"),
        (np.array([["a"]]), "labels of type <U1; expected whole numbers"),
        (np.zeros((0, 3), int), r"no pixels: shape \(0, 3\)"),
    ],
)
def test_what_is_no_labels(array: np.ndarray, message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        check_labels(array)


def test_smallest_dtype() -> None:
    sizes = [smallest_dtype(n).itemsize for n in (0, 255, 256, 65535, 65536, 2**32 - 1, 2**32, LARGEST)]
    assert sizes == [1, 1, 2, 2, 4, 4, 8, 8]


@settings(deadline=None)
@given(arrays(np.uint64, (4, 6), elements=st.sampled_from([0, 1, 3, 70000, 10**12, LARGEST])))
def test_consecutive_numbers_lead_back(labels: np.ndarray) -> None:
    numbers, places = consecutive(labels)
    assert numbers.tolist() == sorted({*labels.ravel().tolist()} - {0})
    assert np.array_equal(np.concatenate([[np.uint64(0)], numbers])[places], labels)
    assert places.shape == labels.shape and places.dtype == np.int64


def test_border_classes_hand_worked() -> None:
    labels = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 2, 2, 2],
            [0, 1, 1, 1, 2, 2, 2],
            [0, 1, 1, 1, 2, 2, 2],
            [0, 0, 0, 0, 0, 0, 0],
            [0, 3, 0, 0, 0, 0, 0],
        ]
    )
    expected = [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 2, 2, 2, 2, 2, 2],
        [0, 2, 1, 2, 2, 1, 1],  # the edge of the image is no border: the object goes on
        [0, 2, 2, 2, 2, 2, 2],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 2, 0, 0, 0, 0, 0],
    ]
    assert border_classes(labels).tolist() == expected
    assert border_classes(labels).dtype == np.uint8
    assert not border_classes(np.zeros((3, 3), int)).any()


@settings(deadline=None)
@given(arrays(np.uint8, (7, 8), elements=st.integers(0, 3)))
def test_border_is_the_outermost_ring(labels: np.ndarray) -> None:
    classes = border_classes(labels)
    assert np.array_equal(classes > 0, labels > 0)
    padded = np.pad(labels, 1, mode="edge")
    neighbours = [padded[1 + dy : 8 + dy, 1 + dx : 9 + dx] for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    differs = np.any([part != labels for part in neighbours], axis=0)
    assert np.array_equal(classes == 2, (labels > 0) & differs)


def test_diameters() -> None:
    y, x = np.mgrid[:101, :101] - 50
    disc = (y**2 + x**2 <= 40**2) * 7
    assert diameters(disc) == pytest.approx([80], rel=0.01)
    z, y, x = np.mgrid[:41, :41, :41] - 20
    assert diameters(((z**2 + y**2 + x**2 <= 15**2) * 2).astype(np.uint16)) == pytest.approx([30], rel=0.02)
    assert diameters(np.array([[0, LARGEST, 5, 5]], np.uint64)) == pytest.approx(
        [math.sqrt(8 / math.pi), math.sqrt(4 / math.pi)]
    )
    assert diameters(np.zeros((3, 3), np.uint8)).shape == (0,)


@pytest.mark.parametrize("number", [3, 40_000, 2**31 + 5, LARGEST])
def test_boxes_and_tables_of_any_number(number: int) -> None:
    labels = np.zeros((5, 6), np.uint64)
    labels[1:3, 2:5] = number
    labels[4, 0] = 2
    assert bounding_boxes(labels) == {2: (slice(4, 5), slice(0, 1)), number: (slice(1, 3), slice(2, 5))}
    table = object_table(labels)
    assert table["label"].tolist() == [2, number]
    assert table["area"].tolist() == [1, 6]
    assert table["centroid-0"].tolist() == [4, 1.5] and table["centroid-1"].tolist() == [0, 3]
    assert [table[f"bbox-{n}"].tolist() for n in range(4)] == [[4, 1], [0, 2], [5, 3], [1, 5]]


def test_tables_of_nothing() -> None:
    nothing = np.zeros((4, 4), np.uint8)
    assert bounding_boxes(nothing) == {}
    assert {len(column) for column in object_table(nothing).values()} == {0}


def test_look_like_instances() -> None:
    cells = squares(4, 5, 2)
    assert look_like_instances(cells)
    assert not look_like_instances(border_classes(cells))
    assert not look_like_instances(cells > 0)
    assert not look_like_instances(np.zeros((4, 4), int))


def spots(spacing: int) -> np.ndarray:
    labels = np.zeros((256, 256), np.uint16)
    labels[::spacing, ::spacing] = 1 + np.arange((255 // spacing + 1) ** 2).reshape(255 // spacing + 1, -1)
    return labels


def noise(largest: int, dtype: type) -> np.ndarray:
    return np.random.default_rng(0).integers(0, largest, (3, 200, 200)).astype(dtype)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(spots(2), id="objects of one pixel"),
        pytest.param(squares(30, 3, 0), id="small objects without background"),
        pytest.param(noise(31, np.uint8), id="scattered classes"),
        pytest.param(np.where(spots(3) > 0, 1 + spots(3) % 300, 0), id="objects of several pieces"),
        pytest.param(np.zeros((20, 30), np.uint8), id="nothing"),
        pytest.param(load_reference("histology").data, id="nuclei"),
        pytest.param(load_reference("chloroplasts").data, id="a stack"),
    ],
)
def test_labels_are_never_called_an_image(labels: np.ndarray) -> None:
    check_no_photograph(labels, "a.tif")


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(noise(255, np.uint8), id="noise"),
        pytest.param(noise(65535, np.uint16), id="noise of 16 bits"),
        pytest.param(load_sample("chloroplasts").read()[0], id="electron microscopy"),
        pytest.param(load_sample("large-nuclei").read()[0], id="fluorescence"),
    ],
)
def test_images_are_told_from_labels(image: np.ndarray) -> None:
    with pytest.raises(LabelsError, match=r"a\.tif looks like an image, not like labels: its \d+ values lie in"):
        check_no_photograph(image, "a.tif")
