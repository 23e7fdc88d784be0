"""The scripted annotator: costs by hand, and that nothing is wrong when it is done."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from annotating import Tool, napari_trials
from annotator import correct, wrong_ones
from keystrokes import CLICK, drag, key, polygon, stroke
from review_order import Queue, queue_of
from reviewing import Corrected

from segloop import route
from segloop.events import drain
from segloop.image import Image

DELETING = (Tool.BUCKET, [key("background")])


@pytest.fixture
def reference():
    labels = np.zeros((80, 120), np.int64)
    labels[10:30, 10:30] = 1
    labels[10:30, 50:70] = 2
    labels[50:70, 10:30] = 3
    labels[50:70, 50:70] = 4
    return labels


def test_costs_by_hand():
    assert CLICK.seconds == pytest.approx(1.3)
    assert key("x").seconds == pytest.approx(0.28)
    # pointing, pressing, two segments of together 1.5 cm, releasing
    line = stroke("line", 1.5)
    assert (line.actions, line.movements) == (1, 2)
    assert line.seconds == pytest.approx(1.1 + 0.2 + 1.8 + 0.24)
    # pointing twice, pressing, releasing
    box = drag("box")
    assert (box.actions, box.movements, box.seconds) == (1, 1, pytest.approx(2.4))
    square = polygon(4, 8.0)
    assert square.actions == 5
    assert square.seconds == pytest.approx(1.1 + 0.2 * 6 + 3.6 + 1.28)


def test_right_labels_take_nothing(reference):
    work = correct(reference, reference + 10 * (reference > 0), 0.8, napari_trials, DELETING)
    assert (work.objects, work.missed, work.extra, work.actions, work.left) == (4, 0, 0, 0, 0)


def test_everything_is_right_in_the_end(reference):
    labels = reference.copy()
    labels[labels == 1] = 0  # missing
    labels[50:70, 30:50] = 3
    labels[labels == 4] = 3  # two in one
    labels[10:20, 50:70] = 7  # one in two
    labels[35:45, 90:100] = 9  # nothing there
    work = correct(reference, labels, 0.8, napari_trials, DELETING)
    assert work.left == 0
    assert wrong_ones(reference, labels, 0.8) == ([], [])
    assert 10 <= work.actions <= 25
    assert (work.missed, work.extra) == (4, 4)


def test_one_that_is_missing_takes_number_brush_contour_bucket_click(reference):
    labels = reference.copy()
    labels[labels == 1] = 0
    work = correct(reference, labels, 0.8, napari_trials, DELETING)
    assert [gesture.name for gesture in work.gestures if gesture.actions] == [
        "key next free number",
        "key brush",
        "brush",
        "key bucket",
        "click",
    ]


def test_half_of_what_is_wrong_by_hand():
    queue = Queue(np.array([3, 0, 1, 0]), np.array([2, 1, 2, 5]), np.ones(4))
    assert queue.until(0.5) == 0.25
    assert queue.until(0.8) == 0.75
    assert queue.until(0.8, effort=True) == 0.5
    assert queue.position == pytest.approx((3 * 0.125 + 0.625) / 4)


def test_effort_is_not_measured_by_what_the_order_takes_it_for(reference, monkeypatch):
    # a speck is doubted
    labels = reference.copy()
    labels[40:42, 100:102] = 5
    looked_through = drain(route.route_events(labels, None))
    item = Corrected("dots", Image(reference.astype(np.uint8), "YX"), reference, labels, None)
    expected = [1 + len(region.things) for region in looked_through.regions]
    before = queue_of(looked_through, item, 0.5)
    monkeypatch.setattr(route, "ARRIVING", 50)
    after = queue_of(looked_through, item, 0.5)
    assert before.effort.tolist() == after.effort.tolist() == expected
    # the order's own
    assert after.worth.max() < before.worth.max()
