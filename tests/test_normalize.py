from __future__ import annotations

import json

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segloop.errors import ImageError, SettingsError
from segloop.image import Image
from segloop.normalize import Normalization, Statistics, check_finite

ONE_COLOUR = Normalization(joint=True, one_colour=True)
DTYPES = [bool, "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">f4"]


def test_percentiles_are_numpys() -> None:
    pixels = np.random.default_rng(0).integers(0, 5000, (3, 40, 50)).astype(np.uint16)
    statistics = Normalization(2, 90).fit(Image(pixels, "CYX"))
    assert statistics.low == pytest.approx(np.percentile(pixels.reshape(3, -1), 2, axis=1))
    assert statistics.high == pytest.approx(np.percentile(pixels.reshape(3, -1), 90, axis=1))


def test_low_becomes_0_and_high_becomes_1() -> None:
    out = Normalization().apply(np.array([[10, 30, 50, 20]], np.uint8), Statistics((10.0,), (50.0,)))
    assert out.dtype == np.float32
    assert out.tolist() == [[0, 0.5, 1, 0.25]]


def test_clipping() -> None:
    out = Normalization(clip_low=-0.5, clip_high=2).apply(np.array([[-1000, 0, 1, 65000]]), Statistics((0.0,), (1.0,)))
    assert out.tolist() == [[-0.5, 0, 1, 2]]


@pytest.mark.parametrize("colour", range(3))
@pytest.mark.parametrize("faint", [0, 9])
def test_an_image_of_one_colour_is_a_grey_one(colour: int, faint: int) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 20)).astype(np.uint8)
    rgb = np.random.default_rng(1).integers(0, faint + 1, (20, 20, 3)).astype(np.uint8)
    rgb[..., colour] = grey
    own = ONE_COLOUR
    statistics = own.fit(Image(rgb, "YXS"))
    expected = own.apply(grey[None], own.fit(Image(grey, "YX")))
    assert statistics.only == colour
    assert np.array_equal(own.apply(rgb.transpose(2, 0, 1), statistics), np.repeat(expected, 3, axis=0))


def test_a_mixed_colour_is_one_colour() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 20))
    orange = (grey[..., None] * np.array([1.0, 0.6, 0.0])).astype(np.uint8)
    assert ONE_COLOUR.fit(Image(orange, "YXS")).only == 0
    assert ONE_COLOUR.fit(Image(255 - orange, "YXS")).only == 0


def test_two_colours_and_channels_that_are_no_colours_stay_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    pixels[..., 2] = 0
    assert ONE_COLOUR.fit(Image(pixels, "YXS")).only is None
    pixels[..., 1] = 0
    assert ONE_COLOUR.fit(Image(pixels, "YXC")).only is None
    assert Normalization(one_colour=True).fit(Image(pixels, "YXS")).only is None
    assert ONE_COLOUR.fit(Image(np.zeros_like(pixels), "YXS")).only is None


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("shade", [0, 0.6])
def test_few_pixels_of_another_colour_are_not_lost(inverted: bool, shade: float) -> None:
    """Blue nuclei, or such in two shades, and one small object in red."""
    rgb = np.zeros((400, 400, 3), np.uint8)
    rgb[::10, :, 2] = np.random.default_rng(0).integers(50, 256, (40, 400))
    rgb[..., 1] = shade * rgb[..., 2]
    assert ONE_COLOUR.fit(Image(~rgb if inverted else rgb, "YXS")).only == 2
    rgb[203:207, 301:304] = 255, 0, 0
    assert ONE_COLOUR.fit(Image(~rgb if inverted else rgb, "YXS")).only is None


def test_a_faint_second_colour_that_is_not_rare_is_kept() -> None:
    rgb = np.zeros((400, 400, 3), np.uint8)
    rgb[::10, :, 2] = np.random.default_rng(0).integers(50, 256, (40, 400))
    rgb[5::10, :, 0] = 45
    assert ONE_COLOUR.fit(Image(rgb, "YXS")).only is None


@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("colour", [1, 2])
def test_one_colour_saved_as_jpeg_is_one_colour(colour: int, quality: int) -> None:
    rgb = np.zeros((256, 256, 3), np.uint8)
    rows, columns = np.mgrid[:256, :256]
    rgb[..., colour] = 20 + 200 * np.exp(-((rows % 32 - 16) ** 2 + (columns % 32 - 16) ** 2) / 50)
    saved = iio.imread(iio.imwrite("<bytes>", rgb, extension=".jpg", quality=quality), extension=".jpg")
    assert not np.array_equal(saved, rgb)
    assert ONE_COLOUR.fit(Image(saved, "YXS")).only == colour


def test_models_without_the_field_see_colours_as_they_learned_them() -> None:
    blue = np.zeros((20, 20, 3), np.uint8)
    blue[..., 2] = np.arange(20)
    known = {name: value for name, value in ONE_COLOUR.to_json().items() if name != "one_colour"}
    assert Normalization(**known).fit(Image(blue, "YXS")).only is None


