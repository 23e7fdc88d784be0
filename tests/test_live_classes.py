"""Live classes: at one half as a run decides, moved and back, around what a person did."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.live_classes import LiveClasses, critical_levels


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 60, 70)).astype(np.uint8)


def test_at_one_half_the_best_class_wins(scores):
    scores[:, :5] = 90  # ties go to the first, which is background
    scores[:, 5:10] = 0  # never looked at
    levels, best = critical_levels(scores.reshape(4, -1))
    assert np.array_equal(np.where(levels > 127, best, 0), scores.argmax(axis=0).ravel())


def begin(scores: np.ndarray) -> LiveClasses:
    return LiveClasses(lambda: scores, scores.shape[1:])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.95])
def test_thresholds_as_defined(scores, threshold):
    live, data = begin(scores), scores.argmax(axis=0).astype(np.uint16)
    before = data.copy()
    box = live.move(threshold, data)
    others = scores[1:].astype(float)
    share = others.max(axis=0) / np.maximum(1, others.max(axis=0) + scores[0])
    sure = np.abs(share - threshold) > 0.01
    expected = np.where(share > threshold, others.argmax(axis=0) + 1, 0)
    assert np.array_equal(data[sure], expected[sure]) and sure.mean() > 0.9
    outside = data != before
    outside[box] = False
    assert not outside.any()


def test_what_is_held_stays_though_it_is_what_the_model_says(scores):
    live, data = begin(scores), scores.argmax(axis=0).astype(np.uint8)
    held = np.zeros(data.shape, bool)
    held[20:40, 20:40] = True
    data[20:40, 20:40] = 3
    first = data.copy()
    assert live.hold(held, data) is None
    for threshold in (0.2, 0.9, 0.02, 0.6):
        live.move(threshold, data)
        assert (data[20:40, 20:40] == 3).all() and not np.array_equal(data, first)
    live.move(0.5, data)
    assert np.array_equal(data, first)
    assert live.move(0.5, data) is None and live.threshold == 0.5


def test_what_is_held_no_longer_follows_again(scores):
    model = scores.argmax(axis=0).astype(np.uint8)
    live, data = begin(scores), model.copy()
    held = np.zeros(data.shape, bool)
    held[20:40, 20:40] = True
    data[held] = 2
    live.hold(held, data)
    live.move(0.8, data)
    # undone: the pixels are what they were when they were painted
    data[held] = model[held]
    box = live.hold(None, data)
    assert all(side.start >= 20 and side.stop <= 40 for side in box)
    alone = model.copy()
    begin(scores).move(0.8, alone)
    assert np.array_equal(data, alone)
    live.move(0.5, data)
    assert np.array_equal(data, model)


def test_stacks(scores):
    stack = np.stack([scores, scores[:, ::-1]], axis=1)
    data = stack.argmax(axis=0).astype(np.uint8)
    live = begin(stack)
    live.move(0.3, data)
    alone = scores.argmax(axis=0).astype(np.uint8)
    begin(scores).move(0.3, alone)
    assert np.array_equal(data[0], alone) and np.array_equal(data[1], alone[::-1])


def test_at_rest_nothing_is_kept_but_what_a_person_did(scores):
    reads = []
    live = LiveClasses(lambda: reads.append(1) or scores, scores.shape[1:])
    data = scores.argmax(axis=0).astype(np.uint8)
    first = data.copy()
    assert live.nbytes == 0 and not reads
    for threshold in (0.3, 0.7, 0.5):
        live.move(threshold, data)
    assert len(reads) == 1
    live.rest()
    held = np.zeros(data.shape, bool)
    held[20:40, 20:40] = True
    live.hold(held, data)
    assert 0 < live.nbytes < data.size / 8
    live.move(0.3, data)
    assert len(reads) == 2 and np.array_equal(data[held], first[held]) and not np.array_equal(data, first)
