"""What the Fine-tune panel says of a training before and while it goes on: what it uses, how long it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segloop._napari.jobs import in_words
from segloop.events import EpochDone

if TYPE_CHECKING:
    from segloop._napari.training_work import Plan as TrainingPlan
    from segloop.train.plan import FinetunePlan


def uses(plan: FinetunePlan) -> str:
    """Say what a training would use: how many blocks what is reviewed is cut into, and what becomes of them."""
    held = ", cross-validated" if plan.folds else ""
    if plan.held_out_regions:
        some = f", {plan.scored_regions} of them" if plan.scored_regions < plan.held_out_regions else ""
        held = f", {plan.held_out_regions} kept out{some} to score the model"
    objects = f", {count(plan.objects, 'object')}" if plan.objects else ""
    classes = f" Classes: {', '.join(plan.classes)}." if plan.task == "semantic" else ""
    blocks = plan.train_regions + plan.held_out_regions
    cut = "makes one block" if blocks == 1 else f"is cut into {blocks} blocks"
    learned = f": {plan.train_regions} to learn from"
    if blocks == plan.train_regions:
        learned = ", which is learned from" if blocks == 1 else ": to learn from"
    return f"{count(plan.images, 'image')}{objects}. What is reviewed {cut}{learned}{held}.{classes}"


def material(plan: TrainingPlan | None, minutes: float, uncounted: Sequence[str] = ()) -> str:
    """Say what a training would learn from and how long it would take.

    Parameters
    ----------
    plan : training_work.Plan or None
        None if there is no training set yet.
    minutes : float
        The most that it may take.
    uncounted : sequence of str
        The open images whose reviewed parts are put into the training set first, as far as they are not counted in
        ``plan``.
    """
    if plan is None or not plan.uses.images:
        if uncounted:
            return f"The reviewed part of what is open: {', '.join(uncounted)}."
        return "There is nothing to learn from yet. Correct a result, and say what you checked."
    new = f" Added at the start: {', '.join(plan.added)}." if plan.added else ""
    changed = f" Changed since it was added: {', '.join(plan.renewed)}." if plan.renewed else ""
    more = f" Open, and brought up to date at the start, after which the numbers may be others: {', '.join(uncounted)}."
    taken = f" The new model takes images of {plan.channels} channels only." if plan.channels else ""
    return f"{uses(plan.uses)}{taken}{new}{changed}{more if uncounted else ''} {duration(plan.seconds, minutes)}"


def duration(seconds: float, minutes: float) -> str:
    """Say how long a training takes; ``seconds`` is NaN where that is not known, ``minutes`` the most it may take."""
    if math.isfinite(seconds):
        return f"Takes about {in_words(seconds)} on this computer."
    return f"Trains for at most {in_words(60 * minutes)}; how long all takes is known after the first time here."


def count(number: int, noun: str) -> str:
    """Write a number of things: "1 image", "3 images"."""
    return f"{number} {noun}{'s' * (number != 1)}"


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
