"""Checksums: they tell single pixels and exchanged ones, and add up over boxes."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.checksum import changed, checksum


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "int64"])
def test_single_pixels_and_exchanged_ones_are_told(rng, dtype):
    labels = rng.integers(0, 100, (40, 50)).astype(dtype)
    first = checksum(labels)
    assert 0 <= first < 2**64 and checksum(labels.copy(order="F")) == first
    seen, places = {first}, {tuple(place) for place in rng.integers(0, 40, (50, 2)).tolist()}
    for place in places:
        other = labels.copy()
        other[place] += 1
        seen.add(checksum(other))
    assert len(seen) == 1 + len(places)
    for axis in (0, 1):
        assert checksum(np.flip(labels, axis)) != first and checksum(np.roll(labels, 1, axis)) != first
    assert checksum(np.zeros_like(labels)) == 0


@pytest.mark.parametrize("shape", [(30,), (30, 40), (3, 30, 40), (2, 3, 30, 40), (30, 40, 3)])
def test_what_changes_in_boxes_adds_up(rng, shape):
    labels = rng.integers(0, 9, shape).astype(np.uint16)
    number = checksum(labels)
    for _ in range(20):
        ends = np.sort([rng.integers(0, size + 1, 2) for size in shape], axis=1)
        box = tuple(slice(int(low), int(high)) for low, high in ends)
        before = labels[box].copy()
        labels[box] = rng.integers(0, 9, before.shape)
        number = changed(number, box, before, labels[box])
        assert number == checksum(labels)


def test_numbers_of_any_size_and_layers_that_can_only_be_read():
    labels = np.full((5, 5), 2**63, np.uint64)
    labels.flags.writeable = False
    other = np.full((5, 5), 2**63, np.uint64)
    assert checksum(labels) == checksum(other)
    other[2, 2] -= 1
    assert checksum(labels) != checksum(other)
    assert checksum(np.zeros((0, 5), np.uint8)) == 0
