"""Parting block by block: as if the whole plane were parted at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

from segloop.labels import border_classes, object_table
from segloop.matching import match
from segloop.parting import SEED, Parting, part


def blockwise(scores: np.ndarray, block: int, margin: int = 16, threads: int = 1) -> tuple[np.ndarray, Parting]:
    """Part scores (2, ...) by blocks; nothing larger than a block with its margin is read."""
    shape = scores.shape[1:]

    def read(region: tuple[slice, ...]) -> np.ndarray:
        assert all(0 <= side.start < side.stop <= n for side, n in zip(region, shape))
        assert all(side.stop - side.start <= block + 2 * margin for side in region)
        return scores[(slice(None), *region)]

    parting = Parting(read, shape, block, margin, threads)
    assert len(list(parting.survey())) == len(parting)
    labels = np.full(shape, 2**32 - 1, np.uint32)
    for region, own in parting.blocks():
        labels[region] = own
    return parting.table().numbers(1)[labels], parting


def nuclei(shape: tuple[int, ...], seed: int, radius: float = 5, border: float = 2.5) -> np.ndarray:
    """Scores as a network gives them of crowded blobs: uint8 (2, ...), inside and background."""
    rng = np.random.default_rng(seed)
    centers = rng.random(shape) < 0.2 / radius ** len(shape)
    away = ndimage.distance_transform_edt(~centers)
    away += ndimage.gaussian_filter(rng.standard_normal(shape), 2) * 6
    inside, background = (1 / (1 + np.exp(s * (away - r))) for s, r in ((1, radius - border), (-1, radius)))
    return np.rint(255 * np.stack([np.minimum(inside, 1 - background), background])).astype(np.uint8)


@pytest.mark.parametrize("block", (16, 50, 128, 256))
@pytest.mark.parametrize("seed", range(2))
def test_any_block_size_gives_the_same_labels(block: int, seed: int) -> None:
    scores = nuclei((300, 411), seed)
    expected = part(*scores)
    assert expected.max() > 300
    assert np.array_equal(blockwise(scores, block)[0], expected)


@pytest.mark.parametrize("threads", (2, 5))
def test_any_number_of_threads_gives_the_same_labels(threads: int) -> None:
    scores = nuclei((200, 311), 3)
    expected, alone = blockwise(scores, 50)
    labels, parting = blockwise(scores, 50, threads=threads)
    assert np.array_equal(labels, expected) and labels.max() > 50
    for name in ("area", "score", "centroid", "bbox"):
        assert np.array_equal(getattr(parting.table(), name), getattr(alone.table(), name)), name


def test_as_the_watershed_of_the_whole_plane() -> None:
    """Only where two floods meet at one time may pixels fall to the other side."""
    scores = nuclei((300, 411), 0)
    inside, background = scores
    seeds = ndimage.label(inside >= SEED)[0]
    plain = watershed(-inside.astype(int), seeds, mask=background < 128)
    lonely = (background < 128) & (plain == 0)
    plain = np.where(lonely, ndimage.label(background < 128)[0] + seeds.max(), plain)
    labels = part(*scores)
    assert np.array_equal(labels > 0, plain > 0)
    result = match(plain, labels, 0.9)
    assert len(result.iou) >= 0.995 * labels.max() and labels.max() == len(np.unique(plain)) - 1


@pytest.mark.parametrize("block", (32, 64))
def test_objects_much_larger_than_a_block(block: int) -> None:
    """Rings, worms and combs, which lie in a block as many pieces, and a piece without an inside across many blocks."""
    scores = np.zeros((2, 300, 340), np.uint8)
    rows, columns = np.indices((300, 340))
    away = np.hypot(rows - 110, columns - 120)
    foreground = (away > 60) & (away < 100)
    inside = (away > 63) & (away < 97)
    foreground[230:250, 10:330] = inside[233:247, 13:327] = True  # a worm
    for tooth in range(10, 320, 20):
        foreground[250:290, tooth : tooth + 8] = inside[240:288, tooth + 2 : tooth + 6] = True
    foreground[5:7, 5:335] = True  # thin: it has no inside
    foreground[5:200, 333:335] = True
    scores[0], scores[1] = inside * 255, ~foreground * 255
    labels, _ = blockwise(scores, block)
    assert np.array_equal(labels, part(*scores))
    assert labels.max() == 3
    pieces = ndimage.label(foreground)[0]
    assert len(match(pieces, labels, 0.999).iou) == 3


def test_volumes() -> None:
    scores = nuclei((40, 70, 60), 0, 5, 2)
    expected = part(*scores)
    assert expected.max() > 50
    labels, parting = blockwise(scores, 24)
    assert np.array_equal(labels, expected)
    assert parting.table().bbox.shape[1] == 6


@pytest.mark.parametrize("shape", [(200, 230), (30, 40, 50)])
def test_the_table_is_that_of_the_labels(shape: tuple[int, ...]) -> None:
    scores = nuclei(shape, 1)
    labels, parting = blockwise(scores, 48 if len(shape) == 2 else 20)
    measured, table = parting.table(), object_table(labels)
    kept = measured.area > 0
    assert np.array_equal(measured.area[kept], table["area"])
    ndim = len(shape)
    for axis in range(ndim):
        assert np.allclose(measured.centroid[kept, axis], table[f"centroid-{axis}"])
    for column in range(2 * ndim):
        assert np.array_equal(measured.bbox[kept, column], table[f"bbox-{column}"])
    foreground = 1 - scores[1] / 255
    mean = ndimage.mean(foreground, labels, np.arange(1, labels.max() + 1))
    assert np.allclose(measured.score[kept], mean)
    least = int(np.median(table["area"]))
    assert measured.numbers(least).max() == (measured.area >= least).sum() < kept.sum()


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_all_shapes(seed: int) -> None:
    """Floods much longer than the margin: all foreground is labelled, and no label has a pixel elsewhere."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((2, 150, 170)), (0, 6, 6))
    background = np.rint(255 / (1 + np.exp(40 * smooth[0]))).astype(np.uint8)
    inside = np.minimum(255 - background, np.rint(255 / (1 + np.exp(40 * smooth[1] + 3)))).astype(np.uint8)
    scores = np.stack([inside, background])
    labels, _ = blockwise(scores, 40, 8)
    assert np.array_equal(labels > 0, background < 128)
    assert np.array_equal(blockwise(scores, 64, 64)[0] > 0, background < 128)
    # seeds are exact whatever the flood does
    seeds, whole = inside >= SEED, part(*scores)
    both = np.unique(np.stack([labels[seeds], whole[seeds]]), axis=1)
    assert len(np.unique(both[0])) == len(np.unique(both[1])) == both.shape[1]


