"""What the Fine-tune panel says of how a training ended."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from segloop._napari import result_words as words
from segloop.events import EpochDone
from segloop.train.finetune import FinetuneResult
from segloop.train.own_domain import OwnScores

DONE = tuple(EpochDone(epoch, 40, 0.5, math.nan, 1.0) for epoch in range(1, 41))
RESULT = FinetuneResult(None, DONE[:1], 0.2, 0.8, "mean AP", gain_error=0.05)


@pytest.mark.parametrize(
    ("result", "line", "role", "advice"),
    [
        (RESULT, "Better: held-out score 0.20 → 0.80.", "good", ""),
        (
            replace(RESULT, before=math.nan),
            "Taken without a comparison: held-out score 0.80.",
            "hint",
            "The old model has",
        ),
        (
            replace(RESULT, after=0.3),
            "Better, but still poor: held-out score 0.20 → 0.30.",
            "warning",
            "Only 1 of 40 epochs",
        ),
        (
            replace(RESULT, after=0.3, history=DONE),
            "Better, but still poor: held-out",
            "warning",
            "More corrected objects",
        ),
        (
            replace(RESULT, before=math.nan, after=0.3),
            "Taken without a comparison, but still",
            "warning",
            "The old model",
        ),
        (replace(RESULT, after=math.nan), "Taken, but not scored.", "hint", ""),
        (replace(RESULT, after=0.18, folds=2), "Taken, though no better score", "hint", "Review a second region."),
        (replace(RESULT, before=0.801, after=0.804), "Better: held-out score 0.801 → 0.804.", "good", ""),
    ],
)
def test_a_model_is_called_better_only_if_a_score_says_so(result, line, role, advice):
    assert result.improved
    verdict = words.taken(result, 40, 0.0)
    assert verdict.line.startswith(line) and verdict.role == role and "\n" not in verdict.line
    assert verdict.details[0].startswith(advice or "Held-out score")
    assert ("cross-validated" in verdict.text) == bool(result.folds)
    assert ("gain +0.600 ± 0.050" in verdict.text) == (result == RESULT)


def test_what_helps_is_said_only_where_something_was_forgotten_beyond_doubt():
    lost = OwnScores("nuclei-maskrcnn@1", 0.52, 0.33, 0.03)
    forgot = replace(RESULT, own=lost)
    assert "Rehearsal to 0.25 and" in words.forgetting(forgot, 0.0)
    assert "Rehearsal to 0.5 (it was 0.25) and" in words.forgetting(forgot, 0.25)
    assert "press “…” beside Start from" in words.forgetting(forgot, 0.0)
    assert "Keep the old model" in words.forgetting(forgot, 0.5)
    verdict = words.taken(forgot, 40, 0.0)
    assert verdict.line.endswith("It has forgotten some of the old images: see Details.")
    assert "Rehearsal to 0.25" in verdict.text
    for kept in (replace(lost, after=0.48), replace(lost, before=math.nan, gain_error=math.nan), OwnScores()):
        assert words.forgetting(replace(RESULT, own=kept), 0.0) == ""
        assert "forgotten" not in words.taken(replace(RESULT, own=kept), 40, 0.0).line


def test_a_difference_that_says_little_is_called_so():
    refused = FinetuneResult(None, DONE, 0.114, 0.047, "mean AP", before_error=0.124, gain_error=0.014)
    assert not refused.improved and refused.within_error
    verdict = words.refused(refused, "old")
    assert verdict.line == "Not better, though within its error: held-out score 0.11 → 0.05. old stays in use."
    assert verdict.role == "warning" and verdict.details[0].startswith("The difference lies within its error")
    for clear in (replace(refused, before_error=0.03), replace(refused, before_error=math.nan, gain_error=math.nan)):
        assert not clear.improved and not clear.within_error
        assert words.refused(clear, "old").line.startswith("Not better: ")
        assert words.remedy(clear) == "More reviewed objects usually help."
    assert not replace(refused, after=0.2).within_error and not replace(refused, before=math.nan).within_error


def test_a_model_that_was_taken_all_the_same_is_told_of_as_such():
    result = FinetuneResult(None, DONE, 0.75, 0.5, "mean AP")
    assert words.insisted(result).line == "Taken although it is not better: held-out score 0.75 → 0.50."
    assert words.decided(result).line == "Decided before: held-out score 0.75 → 0.50."
