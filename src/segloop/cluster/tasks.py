"""What runs on the workers: small functions of plain values, each of which may be run again without harm.

A worker process loads the model and opens the image once per run. It predicts one tile at a time, with as many threads
as the worker has, like a local run: what comes out does not depend on how tiles are shared out.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import segloop
from segloop.candidates import Candidates, Chosen
from segloop.cluster.blocks import Block, coarser
from segloop.errors import FileError, ModelError, SegloopError
from segloop.events import Notice
from segloop.image import Image
from segloop.io import open_image
from segloop.memory import CPU, free_memory, is_out_of_memory
from segloop.models.device import Device, Precision, has_fast_bfloat16
from segloop.models.protocol import Instances, ScoreMap, Segmenter
from segloop.planning import Plan, network_image
from segloop.results import Order, Written, segment_file
from segloop.segmentation import predict_tiles
from segloop.shortage import longest_side, make_smaller, on_the_cpu
from segloop.stitching import class_part
from segloop.store import load_model, weights_hash
from segloop.tiling import Tile

_COMPUTING = threading.Lock()
"""One tile at a time has all threads of the worker, and its memory."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where to look for a model, and the sha256 of its weights."""

    name: str
    places: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says of itself.

    ``free`` is the memory that can be had on each of its devices, in bytes; ``fast`` are those of them that have
    bfloat16 arithmetic.
    """

    version: str
    torch: str
    processor: str
    threads: int
    devices: tuple[str, ...]
    free: tuple[int, ...]
    fast: tuple[str, ...]
    sees_output: bool
    has_model: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What all tasks of a run need. ``scratch`` is a folder that exists as long as the run is wanted."""

    scratch: str
    model: ModelSource
    device: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class TileRun(Run):
    """A run over the tiles of one image.

    ``keep_scores`` is whether the scores of classes are returned; otherwise class numbers are left in ``scratch``.
    """

    image: str
    axes: str
    channel: int | None
    plan: Plan
    keep_scores: bool


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What was predicted for a group of tiles.

    Parameters
    ----------
    parts : sequence of (int, Tile, Any)
        Plane, tile and result, in the order of the group. A tile that did not fit in memory is not among them: those
        that it was cut into are, which answer for the same pixels.
    notices : tuple of str
        What is to be known.
    """

    parts: Sequence[tuple[int, Tile, Any]]
    notices: tuple[str, ...]


class Stopped(Exception):
    """Nobody waits for the run any more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that a user can do something about: running the task again would not help."""

    error: SegloopError


def _told(task: Callable[..., Any]) -> Callable[..., Any]:
    """Return errors of a user's kind instead of raising them, which would make dask try again."""

    @wraps(task)
    def guarded(*arguments: Any) -> Any:
        try:
            return task(*arguments)
        except SegloopError as error:
            return Failure(error)

    return guarded


def report(model: ModelSource, probe: str, dask_worker: Any = None) -> Report:
    """Say what this worker, which dask names, has, and whether it sees a file and a model."""
    devices = [device.value for device in (Device.CUDA, Device.MPS, Device.CPU) if _has(device)]
    limit = dask_worker.memory_manager.memory_limit if dask_worker else None
    try:
        found = bool(_place_of(model))
    except ModelError:
        found = False
    return Report(
        version=segloop.__version__,
        torch=str(torch.__version__),
        processor=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        threads=dask_worker.state.nthreads if dask_worker else torch.get_num_threads(),
        devices=tuple(devices),
        free=tuple(_free(name, limit) for name in devices),
        fast=tuple(name for name in devices if has_fast_bfloat16(torch.device(name))),
        sees_output=Path(probe).is_file(),
        has_model=found,
    )


