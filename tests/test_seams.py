"""Seams: with a model that makes no mistake, nothing may show where tiles meet."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from segloop.image import Image
from segloop.matching import match
from segloop.models.protocol import Instances
from segloop.seams import Joiner, join_instances, stack_candidates
from segloop.segmentation import SegmentSettings, segment
from segloop.tiling import Tile, plan_tiles


def _ideal_objects() -> type:
    path = Path(__file__).parent / "reference" / "ideal.py"
    spec = importlib.util.spec_from_file_location("ideal", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.IdealObjects


IdealObjects = _ideal_objects()
TILES = (64, 96, 128, 200, 256, 512)


def field(shape: tuple[int, int], seed: int, count: int, radii: tuple[float, float]) -> np.ndarray:
    """Ellipses that do not touch: a bool image."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    image = np.zeros(shape, bool)
    for _ in range(20 * count):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        a, b, angle = rng.uniform(*radii), rng.uniform(*radii), rng.uniform(0, np.pi)
        u = (rows - y) * np.cos(angle) + (columns - x) * np.sin(angle)
        v = (columns - x) * np.cos(angle) - (rows - y) * np.sin(angle)
        one = (u / a) ** 2 + (v / b) ** 2 < 1
        if one.sum() > 20 and not (ndimage.binary_dilation(one, iterations=2) & image).any():
            image |= one
            count -= 1
        if not count:
            break
    return image


def truth(image: np.ndarray) -> np.ndarray:
    return ndimage.label(image, structure=np.ones((3, 3)))[0]


def found(image: np.ndarray, tile: int, model: IdealObjects, **settings: object) -> np.ndarray:
    return segment(model, Image(image.astype(np.uint8), "YX"), SegmentSettings(tile=tile, **settings)).labels.data


def check(image: np.ndarray, labels: np.ndarray, least: float) -> None:
    """Every object is there once, as one label, and nothing else is."""
    result = match(truth(image), labels, least)
    assert len(result.missed) == 0, f"{len(result.missed)} missed"
    assert len(result.extra) == 0, f"{len(result.extra)} too many"


@pytest.mark.parametrize("tile", TILES)
def test_small_objects_of_any_place(tile: int) -> None:
    image = field((301, 397), 0, 90, (4, 13))
    labels = found(image, tile, IdealObjects())
    check(image, labels, 0.97)
    # and the whole image at once gives the same labels
    once = found(image, 512, IdealObjects())
    result = match(once, labels, 0.99)
    assert len(result.iou) == once.max() == labels.max()


@pytest.mark.parametrize("tile", TILES)
def test_objects_larger_than_the_overlap_and_than_the_tile(tile: int) -> None:
    """The overlap is 32 pixels for tiles of 64, at most 64; the tiles are down to 64."""
    image = field((330, 420), 1, 9, (25, 70))
    image[:, :25] = 0
    image[10:320, 5:18] = True  # longer than most tiles
    labels = found(image, tile, IdealObjects(cells=112))
    check(image, labels, 0.96)
    result = match(found(image, 512, IdealObjects(cells=112)), labels, 0.96)
    assert len(result.iou) == labels.max()
    assert result.iou.mean() >= 0.985


@pytest.mark.parametrize("tile", (64, 128))
def test_a_frame_whose_arms_look_like_objects_of_their_own(tile: int) -> None:
    image = np.zeros((200, 230), bool)
    image[20:180, 20:210] = True
    image[36:164, 36:194] = False
    image[90:110, 100:120] = True
    labels = found(image, tile, IdealObjects(cells=112))
    check(image, labels, 0.9)


