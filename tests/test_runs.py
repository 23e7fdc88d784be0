"""How a run goes: its order, its previews, stopping it, running out of memory, images that do not fit in memory."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import segloop
from segloop import canvas
from segloop.canvas import DiskArray
from segloop.drawing import DrawnLabels
from segloop.errors import SegmentError
from segloop.events import Event, LabelsDone, Notice, TileDone, drain
from segloop.image import Image
from segloop.matching import match
from segloop.models.device import Precision, has_fast_bfloat16
from segloop.samples import load_sample
from segloop.segmentation import Segmentation, SegmentSettings, make_plan, segment, segment_events
from segloop.settings import AUTO


def _ideal() -> object:
    spec = importlib.util.spec_from_file_location("ideal", Path(__file__).parent / "reference" / "ideal.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


IDEAL = _ideal()
KINDS = {"classes": IDEAL.IdealClasses, "objects": IDEAL.IdealObjects}
SETTINGS = SegmentSettings(tile=64)


def dots(shape: tuple[int, ...]) -> np.ndarray:
    """Squares of 6 × 6 pixels, 10 apart, in each plane."""
    image = np.zeros(shape, np.uint8)
    for y in range(3, shape[-2] - 6, 10):
        for x in range(2, shape[-1] - 6, 10):
            image[..., y : y + 6, x : x + 6] = 1
    return image


def run(kind: str, image: Image, **how: object) -> tuple[Segmentation, list[Event]]:
    """Segment, and keep the events."""
    events: list[Event] = []
    result = drain(segment_events(KINDS[kind](), image, SETTINGS, **how), events.append)
    return result, events


@pytest.mark.parametrize("kind", KINDS)
def test_the_region_looked_at_is_done_first_and_changes_nothing(kind: str) -> None:
    image = Image(dots((400, 500)), "YX")
    looked_at = (slice(300, 360), slice(200, 330))
    plain, _ = run(kind, image)
    result, events = run(kind, image, first=looked_at, preview=True)
    seen = [event for event in events if isinstance(event, LabelsDone)]
    inside = [
        all(own.start < side.stop and side.start < own.stop for own, side in zip((e.rows, e.columns), looked_at))
        for e in seen
    ]
    assert any(inside) and inside == sorted(inside, reverse=True)
    assert np.array_equal(result.labels.data, plain.labels.data)
    assert result.objects.equals(plain.objects)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYXZ"])
@pytest.mark.parametrize("kind", KINDS)
def test_previews_put_together_show_what_the_result_shows(kind: str, axes: str) -> None:
    lengths = {"T": 2, "Z": 3, "Y": 130, "X": 150}
    order = sorted(axes, key="TZYX".index)
    pixels = dots(tuple(lengths[axis] for axis in order)).transpose([order.index(axis) for axis in axes])
    result, events = run(kind, Image(pixels, axes), preview=True)
    outer = [axis for axis in axes if axis not in "YX"]
    shown = np.zeros((int(np.prod([lengths[a] for a in outer])), 130, 150), np.uint32)
    for event in events:
        if isinstance(event, LabelsDone):
            block = shown[event.plane, event.rows, event.columns]
            assert block.shape == event.labels.shape and not block.any()
            block[:] = event.labels
    planes = np.moveaxis(result.labels.data, [axes.index(a) for a in [*outer, "Y", "X"]], range(len(axes)))
    assert np.array_equal(shown.reshape(planes.shape) > 0, planes > 0)
    if kind == "objects":
        # squares that a tile's border cuts count twice until the end; none is one with another
        assert len(np.unique(shown)) >= len(result.objects) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_plane_looked_at_is_done_first(kind: str) -> None:
    image = Image(dots((2, 3, 70, 80)), "TZYX")
    result, events = run(kind, image, first_plane=4, preview=True)
    planes = [event.plane for event in events if isinstance(event, LabelsDone)]
    assert list(dict.fromkeys(planes)) == [4, 5, 0, 1, 2, 3]
    assert np.array_equal(result.labels.data, run(kind, image)[0].labels.data)


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_keeps_what_is_done(kind: str) -> None:
    image = Image(dots((200, 300)), "YX")
    whole, events = run(kind, image)
    assert whole.complete and not whole.notices
    tiles = sum(isinstance(event, TileDone) for event in events)
    asked = iter([False] * 3 + [True] * 9)
    result, events = run(kind, image, stop=lambda: next(asked), preview=True)
    assert not result.complete
    assert result.notices == (f"stopped after 3 of {tiles} tiles; the labels of the rest are empty",)
    done = np.zeros((200, 300), bool)
    for event in events:
        if isinstance(event, LabelsDone):
            done[event.rows, event.columns] = True
    # away from the edge of what was done, where a neighbour would have seen an object better
    sure = done.copy()
    sure[:, :-12] &= done[:, 12:]
    assert 0 < sure.sum() < done.size
    assert np.array_equal(result.labels.data[sure] > 0, whole.labels.data[sure] > 0)
    assert result.labels.data.any() and not result.labels.data[100:].any()


def test_stopping_before_the_first_tile_gives_empty_labels() -> None:
    for kind in KINDS:
        result, _ = run(kind, Image(dots((200, 300)), "YX"), stop=lambda: True)
        assert not result.complete and not result.labels.data.any() and len(result.objects) == 0


class Short:
    """Makes a model run out of memory on tiles larger than ``side``."""

    def __init__(self, model: object, side: int, error: Exception) -> None:
        self.predict, self.side, self.error = model.predict, side, error
        self.sides: list[int] = []

    def __call__(self, tiles: torch.Tensor) -> object:
        self.sides.append(tiles.shape[-1])
        if max(tiles.shape[-2:]) > self.side:
            raise self.error
        return self.predict(tiles)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
    ids=["system", "cuda", "cpu"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_out_of_memory_makes_tiles_smaller_and_goes_on(kind: str, error: Exception) -> None:
    image = Image(dots((300, 300)), "YX")
    settings = SegmentSettings(tile=256)
    expected = segment(KINDS[kind](), image, settings)
    model = KINDS[kind]()
    model.predict = short = Short(model, 100, error)
    events: list[Event] = []
    result = drain(segment_events(model, image, settings), events.append)
    assert max(short.sides) > 100 and short.sides[-1] <= 100
    assert np.array_equal(result.labels.data > 0, expected.labels.data > 0)
    assert len(result.objects) == len(expected.objects)
    assert any("not enough memory for tiles of" in event.message for event in events if isinstance(event, Notice))
    assert result.complete and "went on with" in result.notices[-1]
    last = [event for event in events if isinstance(event, TileDone)][-1]
    assert last.done == last.tiles


def test_tiles_are_planned_for_the_memory_that_is_given() -> None:
    model, image, notices = IDEAL.IdealObjects(), Image(dots((300, 300)), "YX"), []
    plan = make_plan(model, image, SegmentSettings(), AUTO, notices, 2 * model.working_memory((128, 128)))
    assert plan.side == 128 < model.spec.tile and "memory is short" in notices[0]


@pytest.mark.parametrize(("memory_for", "side"), [(256, 256), (128, 128), (64, 96)])
def test_tiles_around_objects_at_seams_are_the_models_own_if_there_is_the_memory(memory_for: int, side: int) -> None:
    model, image = IDEAL.IdealObjects(), Image(dots((600, 700)), "YX")
    # what has learned nothing has none
    model.spec = dataclasses.replace(model.spec, training={"seed": 0})
    free = 2 * model.working_memory((memory_for,) * 2)
    plan = make_plan(model, image, SegmentSettings(tile=96), AUTO, [], free)
    assert model.spec.tile == 256 and plan.side == 96 and plan.retake_shape == (side, side)


def test_out_of_memory_at_the_smallest_tile_is_a_clear_error() -> None:
    model = IDEAL.IdealObjects()
    model.predict = Short(model, 0, MemoryError())
    with pytest.raises(SegmentError, match="not enough memory even for tiles of"):
        segment(model, Image(dots((300, 300)), "YX"))


def test_other_errors_are_not_taken_for_it() -> None:
    model = IDEAL.IdealObjects()
    model.predict = Short(model, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        segment(model, Image(dots((300, 300)), "YX"))


@pytest.mark.parametrize("axes", ["YX", "YXZ"])
@pytest.mark.parametrize("kind", KINDS)
def test_large_results_are_not_held_in_memory(monkeypatch: pytest.MonkeyPatch, kind: str, axes: str) -> None:
    image = Image(dots((3, 120, 140)).transpose(1, 2, 0) if "Z" in axes else dots((120, 140)), axes)
    expected = segment(KINDS[kind](), image, SETTINGS)
    monkeypatch.setattr(canvas, "LARGE", 1000)
    result = segment(KINDS[kind](), image, SETTINGS)
    assert isinstance(result.labels.data, DiskArray if kind == "classes" else DrawnLabels)
    assert np.array_equal(np.asarray(result.labels), expected.labels.data)
    assert result.objects.equals(expected.objects)
    if kind == "classes":
        assert np.array_equal(np.asarray(result.candidates.scores), expected.candidates.scores)


def test_objects_parted_by_watershed_may_be_large_too(monkeypatch: pytest.MonkeyPatch) -> None:
    image = load_sample("fluorescence")
    model = segloop.load_model("nuclei-unet")
    settings = SegmentSettings(instances=True)
    expected = segment(model, image, settings)
    monkeypatch.setattr(canvas, "LARGE", 1000)
    result = segment(model, image, settings)
    assert isinstance(result.labels.data, DiskArray)
    assert np.array_equal(np.asarray(result.labels), expected.labels.data)
    assert result.objects.equals(expected.objects)


def test_previews_of_parted_objects_have_numbers_of_their_own() -> None:
    model, image = segloop.load_model("nuclei-unet"), load_sample("fluorescence")
    events: list[Event] = []
    settings = SegmentSettings(instances=True, tile=256)
    result = drain(segment_events(model, image, settings, preview=True), events.append)
    shown = np.zeros(result.labels.shape, np.uint32)
    for event in events:
        if isinstance(event, LabelsDone):
            shown[event.rows, event.columns] = event.labels
    assert ((shown > 0) == (result.labels.data > 0)).mean() > 0.999
    assert len(np.unique(shown)) > len(result.objects)


def test_stopping_leaves_nothing_where_nothing_was_looked_at_also_of_parted_objects() -> None:
    model, image = segloop.load_model("nuclei-unet"), load_sample("fluorescence")
    asked = iter([False] + [True] * 9)
    settings = SegmentSettings(instances=True, tile=256)
    result = drain(segment_events(model, image, settings, stop=lambda: next(asked)))
    rows, columns = (slice(0, side // 2) for side in result.labels.shape)
    assert result.labels.data[rows, columns].any()
    assert (result.labels.data > 0).mean() < 0.5 and result.objects["area"].max() < 10_000


@pytest.mark.skipif(not has_fast_bfloat16(), reason="this processor has no bfloat16 arithmetic")
@pytest.mark.parametrize("name", ["nuclei-unet", "nuclei-maskrcnn"])
def test_bfloat16_agrees_with_float32(name: str) -> None:
    model = segloop.load_model(name)
    for sample in ("fluorescence", "histology"):
        image = load_sample(sample)
        exact, fast = (
            segment(model, image, SegmentSettings(precision=precision)).labels.data
            for precision in (Precision.FLOAT32, Precision.BFLOAT16)
        )
        if name == "nuclei-unet":
            assert (exact == fast).mean() >= 0.999, sample
        else:
            assert len(match(exact, fast, 0.9).iou) >= 0.97 * exact.max(), sample
            assert ((exact > 0) == (fast > 0)).mean() >= 0.998, sample
