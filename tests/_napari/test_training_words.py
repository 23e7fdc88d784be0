"""What the Fine-tune panel says of a training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from segloop._napari import training_words as words
from segloop.events import EpochDone
from segloop.labels import Task
from segloop.train.finetune import FinetuneResult
from segloop.train.own_domain import OwnScores
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
DONE = tuple(EpochDone(epoch, 40, 0.5, math.nan, 1.0) for epoch in range(1, 41))
RESULT = FinetuneResult(None, DONE[:1], 0.2, 0.8, "mean AP", gain_error=0.05)


def test_how_many_score_is_told_where_not_all_do():
    assert "300 regions to learn from, 100 kept out, 64 of them to score the model." in words.uses(PLAN)
    few = replace(PLAN, train_regions=1, held_out_regions=9, scored_regions=9)
    assert "1 region to learn from, 9 kept out to score the model." in words.uses(few)
    assert "1 region to learn from, cross-validated." in words.uses(
        replace(PLAN, train_regions=1, held_out_regions=0, scored_regions=0, folds=2)
    )


@pytest.mark.parametrize(
    ("result", "verdict", "role"),
    [
        (RESULT, "Better.", "good"),
        (replace(RESULT, before=math.nan), "Taken without a comparison: the old", "hint"),
        (replace(RESULT, after=0.3), "Better, but still poor: only 1 of 40 epochs were done.", "warning"),
        (replace(RESULT, after=0.3, history=DONE), "Better, but still poor: more corrected objects", "warning"),
        (replace(RESULT, before=math.nan, after=0.3), "Taken without a comparison", "warning"),
        (replace(RESULT, after=math.nan), "Taken, but not scored.", "hint"),
        (replace(RESULT, after=0.18, folds=2), "Taken, though no better score", "hint"),
    ],
)
def test_a_model_is_called_better_only_if_a_score_says_so(result, verdict, role):
    assert result.improved
    told, shown_as = words.verdict(result, 40)
    assert told.startswith(verdict) and shown_as == role
    assert ("cross-validated" in words.scores(result)) == bool(result.folds)


def test_what_helps_is_said_only_where_something_was_forgotten_beyond_doubt():
    lost = OwnScores("nuclei-maskrcnn@1", 0.52, 0.33, 0.03)
    forgot = replace(RESULT, own=lost)
    assert "Rehearsal to 0.25 and" in words.forgetting(forgot, 0.0)
    assert "Rehearsal to 0.5 (it was 0.25) and" in words.forgetting(forgot, 0.25)
    assert "press “…” beside Start from" in words.forgetting(forgot, 0.0)
    assert "Keep the old model" in words.forgetting(forgot, 0.5)
    for kept in (replace(lost, after=0.48), replace(lost, before=math.nan, gain_error=math.nan), OwnScores()):
        assert words.forgetting(replace(RESULT, own=kept), 0.0) == ""


def test_a_difference_that_says_little_is_called_so():
    refused = FinetuneResult(None, DONE, 0.114, 0.047, "mean AP", before_error=0.124, gain_error=0.014)
    assert not refused.improved and refused.within_error
    assert words.remedy(refused).startswith("The difference lies within its error")
    for clear in (replace(refused, before_error=0.03), replace(refused, before_error=math.nan, gain_error=math.nan)):
        assert not clear.improved and not clear.within_error
        assert words.remedy(clear) == "More reviewed objects usually help."
    assert not replace(refused, after=0.2).within_error and not replace(refused, before=math.nan).within_error


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
