"""Tiles side by side: the same bytes, one core each, and no trace left in torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import segloop
from segloop.events import Event, Notice, drain
from segloop.image import Image
from segloop.models.device import Precision
from segloop.samples import load_sample
from segloop.segmentation import SegmentSettings, segment, segment_events
from segloop.workers import Workers, fitting_workers


@pytest.fixture
def threads() -> Iterator[int]:
    """Three threads for torch, and what it had before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_each_worker_has_one_core_and_everyone_else_as_before(threads: int) -> None:
    workers = Workers(threads)
    meet = threading.Barrier(threads)

    def look() -> tuple[int, str]:
        meet.wait()
        return torch.get_num_threads(), threading.current_thread().name

    seen = [future.result() for future in [workers.submit(look) for _ in range(threads)]]
    workers.close()
    assert [count for count, _ in seen] == [1] * threads and len({name for _, name in seen}) == threads
    assert torch.get_num_threads() == threads
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads


def test_workers_may_have_several_cores_each(threads: int) -> None:
    torch.set_num_threads(4)
    workers = Workers(2, cores=2)
    meet = threading.Barrier(2)

    def look() -> int:
        meet.wait()
        return torch.get_num_threads()

    assert [future.result() for future in [workers.submit(look) for _ in range(2)]] == [2, 2]
    workers.close()
    assert torch.get_num_threads() == 4


def test_one_worker_is_the_caller() -> None:
    workers = Workers(1)
    assert workers.submit(threading.current_thread).result() is threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 / 0).result()
    workers.close()


def test_workers_are_for_many_tiles_that_fit(threads: int) -> None:
    assert fitting_workers(100, 100) == threads
    assert fitting_workers(5, 100) == 1
    assert fitting_workers(100, 2) == 1


@pytest.mark.parametrize("name", ["nuclei-unet", "nuclei-maskrcnn"])
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.AUTO])
def test_their_number_does_not_change_a_byte(name: str, precision: Precision) -> None:
    model, image = segloop.load_model(name), load_sample("fluorescence")
    settings = SegmentSettings(tile=192, precision=precision)
    before = torch.get_num_threads()
    results = []
    try:
        for count in (2, 3, 5):
            torch.set_num_threads(count)
            results.append(segment(model, image, settings))
    finally:
        torch.set_num_threads(before)
    first, *others = results
    for other in others:
        assert np.array_equal(first.labels.data, other.labels.data)
        assert first.objects.equals(other.objects)
        for kept in ("scores", "masks", "boxes"):
            if hasattr(first.candidates, kept):
                assert np.array_equal(getattr(first.candidates, kept), getattr(other.candidates, kept))


def test_short_of_memory_for_several_one_is_enough(threads: int) -> None:
    model = segloop.load_model("nuclei-unet")
    image = Image(np.random.default_rng(0).integers(0, 255, (300, 400)).astype(np.uint8), "YX")
    settings = SegmentSettings(tile=64, object_size=model.spec.object_size)
    expected = segment(model, image, settings)
    predict, failed = model.predict, threading.Event()

    def short(tiles: torch.Tensor) -> object:
        if torch.get_num_threads() == 1:
            failed.set()
            raise MemoryError
        return predict(tiles)

    model.predict = short
    events: list[Event] = []
    result = drain(segment_events(model, image, settings), events.append)
    assert failed.is_set() and result.complete
    assert [e.message for e in events if isinstance(e, Notice)] == [
        "not enough memory for 3 tiles at once; went on with one"
    ]
    # with three cores on each tile, sums round otherwise
    assert (result.labels.data == expected.labels.data).mean() > 0.999
