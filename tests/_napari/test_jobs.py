"""Jobs: every end is told once, in the main thread; the generator is always closed."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Generator

import pytest
from napari.utils import progress
from qtpy.QtCore import QObject, QThread, QThreadPool

from segloop._napari.jobs import Countdown, Job, explain, in_words
from segloop.errors import ImageError
from segloop.events import Event, Notice, SegmentStarted, TileDone


class Ends(QObject):
    """Records what a job tells, and in which thread."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.told: list[tuple[str, object]] = []
        self.threads: set[QThread] = set()
        job.happened.connect(self.on_event)
        job.done.connect(self.on_done)
        job.failed.connect(self.on_failed)
        job.cancelled.connect(self.on_cancelled)

    def _tell(self, what: str, value: object = None) -> None:
        self.told.append((what, value))
        self.threads.add(QThread.currentThread())

    def on_event(self, event: Event) -> None:
        self._tell("event", event)

    def on_done(self, result: object) -> None:
        self._tell("done", result)

    def on_failed(self, error: Exception) -> None:
        self._tell("failed", error)

    def on_cancelled(self) -> None:
        self._tell("cancelled")


def run(qtbot, work) -> Ends:
    parent = QObject()
    job = Job("test", work, parent)
    ends = Ends(job)
    with qtbot.waitSignal(job.ended, timeout=10_000):
        job.start()
    ends.parent_kept = parent
    return ends


def test_events_and_result_arrive_in_order_in_the_main_thread(qtbot):
    worker_threads = []

    def work() -> Generator[Event, None, str]:
        worker_threads.append(threading.current_thread())
        for done in range(1, 4):
            yield TileDone(done, 3)
        return "result"

    ends = run(qtbot, work)
    assert ends.told == [("event", TileDone(n, 3)) for n in (1, 2, 3)] + [("done", "result")]
    assert ends.threads == {QThread.currentThread()}
    assert worker_threads[0] is not threading.main_thread()


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ImageError("no pixels"), KeyError("x")])
def test_every_error_is_delivered(qtbot, error):
    def work() -> Generator[Event, None, None]:
        yield Notice("begun")
        raise error

    assert run(qtbot, work).told == [("event", Notice("begun")), ("failed", error)]


def test_an_error_before_the_first_event_is_delivered(qtbot):
    def work() -> Generator[Event, None, None]:
        raise RuntimeError("cannot import")

    ends = run(qtbot, work)
    assert [what for what, _ in ends.told] == ["failed"]


def endless(closed: threading.Event) -> Generator[Event, None, None]:
    try:
        for done in range(1, 100_000):
            threading.Event().wait(0.005)
            yield TileDone(done, 100_000)
    finally:
        closed.set()


def test_cancel_closes_the_generator_and_nothing_follows(qtbot):
    closed = threading.Event()
    parent = QObject()
    job = Job("test", lambda: endless(closed), parent)
    ends = Ends(job)
    with qtbot.waitSignal(job.happened, timeout=10_000):
        job.start()
    told = len(ends.told)
    with qtbot.waitSignal(job.ended, timeout=10_000):
        job.cancel()
    assert closed.is_set()
    assert ends.told[told:] == [("cancelled", None)]


def test_an_error_while_cancelling_is_no_error(qtbot):
    def work() -> Generator[Event, None, None]:
        try:
            while True:
                threading.Event().wait(0.005)
                yield Notice("on")
        finally:
            raise RuntimeError("while closing")

    parent = QObject()
    job = Job("test", work, parent)
    ends = Ends(job)
    with qtbot.waitSignal(job.happened, timeout=10_000):
        job.start()
    with qtbot.waitSignal(job.ended, timeout=10_000):
        job.cancel()
    assert ends.told[-1] == ("cancelled", None)


def test_deleting_the_parent_stops_the_work_quietly(qtbot, qapp):
    closed = threading.Event()
    parent = QObject()
    job = Job("test", lambda: endless(closed), parent)
    ends = Ends(job)
    with qtbot.waitSignal(job.happened, timeout=10_000):
        job.start()
    parent.deleteLater()
    del job
    qtbot.waitUntil(closed.is_set, timeout=10_000)
    told = len(ends.told)
    qtbot.wait(50)
    assert len(ends.told) == told


def test_napari_shows_and_forgets_the_activity(qtbot):
    seen = []

    def work() -> Generator[Event, None, None]:
        yield SegmentStarted(3, (8, 8), "cpu")
        for done in range(1, 4):
            yield TileDone(done, 3)

    def look(_: object) -> None:
        seen.extend((bar.desc, bar.total) for bar in progress._all_instances)

    parent = QObject()
    job = Job("SegLoop: cells", work, parent)
    job.happened.connect(look)
    with qtbot.waitSignal(job.ended, timeout=10_000):
        job.start()
    assert ("SegLoop: cells", 3) in seen
    assert not [bar for bar in progress._all_instances if bar.desc.startswith("SegLoop: cells")]


def test_overlapping_jobs_leave_the_warning_filters_alone(qtbot):
    before = list(warnings.filters)
    gates = threading.Event(), threading.Event()

    def work(own: threading.Event) -> Generator[Event, None, None]:
        yield Notice("begun")
        own.wait(10)

    parent = QObject()
    jobs = [Job("test", lambda gate=gate: work(gate), parent) for gate in gates]
    for job in jobs:
        with qtbot.waitSignal(job.happened, timeout=10_000):
            job.start()
    for job, gate in zip(jobs, gates):
        with qtbot.waitSignal(job.ended, timeout=10_000):
            gate.set()
    assert warnings.filters == before


def test_long_jobs_do_not_use_up_the_pool(qtbot):
    """More jobs than the pool has threads run at once: training must not keep an export waiting."""
    count = QThreadPool.globalInstance().maxThreadCount() + 2
    gate = threading.Event()
    begun = threading.Semaphore(0)

    def work() -> Generator[Event, None, None]:
        begun.release()
        gate.wait(10)
        return
        yield

    parent = QObject()
    jobs = [Job("test", work, parent) for _ in range(count)]
    for job in jobs:
        job.start()
    assert all(begun.acquire(timeout=10) or pytest.fail("a job waits") for _ in jobs)
    gate.set()
    qtbot.waitUntil(lambda: not any(job.is_running for job in jobs), timeout=10_000)
    gc.collect()


def test_words(monkeypatch):
    assert [in_words(s) for s in (0.42, 12.3, 99, 180, 4800)] == ["0.4 s", "12 s", "99 s", "3 min", "1 h 20 min"]
    assert Countdown().left(0, 10) == ""
    countdown = Countdown()
    monkeypatch.setattr("time.monotonic", lambda: countdown._start + 20)
    assert countdown.left(2, 10) == "80 s left"
    assert countdown.left(2, 10, limit=50) == "30 s left"
    assert countdown.left(2, 10, limit=10) == "0.0 s left"
    assert explain(ImageError("the image has\nno pixels")) == "the image has no pixels"
    assert "not enough memory" in explain(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert explain(KeyError("x")) == "Unexpected error (KeyError): 'x'"
