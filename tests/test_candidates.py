"""Drawing: masks in boxes, boxes into label images, thresholds."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segloop.candidates import Candidates, rasterize

FULL = np.full((28, 28), 255, np.uint8)


def candidates(
    boxes: list[tuple[float, ...]],
    scores: list[float],
    shape: tuple[int, int, int] = (1, 20, 20),
    objects: list[int] | None = None,
    planes: list[int] | None = None,
    masks: list[np.ndarray] | None = None,
) -> Candidates:
    count = len(boxes)
    return Candidates(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32),
        np.ones(count, np.int64),
        np.stack(masks) if masks else np.broadcast_to(FULL, (count, 28, 28)),
        np.asarray(range(count) if objects is None else objects, np.int64),
        np.zeros(count, np.int64) if planes is None else np.asarray(planes, np.int64),
        shape,
    )


def draw(mask: np.ndarray, box: tuple[float, ...], shape: tuple[int, int]) -> np.ndarray:
    region, inside = rasterize(mask, np.asarray(box, np.float32), shape)
    out = np.zeros(shape, bool)
    out[region] = inside
    return out


# one mask


def test_a_full_mask_fills_the_pixels_whose_centres_lie_in_the_box() -> None:
    # centres at 0.5, 1.5, …: of x 1.4…4.6 those of pixels 1 to 4 but not of 5; of y 2.6…5.4 those of 3 and 4
    expected = np.zeros((8, 8), bool)
    expected[3:5, 1:5] = True
    assert np.array_equal(draw(FULL, (1.4, 2.6, 4.6, 5.4), (8, 8)), expected)


@pytest.mark.parametrize("side", [1, 2, 7, 28, 56, 84])
def test_whole_pixels_are_filled_exactly(side: int) -> None:
    drawn = draw(FULL, (3, 2, 3 + side, 2 + side), (90, 90))
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 1 + side, 3, 2 + side)
    if side <= 56:
        assert drawn.sum() == side**2
    else:
        # where pixels are much smaller than cells, bilinear interpolation rounds the four corners off
        assert side**2 - drawn.sum() == 4


def test_cells_by_hand() -> None:
    # 2 × 2 cells over 4 × 4 pixels; the left cells are lit. Cell centres are at x 1 and 3, pixel centres at 0.5, 1.5,
    # 2.5, 3.5. Along x: 0.5 is a quarter cell from the lit centre towards the dark outside: 3/4; 1.5 and 2.5 a quarter
    # and three quarters of the way to the dark cell: 3/4 and 1/4; 3.5: 0. Along y: 3/4, 1, 1, 3/4.
    mask = np.array([[255, 0], [255, 0]], np.uint8)
    # 3/4 · 3/4 = 9/16 is still a half or more
    assert draw(mask, (0, 0, 4, 4), (4, 4)).tolist() == [[True, True, False, False]] * 4
    # at 170 of 255, 2/3 · 9/16 = 3/8 is not, but 2/3 · 3/4 = 1/2 is
    mask = np.array([[170, 0], [170, 0]], np.uint8)
    assert draw(mask, (0, 0, 4, 4), (4, 4))[:, 0].tolist() == [False, True, True, False]


def test_boxes_smaller_than_a_pixel() -> None:
    assert draw(FULL, (2.4, 2.4, 2.6, 2.6), (5, 5)).sum() == 1  # holds the centre of pixel 2
    assert draw(FULL, (2.6, 2.6, 2.9, 2.9), (5, 5)).sum() == 0  # lies between centres
    assert draw(FULL, (2.5, 2.5, 2.5, 2.5), (5, 5)).sum() <= 1


def test_a_box_past_the_image_is_cut_and_not_squeezed() -> None:
    disc = np.hypot(*(np.indices((28, 28)) - 13.5)) < 12
    mask = disc.astype(np.uint8) * 255
    inside = draw(mask, (30, 30, 58, 58), (90, 90))
    for dy, dx in [(-40, -40), (0, 50), (45, -44), (-200, 0)]:
        shifted = draw(mask, (30 + dx, 30 + dy, 58 + dx, 58 + dy), (90, 90))
        expected = np.zeros_like(inside)
        rows, columns = np.nonzero(inside)
        kept = (rows + dy >= 0) & (rows + dy < 90) & (columns + dx >= 0) & (columns + dx < 90)
        expected[rows[kept] + dy, columns[kept] + dx] = True
        assert np.array_equal(shifted, expected)


def blob(seed: int) -> np.ndarray:
    """A smooth blob, as a mask head gives: uint8 (28, 28)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((28, 28)) - rng.uniform(8, 19, (2, 1, 1))
    distance = np.hypot(rows * rng.uniform(0.7, 1.4), columns) - rng.uniform(6, 14)
    return np.rint(255 / (1 + np.exp(distance / 1.5))).astype(np.uint8)


