"""Who calls a region right vouches for objects that reach out of it, if most of them lies in it."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.corrections.vouching import vouched_for


@pytest.fixture
def labels() -> np.ndarray:
    """A square mostly in the region, one hardly in it, one that the first touches; a number as large as in files."""
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 14:24] = 7_000_000
    labels[20:30, 18:28] = 3
    labels[8:12, 24:30] = 5
    return labels


@pytest.fixture
def reviewed(labels) -> np.ndarray:
    mask = np.zeros(labels.shape, bool)
    mask[:, :20] = True
    return mask


def test_an_object_mostly_in_the_region_is_vouched_for_with_its_outline(labels, reviewed):
    grown = vouched_for(labels, reviewed)
    own = labels == 7_000_000
    assert grown[own].all() and grown[reviewed].all()
    # the background next to it, but nothing of its neighbours
    assert grown[4, 20:24].all() and grown[15, 20:24].all() and grown[5, 24]
    assert not grown[4, 24] and not grown[3, 22]
    assert not grown[labels == 5].any() and not grown[(labels == 3) & ~reviewed].any()
    assert not reviewed[own].all(), "what was given stays as it is"


def test_half_of_an_object_is_not_most_of_it(labels, reviewed):
    reviewed[:, 19] = False
    assert np.array_equal(vouched_for(labels, reviewed), reviewed)


def test_planes_are_looked_at_by_themselves(labels, reviewed):
    # in the second plane the same number is an object of its own, hardly in the region
    other = np.zeros_like(labels)
    other[5:15, 18:28] = 7_000_000
    stack, masks = np.stack([labels, other, labels]), np.stack([reviewed, reviewed, np.zeros_like(reviewed)])
    grown = vouched_for(stack, masks)
    assert np.array_equal(grown[0], vouched_for(labels, reviewed))
    assert np.array_equal(grown[1], reviewed) and not grown[2].any()


def test_nothing_is_added_to_all_or_nothing(labels):
    assert vouched_for(labels, np.ones(labels.shape, bool)).all()
    assert not vouched_for(labels, np.zeros(labels.shape, bool)).any()
