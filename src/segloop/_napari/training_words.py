"""What the Fine-tune panel says of a training: what it uses, how long it takes, how it ended."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segloop._napari.jobs import in_words
from segloop.events import EpochDone

ALL_RIGHT = 0.9995
"""A held-out score that is shown as 1.000."""

POOR = 0.5
"""A held-out score below which a model misses or misplaces about half of all."""

SHORT = 0.5
"""A training that did a smaller share of its epochs was cut short."""

REHEARSALS = (0.25, 0.5)
"""Shares of rehearsal to be tried, one after the other."""

if TYPE_CHECKING:
    from segloop._napari.work import Plan as TrainingPlan
    from segloop.train.finetune import FinetuneResult
    from segloop.train.plan import FinetunePlan


def uses(plan: FinetunePlan) -> str:
    """Say what a training would use."""
    held = ", cross-validated" if plan.folds else ""
    if plan.held_out_regions:
        some = f", {plan.scored_regions} of them" if plan.scored_regions < plan.held_out_regions else ""
        held = f", {plan.held_out_regions} kept out{some} to score the model"
    objects = f", {count(plan.objects, 'object')}" if plan.objects else ""
    classes = f" Classes: {', '.join(plan.classes)}." if plan.task == "semantic" else ""
    regions = count(plan.train_regions, "region")
    return f"{count(plan.images, 'image')}: {regions} to learn from{held}{objects}.{classes}"


def material(plan: TrainingPlan | None, minutes: float, added: Sequence[str], renewed: Sequence[str]) -> str:
    """Say what a training would learn from and how long it would take.

    Parameters
    ----------
    plan : work.Plan or None
        None if there is no training set yet.
    minutes : float
        The most that it may take.
    added, renewed : sequence of str
        The open images whose reviewed parts will be added first, and those that are counted in ``plan`` as they were.
    """
    if plan is None or not plan.uses.images:
        if added or renewed:
            return f"The reviewed part of what is open: {', '.join([*added, *renewed])}."
        return "There is nothing to learn from yet. Correct a result, and say what you checked."
    more = f" Added at the start, if not counted yet: {', '.join(added)}." if added else ""
    more += f" Brought up to date at the start: {', '.join(renewed)}." if renewed else ""
    more += " The numbers are from before that." if more else ""
    taken = f" The new model takes images of {plan.channels} channels only." if plan.channels else ""
    return f"{uses(plan.uses)}{taken}{more} {duration(plan.seconds, minutes)}"


def duration(seconds: float, minutes: float) -> str:
    """Say how long a training takes; ``seconds`` is NaN where that is not known, ``minutes`` the most it may take."""
    if math.isfinite(seconds):
        return f"Takes about {in_words(seconds)} on this computer."
    return f"Trains for at most {in_words(60 * minutes)}; how long all takes is known after the first time here."


def count(number: int, noun: str) -> str:
    """Write a number of things: "1 image", "3 images"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def scores(result: FinetuneResult) -> str:
    """Say how well the old and the new model did."""
    before, after = _score(result.before, result.before_error), _score(result.after, result.after_error)
    gain = ""
    if math.isfinite(result.gain_error):
        gain = f"; gain {result.after - result.before:+.3f} ± {result.gain_error:.3f}"
    crossed = "; cross-validated: less than the model itself can do" if result.folds else ""
    own = f". {result.own.words[0].upper()}{result.own.words[1:]}" if result.own.words else ""
    return f"Held-out score {before} before, {after} after{gain} ({result.metric}{crossed}){own}"