def test_joint_percentiles_keep_colours() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    rgb[..., 2] //= 4
    joint = Normalization(joint=True).fit(Image(rgb, "YXS"))
    assert len(set(joint.low)) == len(set(joint.high)) == 1 and len(joint.low) == 3
    assert joint.high[0] == pytest.approx(np.percentile(rgb, 99.8))
    apart = Normalization().fit(Image(rgb, "YXS"))
    assert apart.high[2] < 64 < apart.high[0]


def test_all_planes_and_times_share_their_statistics() -> None:
    stack = np.zeros((2, 3, 10, 10), np.float32)
    stack[1, 2] = 1
    statistics = Normalization(0, 100).fit(Image(stack, "TZYX"))
    assert statistics == Statistics((0.0,), (1.0,))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_of_pixel(dtype: str) -> None:
    pixels = (np.arange(100).reshape(10, 10) % 100).astype(dtype)
    normalization = Normalization(0, 100)
    image = Image(pixels, "YX")
    out = normalization.apply(image.read(), normalization.fit(image))
    assert out.dtype == np.float32 and out.dtype.isnative and out.shape == (1, 10, 10)
    assert (out.min(), out.max()) == (0, 1)
    assert out[0] == pytest.approx(pixels.astype(float) / pixels.max(), abs=1e-6)


@pytest.mark.parametrize("dtype", ["u4", "i8", "u8", "f8"])
def test_small_differences_of_large_intensities_survive(dtype: str) -> None:
    pixels = (np.arange(100).reshape(10, 10) + 2**31).astype(dtype)
    normalization = Normalization(0, 100)
    out = normalization.apply(pixels[None], normalization.fit(Image(pixels, "YX")))
    assert out.ravel() == pytest.approx(np.arange(100) / 99, abs=1e-6)


def test_pixels_too_large_for_float32() -> None:
    pixels = np.linspace(0, 1e300, 100).reshape(10, 10)
    normalization = Normalization(0, 100)
    assert normalization.apply(pixels[None], normalization.fit(Image(pixels, "YX"))).max() == 1


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_becomes_0(value: int) -> None:
    pixels = np.full((9, 9), value, np.uint8)
    normalization = Normalization()
    assert not normalization.apply(pixels[None], normalization.fit(Image(pixels, "YX"))).any()


def test_objects_too_few_for_percentiles_are_seen() -> None:
    pixels = np.full((2, 100, 100), 5, np.uint16)
    pixels[0, 50, 50:53] = 4000  # 0.03 % of the pixels
    assert Normalization().fit(Image(pixels, "CYX")) == Statistics((5.0, 5.0), (4000.0, 5.0))


def test_one_constant_channel_of_two() -> None:
    pixels = np.stack([np.full((9, 9), 3), np.arange(81).reshape(9, 9)])
    normalization = Normalization(0, 100)
    out = normalization.apply(pixels, normalization.fit(Image(pixels, "CYX")))
    assert not out[0].any() and out[1].max() == 1


@settings(deadline=None)
@given(
    arrays(np.float32, (2, 6, 7), elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(0, 5),
    st.integers(0, 6),
)
def test_a_tile_is_normalised_as_the_whole(pixels: np.ndarray, y: int, x: int) -> None:
    normalization = Normalization()
    statistics = normalization.fit(Image(pixels, "CYX"))
    whole = normalization.apply(pixels, statistics)
    assert np.array_equal(normalization.apply(pixels[:, y:, x:], statistics), whole[:, y:, x:])
    assert whole.min() >= -0.5 and whole.max() <= 2


def test_the_input_is_not_changed() -> None:
    pixels = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    before = pixels.copy()
    out = Normalization().apply(pixels, Statistics((0.25,), (0.75,)))
    assert np.array_equal(pixels, before) and not np.shares_memory(out, pixels)
    pixels.setflags(write=False)
    assert np.array_equal(Normalization().apply(pixels, Statistics((0.25,), (0.75,))), out)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_named(value: float) -> None:
    pixels = np.ones((8, 8))
    pixels[2, 3] = value
    with pytest.raises(ImageError, match=r"NaN or infinite pixels \(1 of the 64 looked at\).*nan_to_num"):
        Normalization().fit(Image(pixels, "YX"))
    with pytest.raises(ImageError, match="NaN or infinite"):
        Normalization().apply(pixels[None], Statistics((0.0,), (1.0,)))
    check_finite(np.ones(3, int))


@pytest.mark.parametrize(("low", "high"), [(-1, 50), (50, 50), (60, 50), (1, 101), (np.nan, 50)])
def test_percentiles_out_of_order(low: float, high: float) -> None:
    with pytest.raises(SettingsError, match="expected 0 <= low < high <= 100"):
        Normalization(low, high)


def test_json_round_trip() -> None:
    normalization = Normalization(2, 99, True, -1, 3, True)
    assert Normalization(**json.loads(json.dumps(normalization.to_json()))) == normalization


def test_intensities_whose_range_overflows_are_an_error():
    image = Image(np.array([[1e308, -1e308]] * 8), "YX")
    with pytest.raises(ImageError, match="scale them down"):
        Normalization().fit(image)
