"""The images of a folder on a cluster: one task for each, which writes the files that a local run writes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segloop.cluster.connection import crew, model_source
from segloop.cluster.flow import flow
from segloop.cluster.tasks import Run, segment_one
from segloop.cluster.tiles import scratch_folder
from segloop.events import Event, Notice, SegmentStarted, TileDone
from segloop.results import Order, Written


@dataclass(frozen=True, slots=True)
class ImageDone(Event):
    """One more image is done: its file, and what it became or what is wrong with it."""

    path: Path
    outcome: Written | Exception


def segment_images(
    client: Any, paths: Sequence[Path], order: Order, timeout: float
) -> Generator[Event, None, list[Written | Exception]]:
    """Segment images, one on each worker at a time; what is wrong with one does not stop the others.

    Parameters
    ----------
    client : distributed.Client
    paths : sequence of path
        Workers must see them, and ``order.output``, under the same absolute paths.
    order : Order
    timeout : float
        Seconds to wait for a new worker when there is none left.

    Returns
    -------
    list of Written or Exception
        What became of each.

    Raises
    ------
    ClusterError
        If the workers cannot do it, or are gone.
    """
    source = model_source(order)
    workers = crew(client, source, order)
    for notice in workers.notices:
        yield Notice(notice)
    there = replace(order, output=order.output.absolute())
    outcomes: dict[int, Written | Exception] = {}
    yield SegmentStarted(len(paths), (), f"{len(client.nthreads())} workers")
    with scratch_folder(order.output) as scratch:
        run = Run(str(scratch), source, workers.device, workers.precision)
        each = [(run, there, str(path.absolute()), str(path)) for path in paths]
        with closing(flow(client, segment_one, each, per_worker=1, timeout=timeout)) as results:
            for number, result in results:
                outcome: Written | Exception
                if isinstance(result, BaseException):
                    outcome = result if isinstance(result, Exception) else RuntimeError(str(result))
                else:
                    written, notices = result
                    for notice in notices:
                        yield Notice(notice)
                    labels, table = order.output / written.labels.name, order.output / written.table.name
                    outcome = replace(written, labels=labels, table=table)
                outcomes[number] = outcome
                yield ImageDone(paths[number], outcome)
                yield TileDone(len(outcomes), len(paths))
    return [outcomes[number] for number in range(len(paths))]
