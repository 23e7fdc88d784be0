"""One image on a cluster: workers predict its tiles, the client joins what they found, workers write the labels."""

from __future__ import annotations

import secrets
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segloop.candidates import Candidates, Chosen, ClassScores
from segloop.cluster.blocks import Block, Region, blocks, lay_out, meeting, opened, shapes
from segloop.cluster.connection import crew, model_source
from segloop.cluster.flow import flow
from segloop.cluster.tasks import TileRun, assemble_block, draw_block, predict_group, reduce_block
from segloop.events import Event, Notice, SegmentStarted, TileDone
from segloop.image import Image
from segloop.io import open_image, save_labels
from segloop.io.files import writing
from segloop.labels import Labels, smallest_dtype
from segloop.models.device import Device
from segloop.models.protocol import Task
from segloop.painting import pixel_regions
from segloop.planning import network_image
from segloop.results import LabelFormat, Order, Written, complete, guessed_axes
from segloop.segmentation import Segmentation, make_plan, make_stitcher, thresholds_of
from segloop.settings import AUTO
from segloop.stitching import ClassStitcher, Finished, ObjectStitcher, class_table
from segloop.store import load_model
from segloop.tiling import Tile

LARGEST_GROUP = 16
"""Tiles of one task: enough that the scheduler's work for it does not count, few enough to share them out evenly."""


def segment_tiles(client: Any, path: Path, order: Order, timeout: float) -> Generator[Event, None, Written]:
    """Segment one image, its tiles shared out to all workers; an event per tile.

    Parameters
    ----------
    client : distributed.Client
    path : path
        Of the image. Workers must see it, and ``order.output``, under the same absolute path.
    order : Order
    timeout : float
        Seconds to wait for a new worker when there is none left.

    Raises
    ------
    ClusterError
        If the workers cannot do it, or are gone.
    SegloopError
        As :func:`segloop.segmentation.segment` and :func:`segloop.io.save_labels` do.
    """
    started = time.monotonic()
    settings = order.settings
    model = load_model(order.model, Device.CPU)
    file = open_image(path, order.axes)
    yield from guessed_axes(path, file)
    channel = None if settings.channel is AUTO else settings.channel
    image = network_image(file.image, model.spec, channel)
    source = model_source(order)
    workers = crew(client, source, order)
    notices = list(workers.notices)
    plan = make_plan(model, image, settings, AUTO, notices, workers.free)
    for notice in notices:
        yield Notice(notice)
    is_semantic = model.spec.task is Task.SEMANTIC
    with scratch_folder(order.output) as scratch:
        run = TileRun(
            scratch=str(scratch),
            model=source,
            device=workers.device,
            precision=workers.precision,
            image=str(path.absolute()),
            axes=order.axes,
            channel=channel,
            plan=plan,
            keep_scores=is_semantic and settings.instances,
        )
        job = _Job(client, run, image, timeout)
        # what is wrong with the settings is found before anything is computed
        joined: _Joined
        if is_semantic and not settings.instances:
            joined = _Classes(job)
        else:
            stitcher = make_stitcher(image, plan, settings)
            joined = _Objects(job, stitcher) if isinstance(stitcher, ObjectStitcher) else _Parted(job, stitcher)
        yield from _predict(job, joined, notices)
        seconds = time.monotonic() - started
        labels, objects, candidates = joined.finish(order, order.targets(image.name)[0])
        thresholds = thresholds_of(plan, settings)
        result = Segmentation(labels, objects, candidates, tuple(notices), seconds, thresholds=thresholds)
        return complete(result, file.image, model.spec, order, workers.device, path)


