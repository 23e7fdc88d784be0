from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.errors import SettingsError
from segloop.tiling import Tile, pad_end, plan_tiles, read_padded, split, stitch

axis_plans = st.tuples(
    st.integers(1, 70),  # length
    st.sampled_from([1, 2, 3, 4, 8, 16]),  # divisor
    st.integers(0, 9),  # halo
    st.integers(0, 40),  # what the tile has above the least size
)


def least_tile(halo: int, divisor: int) -> int:
    return 2 * halo + 2 * divisor


@st.composite
def plans(
    draw: st.DrawFn,
) -> tuple[list[Tile], tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    axes = draw(st.integers(1, 3).flatmap(lambda n: st.lists(axis_plans, min_size=n, max_size=n)))
    if len(axes) == 3:
        axes = [(min(length, 24), divisor, halo, more) for length, divisor, halo, more in axes]
    shape, divisor, halo, more = (tuple(column) for column in zip(*axes))
    tile = tuple(least_tile(h, d) + m for h, d, m in zip(halo, divisor, more))
    return plan_tiles(shape, tile, halo, divisor), shape, tile, halo, divisor


@settings(deadline=None, max_examples=200)
@given(plans())
def test_stitching_what_was_split_gives_it_back(plan: tuple) -> None:
    tiles, shape, *_ = plan
    array = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    assert np.array_equal(stitch(tiles, split(array, tiles), np.full_like(array, -1)), array)


@settings(deadline=None, max_examples=200)
@given(plans())
def test_inner_parts_cover_everything_exactly_once(plan: tuple) -> None:
    tiles, shape, *_ = plan
    times = np.zeros(shape, int)
    for tile in tiles:
        times[tile.inner] += 1
        assert all(side.stop > side.start for side in tile.inner)
    assert (times == 1).all()


@settings(deadline=None, max_examples=200)
@given(plans())
def test_every_inner_pixel_keeps_its_distance_from_cut_borders(plan: tuple) -> None:
    tiles, shape, tile_shape, halo, divisor = plan
    for tile in tiles:
        sides = zip(tile.outer, tile.inner, tile.cut_sides(shape), shape, tile_shape, halo, divisor)
        for outer, inner, (low, high), length, largest, distance, step in sides:
            assert low == (outer.start > 0)
            assert high == (outer.stop < length)
            assert inner.start - outer.start >= (distance if low else 0)
            assert outer.stop - inner.stop >= (distance if high else outer.stop - length)
            assert outer.start % step == 0 and outer.stop % step == 0
            assert outer.stop - outer.start <= largest
            assert 0 <= outer.start < length and outer.stop < length + step


@settings(deadline=None, max_examples=100)
@given(plans())
def test_a_network_of_small_enough_reach_gives_the_same_in_tiles(plan: tuple) -> None:
    tiles, shape, _, halo, _ = plan
    array = np.random.default_rng(0).random(shape)

    def blur(part: np.ndarray) -> np.ndarray:
        """A network that sees ``halo`` pixels far, zero-padded as convolutions are."""
        for axis, reach in enumerate(halo):
            width = [(reach, reach) if n == axis else (0, 0) for n in range(part.ndim)]
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(part, width), 2 * reach + 1, axis)
            part = windows.max(axis=-1)
        return part

    grown = pad_end(array, [-(-n // d) * d for n, d in zip(shape, plan[4])])
    whole = blur(grown)[tuple(slice(n) for n in shape)]
    parts = [blur(part) for part in split(array, tiles)]
    assert np.array_equal(stitch(tiles, parts, np.empty(shape)), whole)


def test_hand_worked_axis() -> None:
    tiles = plan_tiles((100,), (40,), (8,), (8,))
    # 100 is read as 104; steps of 24; cuts in the middle of each overlap
    assert [(t.outer[0].start, t.outer[0].stop) for t in tiles] == [(0, 40), (24, 64), (48, 88), (64, 104)]
    assert [(t.inner[0].start, t.inner[0].stop) for t in tiles] == [(0, 32), (32, 56), (56, 76), (76, 100)]
    assert tiles[1].local == (slice(8, 32),)
    assert tiles[1].shape == (40,)
    assert tiles[0].cut_sides((100,)) == ((False, True),)
    assert tiles[3].cut_sides((100,)) == ((True, False),)


def test_tiles_come_row_by_row() -> None:
    tiles = plan_tiles((20, 30), (16, 16), (2, 2), (4, 4))
    corners = [tuple(side.start for side in tile.inner) for tile in tiles]
    assert corners == sorted(corners) and len(corners) > 4


def test_an_axis_shorter_than_the_tile_is_taken_whole() -> None:
    (tile,) = plan_tiles((250, 3), (256, 256), (64, 64), (16, 16))
    assert tile == Tile((slice(0, 256), slice(0, 16)), (slice(0, 250), slice(0, 3)))


def test_pixels_past_the_end_repeat_the_last() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]])
    assert read_padded(array, (slice(1, 4), slice(2, 5))).tolist() == [[6, 6, 6]] * 3
    assert pad_end(array, (2, 3)) is array
    assert pad_end(array[None], (3, 3)).tolist() == [[[1, 2, 3], [4, 5, 6], [4, 5, 6]]]


@pytest.mark.parametrize(("tile", "halo", "divisor"), [(32, 16, 16), (0, 0, 1), (15, 0, 16), (40, 17, 8)])
def test_a_tile_too_small_says_what_would_do(tile: int, halo: int, divisor: int) -> None:
    with pytest.raises(SettingsError, match=f"halo of {halo} .* use at least {least_tile(halo, divisor)}"):
        plan_tiles((1000,), (tile,), (halo,), (divisor,))
    plan_tiles((1000,), (least_tile(halo, divisor),), (halo,), (divisor,))


def test_numbers_of_axes_must_agree() -> None:
    with pytest.raises(ValueError, match="zip"):
        plan_tiles((10, 10), (8,), (0, 0), (1, 1))
    with pytest.raises(ValueError, match="zip"):
        stitch(plan_tiles((10,), (8,), (1,), (1,)), [], np.empty(10))
