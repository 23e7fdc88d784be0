"""Segment: plan, predict tile by tile, put together. A generator of events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from segloop.candidates import Candidates, ClassScores
from segloop.errors import SegmentError
from segloop.events import Event, Notice, SegmentStarted, TileDone, drain
from segloop.flips import predict_flipped
from segloop.image import Image
from segloop.labels import Labels
from segloop.live_labels import Thresholds
from segloop.memory import SHARE, fitting_batch, fitting_side, free_memory, is_out_of_memory
from segloop.models.device import Device, Precision
from segloop.models.protocol import Instances, ModelSpec, Promptable, ScoreMap, Segmenter, Task
from segloop.normalize import Statistics
from segloop.object_size import fitting_zoom, smallest_area
from segloop.planning import Plan, Region, nearest_first, network_image
from segloop.retakes import longest_worthwhile, retake_side
from segloop.settings import AUTO, Auto, check_ranges, setting
from segloop.shortage import make_smaller
from segloop.stitching import ClassStitcher, ObjectStitcher, Stitcher
from segloop.tiling import Tile, belongs
from segloop.workers import Workers, fitting_workers


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """Settings of a segmentation; what is AUTO is chosen from model, image and machine."""

    channel: int | Auto = setting(
        AUTO, label="Channel", help="Channel to segment, counted from 0. Auto takes all channels.", least=0
    )
    device: Device = setting(Device.AUTO, label="Device", help="Where to compute. Auto takes a GPU if there is one.")
    precision: Precision = setting(
        Precision.AUTO,
        label="Precision",
        help="Numbers the network computes with. Auto takes bfloat16, twice as fast, where the processor has it, and "
        "float32 elsewhere.",
    )
    tile: int | Auto = setting(
        AUTO,
        label="Tile",
        help="Side of a tile in pixels. Smaller tiles need less memory; those around objects at seams have a size of "
        "their own, as memory allows. Auto takes what fits.",
        least=64,
        most=8192,
    )
    score: float | Auto = setting(
        AUTO,
        label="Score",
        help="Objects the model is less sure of than this are left out (Mask R-CNN), from 0 to 1.",
        least=0,
        most=1,
    )
    overlap: float = setting(
        0.4,
        label="Overlap",
        help="Objects of which a larger share lies under better ones are left out (Mask R-CNN), from 0 to 1.",
        least=0,
        most=1,
    )
    min_area: int | Auto = setting(
        AUTO,
        label="Smallest area",
        help="Objects with fewer pixels than this are left out. Auto takes what has a quarter of the typical diameter.",
        least=0,
        most=10**9,
    )
    object_size: float | Auto = setting(
        AUTO,
        label="Object size",
        help="Typical diameter of the objects in pixels. The image is scaled so that they have the size the model was "
        "trained on. Auto looks at a part of the image and scales it only if its objects are far from that size.",
        least=2,
        most=4096,
    )
    instances: bool = setting(
        False,
        label="Single objects",
        help="Part the nuclei of a U-Net with a border class into single objects.",
    )
    flips: bool = setting(
        False,
        label="Look four ways",
        help="Look at the image as it is and mirrored, and take the mean: more right, and four times slower.",
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a segmentation gives.

    Parameters
    ----------
    labels : Labels
        Shaped ``image.label_shape``. Of images too large for memory, ``labels.data`` is an array that gives blocks when
        indexed, not NumPy's.
    objects : DataFrame
        One row per label value: ``label``, ``score`` in [0, 1], ``class`` (name), ``area`` (pixels), ``origin``
        ("model"), and of instances ``centroid-0`` … and ``bbox-0`` … in pixels.
    candidates : Candidates or ClassScores
        All that was found, also below the thresholds.
    notices : tuple of str
        What the user should know.
    seconds : float
    thresholds : Thresholds
        What decided on which candidates the labels show.
    complete : bool
        False if it was stopped before all tiles were done; labels are 0 where nothing was looked at, and objects at
        seams may be as the tiles of the grid show them.
    """

    labels: Labels
    objects: pd.DataFrame
    candidates: Candidates | ClassScores
    notices: tuple[str, ...] = ()
    seconds: float = 0.0
    complete: bool = True
    thresholds: Thresholds = Thresholds(0, 1, 0)


