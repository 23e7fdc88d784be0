"""Segmenting images of any axes and type, at any scale, with real networks and with models that make no mistake."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
import zarr

from segloop.candidates import Candidates, ClassScores
from segloop.errors import ImageError, ModelError, SettingsError
from segloop.events import Notice, SegmentStarted, TileDone, drain
from segloop.image import Image
from segloop.matching import match
from segloop.models.device import Precision
from segloop.models.protocol import ModelSpec, Task
from segloop.models.unet import FAMILY as UNET
from segloop.normalize import Normalization
from segloop.segmentation import SegmentSettings, segment, segment_events


def _ideal() -> object:
    spec = importlib.util.spec_from_file_location("ideal", Path(__file__).parent / "reference" / "ideal.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


IDEAL = _ideal()
SMALL_TILES = SegmentSettings(tile=64)


def squares(shape: tuple[int, ...], seed: int = 0, side: int = 6) -> np.ndarray:
    """Bright squares on a grid, about every second place; uint8 0 and 1. The last two axes are the plane."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.uint8)
    for plane in np.ndindex(shape[:-2]):
        for y in range(3, shape[-2] - side, 2 * side):
            for x in range(2, shape[-1] - side, 2 * side):
                if rng.random() < 0.5:
                    image[(*plane, slice(y, y + side), slice(x, x + side))] = 1
    return image


LAYOUTS = {
    "YX": (48, 70),
    "XY": (70, 48),
    "ZYX": (3, 40, 52),
    "YXZ": (40, 52, 3),
    "TYX": (2, 40, 52),
    "TZYX": (2, 3, 40, 52),
    "ZTXY": (3, 2, 52, 40),
}


@pytest.mark.parametrize("axes", LAYOUTS)
def test_labels_lie_where_the_objects_are(axes: str) -> None:
    order = sorted(range(len(axes)), key=lambda place: "TZYX".index(axes[place]))
    plain = squares(tuple(LAYOUTS[axes][place] for place in order))
    image = plain.transpose(np.argsort(order))
    assert image.shape == LAYOUTS[axes]

    classes = segment(IDEAL.IdealClasses(), Image(image, axes), SMALL_TILES)
    assert classes.labels.axes == axes and classes.labels.classes == ("background", "bright")
    assert np.array_equal(classes.labels.data, image)

    objects = segment(IDEAL.IdealObjects(), Image(image, axes), SMALL_TILES)
    labels = objects.labels.data
    assert labels.shape == image.shape and objects.labels.classes == ()
    assert np.array_equal(labels > 0, image > 0)
    # a number of its own for each square, in all planes and times together
    assert labels.max() == len(objects.objects) == image.sum() / 36
    assert (np.bincount(labels.ravel())[1:] == 36).all()


@pytest.mark.parametrize(
    ("axes", "channel_axis"), [("CYX", 0), ("YXC", 2), ("YXS", 2), ("CZYX", 0), ("ZCYX", 1), ("TCYX", 1)]
)
def test_one_channel_is_chosen(axes: str, channel_axis: int) -> None:
    plain = squares(tuple({"T": 2, "Z": 2}.get(axis, 40) for axis in axes if axis not in "CS"))
    image = np.stack([np.zeros_like(plain), 1 - plain, plain], axis=channel_axis) * np.uint8(200)
    found = segment(IDEAL.IdealObjects(), Image(image, axes), replace(SMALL_TILES, channel=2))
    assert found.labels.axes == axes.replace("C", "").replace("S", "")
    assert np.array_equal(found.labels.data > 0, plain > 0)
    with pytest.raises(ImageError, match="channel 3 does not exist: the image has channels 0 to 2"):
        segment(IDEAL.IdealObjects(), Image(image, axes), SegmentSettings(channel=3))


