"""Workers: threads that predict tiles side by side on a CPU, or learn examples of a batch, some cores each.

A network on one core needs no waiting of cores for each other, and what only one core can do (suppressing double boxes,
stitching) goes on beside the convolutions of other tiles. As each tile has one core whatever the number of workers,
that number does not change a bit of the result. Of what several cores share, how many they are does change the last
bits: a batch with fewer examples than there are cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


class Workers:
    """Runs functions in ``count`` threads of some cores each; with a count of 1, at once and in the caller's thread.

    Parameters
    ----------
    count : int
    cores : int
        Of each thread, unless there is only one.
    """

    def __init__(self, count: int, cores: int = 1) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        if count > 1:
            self._pool = ThreadPoolExecutor(count, "segloop-work")
            self._start(cores)

    @property
    def ahead(self) -> int:
        """How many calls may be under way so that no worker waits."""
        return self.count + 1 if self._pool else 1

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Call ``function``; what it returns or raises is in the future."""
        if self._pool:
            return self._pool.submit(function, *arguments)
        future: Future[Result] = Future()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """End the threads; waits for calls under way, drops those that have not begun."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, cores: int) -> None:
        assert self._pool is not None
        threads = torch.get_num_threads()
        together = threading.Barrier(self.count)

        def take_cores() -> None:
            # only when all are here: else one thread would do for two
            together.wait()
            # a thread's first question makes torch give it the number for all; only then can it have its own
            torch.get_num_threads()
            torch.set_num_threads(cores)

        for started in [self._pool.submit(take_cores) for _ in range(self.count)]:
            started.result()
        # torch keeps the number also for threads to come, which are not ours
        torch.set_num_threads(threads)


def fitting_workers(tiles: int, fitting: int) -> int:
    """How many workers to have for a number of tiles, of which ``fitting`` fit in memory side by side.

    As many as torch has threads, if there is work for all of them; else 1: the cores share each tile.
    """
    threads = torch.get_num_threads()
    return threads if tiles >= 2 * threads and fitting >= threads else 1
