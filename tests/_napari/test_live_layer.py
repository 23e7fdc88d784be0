"""Candidates beside layers of more dimensions than two: planes are those of the layer, wherever its axes stand."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels

from segloop._napari import features
from segloop._napari.layers import Placement
from segloop._napari.live_layer import LiveLayer
from segloop.candidates import Candidates
from segloop.live_labels import LiveLabels, Thresholds
from segloop.segmentation import SegmentSettings
from segloop.store import list_models

START = Thresholds(0.5, 0.4, 4)
SIZES = {"T": 2, "C": 3, "Z": 4, "Y": 60, "X": 50}


def make(axes: str, count: int = 200) -> tuple[Labels, LiveLayer]:
    rng = np.random.default_rng(1)
    image = Image(np.zeros([SIZES[axis] for axis in axes], np.uint8))
    place = Placement.of(image, axes)
    outer = [axis for axis in axes if axis in "TZ"]
    planes = int(np.prod([SIZES[axis] for axis in outer], initial=1))
    corner = rng.uniform(-4, 48, (count, 2))
    found = Candidates(
        np.concatenate([corner, corner + rng.uniform(4, 14, (count, 2))], axis=1).astype(np.float32),
        rng.random(count, np.float32),
        np.ones(count, np.int64),
        np.full((count, 28, 28), 255, np.uint8),
        np.arange(count),
        rng.integers(0, planes, count),
        (planes, SIZES["Y"], SIZES["X"]),
    )
    chosen = found.choose(START.score, START.overlap, START.min_area)
    whole = np.stack([found.draw(chosen, n, slice(None), slice(None)) for n in range(planes)]).astype(np.uint16)
    layered = whole.reshape([SIZES[axis] for axis in outer] + [SIZES["Y"], SIZES["X"]])
    order = [*outer, "Y", "X"]
    own = layered.transpose([order.index(axis) for axis in place.axes if axis != "C"]).reshape(place.shape).copy()
    info = next(model for model in list_models() if model.task == "instance")
    layer = Labels(own)
    return layer, LiveLayer(layer, LiveLabels(found, START, 65535), place, info, SegmentSettings())


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "CZYX", "TCYX", "ZXY"])
def test_thresholds_move_all_planes_and_back(axes):
    layer, live = make(axes)
    first = layer.data.copy()
    assert live.fits and live.move(Thresholds(0.1, 0.4, 4))
    drawn = live.settle()
    anew = first.copy()
    for block in drawn:
        assert np.array_equal(anew[block.box], block.before)
        anew[block.box] = block.after
    assert np.array_equal(anew, layer.data) and not np.array_equal(anew, first)
    areas = np.bincount(layer.data.ravel())
    table = layer.features.set_index("index")
    assert dict(table["area"]) == {n: a for n, a in enumerate(areas) if n and a}
    live.move(START)
    assert np.array_equal(layer.data, first)
    assert not layer._undo_history


@pytest.mark.parametrize("axes", ["YX", "TZYX", "TCYX", "ZXY"])
def test_pixels_of_the_layer_are_found_in_their_planes(axes):
    layer, live = make(axes)
    for position in np.argwhere(layer.data > 0)[::97]:
        at = tuple(int(n) for n in position)
        plane, row, column = live.spot(at)
        number = live.live.object_of(int(layer.data[at]))
        mask = live.live.catalog.mask(number)
        assert mask.area.plane == plane
        assert mask.inside[row - mask.area.rows.start, column - mask.area.columns.start]
        assert live.read(mask.area)[row - mask.area.rows.start, column - mask.area.columns.start] == layer.data[at]
    assert live.spot(tuple(-1 for _ in layer.data.shape)) is None


@pytest.mark.parametrize("axes", ["ZYX", "ZXY"])
def test_edits_in_a_stack_stay(axes):
    layer, live = make(axes)
    index = np.nonzero(layer.data == layer.data.max())
    half = tuple(axis[: len(axis) // 2] for axis in index)
    layer.data_setitem(half, 0)
    edited = layer.data.copy()
    label = int(edited.max())
    live.move(Thresholds(1, 0.4, 4))
    assert np.array_equal(layer.data == label, edited == label)
    assert set(np.unique(layer.data)) == {0, label}
    live.move(START)
    assert np.array_equal(layer.data, edited)


@pytest.mark.parametrize("axes", ["YX", "TCYX", "ZXY"])
@pytest.mark.parametrize("undone", [False, True])
def test_what_is_painted_before_thresholds_rest_is_told_from_what_they_drew(axes, undone):
    layer, live = make(axes)
    first = layer.data.copy()
    live.move(Thresholds(0.1, 0.4, 4))
    moved = layer.data.copy()
    spots = tuple(np.argwhere(moved != first)[:9].T)
    # what was there before: as if nothing had been drawn there
    layer.data_setitem(spots, first[spots])
    layer.data_setitem(tuple(np.argwhere(moved == first)[:9].T), 999)
    assert live.is_edited
    if undone:
        layer.undo()
        layer.undo()
    drawn = live.settle()
    told = first.copy()
    for block in drawn:
        assert np.array_equal(told[block.box], block.before)
        told[block.box] = block.after
    assert np.array_equal(told, moved)
    assert live.take_change() == (features.checksum(moved) - features.checksum(first)) % features.CHECKSUMS
    assert np.array_equal(layer.data, moved) == undone and not live.is_edited


def test_what_is_undone_before_thresholds_rest_is_told_from_what_they_drew():
    layer, live = make("YX")
    first = layer.data.copy()
    for row in (2, 3):
        layer.data_setitem((np.full(40, row), np.arange(40)), 999)
    with layer.block_history():
        layer.data_setitem((np.full(40, 4), np.arange(40)), 999)
        edited = layer.data.copy()
        live.move(Thresholds(0.1, 0.4, 4))
        moved = layer.data.copy()
        layer.data_setitem((np.full(40, 5), np.arange(40)), 999)
    layer.undo()
    layer.undo()
    assert (layer.data[3:6] == first[3:6]).any() and (layer.data[2, :40] == 999).all()
    live.settle()
    assert live.take_change() == (features.checksum(moved) - features.checksum(edited)) % features.CHECKSUMS


def test_reviewed_places_stay_as_they_are():
    layer, live = make("ZYX", 400)
    reviewed = np.zeros(layer.data.shape, bool)
    reviewed[1, 10:40, 10:40] = True
    first = layer.data.copy()
    live.keep_reviewed(reviewed)
    for score in (0.0, 1.0, 0.2):
        live.move(Thresholds(score, 1, 0))
        assert np.array_equal(layer.data[reviewed], first[reviewed])
    assert not np.array_equal(layer.data, first)
    live.move(START)
    live.keep_reviewed(None)
    live.move(START)
    assert np.array_equal(layer.data, first)


def test_arrays_in_files_are_written_block_by_block(tmp_path):
    import zarr

    layer, live = make("YX")
    memory = layer.data.copy()
    stored = zarr.create_array(tmp_path / "labels.zarr", shape=memory.shape, chunks=(32, 32), dtype=memory.dtype)
    stored[:] = memory
    in_file = Labels(stored)
    own = LiveLayer(in_file, live.live, live.place, live.model, live.settings)
    assert own.move(Thresholds(0.1, 0.4, 4))
    in_memory, same = make("YX")
    same.move(Thresholds(0.1, 0.4, 4))
    assert np.array_equal(stored[:], in_memory.data)
    own.move(START)
    assert np.array_equal(stored[:], memory)
