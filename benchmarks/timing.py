"""Times: several runs taken in turn, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one run took: ``wall`` and ``cpu`` seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Timing:
    """What the repeats of one run took, in the order in which they were made."""

    runs: tuple[Seconds, ...]

    @property
    def wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return statistics.median(run.cpu for run in self.runs)

    def ratio(self, other: Timing) -> float:
        """How many times as fast as ``other``, by wall time: median over rounds, each compared within itself."""
        return statistics.median(theirs.wall / own.wall for own, theirs in zip(self.runs, other.runs))

    def cpu_ratio(self, other: Timing) -> float:
        """The same by CPU time, which other work on the machine disturbs less."""
        return statistics.median(theirs.cpu / own.cpu for own, theirs in zip(self.runs, other.runs))

    def to_json(self) -> dict[str, object]:
        """Return medians and all runs."""
        return {"wall": self.wall, "cpu": self.cpu, "runs": [[run.wall, run.cpu] for run in self.runs]}


def timed(work: Callable[[], object]) -> Seconds:
    """Time one call in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(
    works: Mapping[str, Callable[[], Seconds]], repeats: int, warm_ups: int = 1, say: Callable[[str], object] = print
) -> dict[str, Timing]:
    """Run A, B, C, A, B, C, … and return the timing of each.

    Parameters
    ----------
    works : mapping of name to callable
        Each runs once and returns what it took (see :func:`timed`); a run in another process times itself.
    repeats : int
        Rounds that count.
    warm_ups : int
        Rounds before them that do not.
    say : callable
        Told of every run.
    """
    runs: dict[str, list[Seconds]] = {name: [] for name in works}
    for number in range(-warm_ups, repeats):
        for name, work in works.items():
            seconds = work()
            say(f"{'warm-up' if number < 0 else f'round {number + 1}'}: {name}: {seconds.wall:.3f} s")
            if number >= 0:
                runs[name].append(seconds)
    return {name: Timing(tuple(own)) for name, own in runs.items()}
