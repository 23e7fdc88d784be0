"""The flow of tasks: a few more than the workers need are with the scheduler at any time, and none after the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from itertools import count, islice
from typing import Any

from segloop.cluster.connection import ClusterError
from segloop.cluster.tasks import Failure

RETRIES = 2
"""A task that fails for a reason that may pass (a file system that is late) is tried again this many times."""

PATIENCE = 2.0
"""Seconds after which it is asked whether there are workers still."""


def flow(
    client: Any,
    task: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    *,
    per_worker: float = 2.0,
    timeout: float,
) -> Generator[tuple[int, Any], None, None]:
    """Run a task on the workers once for each of ``arguments``; closing the generator cancels what is left.

    When a worker dies, the scheduler gives its tasks to others, up to ``distributed.scheduler.allowed-failures`` times
    for a task.

    Parameters
    ----------
    client : distributed.Client
    task : callable
        Returns its result, or a :class:`Failure`.
    arguments : iterable of tuples
        Taken when there is room.
    per_worker : float
        Tasks with the scheduler at a time, for each worker process.
    timeout : float
        Seconds to wait for a new worker when there is none left.

    Yields
    ------
    number : int
        Of the arguments, from 0.
    result
        In the order of completion. An exception if the task failed for a reason of its own.

    Raises
    ------
    ClusterError
        If the scheduler is gone, or all workers are.
    """
    from distributed import CancelledError, wait

    waiting = zip(count(), arguments)
    running: dict[Any, int] = {}
    seen = time.monotonic()
    try:
        while True:
            workers = len(client.nthreads())
            room = max(1, round(per_worker * workers)) - len(running)
            for number, given in islice(waiting, max(0, room)):
                running[client.submit(task, *given, pure=False, retries=RETRIES)] = number
            if not running:
                return
            if workers:
                seen = time.monotonic()
            elif time.monotonic() - seen > timeout:
                raise ClusterError(
                    f"all workers are gone, and none came back in {timeout:g} seconds; start some and run it again"
                )
            try:
                with client.as_current():
                    done = wait(list(running), timeout=PATIENCE, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                continue
            for future in done:
                yield running.pop(future), _outcome(future)
    except (CancelledError, OSError) as error:
        raise ClusterError(f"the scheduler at {client.scheduler.address} is gone: {error}") from error
    finally:
        if running:
            client.cancel(list(running))


def _outcome(future: Any) -> Any:
    from distributed import KilledWorker

    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            return ClusterError(
                f"{error.allowed_failures + 1} workers died over one task, which was then given up, probably for lack "
                "of memory; use a smaller --tile, give each worker more memory, or have fewer workers on a machine"
            )
        return error
    result = future.result()
    return result.error if isinstance(result, Failure) else result