def paste_by_torchvision(mask: np.ndarray, box: tuple[float, ...], shape: tuple[int, int]) -> np.ndarray:
    """Paste onto a canvas with 200 pixels more on each side: torchvision truncates towards 0 and fails outside."""
    probability = torch.from_numpy(mask.astype(np.float32) / 255)[None, None]
    far = torch.tensor([box], dtype=torch.float32) + 200
    pasted = paste_masks_in_image(probability, far, (shape[0] + 400, shape[1] + 400))
    return pasted[0, 0, 200 : 200 + shape[0], 200 : 200 + shape[1]].numpy() >= 0.5


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    corner=st.tuples(st.integers(-40, 70), st.integers(-40, 70)),
    cell=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_as_torchvision_where_its_grid_is_exact(seed: int, corner: tuple[int, int], cell: tuple[int, int]) -> None:
    """torchvision adds a ring of dark cells, truncates the grown box to whole pixels and then includes its last pixel.

    On a box of 28 cells of whole pixels, given half a pixel less, this comes out as our grid; then so do all pixels.
    """
    x0, y0 = corner
    width, height = 28 * cell[0], 28 * cell[1]
    ours = draw(blob(seed), (x0, y0, x0 + width, y0 + height), (80, 90))
    theirs = paste_by_torchvision(blob(seed), (x0, y0, x0 + width - 0.5, y0 + height - 0.5), (80, 90))
    assert np.array_equal(ours, theirs)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    corner=st.tuples(st.floats(-20, 70), st.floats(-20, 70)),
    sides=st.tuples(st.floats(8, 60), st.floats(8, 60)),
)
def test_as_torchvision_up_to_its_truncation(
    seed: int, corner: tuple[float, float], sides: tuple[float, float]
) -> None:
    """On other boxes torchvision's truncation moves the outline, by up to a pixel on each side; ours stays."""
    box = (*corner, corner[0] + sides[0], corner[1] + sides[1])
    ours, theirs = draw(blob(seed), box, (80, 90)), paste_by_torchvision(blob(seed), box, (80, 90))
    inner, outer = (
        ndimage.binary_erosion(ours, iterations=2, border_value=1),
        ndimage.binary_dilation(ours, iterations=2),
    )
    assert not (inner & ~theirs).any()
    assert not (theirs & ~outer).any()


# many masks


def test_the_best_lies_on_top() -> None:
    found = candidates([(0, 0, 10, 10), (6, 0, 16, 10)], [0.6, 0.9])
    labels, chosen = found.paste(0.5, overlap=0.5, min_area=1)
    assert chosen.tolist() == [1, 0]
    assert labels.shape == (1, 20, 20) and labels.dtype == np.uint32
    assert (labels[0, :10, 6:16] == 1).all()
    assert (labels[0, :10, :6] == 2).all()
    assert (labels > 0).sum() == 160


def test_overlap_by_hand() -> None:
    # the lesser object has 40 of its 100 pixels under the better one
    found = candidates([(0, 0, 10, 10), (6, 0, 16, 10)], [0.6, 0.9])
    assert found.paste(0.5, overlap=0.4, min_area=1)[0].max() == 2
    assert found.paste(0.5, overlap=0.39, min_area=1)[0].max() == 1
    # the same object twice: none of it is visible, whatever the overlap
    twice = candidates([(0, 0, 10, 10)] * 2, [0.6, 0.9])
    assert twice.paste(0, overlap=1.0, min_area=0)[1].tolist() == [1]