@contextmanager
def scratch_folder(output: Path) -> Iterator[Path]:
    """Make a folder that is there as long as the run; workers stop when it is gone.

    Parameters
    ----------
    output : path
        Where to make it: the folder of the results, which workers see.
    """
    folder = output.absolute() / f".segloop-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        # a worker that was writing just then may make the folder anew
        time.sleep(0.5)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class _Job:
    """A run, and what the client knows of it."""

    client: Any
    run: TileRun
    image: Image
    timeout: float

    def each(self, task: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Generator[tuple[int, Any]]:
        """Run a task for each of ``arguments``, all of which begin with the run; raises what goes wrong."""
        with closing(flow(self.client, task, ((self.run, *own) for own in arguments), timeout=self.timeout)) as done:
            for number, result in done:
                if isinstance(result, BaseException):
                    raise result
                yield number, result

    def all(self, task: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> None:
        """Run a task for each of ``arguments``."""
        for _ in self.each(task, arguments):
            pass

    def fill(
        self,
        order: Order,
        target: Path,
        dtype: np.dtype,
        classes: tuple[str, ...],
        task: Callable[..., Any],
        arguments: Callable[[Block], tuple[Any, ...]],
    ) -> Labels:
        """Have the workers write the labels, the finest level block by block by a task, then each level from the last.

        The store is moved to ``target`` when it is whole, or written there in another format.
        """
        store = Path(self.run.scratch) / "labels.ome.zarr"
        lay_out(store, self.image, dtype, classes)
        finest, *others = shapes(store)
        plan = self.run.plan
        self.all(task, ((str(store), block, *arguments(block)) for block in blocks(self.image, plan, finest)))
        for level, shape in enumerate(others, start=1):
            self.all(reduce_block, ((str(store), level, block) for block in blocks(self.image, plan, shape)))
        if order.label_format is LabelFormat.OME_ZARR:
            with writing(target) as draft:
                store.rename(draft)
            return opened(target, self.image, classes)
        labels = opened(store, self.image, classes)
        save_labels(labels, target)
        return labels


class _Joined(ABC):
    """What the client makes of the tiles' results."""

    def __init__(self, job: _Job) -> None:
        self.job = job

    @abstractmethod
    def add(self, plane: int, tile: Tile, part: Any) -> None:
        """Take the result of a tile."""

    def retakes(self) -> list[tuple[int, Tile]]:
        """Further tiles, to be predicted when all were added."""
        return []

    @property
    def expected(self) -> float:
        """About how many those would be for the tiles added so far."""
        return 0.0

    @abstractmethod
    def finish(self, order: Order, target: Path) -> Finished:
        """Write the label image; returns it, the table and the candidates."""


class _Classes(_Joined):
    """Class numbers: tiles left them in files; areas and sums come back."""

    def __init__(self, job: _Job) -> None:
        super().__init__(job)
        self._names = job.run.plan.spec.classes
        self._totals = np.zeros((2, len(self._names)), np.int64)
        self._regions: dict[int, list[Region]] = {}

    def add(self, plane: int, tile: Tile, part: np.ndarray) -> None:
        self._totals += part
        self._regions.setdefault(plane, []).append(self.job.run.plan.image_region(tile.inner))

    def finish(self, order: Order, target: Path) -> Finished:
        dtype = smallest_dtype(len(self._names) - 1)

        def regions(block: Block) -> tuple[list[Region]]:
            return (meeting(self._regions[block.plane], block),)

        labels = self.job.fill(order, target, dtype, self._names, assemble_block, regions)
        return labels, class_table(self._names, *self._totals), ClassScores(np.zeros((0, len(self._names)), np.uint8))


class _Parted(_Joined):
    """Objects parted from scores, which come back: the client parts and writes them, as a local run does."""

    def __init__(self, job: _Job, stitcher: Any) -> None:
        super().__init__(job)
        self._stitcher: ClassStitcher = stitcher

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        self._stitcher.put(plane, part)

    def finish(self, order: Order, target: Path) -> Finished:
        labels, objects, candidates = self._stitcher.finish()
        save_labels(labels, target, objects)
        return labels, objects, candidates


class _Objects(_Joined):
    """Instances: the client joins and chooses, workers draw."""

    def __init__(self, job: _Job, stitcher: ObjectStitcher) -> None:
        super().__init__(job)
        self._stitcher = stitcher

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        self._stitcher.add(plane, tile, part)

    def retakes(self) -> list[tuple[int, Tile]]:
        return self._stitcher.retakes()

    @property
    def expected(self) -> float:
        return self._stitcher.expected

    def finish(self, order: Order, target: Path) -> Finished:
        candidates, chosen, objects = self._stitcher.choose()
        excerpts = _Excerpts(candidates, chosen)
        labels = self.job.fill(order, target, np.dtype(np.uint32), (), draw_block, excerpts.of)
        return labels, objects, candidates


class _Excerpts:
    """The objects of a block, for its task: no worker needs to know all of them."""

    def __init__(self, candidates: Candidates, chosen: Chosen) -> None:
        self._candidates, self._chosen = candidates, chosen
        self._owners = np.repeat(np.arange(len(chosen)), np.diff(chosen.starts))
        self._regions = pixel_regions(candidates.boxes[chosen.pieces], candidates.shape[1:])

    def of(self, block: Block) -> tuple[Candidates, Chosen, np.ndarray]:
        """Candidates, what is chosen of them, and its numbers in the whole image, uint32 (L + 1,), 0 first."""
        candidates, chosen = self._candidates, self._chosen
        rows, columns = block.region
        first, end = chosen.starts[np.searchsorted(chosen.planes, [block.plane, block.plane + 1])].tolist()
        top, left, bottom, right = self._regions[first:end].T
        meets = (top < rows.stop) & (bottom > rows.start) & (left < columns.stop) & (right > columns.start)
        places = first + np.flatnonzero(meets)
        own, counts = np.unique(self._owners[places], return_counts=True)
        pieces = chosen.pieces[places]
        drawn = Candidates(
            boxes=candidates.boxes[pieces],
            scores=candidates.scores[pieces],
            classes=candidates.classes[pieces],
            masks=candidates.masks[pieces],
            objects=candidates.objects[pieces],
            planes=np.zeros(len(pieces), np.int64),
            shape=(1, *candidates.shape[1:]),
        )
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        shown = Chosen(
            index=starts[:-1],
            planes=np.zeros(len(own), np.int64),
            area=chosen.area[own],
            centroid=chosen.centroid[own],
            bbox=chosen.bbox[own],
            pieces=np.arange(len(pieces)),
            starts=starts,
        )
        return drawn, shown, np.concatenate([[0], own + 1]).astype(np.uint32)


def _predict(job: _Job, joined: _Joined, notices: list[str]) -> Generator[Event, None, None]:
    """Have all tiles of all planes predicted, an event for each; adds to ``notices`` what is to be known."""
    plan = job.run.plan
    tiles = plan.tiles()
    planes = int(np.prod([job.image.sizes[axis] for axis in job.image.outer_axes(plan.spec.ndim)], initial=1))
    waiting = [(plane, tile) for plane in range(planes) for tile in tiles]
    workers = len(job.client.nthreads())
    done, total, retaken = 0, len(waiting), False
    yield SegmentStarted(total, tiles[0].shape, f"{workers} workers")
    while waiting:
        size = min(LARGEST_GROUP, max(1, len(waiting) // (4 * max(1, workers))))
        groups = [waiting[at : at + size] for at in range(0, len(waiting), size)]
        with closing(job.each(predict_group, ((group,) for group in groups))) as results:
            for number, predicted in results:
                for notice in predicted.notices:
                    # several workers may find the same
                    if notice not in notices:
                        notices.append(notice)
                        yield Notice(notice)
                total += len(predicted.parts) - len(groups[number])
                for plane, tile, part in predicted.parts:
                    joined.add(plane, tile, part)
                    done += 1
                    if retaken:
                        yield TileDone(done, total, at_seams=True)
                    elif done < total:
                        yield TileDone(done, total, round(joined.expected * total / done))
        waiting = []
        if not retaken:
            # of objects that no tile sees well, once all are known; then no more
            retaken, waiting = True, joined.retakes()
            total += len(waiting)
            yield TileDone(done, total)
