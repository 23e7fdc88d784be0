"""A cluster: dask.distributed workers segment the tiles of one large image, or the images of a folder.

The client plans and joins; the workers read, predict and write. Both run the code of a local run, so the results are
the same. ``connection.py`` finds the workers, ``tasks.py`` is what runs on them, ``flow.py`` keeps them busy,
``tiles.py`` and ``images.py`` are the two kinds of runs. The package ``distributed`` is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segloop.cluster.connection import ClusterError, connected
from segloop.cluster.images import ImageDone, segment_images
from segloop.cluster.tiles import segment_tiles
from segloop.events import Event, drain
from segloop.io import check_writable
from segloop.results import Order, Written

__all__ = ["ClusterError", "ImageDone", "connected", "segment_images", "segment_on_cluster", "segment_tiles"]


def segment_on_cluster(
    scheduler: Any,
    images: str | Path | Sequence[str | Path],
    order: Order,
    on_event: Callable[[Event], object] = lambda event: None,
    *,
    overwrite: bool = False,
    timeout: float = 30.0,
) -> list[Written | Exception]:
    """Segment image files on the workers of a dask scheduler.

    Parameters
    ----------
    scheduler : str or distributed.Client
        Address of a scheduler, such as "tcp://host:8786", or a client of one.
    images : path or sequence of paths
        One image is cut into tiles, which all workers share; of several, each worker does one at a time. Workers must
        see images and output under the same paths.
    order : Order
        Model, output folder, axes, settings, format of the labels.
    on_event : callable, optional
        Called with each progress event: of one image a ``TileDone`` for tiles, of several an ``ImageDone`` for each.
    overwrite : bool
        Whether results that exist may be replaced.
    timeout : float
        Seconds to wait for the scheduler, and for a worker when there is none.

    Returns
    -------
    list of Written or Exception
        What each image became, or what is wrong with it; of one image, an error is raised.

    Raises
    ------
    ClusterError
        If ``distributed`` is not installed, the scheduler cannot be reached, or its workers cannot do it.
    FileError
        If results exist and may not be replaced, or the output cannot be written.
    SegloopError
        As :func:`segloop.results.segment_file` raises them.
    """
    alone = isinstance(images, (str, Path))
    paths = [Path(images)] if isinstance(images, (str, Path)) else [Path(path) for path in images]
    if not overwrite:
        for path in paths:
            order.check_nothing_there(path)
    check_writable(order.output)
    with connected(scheduler, timeout) as client:
        if alone or len(paths) == 1:
            return [drain(segment_tiles(client, paths[0], order, timeout), on_event)]
        return drain(segment_images(client, paths, order, timeout), on_event)