@pytest.mark.parametrize("tile", (64, 96, 128, 200))
@pytest.mark.parametrize("radius", (5, 11, 30))
def test_an_object_on_the_corner_of_four_tiles(tile: int, radius: int) -> None:
    shape = (300, 300)
    tiles = plan_tiles(shape, (tile,) * 2, (min(32, tile // 4),) * 2, (32, 32))
    edges = sorted({t.inner[0].start for t in tiles} - {0})
    rows, columns = np.indices(shape)
    image = np.zeros(shape, bool)
    centers = [(y, x) for y in edges for x in edges]
    for y, x in centers[:: 1 if radius < 30 else 99]:
        image |= (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    labels = found(image, tile, IdealObjects(cells=56))
    check(image, labels, 0.97)


@pytest.mark.parametrize("tile", (64, 128))
def test_objects_that_end_exactly_at_a_tile_border(tile: int) -> None:
    shape = (256, 256)
    for axis in (0, 1):
        for part in plan_tiles(shape, (tile,) * 2, (tile // 4,) * 2, (32, 32)):
            border = part.outer[axis].stop
            if border >= 256:
                continue
            for offset in (-1, 0, 1, 2, 3):
                image = np.zeros(shape, bool)
                image[border - 12 + offset : border + offset, 100:110] = True
                image = image if axis == 0 else image.T
                check(image, found(image, tile, IdealObjects()), 0.99)
            break


@pytest.mark.parametrize("shape", [(225, 225), (250, 161), (33, 400), (100, 65), (40, 8)])
def test_objects_at_the_border_of_the_image(shape: tuple[int, int]) -> None:
    """Images are padded to the divisor by repeating their last pixels, so that objects seem to go on there."""
    image = np.zeros(shape, bool)
    image[-6:, 1:7] = True
    image[-1:, -7:] = True
    image[:5, -5:] = True
    if shape[0] > 60:
        image[20:40, -3:] = True
        image[50:53, -1:] = True
    for tile in (64, 256):
        check(image, found(image, tile, IdealObjects(), min_area=1), 0.99)


@pytest.mark.parametrize("overlap", (0.0, 0.4, 1.0))
@pytest.mark.parametrize("better", ["whole", "cut", "any"])
def test_neither_overlap_setting_nor_scores_double_an_object(overlap: float, better: str) -> None:
    """Whether cut pieces score higher or lower than whole objects, and whatever may lie under another."""
    rng = np.random.default_rng(0)
    scores = {
        "whole": lambda piece: 0.5 + 0.4 * min(1, piece.sum() / 600),
        "cut": lambda piece: 0.9 - 0.4 * min(1, piece.sum() / 600),
        "any": lambda piece: rng.uniform(0.5, 1),
    }
    image = field((260, 260), 2, 45, (5, 14))
    labels = found(image, 64, IdealObjects(score=scores[better]), overlap=overlap)
    check(image, labels, 0.95)


def test_an_object_has_the_score_of_where_it_is_seen_best() -> None:
    image = np.zeros((64, 200), bool)
    image[20:44, 90:110] = True
    model = IdealObjects(score=lambda piece: 0.6 if piece.shape[1] < 100 else 0.8)
    assert segment(model, Image(image, "YX"), SegmentSettings(tile=64)).objects["score"].tolist() == pytest.approx(
        [0.6]
    )
    assert segment(model, Image(image, "YX"), SegmentSettings(tile=256)).objects["score"].tolist() == pytest.approx(
        [0.8]
    )


# candidates by hand


def instances(*rows: tuple[float, ...], classes: tuple[int, ...] = ()) -> Instances:
    """Rows of x0, y0, x1, y1, score; masks are full."""
    array = np.asarray(rows, np.float32).reshape(-1, 5)
    kinds = np.asarray(classes or (1,) * len(array), np.int64)
    return Instances(array[:, :4], array[:, 4], kinds, np.ones((len(array), 28, 28), np.float32))


TWO = [
    Tile((slice(0, 64), slice(0, 64)), (slice(0, 64), slice(0, 48))),
    Tile((slice(0, 64), slice(32, 96)), (slice(0, 64), slice(48, 96))),
]


def test_the_same_object_of_two_tiles_is_taken_from_where_it_lies_deeper() -> None:
    # in the plane at x 46…56, in the first tile 8 from its border, in the second 14; seen with a little difference
    joined = join_instances(TWO, [instances((46, 10, 56, 20, 0.9)), instances((14, 10, 25, 20, 0.6))], (64, 96), 3)
    assert joined.boxes.tolist() == [[46, 10, 57, 20]]
    assert joined.scores.tolist() == pytest.approx([0.6])
    assert joined.planes.tolist() == [3] and joined.shape == (1, 64, 96)


def test_a_cut_object_is_replaced_by_the_whole_one() -> None:
    joined = join_instances(TWO, [instances((50, 10, 64, 20, 0.95)), instances((18, 10, 43, 20, 0.6))], (64, 96), 0)
    assert joined.boxes.tolist() == [[50, 10, 75, 20]]


def test_an_unsure_whole_object_does_not_swallow_a_sure_piece() -> None:
    # something of score 0.05, twice as high, over a piece of 0.9 that reaches into both tiles
    first = instances((20, 10, 64, 20, 0.9))
    second = instances((0, 10, 60, 20, 0.9), (4, 0, 50, 30, 0.05))
    joined = join_instances(TWO, [first, second], (64, 96), 0)
    labels, chosen = joined.paste(0.5, 0.4, 1)
    assert len(chosen) == 1
    assert (labels[0, 10:20, 20:92] == 1).all()


def test_neighbours_stay_two_although_a_third_covers_both() -> None:
    """Both tiles see two cells, and less surely one that spans them: the best agreement counts, not a chain."""
    rows = [(36, 10, 46, 20, 0.9), (46, 10, 56, 20, 0.8), (36, 10, 56, 20, 0.2)]
    first = instances(*rows)
    second = instances(*[(a - 32, b, c - 32, d, score) for a, b, c, d, score in rows])
    joined = join_instances(TWO, [first, second], (64, 96), 0)
    assert sorted(joined.scores.tolist()) == pytest.approx([0.2, 0.8, 0.9])
    assert joined.paste(0.5, 0.4, 1)[0].max() == 2


def test_two_of_one_tile_are_never_the_same() -> None:
    """Two in the second tile agree with the cell in the first: the better one is the same, the other is another."""
    first = instances((40, 10, 60, 30, 0.9))
    second = instances((8, 10, 28, 30, 0.9), (8, 10, 24, 28, 0.1))
    joined = join_instances(TWO, [first, second], (64, 96), 0)
    assert sorted(joined.scores.tolist()) == pytest.approx([0.1, 0.9])
    labels, chosen = joined.paste(0.05, 0.4, 1)
    assert len(chosen) == 1 and (labels[0, 10:30, 40:60] == 1).all()


def test_other_classes_are_other_objects() -> None:
    first, second = instances((40, 10, 56, 20, 0.9), classes=(1,)), instances((8, 10, 24, 20, 0.8), classes=(2,))
    joined = join_instances(TWO, [first, second], (64, 96), 0)
    assert sorted(joined.classes.tolist()) == [1, 2]
    assert joined.paste(0.5, 0.4, 1)[0].max() == 1  # the better of the two is drawn


@pytest.mark.parametrize("tile", (64, 128))
def test_the_order_in_which_tiles_come_does_not_matter(tile: int) -> None:
    """Small and large objects, with neighbours of all kinds; what comes out is the same to the byte."""
    rng = np.random.default_rng(tile)
    shape = (300, 340)
    tiles = plan_tiles(shape, (tile,) * 2, (tile // 4,) * 2, (32, 32))
    found = []
    for _ in tiles:
        corners = rng.uniform(-4, tile - 8, (40, 2))
        boxes = np.concatenate([corners, corners + rng.choice([9, 17, 40], (40, 2))], axis=1).clip(0, tile)
        boxes[7] = 0, 30, tile, 50  # one long object in each row of tiles
        scores = np.sort(rng.choice([0.2, 0.5, 0.7, 0.9], 40))[::-1]
        masks = rng.random((40, 7, 7)) ** 0.3
        found.append(Instances(boxes.astype(np.float32), scores.astype(np.float32), rng.integers(1, 3, 40), masks))
    expected = join_instances(tiles, found, shape, 0)
    assert 0 < len(np.unique(expected.objects)) < len(expected)
    for _ in range(3):
        order = rng.permutation(len(tiles))
        joined = join_instances([tiles[place] for place in order], [found[place] for place in order], shape, 0)
        for name in ("boxes", "scores", "classes", "masks", "objects", "planes"):
            assert getattr(joined, name).tobytes() == getattr(expected, name).tobytes(), name


def test_thousands_of_pieces_quickly() -> None:
    """The time is in proportion to the pieces, not to their square."""
    shape = (2048, 2048)
    rng = np.random.default_rng(0)
    tiles = plan_tiles(shape, (256, 256), (64, 64), (32, 32))
    corners = rng.uniform(0, 2040, (8000, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(8, 20, (8000, 2))], axis=1).astype(np.float32)
    joiner = Joiner(shape, 0)
    for part in tiles:
        rows, columns = part.outer
        local = boxes - np.array([columns.start, rows.start] * 2, np.float32)
        local = local[(local[:, 2:] > 2).all(axis=1) & (local[:, :2] < 254).all(axis=1)].clip(0, 256)
        count = len(local)
        full = np.full((count, 28, 28), 255, np.uint8)  # as a model may give them, too
        joiner.add(part, Instances(local, np.full(count, 0.9, np.float32), np.ones(count, np.int64), full))
    started = time.thread_time()
    joined = joiner.join()
    assert time.thread_time() - started < 3  # 0.2 s on an idle core
    assert 7500 < len(joined) < 8500


def test_nothing_found() -> None:
    joined = join_instances(TWO, [instances(), instances()], (64, 96), 0)
    assert len(joined) == len(Joiner((64, 96), 0).join()) == 0
    stacked = stack_candidates([joined, joined], (64, 96))
    assert stacked.shape == (2, 64, 96) and stacked.paste(0, 1, 1)[0].shape == (2, 64, 96)


def test_planes_are_stacked_in_image_pixels() -> None:
    one = join_instances(TWO, [instances((4, 8, 16, 24, 0.9)), instances()], (64, 96), 0)
    two = join_instances(TWO, [instances(), instances((20, 8, 40, 24, 0.7))], (64, 96), 1)
    # network pixels are 2 image pixels high and 1.5 wide
    stacked = stack_candidates([one, two], (128, 144))
    assert stacked.boxes.tolist() == [[6, 16, 24, 48], [78, 16, 108, 48]]
    assert stacked.objects.tolist() == [0, 1] and stacked.planes.tolist() == [0, 1]