@_told
def predict_group(run: TileRun, group: Sequence[tuple[int, Tile]]) -> Predicted:
    """Predict tiles of planes (or volumes); those that do not fit in memory are made smaller, as by a local run.

    Results are, of instances, :class:`Instances` with masks in 255ths. Of classes, a :class:`ClassPart` with its scores
    if they are asked for; otherwise the areas and sums of each class, int64 (2, K), the numbers being left in
    ``run.scratch``.
    """
    # a worker's threads begin a run at the same time, and are to know the same
    with _COMPUTING:
        means = _means(run)
    parts: list[tuple[int, Tile, Any]] = []
    notices = []
    waiting = deque(means.fitting(run.plan, group))
    while waiting:
        with _COMPUTING:
            _check_wanted(run)
            torch.set_num_threads(_threads())
            model = _model(run.model, means.device, means.precision)
            plane, tile = waiting[0]
            part = _predicted(model, run.plan, _planes(run)[plane], tile)
            if part is None:
                notices.append(make_smaller(model, run.plan, waiting, run.precision))
                means.learn(waiting[0][1], model)
                continue
        waiting.popleft()
        parts.append((plane, tile, _packed(run, plane, tile, part)))
    return Predicted(parts, tuple(notices))


def _predicted(model: Segmenter, plan: Plan, block: Image, tile: Tile) -> ScoreMap | Instances | None:
    """What the model says of a tile; None if there is not enough memory for it."""
    try:
        (part,) = predict_tiles(model, plan, block, [tile])
    # what torch raises when memory is short is told apart by its words
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return part


def _packed(run: TileRun, plane: int, tile: Tile, part: ScoreMap | Instances) -> Any:
    """What goes back to the client; see :func:`predict_group`."""
    if isinstance(part, Instances):
        return replace(part, masks=np.rint(part.masks * 255).astype(np.uint8))
    own = class_part(run.plan, tile, part)
    if run.keep_scores:
        return own
    _leave(own.classes, tile_file(run.scratch, plane, own.region))
    return np.stack([own.areas, own.sums])


@_told
def draw_block(run: Run, store: str, block: Block, candidates: Candidates, chosen: Chosen, numbers: np.ndarray) -> None:
    """Draw objects into a block of the finest level of a store; ``numbers`` (L + 1,) are those of the whole image."""
    _check_wanted(run)
    rows, columns = block.region
    block.write(store, 0, numbers[candidates.draw(chosen, 0, rows, columns)])


@_told
def assemble_block(run: Run, store: str, block: Block, regions: Sequence[tuple[slice, ...]]) -> None:
    """Put a block of class numbers of the finest level of a store together from what tiles left."""
    _check_wanted(run)
    whole = np.zeros([side.stop - side.start for side in block.region], np.uint8)
    for region in regions:
        classes = np.load(tile_file(run.scratch, block.plane, region), allow_pickle=False)
        whole = whole.astype(np.promote_types(whole.dtype, classes.dtype), copy=False)
        common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(region, block.region)]
        there = tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(common, block.region))
        here = tuple(slice(c.start - a.start, c.stop - a.start) for c, a in zip(common, region))
        whole[there] = classes[here]
    block.write(store, 0, whole)


@_told
def reduce_block(run: Run, store: str, level: int, block: Block) -> None:
    """Fill a block of a coarser level of a store from the finer one."""
    _check_wanted(run)
    block.write(store, level, coarser(store, level, block))


@_told
def segment_one(run: Run, order: Order, path: str, source: str) -> tuple[Written, list[str]]:
    """Segment an image and write its files, as a local run does; also returns what is to be known."""
    notices = []
    with _COMPUTING:
        _check_wanted(run)
        torch.set_num_threads(_threads())
        model = _model(run.model, run.device, run.precision)
        own = replace(order, model=_place_of(run.model))
        settings = replace(order.settings, device=Device(run.device), precision=run.precision)
        work = segment_file(Path(path), model, own, settings, Path(source))
        try:
            while True:
                event = next(work)
                if isinstance(event, Notice):
                    notices.append(event.message)
                _check_wanted(run)
        except StopIteration as stop:
            written: Written = stop.value
        finally:
            work.close()
    return written, notices


