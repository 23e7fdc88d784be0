"""Scripts that score the bundled models: kinds of errors by hand, pooled folds, what a longer training would have."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from explain_errors import kinds_table
from image_scores import ImageScore, figures, parts, summary
from object_errors import Kind, explain, totals, without
from pool_folds import expected

from segloop.metrics import class_scores, instance_scores


def row(*numbers: int) -> np.ndarray:
    """Objects beside each other, four pixels each; 0 is background."""
    return np.repeat(np.array([numbers], np.uint16), 4, axis=1)


@pytest.mark.parametrize(
    ("reference", "found", "missed", "extra"),
    [
        (row(1, 0, 2), row(5, 0, 6), {}, {}),
        # the larger object has an IoU of 2/3 with what covers both; the other one was swallowed
        (row(1, 1, 2), row(5, 5, 5), {2: Kind.JOINED}, {}),
        (row(1, 2), row(5, 5)[:, :8], {2: Kind.JOINED}, {}),
        (row(1, 2, 3), row(5, 5, 5), {1: Kind.JOINED, 2: Kind.JOINED, 3: Kind.JOINED}, {5: Kind.JOINED}),
        (row(1, 1, 1), row(5, 6, 7), {1: Kind.PARTED}, dict.fromkeys((5, 6, 7), Kind.PARTED)),
        (row(1, 1, 1), row(5, 5, 6), {}, {6: Kind.PARTED}),
        (row(1, 1, 1, 0), row(5, 0, 0, 0), {1: Kind.OUTLINE}, {5: Kind.OUTLINE}),
        (row(1, 0, 0), row(0, 0, 5), {1: Kind.MISSED}, {5: Kind.EXTRA}),
        # a quarter of 2 is 5's, whose partner is 1: nothing of its own was found there
        (row(1, 1, 1, 2, 2, 2, 2), row(5, 5, 5, 5, 0, 0, 0), {2: Kind.MISSED}, {}),
        (row(5, 5, 5, 5, 0, 0, 0), row(1, 1, 1, 2, 2, 2, 2), {}, {2: Kind.EXTRA}),
        # one object for one: 5 is the better partner of 1, and 6 has none
        (row(1, 1, 1, 1, 1, 0), row(5, 5, 0, 0, 6, 6), {1: Kind.OUTLINE}, {5: Kind.OUTLINE, 6: Kind.EXTRA}),
    ],
)
def test_kinds(reference, found, missed, extra):
    errors = explain(reference, found)
    assert (errors.missed, errors.extra) == (missed, extra)
    scores = instance_scores(reference, found)
    assert (errors.right, len(missed), len(extra)) == (scores.tp[0], scores.fn[0], scores.fp[0])


def test_without_a_kind():
    errors = [explain(row(1, 2, 0), row(5, 0, 6)), explain(row(1), row(5))]
    assert totals(errors) == (2, 1, 1)
    assert without(errors, Kind.MISSED) == 3 / 4
    assert without(errors, Kind.EXTRA) == 2 / 3
    assert without(errors, Kind.JOINED) == 2 / 4
    assert "AP50 0.500" in kinds_table(errors)


def score(name: str, fold: int, reference: np.ndarray, found: np.ndarray) -> ImageScore:
    objects = instance_scores(reference, found)
    pixels = class_scores(reference > 0, found > 0, 2)
    return ImageScore(name, "fluorescence", f"field of {name}", fold, fold == 0, objects, pixels, 0.5)


def test_scores_survive_json():
    own = score("a", 0, row(1, 0, 2), row(5, 0, 0))
    assert ImageScore.from_json(own.as_json()) == own
    assert figures([own])["AP50"] == 0.5
    assert figures([own])["Dice"] == pytest.approx(2 * 4 / (4 + 8))


def test_error_is_over_fields_of_view():
    alike = [score(name, 0, row(1, 0, 2), row(5, 0, 0)) for name in "abcd"]
    assert summary(alike)["error"]["AP50"] == 0
    mixed = [*alike[:2], *(score(name, 0, row(1, 0, 2), row(5, 0, 6)) for name in "cd")]
    assert summary(mixed)["AP50"] == 6 / 8
    # a mean of four draws of 0.5 or 1
    assert summary(mixed)["error"]["AP50"] == pytest.approx(0.25 / 2, rel=0.1)
    assert set(parts(mixed)) == {"all", "fluorescence", "fluorescence, StarDist's split"}


def test_advantage_is_added_to_what_all_folds_have():
    short = [score("a", 0, row(1, 0, 2), row(0, 0, 0)), score("b", 1, row(1, 0, 2), row(5, 0, 0))]
    long = {"a": score("a", 0, row(1, 0, 2), row(5, 0, 0))}
    advantage, estimate, error = expected(short, long)
    assert advantage["AP50"] == 0.5
    assert estimate["AP50"] == 1 / 4 + 0.5
    assert error["AP50"] == 0