def test_channel_count_says_what_to_do() -> None:
    image = Image(np.zeros((3, 20, 20), np.uint8), "CYX")
    with pytest.raises(ImageError) as error:
        segment(IDEAL.IdealClasses(), image)
    assert str(error.value) == (
        "the image has 3 channels, but the model 'ideal-classes' takes 1 channel; "
        "choose one of its channels, or correct the axes"
    )
    with pytest.raises(ImageError, match="has 2 channels, but the model 'ideal-classes' takes 3 channels or 1;"):
        segment(IDEAL.IdealClasses(channels=3, repeat_grey=True), Image(np.zeros((2, 20, 20)), "CYX"))
    with pytest.raises(ImageError, match="has 1 channel, but the model 'ideal-classes' takes 3 channels;"):
        segment(IDEAL.IdealClasses(channels=3), Image(np.zeros((20, 20)), "YX"))


def test_grey_for_a_model_of_three_channels() -> None:
    image = squares((40, 40))
    found = segment(IDEAL.IdealClasses(channels=3, repeat_grey=True), Image(image, "YX"))
    assert np.array_equal(found.labels.data, image)


def test_rgba() -> None:
    plain = squares((40, 40)) * np.uint8(255)
    model = IDEAL.IdealClasses(channels=3)
    opaque = np.stack([plain] * 3 + [np.full_like(plain, 255)], axis=-1)
    assert np.array_equal(segment(model, Image(opaque, "YXS")).labels.data > 0, plain > 0)
    opaque[3, 4, 3] = 0
    with pytest.raises(ImageError, match="transparent"):
        segment(model, Image(opaque, "YXS"))


def test_bare_arrays() -> None:
    image = squares((40, 40))
    assert np.array_equal(segment(IDEAL.IdealClasses(), image).labels.data, image)
    with pytest.raises(ImageError, match="without axes; say them"):
        segment(IDEAL.IdealClasses(), np.zeros((3, 40, 40)))


# pixels


DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">f4", ">i8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_of_pixel(dtype: str) -> None:
    image = squares((40, 52)).astype(dtype)
    if np.dtype(dtype).kind in "iuf":
        image = image * np.array(100, dtype) + np.array(7, dtype)
    found = segment(IDEAL.IdealObjects(), Image(image.astype(dtype), "YX"), SMALL_TILES)
    assert np.array_equal(found.labels.data > 0, squares((40, 52)) > 0)


def test_arrays_of_any_layout_in_memory() -> None:
    wide = np.asfortranarray(np.repeat(np.repeat(squares((40, 52)), 2, axis=0), 3, axis=1))
    view = wide[::-2, ::3][::-1]
    view.flags.writeable = False
    assert not view.flags.c_contiguous
    before = view.copy()
    found = segment(IDEAL.IdealObjects(), Image(view, "YX"), SMALL_TILES)
    assert np.array_equal(found.labels.data > 0, view > 0)
    assert np.array_equal(view, before)


def test_lazy_arrays_are_read_tile_by_tile(tmp_path: Path) -> None:
    plain = squares((2, 96, 200))
    stored = zarr.create_array(tmp_path / "image.zarr", shape=plain.shape, chunks=(1, 32, 32), dtype=plain.dtype)
    stored[:] = plain
    sizes: list[int] = []

    def note(block: np.ndarray) -> np.ndarray:
        sizes.append(block.size)
        return block

    lazy = da.from_array(plain, chunks=(1, 32, 32)).map_blocks(
        note, dtype=plain.dtype, meta=np.zeros((0, 0, 0), np.uint8)
    )
    expected = segment(IDEAL.IdealObjects(), Image(plain, "ZYX"), SMALL_TILES).labels.data
    for array in (stored, lazy):
        assert np.array_equal(segment(IDEAL.IdealObjects(), Image(array, "ZYX"), SMALL_TILES).labels.data, expected)
    assert max(sizes) <= 32 * 32


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers(value: float) -> None:
    image = squares((40, 40)).astype(np.float32)
    image[39, 39] = value
    with pytest.raises(ImageError, match="NaN or infinite"):
        segment(IDEAL.IdealClasses(), Image(image, "YX"))


