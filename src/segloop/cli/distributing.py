"""``segloop segment --scheduler``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from segloop.cli.outcomes import complain_about, print_written
from segloop.cli.progress import ProgressBar
from segloop.cli.reports import note
from segloop.cluster import ImageDone, connected, segment_images, segment_tiles
from segloop.events import Event, Notice, drain
from segloop.io import check_writable
from segloop.results import Order, Written

PATIENCE = 30.0
"""Seconds to wait for the scheduler, and for workers when there are none."""


def segment_files_there(scheduler: str, images: Sequence[Path], order: Order) -> int:
    """Segment images on a cluster; returns how many failed, each of which was reported on stderr.

    Raises
    ------
    ClusterError
        If the scheduler cannot be reached or its workers cannot do it.
    SegloopError
        What is wrong with the only image.
    """
    check_writable(order.output)
    failed = 0

    def show(event: Event) -> None:
        nonlocal failed
        if isinstance(event, ImageDone):
            if isinstance(event.outcome, Written):
                print_written(event.path, event.outcome)
            else:
                failed += 1
                complain_about(event.path, event.outcome)
        elif isinstance(event, Notice):
            note(event.message)

    with connected(scheduler, PATIENCE) as client:
        # what dask says of workers that come and go is for its own log
        for name in ("distributed", "distributed.client", "distributed.core", "distributed.comm"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if len(images) == 1:
            with ProgressBar(images[0].name, of_image=True) as progress:
                written = drain(segment_tiles(client, images[0], order, PATIENCE), progress)
            print_written(images[0], written)
        else:
            # a line for each image, as it is done, is progress enough
            drain(segment_images(client, images, order, PATIENCE), show)
    return failed