def segment(
    model: Segmenter,
    image: Image,
    settings: SegmentSettings = SegmentSettings(),
    on_event: Callable[[Event], object] = lambda event: None,
) -> Segmentation:
    """Segment an image.

    Parameters
    ----------
    model : Segmenter
    image : Image
        A 2D NumPy array may be given as well; other arrays need their axes said: ``Image(array, "ZYX")``.
    settings : SegmentSettings
    on_event : callable, optional
        Called with each progress event.

    Raises
    ------
    ImageError
        If the image is too small, has NaN pixels, or lacks the axes or channels that the model needs.
    SettingsError
        If the device is not there or the tile too small.
    SegmentError
        If not even the smallest tile fits in memory.
    """
    return drain(segment_events(model, image, settings), on_event)


def segment_events(
    model: Segmenter,
    image: Image,
    settings: SegmentSettings = SegmentSettings(),
    statistics: Statistics | Auto = AUTO,
    *,
    first: Region | None = None,
    first_plane: int = 0,
    stop: Callable[[], bool] = lambda: False,
    preview: bool = False,
) -> Generator[Event, None, Segmentation]:
    """Segment an image, an event per tile; the generator returns the :class:`Segmentation`. See :func:`segment`.

    Parameters
    ----------
    model, image, settings
        As :func:`segment` takes them.
    statistics : Statistics, optional
        Intensities to normalise by, those of the image by default; give them when the image is a part of a larger one.
    first : (slice, slice), optional
        Rows and columns, in image pixels, that are done first. The result does not depend on it.
    first_plane : int
        The plane that is done first, counted over all axes of the label image but Y and X.
    stop : callable
        Asked before each tile; when it returns true, what is done by then is put together and returned.
    preview : bool
        Also yield a ``LabelsDone`` for each tile.
    """
    started = time.monotonic()
    image = network_image(image, model.spec, None if settings.channel is AUTO else settings.channel)
    device = settings.device.resolve()
    model.to(device, settings.precision.resolve(device))
    notices: list[str] = []
    plan = make_plan(model, image, settings, statistics, notices)
    for notice in notices:
        yield Notice(notice)
    stitcher = make_stitcher(image, plan, settings)
    tiles = plan.tiles()
    order = nearest_first(tiles, first, plan)
    blocks = [block for _, block in image.blocks(model.spec.ndim)]
    planes = _planes_from(first_plane, image, model.spec.ndim, len(blocks))
    waiting = deque((plane, tiles[number]) for plane in planes for number in order)
    total, done = len(waiting), 0
    needed = model.working_memory(tiles[0].shape)
    if plan.retake_side:
        needed = max(needed, model.working_memory(plan.retake_shape))
    free = free_memory(device)
    batch = fitting_batch(needed, free, device)
    workers = Workers(fitting_workers(total, int(SHARE * free // max(1, needed))) if device.type == "cpu" else 1)
    yield SegmentStarted(total, tiles[0].shape, str(model.device))

    stopped = retaken = False
    grid = total
    flying: deque[tuple[list[tuple[int, Tile]], Future[Sequence[ScoreMap] | Sequence[Instances]]]] = deque()
    try:
        while True:
            while waiting and len(flying) < workers.ahead and not stopped:
                if stopped := stop():
                    break
                some = _next_batch(waiting, batch)
                block, own = blocks[some[0][0]], [tile for _, tile in some]
                flying.append((some, workers.submit(predict_tiles, model, plan, block, own)))
            if not flying:
                break
            some, future = flying.popleft()
            try:
                parts = future.result()
            # what torch raises when memory is short is told apart by its words
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                del error, future  # they hold what did not fit
                for others, other in reversed(flying):
                    wait([other])
                    waiting.extendleft(reversed(others))
                flying.clear()
                waiting.extendleft(reversed(some))
                if workers.count > 1:
                    notices.append(f"not enough memory for {workers.count} tiles at once; went on with one")
                    workers.close()
                    workers = Workers(1)
                elif batch > 1:
                    batch = batch // 2
                    notices.append(f"not enough memory for {len(some)} tiles at once; went on with {batch}")
                else:
                    notices.append(make_smaller(model, plan, waiting, settings.precision))
                    total = done + len(waiting)
                yield Notice(notices[-1])
                continue
            for (plane, tile), part in zip(some, parts):
                stitcher.add(plane, tile, part)
                done += 1
                if retaken:
                    yield TileDone(done, total, at_seams=True)
                    continue
                if preview:
                    yield from stitcher.preview(plane, tile, part)
                if done < total:
                    yield TileDone(done, total, round(stitcher.expected * total / done))
                    continue
                # of objects that no tile sees well, once all are known
                retaken = True
                waiting.extend(stitcher.retakes())
                grid, total = total, total + len(waiting)
                yield TileDone(done, total)
    finally:
        workers.close()
    if waiting and retaken:
        notices.append(
            f"stopped after {done - grid} of {total - grid} tiles around objects at seams; "
            "the other objects there are as the first tiles show them"
        )
    elif waiting:
        notices.append(f"stopped after {done} of {total} tiles; the labels of the rest are empty")
    try:
        labels, objects, candidates = stitcher.finish()
    except MemoryError as error:
        raise SegmentError("there is not enough memory to put the tiles together; close other programs") from error
    seconds = time.monotonic() - started
    thresholds = thresholds_of(plan, settings)
    return Segmentation(labels, objects, candidates, tuple(notices), seconds, not waiting, thresholds)


def make_plan(
    model: Segmenter,
    image: Image,
    settings: SegmentSettings,
    statistics: Statistics | Auto,
    notices: list[str],
    free: int | Auto = AUTO,
) -> Plan:
    """Decide on scale and tiles for an image reduced to the model's channels; adds to ``notices`` what is to be known.

    The side of the tiles is the model's own, or less if there is not the memory for it: ``free`` bytes, by default what
    the model's device has.
    """
    spec = model.spec
    if isinstance(statistics, Auto):
        statistics = spec.normalization.fit(image)
    zoom = spec.zoom
    if settings.object_size is not AUTO and spec.object_size:
        zoom = spec.object_size / settings.object_size
    elif settings.object_size is not AUTO:
        notices.append(f"object size is left out: it is not known how large the objects of {spec.name!r} are")
    else:
        factor = fitting_zoom(model, image, _plan_at(zoom, model, image, settings, statistics, []))
        if factor != 1:
            size, change = spec.object_size / zoom / factor, "enlarged" if factor > 1 else "reduced"
            notices.append(f"objects are about {size:.0f} pixels wide: the image is {change} for the model")
        zoom *= factor
    return _plan_at(zoom, model, image, settings, statistics, notices, free)


def _plan_at(
    zoom: float,
    model: Segmenter,
    image: Image,
    settings: SegmentSettings,
    statistics: Statistics,
    notices: list[str],
    free: int | Auto = AUTO,
) -> Plan:
    spec = model.spec
    shape = image.spatial_shape() if spec.ndim == 3 else image.spatial_shape()[-2:]
    # depth stays as it is: planes are far apart, and objects in network pixels are measured in the plane
    scaled = tuple(n if axis < len(shape) - 2 else max(1, round(n * zoom)) for axis, n in enumerate(shape))
    divisor = model.divisor
    own = max(1, spec.tile // divisor) * divisor
    asked = None if settings.tile is AUTO else max(1, settings.tile // divisor) * divisor
    fitting = fitting_side(
        own,
        min(own, asked or max(4 * divisor, 64)),
        divisor,
        lambda n: model.working_memory(tuple(min(n, -(-m // divisor) * divisor) for m in scaled)),
        free_memory(model.device) if isinstance(free, Auto) else free,
    )
    if not asked and fitting < own:
        notices.append(f"memory is short: tiles of {fitting} instead of {own} pixels are used")
    side = asked or fitting
    halo = min(spec.halo, side // 4)
    longest = longest_worthwhile(spec.object_size, spec.has_learned) if spec.task is Task.INSTANCE else 0.0
    around = retake_side(longest, fitting, divisor)
    plan = Plan(spec, statistics, shape, scaled, side, halo, divisor, settings.flips, around)
    if plan.is_blank:
        notices.append("the image has one intensity only; nothing can be found in it")
    return plan


def make_stitcher(image: Image, plan: Plan, settings: SegmentSettings) -> Stitcher:
    """What puts together the kind of result that the model gives."""
    thresholds = thresholds_of(plan, settings)
    if plan.spec.task is Task.SEMANTIC:
        return ClassStitcher(image, plan, settings.instances, thresholds.min_area)
    return ObjectStitcher(image, plan, thresholds.score, thresholds.overlap, thresholds.min_area)


def thresholds_of(plan: Plan, settings: SegmentSettings) -> Thresholds:
    """What decides which candidates are shown."""
    zoom = plan.scaled[-1] / plan.shape[-1]
    return Thresholds(
        plan.spec.score_threshold if settings.score is AUTO else settings.score,
        settings.overlap,
        smallest_area(plan.spec.object_size, zoom) if settings.min_area is AUTO else settings.min_area,
    )


def predict_tiles(
    model: Segmenter, plan: Plan, block: Image, tiles: Sequence[Tile]
) -> Sequence[ScoreMap] | Sequence[Instances]:
    """Read and predict tiles, all of one shape, of a plane or volume."""
    # read also where nothing can be found: a NaN somewhere is an error all the same
    pixels = np.stack([plan.read(block, tile) for tile in tiles])
    if plan.is_blank:
        return [_nothing(plan.spec, tile) for tile in tiles]  # type: ignore[return-value]
    if plan.flips:
        return predict_flipped(model, pixels)
    if not isinstance(model, Promptable):
        return model.predict(torch.from_numpy(pixels))
    maps = model.features(torch.from_numpy(pixels))
    height, width = plan.scaled
    found = [
        own.take(np.flatnonzero(belongs(tile, own.boxes, (height, width))))
        for own, tile in zip(model.detect(maps, (pixels.shape[-2], pixels.shape[-1])), tiles)
    ]
    boxes = [torch.from_numpy(own.boxes).to(model.device) for own in found]
    classes = [torch.from_numpy(own.classes).to(model.device) for own in found]
    masks = [mask.float().cpu().numpy() for mask in model.masks(maps, boxes, classes)]
    return [Instances(own.boxes, own.scores, own.classes, mask) for own, mask in zip(found, masks)]


def _nothing(spec: ModelSpec, tile: Tile) -> ScoreMap | Instances:
    """What is found in a tile of one intensity: a network that never saw such an image might say anything."""
    if spec.task is Task.INSTANCE:
        none = np.zeros(0, np.float32)
        return Instances(none.reshape(0, 4), none, np.zeros(0, np.int64), np.zeros((0, 28, 28), np.float32))
    scores = np.zeros((len(spec.classes), *tile.shape), np.float32)
    scores[0] = 1
    return ScoreMap(scores)


def _planes_from(first: int, image: Image, ndim: int, count: int) -> list[int]:
    """The order of planes (or volumes): that with 2D plane ``first``, those after it, those before it."""
    axes = [axis for axis in image.label_axes if axis not in "YX"]
    sizes = [image.sizes[axis] for axis in axes]
    at = dict(zip(axes, map(int, np.unravel_index(first, sizes)))) if axes else {}
    outer = image.outer_axes(ndim)
    start = int(np.ravel_multi_index([at[a] for a in outer], [image.sizes[a] for a in outer])) if outer else 0
    return [*range(start, count), *range(start)]


def _next_batch(waiting: deque[tuple[int, Tile]], most: int) -> list[tuple[int, Tile]]:
    """Take tiles of one plane and shape from the front."""
    some = [waiting.popleft()]
    while waiting and len(some) < most:
        plane, tile = waiting[0]
        if (plane, tile.shape) != (some[0][0], some[0][1].shape):
            break
        some.append(waiting.popleft())
    return some