def tile_file(scratch: str, plane: int, region: Sequence[slice]) -> Path:
    """Where a tile leaves the class numbers of a region of a plane."""
    corner = "-".join(str(side.start) for side in region)
    return Path(scratch) / f"{plane}-{corner}.npy"


def _leave(array: np.ndarray, path: Path) -> None:
    # a worker may die while it writes: the file is there whole or not at all
    draft = path.with_name(f"{secrets.token_hex(4)}.draft")
    with draft.open("wb") as file:
        np.save(file, array)
    draft.replace(path)


def _check_wanted(run: Run) -> None:
    if not os.path.isdir(run.scratch):  # noqa: PTH112 - asked before each tile
        raise Stopped


def _threads() -> int:
    from distributed import get_worker

    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return torch.get_num_threads()


def _has(device: Device) -> bool:
    try:
        device.resolve()
    except SegloopError:
        return False
    return True


def _free(device: str, limit: int | None) -> int:
    """Bytes that can be had on a device; on the CPU no more than dask's limit for the worker leaves."""
    free = free_memory(torch.device(device))
    return free if device != "cpu" or not limit else max(0, min(free, limit - psutil.Process().memory_info().rss))


def _place_of(model: ModelSource) -> str:
    for place in model.places:
        try:
            if weights_hash(place) == model.sha256:
                return place
        except (ModelError, FileError):
            continue
    raise ModelError(f"the model {model.name!r} is not found on the worker {platform.node()}")


@lru_cache(maxsize=1)
def _model(source: ModelSource, device: str, precision: Precision) -> Segmenter:
    # as agreed with the other workers, also on one that came later and is slow at it
    dtype = torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32
    return load_model(_place_of(source), Device(device)).to(torch.device(device), dtype)


_PLANES: dict[str, list[Image]] = {}
"""The planes (or volumes) of the image of the run whose scratch folder is the key."""


def _planes(run: TileRun) -> list[Image]:
    if run.scratch not in _PLANES:
        _PLANES.clear()
        image = network_image(open_image(run.image, run.axes).image, run.plan.spec, run.channel)
        _PLANES[run.scratch] = [block for _, block in image.blocks(run.plan.spec.ndim)]
    return _PLANES[run.scratch]


@dataclass
class _Means:
    """What this worker has for a run: where and how precisely it computes, and the largest tiles that fit, if known."""

    device: str
    precision: Precision
    side: int | None = None

    def fitting(self, plan: Plan, group: Iterable[tuple[int, Tile]]) -> list[tuple[int, Tile]]:
        """The tiles of a group, cut as far as this worker had to cut others before."""
        parts = list(group)
        while self.side is not None and any(longest_side(tile) > self.side for _, tile in parts):
            parts = [
                (plane, own)
                for plane, tile in parts
                for own in (plan.quarters(tile) if longest_side(tile) > self.side else [tile])
            ]
        return parts

    def learn(self, tile: Tile, model: Segmenter) -> None:
        """Take note of what a run went on with."""
        if model.device.type != self.device:
            # loaded anew there: the next run begins on the device again
            self.device = model.device.type
            self.precision = _resolved(on_the_cpu(self.precision))
            _model.cache_clear()
        else:
            self.side = longest_side(tile)


_MEANS: dict[str, _Means] = {}
"""What this worker has for the run whose scratch folder is the key."""


def _means(run: TileRun) -> _Means:
    if run.scratch not in _MEANS:
        _MEANS.clear()
        _MEANS[run.scratch] = _Means(run.device, run.precision)
    return _MEANS[run.scratch]


def _resolved(precision: Precision) -> Precision:
    exact = precision.resolve(CPU) is torch.float32
    return Precision.FLOAT32 if exact else Precision.BFLOAT16