def test_smallest_area_by_hand() -> None:
    # 40 of 100 pixels are hidden, 60 visible
    found = candidates([(0, 0, 10, 10), (6, 0, 16, 10)], [0.6, 0.9])
    assert found.paste(0.5, 0.5, min_area=60)[0].max() == 2
    assert found.paste(0.5, 0.5, min_area=61)[0].max() == 1
    assert found.paste(0.5, 0.5, min_area=101)[0].max() == 0


def test_an_object_that_is_left_out_hides_nothing() -> None:
    # the middle one is too much under the first; the last is drawn where the middle one would have been
    found = candidates([(0, 0, 10, 10), (2, 0, 12, 10), (10, 0, 16, 10)], [0.9, 0.8, 0.7])
    labels, chosen = found.paste(0.5, overlap=0.4, min_area=1)
    assert chosen.tolist() == [0, 2]
    assert (labels[0, :10, 10:16] == 2).all()


def test_an_object_of_several_pieces() -> None:
    pieces = [(0, 0, 6, 4), (4, 0, 12, 4), (0, 10, 4, 14)]
    found = candidates(pieces, [0.8, 0.8, 0.9], objects=[0, 0, 1])
    labels, chosen = found.paste(0.5, 0.3, 1)
    assert chosen.tolist() == [2, 0]
    assert (labels[0, :4, :12] == 2).all()
    assert (labels == 2).sum() == 48
    # and its smallest area and overlap are those of all pieces together
    assert found.paste(0.5, 0.3, min_area=48)[0].max() == 1
    assert found.paste(0.5, 0.3, min_area=49)[0].max() == 0


def test_planes_come_in_order() -> None:
    found = candidates([(0, 0, 5, 5)] * 3, [0.5, 0.9, 0.7], (2, 8, 8), planes=[0, 1, 0])
    labels, chosen = found.paste(0, 1.0, 1)
    assert chosen.tolist() == [2, 1]
    assert np.unique(labels[0]).tolist() == [0, 1] and np.unique(labels[1]).tolist() == [0, 2]


def test_equal_scores_keep_their_order() -> None:
    found = candidates([(0, 0, 10, 10), (5, 0, 15, 10)], [0.5, 0.5])
    assert found.paste(0.5, 0.6, 1)[1].tolist() == [0, 1]


def test_nothing() -> None:
    labels, chosen = candidates([], []).paste(0, 1, 0)
    assert not labels.any() and len(chosen) == 0 and chosen.dtype == np.int64


def scattered(count: int, side: int, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, side - 20, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 20, (count, 2))], axis=1)
    disc = ((np.hypot(*(np.indices((28, 28)) - 13.5)) < 13.5) * 255).astype(np.uint8)
    return candidates(boxes.tolist(), rng.random(count).tolist(), (1, side, side), masks=[disc] * count)


def test_thousands_of_objects_quickly() -> None:
    found = scattered(5000, 4000)
    started = time.process_time()
    labels, chosen = found.paste(0.0, 0.4, 8)
    seconds = time.process_time() - started
    assert 4500 < len(chosen) <= 5000
    assert labels.max() == len(chosen)
    assert seconds < 5  # half a second on an idle core


@pytest.mark.parametrize("seed", range(3))
def test_a_higher_score_threshold_only_takes_away(seed: int) -> None:
    """The better objects are drawn first, so they are the same whatever lies below."""
    found = scattered(200, 150, seed)
    before = found.paste(0.0, 0.4, 8)
    for threshold in (0.2, 0.5, 0.9):
        labels, chosen = found.paste(threshold, 0.4, 8)
        assert (found.scores[chosen] >= threshold).all()
        assert set(chosen) <= set(before[1])
        for number, candidate in enumerate(chosen, 1):
            old = int(np.flatnonzero(before[1] == candidate)[0]) + 1
            assert np.array_equal(labels == number, before[0] == old)
        before = (labels, chosen)


def test_fewer_objects_with_a_larger_smallest_area_and_a_smaller_overlap() -> None:
    found = scattered(200, 150)
    areas = [len(found.paste(0.1, 1.0, area)[1]) for area in (1, 30, 100, 1000)]
    assert areas == sorted(areas, reverse=True) and areas[0] > areas[-1] == 0
    # one that is left out may uncover others, so only the ends are certain
    assert len(found.paste(0.1, 0.0, 1)[1]) < len(found.paste(0.1, 1.0, 1)[1])