@pytest.mark.parametrize("shape", [(1, 1), (7, 100), (100, 3)])
def test_images_too_small(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{shape[0]} × {shape[1]} pixels; expected at least 8 × 8"):
        segment(IDEAL.IdealClasses(), Image(np.zeros(shape), "YX"))


@pytest.mark.parametrize("value", [0, 7.5])
@pytest.mark.parametrize("kind", ["classes", "objects", "network"])
def test_an_image_of_one_intensity_has_nothing_in_it(value: float, kind: str) -> None:
    if kind == "network":  # untrained, it finds something everywhere
        model = UNET.build(
            ModelSpec("net", "unet", Task.SEMANTIC, ("a", "b"), architecture={"levels": 1, "base_channels": 2})
        )
        with torch.no_grad():
            model.module.head.bias[:] = torch.tensor([-9.0, 9.0])
    else:
        model = IDEAL.IdealClasses() if kind == "classes" else IDEAL.IdealObjects()
    found = segment(model, Image(np.full((40, 50), value), "YX"))
    assert not found.labels.data.any() and len(found.objects) == 0
    assert found.notices == ("the image has one intensity only; nothing can be found in it",)


def test_the_smallest_image() -> None:
    image = np.zeros((8, 8))
    image[2:6, 3:7] = 1
    assert np.array_equal(segment(IDEAL.IdealObjects(), Image(image, "YX")).labels.data, image)
    assert np.array_equal(segment(IDEAL.IdealClasses(), Image(image, "YX")).labels.data, image)


# tiles


@pytest.mark.parametrize("tile", [64, 80, 100, 128, 512])
def test_classes_do_not_depend_on_the_tile(tile: int) -> None:
    image = squares((130, 171))
    found = segment(IDEAL.IdealClasses(), Image(image, "YX"), SegmentSettings(tile=tile))
    assert np.array_equal(found.labels.data, image)


def network(ndim: int, **fields: object) -> object:
    torch.manual_seed(3)
    spec = ModelSpec(
        "net",
        "unet",
        Task.SEMANTIC,
        ("background", "inside", "border"),
        ndim,
        architecture={"levels": 1, "base_channels": 4},
        normalization=Normalization(0, 100),
        tile=256,
        halo=16,
    )
    model = UNET.build(replace(spec, **fields))
    with torch.no_grad():
        # an untrained network is undecided; this one is sure, of one class here and another there
        logits = model.module(torch.rand(1, 1, *(32,) * ndim)).movedim(1, 0).flatten(1)
        spread = 4 / logits.std(dim=1)
        model.module.head.weight *= spread.view(-1, *(1,) * (ndim + 1))
        model.module.head.bias[:] = (model.module.head.bias - logits.mean(dim=1)) * spread
    return model


@pytest.mark.parametrize(("ndim", "shape"), [(2, (90, 133)), (3, (9, 70, 85))])
def test_a_network_in_tiles_is_the_network_on_the_whole(ndim: int, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    model = network(ndim)
    padded = np.pad(image, [(0, -n % 2) for n in shape], mode="edge")
    statistics = model.spec.normalization.fit(Image(image, "ZYX"[-ndim:]))
    tensor = torch.from_numpy(model.spec.normalization.apply(padded[None], statistics))
    scores = model.predict(tensor[None])[0].scores[(slice(None), *(slice(0, n) for n in shape))]
    expected = scores.argmax(axis=0)
    assert len(np.unique(expected)) > 1
    for tile in (64, 256):
        settings = SegmentSettings(tile=tile, precision=Precision.FLOAT32)
        found = segment(model, Image(image, "ZYX"[-ndim:]), settings)
        # scores are kept in 255ths: where two are that close, the class may be the other
        close = np.sort(scores, axis=0)[-2] > np.sort(scores, axis=0)[-1] - 1.5 / 255
        assert np.array_equal(found.labels.data[~close], expected[~close])
        assert close.mean() < 0.1
        np.testing.assert_allclose(found.candidates.scores[0] / 255, scores, atol=0.51 / 255 + 1e-5)


def test_volumes_of_time_series_and_planes_for_volume_models() -> None:
    image = squares((2, 10, 40, 40))
    found = segment(IDEAL.IdealClasses(ndim=3), Image(image, "TZYX"), SMALL_TILES)
    assert np.array_equal(found.labels.data, image)
    assert found.candidates.scores.shape == (2, 2, 10, 40, 40)
    with pytest.raises(ImageError, match="a 3D model needs a Z axis"):
        segment(IDEAL.IdealClasses(ndim=3), Image(image[0], "TYX"))


def test_events_count_the_tiles() -> None:
    image = Image(squares((2, 3, 100, 130)), "TZYX")
    events = []
    found = drain(segment_events(IDEAL.IdealObjects(), image, SMALL_TILES), events.append)
    assert isinstance(events[0], SegmentStarted)
    assert events[0].tile == (64, 64) and events[0].device == "cpu"
    count = events[0].tiles
    assert count == 6 * 3 * 4
    assert events[1:] == [TileDone(done, count) for done in range(1, count + 1)]
    assert found.seconds > 0 and found.notices == ()


@pytest.mark.parametrize("make", ["IdealClasses", "IdealObjects"])
def test_a_model_is_asked_for_the_memory_of_tiles_only(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = getattr(IDEAL, make)()
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(model, "working_memory", lambda shape: asked.append(tuple(shape)) or 1)
    segment(model, Image(squares((100, 130)), "YX"), SMALL_TILES)
    assert asked and all(min(shape) >= model.divisor for shape in asked)


def test_a_closed_generator_stops_at_its_tile() -> None:
    model = IDEAL.IdealObjects()
    work = segment_events(model, Image(squares((200, 200)), "YX"), SMALL_TILES)
    for _ in range(4):  # the start and three tiles
        next(work)
    work.close()
    # those that workers had begun are ended, and no others
    assert 3 <= len(model.seen) <= 3 + torch.get_num_threads() + 1
    assert next(work, None) is None


def test_a_notice_comes_as_an_event_too() -> None:
    events = []
    drain(segment_events(IDEAL.IdealClasses(), Image(np.zeros((20, 20)), "YX")), events.append)
    assert isinstance(events[0], Notice)


@pytest.mark.parametrize(
    "numbers", [{"tile": 63}, {"score": 1.5}, {"overlap": -0.1}, {"object_size": 1}, {"min_area": -1}]
)
def test_settings_out_of_range(numbers: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="expected"):
        SegmentSettings(**numbers)


# scale


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("make", ["objects", "classes"])
def test_an_enlarged_image_of_enlarged_objects_gives_the_same(factor: int, make: str) -> None:
    image = squares((61, 83), side=10)
    model = (IDEAL.IdealObjects if make == "objects" else IDEAL.IdealClasses)(object_size=11.0)
    plain = segment(model, Image(image, "YX"), SegmentSettings(tile=64, object_size=11))
    large = np.kron(image, np.ones((factor, factor), np.uint8))
    found = segment(model, Image(large, "YX"), SegmentSettings(tile=64, object_size=11 * factor))
    assert found.labels.shape == large.shape
    expected = np.kron(plain.labels.data, np.ones((factor, factor), np.uint32))
    if make == "classes":
        assert (expected == found.labels.data).mean() > 0.99
        return
    result = match(expected, found.labels.data, 0.85)
    assert len(result.missed) == len(result.extra) == 0
    assert len(result.iou) == plain.labels.data.max()


@pytest.mark.parametrize("object_size", [7, 15, 40])
def test_scaled_labels_lie_on_the_image(object_size: float) -> None:
    """Also where the scaled sides are rounded: 251 · 11 / 40 is no whole number."""
    rows, columns = np.indices((251, 187))
    image = np.zeros((251, 187), np.uint8)
    for y, x in [(30, 30), (125, 90), (235, 170), (20, 165), (230, 20)]:
        image[np.hypot(rows - y, columns - x) < 14] = 1
    found = segment(
        IDEAL.IdealObjects(object_size=11.0), Image(image, "YX"), SegmentSettings(tile=128, object_size=object_size)
    )
    assert len(found.objects) == 5
    centers = found.objects[["centroid-0", "centroid-1"]].to_numpy()
    expected = np.array([[20, 165], [30, 30], [125, 90], [230, 20], [235, 170]])
    assert np.abs(centers[np.argsort(centers[:, 0])] - expected).max() < max(0.6, 0.3 * object_size / 11)
    assert ((found.labels.data > 0) & (image > 0)).sum() / ((found.labels.data > 0) | (image > 0)).sum() > 0.85


def test_the_scale_of_a_volume_leaves_its_planes_alone() -> None:
    image = np.kron(squares((5, 30, 30)), np.ones((1, 2, 2), np.uint8))
    found = segment(IDEAL.IdealClasses(ndim=3, zoom=0.5), Image(image, "ZYX"), SMALL_TILES)
    assert found.labels.shape == image.shape
    assert (found.labels.data == image).mean() > 0.98


# results


def test_table_of_objects() -> None:
    image = np.zeros((40, 60), np.uint8)
    image[4:10, 6:14] = 1
    image[20:32, 30:50] = 1
    model = IDEAL.IdealObjects(score=lambda piece: 0.5 + piece.sum() / 1000)
    found = segment(model, Image(image, "YX"))
    # best first: 240 pixels of score 0.74, 48 of 0.548
    table = found.objects
    assert table["label"].tolist() == [1, 2]
    assert table["score"].tolist() == pytest.approx([0.74, 0.548])
    assert table["class"].tolist() == ["thing", "thing"]
    assert table["area"].tolist() == [240, 48]
    assert table["origin"].tolist() == ["model", "model"]
    assert table[["centroid-0", "centroid-1"]].to_numpy().tolist() == [[25.5, 39.5], [6.5, 9.5]]
    assert table[["bbox-0", "bbox-1", "bbox-2", "bbox-3"]].to_numpy().tolist() == [[20, 30, 32, 50], [4, 6, 10, 14]]
    assert isinstance(found.candidates, Candidates)
    # all that was found is kept, also below the threshold
    strict = segment(model, Image(image, "YX"), SegmentSettings(score=0.7))
    assert len(strict.objects) == 1 and len(strict.candidates) == 2
    again, _ = strict.candidates.paste(0.5, 0.4, 8)
    assert np.array_equal(again[0], found.labels.data)
    assert len(segment(model, Image(image, "YX"), SegmentSettings(min_area=49)).objects) == 1


def test_table_of_classes() -> None:
    image = squares((40, 40))
    found = segment(IDEAL.IdealClasses(), Image(image, "YX"))
    assert found.objects.to_dict("records") == [
        {"label": 1, "score": 1.0, "class": "bright", "area": int(image.sum()), "origin": "model"}
    ]
    assert isinstance(found.candidates, ClassScores)


def test_single_objects_from_a_border_class() -> None:
    image = np.random.default_rng(0).random((2, 48, 48)).astype(np.float32)
    found = segment(network(2), Image(image, "TYX"), SegmentSettings(instances=True, min_area=3))
    assert found.labels.classes == ()
    numbers = np.unique(found.labels.data[found.labels.data > 0])
    assert numbers.tolist() == list(range(1, len(found.objects) + 1)) and len(numbers) > 1
    assert not set(np.unique(found.labels.data[0])) & set(np.unique(found.labels.data[1])) - {0}
    assert (found.objects["area"] >= 3).all() and set(found.objects["class"]) == {"inside"}
    with pytest.raises(ModelError, match="has no border class"):
        segment(IDEAL.IdealClasses(), Image(squares((40, 40)), "YX"), SegmentSettings(instances=True))


def test_pixel_size_goes_with_the_labels() -> None:
    image = Image(squares((3, 40, 40)), "ZYX", pixel_size=(2.0, 0.5, 0.25), unit="micrometer", name="cells")
    labels = segment(IDEAL.IdealObjects(), image, SMALL_TILES).labels
    assert labels.pixel_size == {"Z": 2.0, "Y": 0.5, "X": 0.25} and labels.unit == "micrometer"


@pytest.mark.parametrize("tile", [64, 70, 95, 96])
def test_any_tile_side_works(tile: int) -> None:
    model = IDEAL.IdealObjects()
    model.divisor = 32
    image = Image(squares((150, 200)), "YX")
    found = segment(model, image, SegmentSettings(tile=tile))
    assert match(segment(model, image).labels, found.labels, 0.9).missed.size == 0


def test_object_size_for_a_model_that_does_not_know_its_own_is_left_out_and_said() -> None:
    image = Image(squares((48, 70)), "YX")
    found = segment(IDEAL.IdealClasses(object_size=0.0), image, SegmentSettings(object_size=20))
    assert "object size is left out" in found.notices[0]
    assert np.array_equal(found.labels, segment(IDEAL.IdealClasses(object_size=0.0), image).labels)
