"""The learning curve of a model: how its held-out score grew with what was corrected, and whether more would pay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segloop.versions import training_records

WORTH = 0.01
"""A gain for twice as many corrections that is worth them."""

RECENT = 4
"""So many versions, the newest, tell how the curve goes on: it is steep at first and flattens."""

CERTAIN = 1.645
"""Standard errors on one side of which 95% of a normal distribution lies."""


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """One version: what it learned from (objects, or regions of classes), its held-out score and standard error."""

    version: int
    amount: int
    score: float
    error: float


@dataclass(frozen=True)
class LearningCurve:
    """The versions of a model, oldest first.

    Parameters
    ----------
    unit : str
        What ``amount`` counts: "objects" or "regions".
    points : tuple of LearningPoint
    start : float
        Score of the model from which the first version was made, NaN where it is not known.
    metric : str
    """

    unit: str
    points: tuple[LearningPoint, ...]
    start: float = math.nan
    metric: str = ""

    def doubling(self) -> tuple[float, float] | None:
        """What twice as much would add to the score, and its standard error; None where the versions do not tell.

        The slope of a straight line over the logarithm (base 2) of the amount through the newest versions, each
        weighted by its certainty. Scores grow about so over the range in which a person annotates, later more slowly.
        """
        recent = [point for point in self.points if point.amount > 0 and math.isfinite(point.error)][-RECENT:]
        if len({point.amount for point in recent}) < 2:
            return None
        x = np.log2([point.amount for point in recent])
        y = np.array([point.score for point in recent])
        weights = 1 / np.maximum([point.error for point in recent], 1e-3) ** 2
        middle = np.average(x, weights=weights)
        spread = float((weights * (x - middle) ** 2).sum())
        return float((weights * (x - middle) * y).sum() / spread), math.sqrt(1 / spread)

    def verdict(self) -> str:
        """Say in a sentence whether more annotation pays.

        It no longer does when, with 95% certainty, twice as many corrections add less than ``WORTH`` to the score; it
        does when, with the same certainty, they add more.
        """
        doubling = self.doubling()
        if doubling is None:
            return "Too early to say whether more annotation pays: correct more, and fine-tune this model again."
        gain, error = doubling
        low, high = gain - CERTAIN * error, gain + CERTAIN * error
        if high < WORTH:
            most = f"add at most {high:.3f}" if high > 0 else "add nothing"
            return f"More annotation no longer pays: twice as many {self.unit} would {most} (95% certain)."
        told = f"twice as many {self.unit} would add about {gain:+.3f} ± {error:.3f}"
        if low > WORTH:
            return f"More annotation pays: {told}."
        return f"Not certain yet whether more annotation pays: {told}."


def learning_curve(name: str) -> LearningCurve:
    """Read the learning curve of one of the user's own models from what its versions record.

    Versions that were not scored, or not with the newest one's metric, are left out.
    """
    records = training_records(name)
    newest = records[max(records)] if records else {}
    metric = str(newest.get("metric", ""))
    known = {n: record for n, record in sorted(records.items()) if record.get("metric") == metric and _scored(record)}
    objects = all(record["learned_from"]["objects"] for record in known.values())
    unit = "objects" if objects else "regions"
    points = tuple(
        LearningPoint(n, int(record["learned_from"][unit]), float(record["after"]), _number(record, "after_error"))
        for n, record in known.items()
    )
    first = next(iter(known.values()), {})
    return LearningCurve(unit, points, _number(first, "before"), metric)


def _scored(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("learned_from"), dict) and record.get("after") is not None


def _number(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    return math.nan if value is None else float(value)
