"""Progress of long work, as frozen events.

Segmenting and training are generators of these events that *return* their result. The command line drains them,
the window hands them to a job, a test collects them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """Something the user should know that is no error, such as a fall-back to the CPU."""

    message: str


@dataclass(frozen=True, slots=True)
class SegmentStarted(Event):
    """The work is planned: how many tiles will follow, of what size, on what device."""

    tiles: int
    tile: tuple[int, ...]
    device: str


@dataclass(frozen=True, slots=True)
class TileDone(Event):
    """One more tile was predicted.

    Parameters
    ----------
    done : int
        From 1 to ``tiles``.
    tiles : int
        All that are known to be needed; it grows if memory runs short, and for objects at the seams of the first tiles.
    expected : int
        About how many more of the latter are to be expected; 0 once they are among ``tiles``.
    at_seams : bool
        Whether those before are done, so that objects at their seams are looked at again.
    """

    done: int
    tiles: int
    expected: int = 0
    at_seams: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LabelsDone(Event):
    """Labels of a block, to be shown while the rest is still worked on.

    Class numbers are final; object numbers are unique so far, and replaced by those of the result.

    Parameters
    ----------
    plane : int
        Number of the plane, counted over all axes of the label image but Y and X, in their order.
    rows, columns : slice
        Where the block lies in the plane, in image pixels.
    labels : unsigned integers (rows, columns)
    """

    plane: int
    rows: slice
    columns: slice
    labels: np.ndarray


@dataclass(frozen=True, slots=True)
class TrainingStarted(Event):
    """Training begins: the number of epochs, of regions to train on and to score with, the device."""

    epochs: int
    train_regions: int
    validation_regions: int
    device: str


@dataclass(frozen=True, slots=True)
class EpochDone(Event):
    """One epoch ended. ``loss`` is the mean over its steps, ``score`` the held-out score in [0, 1].

    ``score`` is NaN in epochs that were not scored. ``seconds`` counts from the start of training.
    """

    epoch: int
    epochs: int
    loss: float
    score: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CrossValidating(Event):
    """Short trainings, each on a part of what was learned, score the model: ``fold``, from 1 to ``folds``, goes on."""

    fold: int
    folds: int


@dataclass(frozen=True, slots=True)
class PlaneExamined(Event):
    """One more plane of labels was looked through; ``done`` counts from 1 to ``planes``."""

    done: int
    planes: int


@dataclass(frozen=True, slots=True)
class Scored(Event):
    """A model was scored on the held-out regions; ``stage`` is "before" or "after".

    ``error`` is the score's standard error, NaN where it is not known.
    """

    stage: str
    score: float
    error: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class FoundRegion:
    """One held-out region: what is there, and what a model found.

    Parameters
    ----------
    image : uint8 (Y, X)
        To be looked at: one plane, from dark to light.
    reference, found : unsigned integers (Y, X)
        The corrected labels and the model's: objects or classes, both alike.
    scored : bool (Y, X)
        Where the two are compared; around it is context.
    """

    image: np.ndarray
    reference: np.ndarray
    found: np.ndarray
    scored: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutFound(Event):
    """What the model finds in some of the held-out regions; ``epoch`` 0 is before training."""

    epoch: int
    regions: tuple[FoundRegion, ...]


@dataclass(frozen=True, slots=True)
class StillTraining(Event):
    """A training in another process is alive, though nothing else has happened since the last event."""


Result = TypeVar("Result")


def drain(work: Generator[Event, None, Result], on_event: Callable[[Event], object] = lambda event: None) -> Result:
    """Run ``work`` to its end, hand each event to ``on_event``, and return what the generator returned."""
    try:
        while True:
            try:
                event = next(work)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            on_event(event)
    finally:
        work.close()
