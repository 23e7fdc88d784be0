from __future__ import annotations

import dataclasses
from collections.abc import Generator

import pytest

from segloop.events import EpochDone, Event, Notice, Scored, SegmentStarted, TileDone, TrainingStarted, drain


def work(log: list[str], tiles: int = 3) -> Generator[Event, None, str]:
    try:
        yield SegmentStarted(tiles, (64, 64), "cpu")
        for tile in range(tiles):
            yield TileDone(tile + 1, tiles)
        return "labels"
    finally:
        log.append("closed")


def test_drain_hands_on_each_event_and_returns_the_result() -> None:
    events: list[Event] = []
    assert drain(work([]), events.append) == "labels"
    assert events == [SegmentStarted(3, (64, 64), "cpu"), *(TileDone(n, 3) for n in (1, 2, 3))]
    assert drain(work([])) == "labels"


def test_an_error_of_the_work_comes_through() -> None:
    def failing() -> Generator[Event, None, None]:
        yield Notice("the GPU is full; going on with the CPU")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        drain(failing())


def test_an_error_of_the_listener_closes_the_work() -> None:
    log: list[str] = []

    def cancel(event: Event) -> None:
        if isinstance(event, TileDone):
            raise KeyboardInterrupt

    generator = work(log)
    with pytest.raises(KeyboardInterrupt):
        drain(generator, cancel)
    assert log == ["closed"]
    assert next(generator, "over") == "over"


@pytest.mark.parametrize(
    "event",
    [
        Notice("a"),
        TileDone(1, 2),
        TrainingStarted(1, 2, 3, "cpu"),
        EpochDone(1, 2, 0.5, 0.9, 3.0),
        Scored("before", 0.5),
    ],
)
def test_events_are_frozen(event: Event) -> None:
    assert isinstance(event, Event)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, dataclasses.fields(event)[0].name, 0)
