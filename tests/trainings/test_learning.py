"""The learning curve: what the versions of a model record, and what follows from it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from segloop.metrics import InstanceScores
from segloop.store import home
from segloop.train.held_out import HeldOutScores
from segloop.trainings import LearningCurve, LearningPoint, learning_curve


def curve(*points: tuple[int, float, float]) -> LearningCurve:
    numbered = enumerate(points, 1)
    return LearningCurve("objects", tuple(LearningPoint(n, *point) for n, point in numbered))


def test_a_steep_curve_pays() -> None:
    steep = curve((10, 0.4, 0.01), (20, 0.5, 0.01), (40, 0.6, 0.01))
    gain, error = steep.doubling()
    assert gain == pytest.approx(0.1) and error == pytest.approx(0.01 / math.sqrt(2))
    assert steep.verdict() == "More annotation pays: twice as many objects would add about +0.100 ± 0.007."


def test_a_flat_curve_pays_no_longer() -> None:
    flat = curve((100, 0.80, 0.002), (200, 0.801, 0.002), (400, 0.800, 0.002))
    assert flat.verdict() == (
        "More annotation no longer pays: twice as many objects would add at most 0.002 (95% certain)."
    )
    assert "add nothing" in curve((100, 0.9, 0.002), (400, 0.8, 0.002)).verdict()


def test_the_same_slope_is_not_certain_if_the_scores_are_not() -> None:
    assert curve((100, 0.80, 0.05), (200, 0.80, 0.05)).verdict().startswith("Not certain yet")


@pytest.mark.parametrize(
    "points", [(), ((10, 0.5, 0.01),), ((10, 0.5, 0.01), (10, 0.6, 0.01)), ((1, 0.5, math.nan),) * 3]
)
def test_too_few_versions_tell_nothing(points) -> None:
    assert curve(*points).doubling() is None and "Too early" in curve(*points).verdict()


def test_only_the_newest_versions_tell_how_it_goes_on() -> None:
    saturated = [(2**n, 0.8, 0.002) for n in range(4, 8)]
    assert "no longer" in curve((2, 0.1, 0.002), (4, 0.5, 0.002), *saturated).verdict()


def test_versions_are_read(segloop_home: Path) -> None:
    for version, (objects, after) in enumerate(((10, 0.5), (30, 0.6)), 1):
        folder = home() / "models" / "mine" / str(version)
        folder.mkdir(parents=True)
        training = {
            "metric": "mean AP",
            "before": 0.2 * version,
            "after": after,
            "after_error": 0.01,
            "learned_from": {"regions": version, "objects": objects},
        }
        document = {"format": 1, "weights": "w.safetensors", "model": {"training": training}}
        (folder / "model.json").write_text(json.dumps(document))
    read = learning_curve("mine")
    assert [(p.version, p.amount, p.score, p.error) for p in read.points] == [(1, 10, 0.5, 0.01), (2, 30, 0.6, 0.01)]
    assert read.unit == "objects" and read.start == 0.2 and read.metric == "mean AP"
    assert learning_curve("nobody").points == ()


def scores(*counts: tuple[int, int, int]) -> HeldOutScores:
    """Of regions with so many objects right, extra and missed."""
    return HeldOutScores(tuple(InstanceScores((0.5,), (tp,), (fp,), (fn,), (float(tp),)) for tp, fp, fn in counts))


def test_pooled_scores_and_their_errors() -> None:
    assert scores((3, 1, 0), (5, 0, 1)).value == 0.8
    # 80 of 100: sqrt(0.8 * 0.2 / 100) = 0.04 of a share; regions that are alike add nothing
    alike = scores(*[(8, 1, 1)] * 10)
    assert alike.error == pytest.approx(0.04, rel=0.05)
    # regions that differ do: each is all right or all wrong
    unlike = scores(*[(10, 0, 0), (0, 5, 5)] * 5)
    assert unlike.error == pytest.approx(0.5 / math.sqrt(10), rel=0.15)
    assert math.isnan(HeldOutScores(()).value) and math.isnan(HeldOutScores(()).error)
    assert 0 < scores((4, 0, 0)).error < 0.3


def test_what_both_models_find_alike_is_no_error_of_the_gain() -> None:
    rng = np.random.default_rng(0)
    good = [int(n) for n in rng.integers(0, 9, 20)]
    before, after = scores(*[(n, 0, 10 - n) for n in good]), scores(*[(n + 1, 0, 9 - n) for n in good])
    assert after.value - before.value == pytest.approx(0.1)
    # the bootstrap of pairs says 0, but 20 of 200 objects may have been found by chance: sqrt(0.1 * 0.9 / 200)
    assert after.gain_error(before) == pytest.approx(0.0212, rel=0.05)
    assert after.gain_error(before) == before.gain_error(after)
    assert after.error > 0.03
    assert math.isnan(scores((1, 0, 0)).gain_error(scores((1, 0, 0))))
    with pytest.raises(ValueError, match="1 regions before and 2 after"):
        scores((1, 0, 0), (1, 0, 0)).gain_error(scores((1, 0, 0)))


@pytest.mark.parametrize("found", [((2, 1, 8), (2, 0, 7)), ((5, 0, 5), (0, 9, 3))])
def test_a_gain_over_nothing_is_as_uncertain_as_the_score(found: tuple[tuple[int, int, int], ...]) -> None:
    after, nothing = scores(*found), scores(*[(0, 0, right + missed) for right, _, missed in found])
    assert nothing.value == 0
    assert after.gain_error(nothing) == after.error > 0.08
    assert nothing.gain_error(after) == after.error