def verdict(result: FinetuneResult, epochs: int) -> tuple[str, str]:
    """Say how good a model is that was taken, and in what role.

    Parameters
    ----------
    result : FinetuneResult
    epochs : int
        How many epochs were planned.

    Returns
    -------
    str
    str
        "good", "warning" if it is poor all the same, "hint" if no score shows it to be better.
    """
    if math.isnan(result.after):
        return "Taken, but not scored.", "hint"
    done = len(result.history)
    poor = ""
    if result.after < POOR and done < SHORT * epochs:
        poor = f"still poor: only {done} of {epochs} epochs were done. Give it more time (At most)."
    elif result.after < POOR:
        poor = "still poor: more corrected objects help most, then more time (At most)."
    if math.isnan(result.before):
        compared = "Taken without a comparison: the old model has other classes or channels"
        return (f"{compared}, and {poor}", "warning") if poor else (f"{compared}.", "hint")
    if result.after <= result.before:
        return "Taken, though no better score shows what it learned: review a second region.", "hint"
    return (f"Better, but {poor}", "warning") if poor else ("Better.", "good")


def forgetting(result: FinetuneResult, share: float) -> str:
    """Say what helps where a model forgot what the bundled one was made for; "" where it did not, beyond doubt.

    Parameters
    ----------
    result : FinetuneResult
    share : float in [0, 1]
        Share of what it rehearsed while it was trained.
    """
    own = result.own
    if not own.after - own.before < -2 * own.gain_error:
        return ""
    more = next((step for step in REHEARSALS if step > share), None)
    told = "It has forgotten some of the old kind of images"
    if more is None:
        though = f"though {share:.0%} of the training was rehearsal"
        return f"{told}, {though}. Keep the old model for them: it is under “…” beside Start from."
    so_far = f" (it was {share:g})" if share else ""
    return (
        f"{told}. If you need both, set Advanced settings ▸ Rehearsal to {more:g}{so_far} and fine-tune again, or go "
        "back to an earlier version: press “…” beside Start from."
    )


def remedy(result: FinetuneResult) -> str:
    """Say what helps where a model did not get better."""
    if result.before >= ALL_RIGHT:
        return (
            "The old model already finds all that was kept out to score it, as where its own labels were reviewed "
            "uncorrected: no score can be higher. Review parts that you had to correct, too."
        )
    more = "More reviewed objects usually help."
    if result.within_error:
        return (
            "The difference lies within its error: the new model, which learned from more, may well be better. Compare "
            f"the pictures, and use it anyway if you like it. {more}"
        )
    return more


def _score(score: float, error: float) -> str:
    if not math.isfinite(score):
        return "not scored"
    return f"{score:.3f}" + (f" ± {error:.3f}" if math.isfinite(error) else "")


class EpochClock:
    """Time left of a training, from the time its epochs took; those before an interruption count as well.

    Parameters
    ----------
    epochs : int
    limit : float
        Seconds of training after which it ends in any case.
    """

    def __init__(self, epochs: int, limit: float) -> None:
        self.epochs, self.epoch = epochs, 0
        self._limit, self._seconds, self._noted = limit, 0.0, time.monotonic()
        self._told = math.inf

    def start(self) -> None:
        """Take note that training has begun."""
        self._told = -math.inf

    def stop(self) -> None:
        """Take note that the epochs are over."""
        self._told = math.inf

    @property
    def is_due(self) -> bool:
        """Whether training has begun, and the time was not told within the last second."""
        return time.monotonic() - self._told >= 1

    def note(self, event: EpochDone) -> None:
        """Take note of an epoch that ended just now."""
        self.epoch, self.epochs, self._seconds, self._noted = event.epoch, event.epochs, event.seconds, time.monotonic()

    def expected(self) -> int:
        """How many epochs there will be, by the time of those so far: rounded up, so that it seldom changes."""
        if not self.epoch or self._seconds <= 0:
            return self.epochs
        by_time = self._limit * self.epoch / self._seconds
        return max(self.epoch, min(self.epochs, 5 * math.ceil(min(by_time, 1e6) / 5)))

    def text(self) -> str:
        """Say how far the training is, and how long it will take: "Epoch 3 of 20 · 12 s left"."""
        self._told = time.monotonic()
        done = f"Epoch {self.epoch} of {self.epochs}"
        if not self.epoch or self._seconds < 1:
            return done
        left = min(self._seconds / self.epoch * (self.epochs - self.epoch), self._limit - self._seconds)
        return f"{done} · {in_words(max(0.0, left - (time.monotonic() - self._noted)))} left"
