"""The index of objects: what one scan finds, and what following every change keeps true."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.editing.changes import Change
from segloop.editing.index import ObjectIndex
from segloop.errors import LabelsError

SMALL = np.array(
    [
        [1, 1, 0, 7],
        [0, 1, 0, 7],
        [3, 0, 0, 0],
    ],
    np.uint16,
)


def scanned(data, **keywords) -> ObjectIndex:
    index = ObjectIndex(data, **keywords)
    index.finish()
    return index


def check(index: ObjectIndex, data: np.ndarray) -> None:
    """Compare with the slow way of knowing."""
    numbers = [int(n) for n in np.unique(data) if n]
    assert index.numbers == numbers
    for number in numbers:
        assert index.area(number) == np.count_nonzero(data == number)
        for side, places in zip(index.box(number), np.nonzero(data == number)):
            assert side.start <= places.min() and places.max() < side.stop


def test_a_small_image():
    index = scanned(SMALL)
    assert index.numbers == [1, 3, 7] and len(index) == 3
    assert [index.area(number) for number in (1, 3, 7, 5)] == [3, 1, 2, 0]
    assert index.box(1) == (slice(0, 2), slice(0, 2))
    assert index.box(7) == (slice(0, 2), slice(3, 4))
    assert index.box(5) is None
    assert (index.largest, index.smallest_free()) == (7, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint32, np.int16])
@pytest.mark.parametrize("shape", [(37, 41), (3, 20, 30), (2, 3, 9, 11), (1, 1), (0, 5)])
def test_any_shape_in_any_blocks(shape, dtype):
    data = np.random.default_rng(0).integers(0, 6, shape).astype(dtype) * 20
    check(scanned(data, block_pixels=50), data)


def test_numbers_with_gaps_and_signs():
    data = np.array([[2**40, -5, 0], [2**40, 0, 9]], np.int64)
    index = scanned(data)
    assert index.numbers == [-5, 9, 2**40]
    assert index.area(2**40) == 2
    assert index.largest == 2**40


def test_zarr_and_dask_are_read_in_chunks():
    zarr = pytest.importorskip("zarr")
    import dask.array as da

    data = np.random.default_rng(0).integers(0, 9, (50, 70)).astype(np.uint16)
    stored = zarr.array(data, chunks=(16, 32))
    check(scanned(stored, block_pixels=600), data)
    check(scanned(da.from_array(data, chunks=(16, 32)), block_pixels=600), data)


def test_edits_before_between_and_after_scanning():
    random = np.random.default_rng(1)
    data = random.integers(0, 5, (40, 40)).astype(np.uint16)
    index = ObjectIndex(data, block_pixels=200)
    for _ in range(60):
        y, x = random.integers(0, 35, 2)
        box = (slice(y, y + 5), slice(x, x + 5))
        mask = (random.random((5, 5)) < 0.5) & (data[box] != (number := int(random.integers(0, 9))))
        before = data[box][mask]
        data[box][mask] = number
        index.follow(Change.in_box(box, mask, before, number))
        if random.random() < 0.1:
            index.advance(0)
    index.finish()
    check(index, data)


def test_a_change_can_be_taken_back():
    data = SMALL.copy()
    index = scanned(data)
    change = Change.in_box((slice(0, 2), slice(3, 4)), None, np.array([7, 7]), 1)
    index.follow(change)
    assert (index.area(7), index.area(1), 7 in index) == (0, 5, False)
    index.follow(change.reversed())
    check(index, SMALL)


def test_several_numbers_at_once():
    data = np.zeros((4, 4), np.uint8)
    index = scanned(data)
    rows, columns = np.array([0, 3, 1]), np.array([1, 2, 1])
    index.follow(Change.at((rows, columns), np.zeros(3, int), np.array([4, 5, 4])))
    assert index.box(4) == (slice(0, 2), slice(1, 2))
    assert index.box(5) == (slice(3, 4), slice(2, 3))


def test_the_block_around_an_object_is_tight_again():
    data = np.zeros((20, 20), np.uint8)
    data[5:8, 5:9] = 2
    index = scanned(data)
    index.follow(Change.in_box((slice(15, 16), slice(15, 16)), None, np.array([0]), 2))
    index.follow(Change.in_box((slice(15, 16), slice(15, 16)), None, np.array([2]), 0))
    box, block = index.read(2, margin=1)
    assert box == (slice(4, 9), slice(4, 10))
    np.testing.assert_array_equal(block, data[box])
    block[:] = 9
    assert 9 not in data
    assert index.read(2, margin=99)[0] == (slice(0, 20), slice(0, 20))


def test_within_one_plane():
    data = np.zeros((3, 8, 8), np.uint8)
    data[0, 1:3, 1:3], data[1, 4:6, 4:6] = 1, 1
    index = scanned(data)
    plane = (slice(1, 2), slice(0, 8), slice(0, 8))
    assert index.read(1, margin=1, within=plane)[0] == (slice(1, 2), slice(3, 7), slice(3, 7))
    with pytest.raises(LabelsError, match="not on this slice"):
        index.read(1, within=(slice(2, 3), slice(0, 8), slice(0, 8)))
    with pytest.raises(LabelsError, match="no object 5"):
        index.read(5)


def test_an_object_is_found_from_a_pixel_before_all_is_scanned():
    data = np.zeros((600, 600), np.uint8)
    data[100:400, 250:300] = 3
    index = ObjectIndex(data, block_pixels=600)
    index.advance(0)
    index.seek(3, (399, 299))
    assert not index.complete
    box, _ = index.read(3)
    assert box == (slice(100, 400), slice(250, 300))
    assert not index.complete
    data[400:410, 250:300] = 3
    index.follow(Change.in_box((slice(400, 410), slice(250, 300)), None, np.zeros(500, int), 3))
    assert index.read(3)[0] == (slice(100, 410), slice(250, 300))
    assert not index.complete
    index.finish()
    check(index, data)