def test_nothing_and_everything() -> None:
    for value, count in ((255, 0), (0, 1)):
        scores = np.stack([np.zeros((60, 70), np.uint8), np.full((60, 70), value, np.uint8)])
        assert blockwise(scores, 16, 4)[0].max() == count
        assert part(*scores).max() == count
    everything = np.stack([np.full((60, 70), 255, np.uint8), np.zeros((60, 70), np.uint8)])
    assert (blockwise(everything, 16, 4)[0] == 1).all()


def from_classes(classes: np.ndarray) -> np.ndarray:
    """Part classes 0 background, 1 inside, 2 border that are certain."""
    return part((classes == 1).astype(np.uint8) * 255, (classes == 0).astype(np.uint8) * 255)


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_instances_come_back_from_their_border_classes(gap: int) -> None:
    labels = np.zeros((44, 44), np.uint16)
    for number, (y, x) in enumerate(np.ndindex(4, 4), 1):
        labels[1 + y * (7 + gap) :, 1 + x * (7 + gap) :][:7, :7] = number
    parted = from_classes(border_classes(labels))
    assert parted.dtype == np.uint32
    pairs = {(a, b) for a, b in zip(labels.ravel().tolist(), parted.ravel().tolist())}
    assert len(pairs) == 17 and all((a > 0) == (b > 0) for a, b in pairs)


def test_volumes_come_back_from_their_border_classes() -> None:
    labels = np.zeros((8, 12, 12), int)
    labels[1:7, 1:6, 1:6], labels[1:7, 6:11, 1:6] = 1, 2
    assert len({*zip(labels.ravel().tolist(), from_classes(border_classes(labels)).ravel().tolist())}) == 3


def test_objects_too_thin_for_an_inside_are_kept() -> None:
    classes = np.zeros((9, 9), np.uint8)
    classes[1, 1:8] = classes[4:9, 3:8] = 2
    classes[5:8, 4:7] = 1
    parted = from_classes(classes)
    assert len(np.unique(parted)) == 3 and np.array_equal(parted > 0, classes > 0)
    assert len(np.unique(parted[1, 1:8])) == 1
    assert not from_classes(classes * 0).any()
