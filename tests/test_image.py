from __future__ import annotations

import itertools
import math

import dask.array
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.errors import ImageError, SegloopError
from segloop.image import Image, check_axes, guess_axes, stack_channels

LENGTHS = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6, "S": 3}


def layouts() -> list[str]:
    """Every order of every set of axes that an image may have."""
    extra = ["", "T", "Z", "TZ", "C", "TC", "ZC", "TZC", "S", "TS", "ZS", "TZS"]
    return ["".join(order) for more in extra for order in itertools.permutations("YX" + more)]


def numbered(axes: str, dtype: str = "u2") -> np.ndarray:
    shape = [LENGTHS[axis] for axis in axes]
    return np.arange(math.prod(shape)).reshape(shape).astype(dtype)


def pixel(array: np.ndarray, axes: str, **at: int) -> int:
    return array[tuple(at[axis] for axis in axes)]


class CountedArray:
    """Stands for an array on disk: counts the pixels that are read."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, index: object) -> np.ndarray:
        part = self._array[index]
        self.read += part.size
        return part

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise AssertionError("the whole array was read")


def test_there_are_many_layouts() -> None:
    assert len(layouts()) == len(set(layouts())) == 2 + 4 * 6 + 5 * 24 + 2 * 120


@pytest.mark.parametrize("axes", layouts())
def test_blocks_hold_the_pixels_of_direct_indexing(axes: str) -> None:
    array = numbered(axes)
    image = Image(array, axes, pixel_size=0.5)
    for ndim in (2, 3) if "Z" in axes else (2,):
        outer = "".join(axis for axis in axes if axis in ("TZ" if ndim == 2 else "T"))
        assert image.outer_axes(ndim) == outer
        blocks = list(image.blocks(ndim))
        assert [index for index, _ in blocks] == list(np.ndindex(*(LENGTHS[axis] for axis in outer)))
        for index, block in blocks:
            taken = dict(zip(outer, index))
            inner = [axis for axis in axes if axis not in outer]
            assert block.axes == "".join(inner)
            assert block.unit == image.unit
            assert block.pixel_sizes == (0.5,) * ndim
            spatial = "ZYX"[-ndim:]
            order = [axis for axis in "CS" + spatial if axis in inner]
            direct = array[tuple(taken.get(axis, slice(None)) for axis in axes)]
            direct = direct.transpose([inner.index(axis) for axis in order])
            if not image.channel_axis:
                direct = direct[None]
            read = block.read()
            assert read.shape == (image.channels, *(LENGTHS[axis] for axis in spatial))
            assert np.array_equal(read, direct)
            region = (slice(1, 3), slice(2, 4), slice(0, 5))[-ndim:]
            assert np.array_equal(block.read(region), direct[(slice(None), *region)])


@pytest.mark.parametrize("axes", ["TCZYX", "XYZCT", "YXS", "ZYXC", "CYX"])
def test_one_pixel_by_hand(axes: str) -> None:
    array = numbered(axes)
    image = Image(array, axes)
    at = {"T": 1, "C": 2, "Z": 3, "Y": 4, "X": 5, "S": 2}
    index = tuple(at[axis] for axis in image.outer_axes(2))
    block = dict(image.blocks(2))[index]
    assert block.read()[2, 4, 5] == pixel(array, axes, **at)


def test_properties() -> None:
    image = Image(numbered("TCZYX"), "tczyx", pixel_size={"Z": 2, "y": 0.5, "X": 0.25}, name="cells")
    assert image.axes == "TCZYX" and image.shape == (2, 3, 4, 5, 6)
    assert image.label_axes == "TZYX" and image.label_shape == (2, 4, 5, 6)
    assert image.sizes == {axis: LENGTHS[axis] for axis in "TCZYX"}
    assert image.channel_axis == "C" and image.channels == 3
    assert image.spatial_shape() == (4, 5, 6)
    assert image.pixel_sizes == (1, 2, 0.5, 0.25)
    assert image.unit == "micrometer" and image.is_calibrated
    grey = Image(numbered("YX"), "YX")
    assert grey.channel_axis == "" and grey.channels == 1 and not grey.is_calibrated and grey.unit == "pixel"


def test_pixel_size_as_number_sequence_and_mapping() -> None:
    array = numbered("TCYX")
    assert dict(Image(array, "TCYX", 0.5).pixel_size) == {"T": 1, "Y": 0.5, "X": 0.5}
    assert dict(Image(array, "TCYX", np.float32(0.5)).pixel_size) == {"T": 1, "Y": 0.5, "X": 0.5}
    assert dict(Image(array, "TCYX", (3, 2, 1)).pixel_size) == {"T": 3, "Y": 2, "X": 1}
    assert dict(Image(array, "TCYX", {"X": 7, "Q": 3}).pixel_size) == {"T": 1, "Y": 1, "X": 7}
    assert Image(array, "TCYX", 0.5, unit="nanometer").unit == "nanometer"


def test_channel_and_take() -> None:
    array = numbered("TCYX")
    image = Image(array, "TCYX", 0.5)
    assert image.channel(2).axes == "TYX"
    assert np.array_equal(image.channel(2).data, array[:, 2])
    assert image.channel(2).pixel_size == image.pixel_size
    assert np.array_equal(image.take("T", 1).data, array[1])
    assert "T" not in image.take("T", 1).pixel_size
    grey = Image(numbered("YX"), "YX")
    assert grey.channel(0) is grey
    with pytest.raises(ImageError, match="channel 3 does not exist: the image has channels 0 to 2"):
        image.channel(3)
    with pytest.raises(ImageError, match="channel -1 does not exist"):
        image.channel(-1)
    with pytest.raises(ImageError, match="channel 1 does not exist"):
        grey.channel(1)


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_types_and_byte_orders(dtype: str, order: str) -> None:
    array = numbered("CYX").astype(order + dtype)
    read = Image(array, "CYX").read()
    assert read.dtype == np.dtype(dtype) and read.dtype.isnative
    assert np.array_equal(read, array)
    assert Image(array, "CYX").sample().dtype.isnative


def test_read_only_and_not_contiguous() -> None:
    array = numbered("ZYX")
    array.setflags(write=False)
    view = array[::2, ::-1, 1::2]
    assert np.array_equal(Image(view, "ZYX").read()[0], array[::2, ::-1, 1::2])
    before = array.copy()
    for _, block in Image(array, "ZYX").blocks(2):
        block.read()
    assert np.array_equal(array, before)


def test_lists_become_arrays() -> None:
    assert Image([[1, 2], [3, 4]], "YX").read().tolist() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize("axes", ["TCZYX", "TZYXS", "ZCYX", "CZTYX", "YXZ"])
def test_lazy_arrays_are_read_block_by_block(axes: str) -> None:
    array = numbered(axes)
    counted = CountedArray(array)
    image = Image(counted, axes)
    blocks = list(image.blocks(2))
    assert counted.read == 0
    for index, block in blocks:
        counted.read = 0
        expected = dict(Image(array, axes).blocks(2))[index].read()
        assert np.array_equal(block.read(), expected)
        assert counted.read == expected.size
        counted.read = 0
        assert np.array_equal(block.read((slice(1, 3), slice(0, 2))), expected[:, 1:3, 0:2])
        assert counted.read == image.channels * 4


@pytest.mark.parametrize("axes", ["TCZYX", "TZYXS", "XYZ", "YX"])
def test_zarr_and_dask_agree_with_numpy(axes: str) -> None:
    array = numbered(axes)
    stored = zarr.create_array({}, shape=array.shape, chunks=[2] * array.ndim, dtype=array.dtype)
    stored[...] = array
    plain = [block.read() for _, block in Image(array, axes).blocks(2)]
    for lazy in (stored, dask.array.from_array(array, chunks=2)):
        blocks = [block.read() for _, block in Image(lazy, axes).blocks(2)]
        assert all(np.array_equal(a, b) for a, b in zip(blocks, plain, strict=True))


def test_dask_stays_lazy() -> None:
    computed = []

    def make(block_info: dict) -> np.ndarray:
        computed.append(block_info[None]["chunk-location"])
        return np.zeros(block_info[None]["chunk-shape"], np.uint8)

    lazy = dask.array.map_blocks(make, chunks=((1,) * 50, (64,) * 10, (64,) * 10), dtype=np.uint8)
    computed.clear()
    blocks = dict(Image(lazy, "ZYX").blocks(2))
    assert len(blocks) == 50 and not computed
    blocks[7,].read((slice(0, 64), slice(0, 128)))
    assert sorted(computed) == [(7, 0, 0), (7, 0, 1)]


def test_sample_takes_every_pixel_of_a_small_image() -> None:
    array = numbered("TCZYX")
    sample = Image(array, "TCZYX").sample()
    assert np.array_equal(np.sort(sample, axis=1), np.sort(np.moveaxis(array, 1, 0).reshape(3, -1), axis=1))
    lazy = Image(CountedArray(array), "TCZYX").sample()
    assert np.array_equal(sample, lazy)


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=3), st.integers(1, 500))
def test_sample_is_about_as_large_as_asked(shape: list[int], pixels: int) -> None:
    sample = Image(np.zeros(shape, np.uint8), "ZYX"[-len(shape) :]).sample(pixels)
    assert 1 <= sample.shape[1] <= pixels
    assert sample.shape[1] >= min(math.prod(shape), pixels) / 2 ** len(shape) / 2


def test_sample_of_a_thin_large_image_is_small() -> None:
    assert 5_000 <= Image(np.zeros((1, 1, 2000, 2000), np.uint8), "TZYX").sample(10_000).shape[1] <= 10_000


def test_sample_is_the_same_for_lazy_and_loaded_images() -> None:
    array = np.arange(3 * 500 * 700, dtype=np.uint32).reshape(3, 500, 700)
    assert np.array_equal(Image(array, "TYX").sample(9_000), Image(CountedArray(array), "TYX").sample(9_000))


def test_sample_of_a_lazy_image_reads_little_and_everywhere() -> None:
    array = np.zeros((20, 1000, 1000), np.uint8)
    array[10:] = 1
    array[:, 500:] += 2
    counted = CountedArray(array)
    sample = Image(counted, "ZYX").sample(1 << 20)
    assert counted.read == sample.size <= 1 << 21
    assert set(np.unique(sample)) == {0, 1, 2, 3}


@pytest.mark.parametrize("alpha", [255, 0])
def test_opaque_alpha_is_dropped(alpha: int) -> None:
    array = np.random.default_rng(0).integers(0, 255, (5, 6, 4)).astype(np.uint8)
    array[..., 3] = alpha
    image = Image(array, "YXS", 0.5).without_alpha()
    assert np.array_equal(image.data, array[..., :3])
    assert image.pixel_sizes == (0.5, 0.5)


def test_transparent_alpha_is_refused_and_others_are_left_alone() -> None:
    array = np.zeros((5, 6, 4), np.uint8)
    array[2, 3, 3] = 255
    with pytest.raises(ImageError, match=r"RGBA with transparent pixels; expected grey or RGB\. Flatten it"):
        Image(array, "YXS").without_alpha()
    for other in (Image(array[..., :3], "YXS"), Image(array, "YXC"), Image(array[..., 0], "YX")):
        assert other.without_alpha() is other


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((512, 512), "YX"),
        ((3, 3), "YX"),
        ((512, 512, 3), "YXS"),
        ((512, 512, 4), "YXS"),
        ((512, 512, 2), "ZYX"),
        ((4, 4, 3), "CYX"),
        ((2, 512, 512), "CYX"),
        ((4, 512, 512), "CYX"),
        ((5, 512, 512), "ZYX"),
        ((30, 512, 512), "ZYX"),
        ((30, 512, 512, 3), "ZYXS"),
        ((2, 30, 512, 512), "CZYX"),
        ((30, 2, 512, 512), "ZCYX"),
        ((10, 30, 512, 512), "TZYX"),
        ((10, 30, 512, 512, 3), "TZYXS"),
        ((10, 2, 30, 512, 512), "TCZYX"),
        ((10, 30, 2, 512, 512), "TZCYX"),
        ((10, 30, 20, 512, 512), "TCZYX"),
    ],
)
def test_guess_axes(shape: tuple[int, ...], axes: str) -> None:
    assert guess_axes(shape) == axes
    assert len(check_axes(axes, len(shape))) == len(shape)


def test_guess_axes_when_the_file_says_whether_it_is_rgb() -> None:
    assert guess_axes((512, 512, 3), rgb=False) == "ZYX"
    assert guess_axes((4, 4, 3), rgb=True) == "YXS"
    assert guess_axes((512, 512, 2), rgb=True) == "YXS"


@pytest.mark.parametrize(
    ("shape", "rgb"), [((5,), None), ((), None), ((5, 5), True), ((2,) * 6, None), ((9,) * 6, True)]
)
def test_guess_axes_gives_up(shape: tuple[int, ...], rgb: bool | None) -> None:
    with pytest.raises(ImageError, match=f"an array of {len(shape)} dimensions .* give its axes, such as ZYX"):
        guess_axes(shape, rgb)


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((5, 6), "QX", "unknown axis 'Q' in 'QX'; the letters are T, C, Z, Y, X and S"),
        ((5, 6), "ZYX", "axes 'ZYX' name 3 dimensions, but the image has 2; give one letter per dimension"),
        ((5, 6, 7), "YXX", "axes 'YXX' name one letter twice; each letter may stand once"),
        ((5, 6), "ZY", "axes 'ZY' lack Y or X; an image needs both"),
        ((5, 6, 7, 3), "CYXS", "axes 'CYXS' have both C and S; keep one of them as the channel axis"),
        ((5, 0), "YX", r"the image has no pixels: shape \(5, 0\) for axes YX"),
        ((), "", "axes '' lack Y or X"),
    ],
)
def test_axes_that_do_not_fit(shape: tuple[int, ...], axes: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        Image(np.zeros(shape, np.uint8), axes)
    assert isinstance(caught.value, SegloopError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("dtype", [complex, "U3", object, "datetime64[s]", [("a", int)]])
def test_pixels_must_be_real_numbers(dtype: object) -> None:
    with pytest.raises(ImageError, match=r"pixels of type .*; expected bool, integer or float\. Convert"):
        Image(np.zeros((3, 3), dtype), "YX")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "the pixel size along Y is 0.0; expected a positive number"),
        (-1, "the pixel size along Y is -1.0"),
        (math.nan, "the pixel size along Y is nan"),
        ({"X": math.inf}, "the pixel size along X is inf"),
        ((1, 2, 3), "pixel_size has 3 numbers, but the axes YX need 2"),
    ],
)
def test_pixel_sizes_must_be_positive(size: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Image(np.zeros((3, 3)), "YX", size)


def test_volumes_need_z_and_reading_needs_one_time() -> None:
    with pytest.raises(ImageError, match="a 3D model needs a Z axis, but the image has axes TYX; say its axes"):
        list(Image(numbered("TYX"), "TYX").blocks(3))
    with pytest.raises(ImageError, match=r"read\(\) takes one time point, but the image has axes TYX; use blocks"):
        Image(numbered("TYX"), "TYX").read()


def test_images_are_stacked_as_channels_and_read_when_they_are_needed():
    arrays = [CountedArray(numbered("YX", dtype)) for dtype in ("u1", "u2")]
    images = [Image(array, "YX", 0.5, name=name) for array, name in zip(arrays, "ab")]
    stack = stack_channels(images)
    assert (stack.axes, stack.shape, stack.data.dtype) == ("CYX", (2, 5, 6), np.uint16)
    assert stack.name == "a" and stack.pixel_size["Y"] == 0.5
    assert arrays[0].read == arrays[1].read == 0
    part = (slice(1, 3), slice(2, 6))
    np.testing.assert_array_equal(stack.read(part), np.stack([numbered("YX")[part]] * 2))
    assert arrays[0].read == 8
    np.testing.assert_array_equal(stack.channel(1).read(part), numbered("YX")[part][np.newaxis])
    assert arrays[0].read == 8
    np.testing.assert_array_equal(np.asarray(stack.data), np.stack([numbered("YX")] * 2))
    assert stack_channels(images[:1]) is images[0]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], "no image to take as a channel"),
        ([("YX", (5, 6)), ("CYX", (2, 5, 6))], "has channels of its own"),
        ([("YX", (5, 6)), ("YX", (5, 7))], "cannot be channels of one image"),
        ([("YX", (5, 6)), ("XY", (5, 6))], "cannot be channels of one image"),
    ],
)
def test_images_that_cannot_be_stacked_are_refused(others, message):
    with pytest.raises(ImageError, match=message):
        stack_channels([Image(np.zeros(shape), axes) for axes, shape in others])
