"""Segment: plan, predict tile by tile, put together. A generator of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from segloop.candidates import Candidates, ClassScores
from segloop.errors import ImageError, ModelError
from segloop.events import Event, Notice, SegmentStarted, TileDone, drain
from segloop.image import SMALLEST_SIDE, Image
from segloop.labels import Labels, instances_from_scores, object_table, smallest_dtype
from segloop.models.device import Device
from segloop.models.protocol import Instances, ModelSpec, ScoreMap, Segmenter, Task
from segloop.normalize import Statistics
from segloop.resample import read_network_pixels, resize_scores
from segloop.seams import join_instances, stack_candidates
from segloop.settings import AUTO, Auto, check_ranges, setting
from segloop.tiling import Tile, plan_tiles


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """Settings of a segmentation; what is AUTO is chosen from model, image and machine."""

    channel: int | Auto = setting(
        AUTO, label="Channel", help="Channel to segment, counted from 0. Auto takes all channels.", least=0
    )
    device: Device = setting(Device.AUTO, label="Device", help="Where to compute. Auto takes a GPU if there is one.")
    tile: int | Auto = setting(
        AUTO,
        label="Tile",
        help="Side of a tile in pixels. Smaller tiles need less memory.",
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
    min_area: int = setting(
        8,
        label="Smallest area",
        help="Objects with fewer pixels than this are left out.",
        least=0,
        most=10**9,
    )
    object_size: float | Auto = setting(
        AUTO,
        label="Object size",
        help="Typical diameter of the objects in pixels. The image is scaled so that they have the size the model was "
        "trained on. Auto takes the scale that the model was trained at.",
        least=2,
        most=4096,
    )
    instances: bool = setting(
        False,
        label="Single objects",
        help="Part the nuclei of a U-Net with a border class into single objects.",
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a segmentation gives.

    Parameters
    ----------
    labels : Labels
        Shaped ``image.label_shape``.
    objects : DataFrame
        One row per label value: ``label``, ``score`` in [0, 1], ``class`` (name), ``area`` (pixels), ``origin``
        ("model"), and of instances ``centroid-0`` … and ``bbox-0`` … in pixels.
    candidates : Candidates or ClassScores
        All that was found, also below the thresholds.
    notices : tuple of str
        What the user should know.
    seconds : float
    """

    labels: Labels
    objects: pd.DataFrame
    candidates: Candidates | ClassScores
    notices: tuple[str, ...] = ()
    seconds: float = 0.0


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
    """
    return drain(segment_events(model, image, settings), on_event)


def segment_events(
    model: Segmenter,
    image: Image,
    settings: SegmentSettings = SegmentSettings(),
    statistics: Statistics | Auto = AUTO,
) -> Generator[Event, None, Segmentation]:
    """Segment an image, an event per tile; the generator returns the :class:`Segmentation`. See :func:`segment`.

    ``statistics`` are those of the image by default; give them when the image is a part of a larger one.
    """
    started = time.monotonic()
    image = _network_image(image, model.spec, settings)
    model.to(settings.device.resolve())
    if isinstance(statistics, Auto):
        statistics = model.spec.normalization.fit(image)
    notices = []
    blank = all(low == high for low, high in zip(statistics.low, statistics.high))
    if blank:
        notices.append("the image has one intensity only; nothing can be found in it")
        yield Notice(notices[-1])

    zoom = model.spec.zoom
    if settings.object_size is not AUTO and model.spec.object_size:
        zoom = model.spec.object_size / settings.object_size
    elif settings.object_size is not AUTO:
        notices.append(f"object size is left out: it is not known how large the objects of {model.spec.name!r} are")
        yield Notice(notices[-1])
    shape = image.spatial_shape() if model.spec.ndim == 3 else image.spatial_shape()[-2:]
    # depth stays as it is: planes are far apart, and objects in network pixels are measured in the plane
    scaled = tuple(n if axis < len(shape) - 2 else max(1, round(n * zoom)) for axis, n in enumerate(shape))
    tiles = _plan(model, scaled, settings)
    count = len(tiles) * int(np.prod([image.sizes[axis] for axis in image.outer_axes(model.spec.ndim)], initial=1))
    yield SegmentStarted(count, tiles[0].shape, str(model.device))

    stitcher = (
        _ClassStitcher(image, model.spec, scaled)
        if model.spec.task is Task.SEMANTIC
        else _ObjectStitcher(image, model.spec, scaled)
    )
    done = 0
    for plane, (_, block) in enumerate(image.blocks(model.spec.ndim)):
        parts: list[ScoreMap | Instances] = []
        for tile in tiles:
            # read also where nothing can be found: a NaN somewhere is an error all the same
            pixels = _read_tile(block, tile, scaled, model.spec, statistics)
            parts.extend([_nothing(model.spec, tile)] if blank else model.predict(torch.from_numpy(pixels[np.newaxis])))
            done += 1
            yield TileDone(done, count)
        stitcher.add(plane, tiles, parts)
    labels, objects, candidates = stitcher.finish(settings)
    return Segmentation(labels, objects, candidates, tuple(notices), time.monotonic() - started)


def _network_image(image: Image, spec: ModelSpec, settings: SegmentSettings) -> Image:
    """Check the image and reduce it to the channels that the model takes."""
    if not isinstance(image, Image):
        array = np.asarray(image)
        if array.ndim != 2:
            raise ImageError(
                f"an array of shape {array.shape} without axes; say them: segloop.Image(array, 'ZYX') or whatever holds"
            )
        image = Image(array, "YX")
    image = image.without_alpha()
    if settings.channel is not AUTO:
        image = image.channel(settings.channel)
    if min(image.spatial_shape()[-2:]) < SMALLEST_SIDE:
        raise ImageError(
            f"the image is {' × '.join(map(str, image.spatial_shape()))} pixels; "
            f"expected at least {SMALLEST_SIDE} × {SMALLEST_SIDE}"
        )
    if image.channels != spec.channels and not (spec.repeat_grey and image.channels == 1):
        wanted = f"{spec.channels} channels" if spec.channels > 1 else "1 channel"
        wanted += " or 1" if spec.repeat_grey and spec.channels > 1 else ""
        raise ImageError(
            f"the image has {image.channels} channels, but the model {spec.name!r} takes {wanted}; "
            "choose one of its channels, or correct the axes"
        )
    return image


def _plan(model: Segmenter, shape: tuple[int, ...], settings: SegmentSettings) -> list[Tile]:
    side = model.spec.tile if settings.tile is AUTO else settings.tile
    side = max(1, side // model.divisor) * model.divisor
    halo = min(model.spec.halo, side // 4)
    count = len(shape)
    return plan_tiles(shape, (side,) * count, (halo,) * count, (model.divisor,) * count)


def _read_tile(
    block: Image, tile: Tile, scaled: tuple[int, ...], spec: ModelSpec, statistics: Statistics
) -> np.ndarray:
    """Read a tile as the network takes it: float32 (C, [Z], Y, X), normalised."""
    pixels = read_network_pixels(block, tile.outer, scaled, lambda raw: spec.normalization.apply(raw, statistics))
    if spec.repeat_grey and pixels.shape[0] == 1:
        pixels = np.repeat(pixels, spec.channels, axis=0)
    return pixels


def _nothing(spec: ModelSpec, tile: Tile) -> ScoreMap | Instances:
    """What is found in a tile of one intensity: a network that never saw such an image might say anything."""
    if spec.task is Task.INSTANCE:
        none = np.zeros(0, np.float32)
        return Instances(none.reshape(0, 4), none, np.zeros(0, np.int64), np.zeros((0, 28, 28), np.float32))
    scores = np.zeros((len(spec.classes), *tile.shape), np.float32)
    scores[0] = 1
    return ScoreMap(scores)


class _ClassStitcher:
    """Puts score maps together into class labels."""

    def __init__(self, image: Image, spec: ModelSpec, scaled: tuple[int, ...]) -> None:
        self._image, self._spec, self._scaled = image, spec, scaled
        self._blocks: list[np.ndarray] = []

    def add(self, plane: int, tiles: list[Tile], parts: list[Any]) -> None:
        """Take the score maps of the tiles of one plane or volume."""
        whole = np.empty((len(self._spec.classes), *self._scaled), np.uint8)
        for tile, part in zip(tiles, parts):
            if not isinstance(part, ScoreMap):
                raise ModelError(f"the semantic model {self._spec.name!r} returned {type(part).__name__}, not ScoreMap")
            whole[(slice(None), *tile.inner)] = np.rint(part.scores[(slice(None), *tile.local)] * 255)
        shape = self._image.spatial_shape()[-len(self._scaled) :]
        self._blocks.append(whole if shape == self._scaled else resize_scores(whole, shape))

    def finish(self, settings: SegmentSettings) -> tuple[Labels, pd.DataFrame, ClassScores]:
        scores = np.stack(self._blocks)
        if settings.instances:
            labels, objects = self._objects(scores, settings)
        else:
            labels, objects = self._classes(scores)
        return labels, objects, ClassScores(scores)

    def _classes(self, scores: np.ndarray) -> tuple[Labels, pd.DataFrame]:
        classes = scores.argmax(axis=1).astype(smallest_dtype(len(self._spec.classes) - 1))
        numbers, areas = np.unique(classes, return_counts=True)
        sure = scores.max(axis=1)
        rows = [
            {
                "label": int(number),
                "score": float(sure[classes == number].mean() / 255),
                "class": self._spec.classes[number],
                "area": int(area),
                "origin": "model",
            }
            for number, area in zip(numbers, areas)
            if number > 0
        ]
        objects = pd.DataFrame(rows, columns=["label", "score", "class", "area", "origin"])
        return _labels_like(self._image, classes, self._spec, self._spec.classes), objects

    def _objects(self, scores: np.ndarray, settings: SegmentSettings) -> tuple[Labels, pd.DataFrame]:
        if self._spec.border_class is None:
            raise ModelError(
                f"the model {self._spec.name!r} has no border class, so it cannot part single objects; "
                "use a model with classes background, inside, border, or an instance model"
            )
        whole = np.zeros((len(scores), *scores.shape[2:]), np.uint32)
        certainty: list[float] = []
        for plane, block in enumerate(scores):
            inside = block[1].astype(np.float32) / 255
            foreground = 1 - block[0].astype(np.float32) / 255
            parted = instances_from_scores(inside, foreground)
            areas = np.bincount(parted.ravel())
            areas[0] = 0
            kept = np.flatnonzero(areas >= max(1, settings.min_area))
            lookup = np.zeros(len(areas), np.uint32)
            lookup[kept] = np.arange(1, len(kept) + 1) + len(certainty)
            sums = np.bincount(parted.ravel(), weights=foreground.ravel(), minlength=len(areas))
            certainty.extend((sums[kept] / areas[kept]).tolist())
            whole[plane] = lookup[parted]
        labels = _labels_like(self._image, whole, self._spec, ())
        classes = np.full(len(certainty), self._spec.classes[1], object)
        return labels, _object_frame(labels.data, np.asarray(certainty), classes)


class _ObjectStitcher:
    """Puts instances together into object labels."""

    def __init__(self, image: Image, spec: ModelSpec, scaled: tuple[int, ...]) -> None:
        self._image, self._spec, self._scaled = image, spec, scaled
        self._planes: list[Candidates] = []

    def add(self, plane: int, tiles: list[Tile], parts: list[Any]) -> None:
        """Take the instances of the tiles of one plane."""
        for part in parts:
            if not isinstance(part, Instances):
                raise ModelError(
                    f"the instance model {self._spec.name!r} returned {type(part).__name__}, not Instances"
                )
        height, width = self._scaled
        self._planes.append(join_instances(tiles, parts, (height, width), plane))

    def finish(self, settings: SegmentSettings) -> tuple[Labels, pd.DataFrame, Candidates]:
        height, width = self._image.spatial_shape()[-2:]
        candidates = stack_candidates(self._planes, (height, width))
        score = self._spec.score_threshold if settings.score is AUTO else settings.score
        pasted, chosen = candidates.paste(score, settings.overlap, settings.min_area)
        names = np.asarray(["", *self._spec.classes], object)
        labels = _labels_like(self._image, pasted, self._spec, ())
        frame = _object_frame(labels.data, candidates.scores[chosen], names[candidates.classes[chosen]])
        return labels, frame, candidates


def _labels_like(image: Image, blocks: np.ndarray, spec: ModelSpec, classes: tuple[str, ...]) -> Labels:
    """Bring blocks (P, [Z], Y, X) into the image's order of axes."""
    outer = image.outer_axes(spec.ndim)
    inner = "ZYX" if spec.ndim == 3 else "YX"
    shaped = blocks.reshape([image.sizes[axis] for axis in outer + inner])
    order = [(outer + inner).index(axis) for axis in image.label_axes]
    return Labels.like(image, np.ascontiguousarray(shaped.transpose(order)), classes)


def _object_frame(labels: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> pd.DataFrame:
    table = object_table(labels)
    index = table["label"] - 1
    frame = pd.DataFrame({"label": table["label"], "score": scores[index].astype(float), "class": classes[index]})
    frame["area"] = table["area"].astype(int)
    frame["origin"] = "model"
    for name, column in table.items():
        if name.startswith(("centroid", "bbox")):
            frame[name] = column
    return frame
