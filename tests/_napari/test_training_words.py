"""What the Fine-tune panel says of a training."""

from __future__ import annotations

import math
from dataclasses import replace

from segloop._napari import training_words as words
from segloop.events import EpochDone
from segloop.labels import Task
from segloop.train.plan import FinetunePlan

PLAN = FinetunePlan(
    images=3,
    train_regions=300,
    held_out_regions=100,
    scored_regions=64,
    folds=0,
    objects=0,
    reviewed_pixels=1000,
    task=Task.SEMANTIC,
    classes=("background", "cell"),
    steps=8,
    missing=(),
)


def test_how_many_score_is_told_where_not_all_do():
    assert "cut into 400 blocks: 300 to learn from, 100 kept out, 64 of them to score the model." in words.uses(PLAN)
    few = replace(PLAN, train_regions=1, held_out_regions=9, scored_regions=9)
    assert "cut into 10 blocks: 1 to learn from, 9 kept out to score the model." in words.uses(few)
    assert "makes one block, which is learned from, cross-validated." in words.uses(
        replace(PLAN, train_regions=1, held_out_regions=0, scored_regions=0, folds=2)
    )


def test_the_curves_are_as_wide_as_the_time_allows():
    clock = words.EpochClock(40, 42.0)
    assert clock.expected() == 40
    clock.note(EpochDone(2, 40, 0.5, math.nan, 4.0))
    # 21 epochs fit into 42 seconds: told in steps of five
    assert clock.expected() == 25
    clock.note(EpochDone(2, 40, 0.5, math.nan, 1.0))
    assert clock.expected() == 40
    clock.note(EpochDone(30, 40, 0.5, math.nan, 50.0))
    assert clock.expected() == 30


def test_time_is_not_told_once_the_epochs_are_over():
    clock = words.EpochClock(40, 42.0)
    clock.start()
    assert clock.is_due
    clock.stop()
    assert not clock.is_due
