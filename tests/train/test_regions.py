"""Regions: what is trained on and what is held out."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from segloop.corrections import TrainingSet
from segloop.image import Image
from segloop.train.regions import Region, distinct, find_regions, iterate_planes, split_regions


def add(training_set: TrainingSet, shape: tuple[int, ...], axes: str, reviewed: np.ndarray | None = None) -> None:
    labels = np.zeros(shape, np.uint16)
    labels[..., 5:15, 5:15] = 1
    # no two images are alike: copies count once
    training_set.add(Image(np.full(shape, len(training_set), np.uint8), axes), labels, reviewed)


def places(regions: list[Region]) -> set[tuple[object, ...]]:
    return {(r.entry.id, r.plane, tuple((side.start, side.stop) for side in r.box)) for r in regions}


def test_whole_images_are_cut_into_blocks(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    add(training_set, (256, 384), "YX")
    add(training_set, (100, 150), "YX")
    regions = find_regions(training_set, 2, 0)
    # 256 × 384 in blocks of 128; 100 × 150 is about one
    assert len(regions) == 2 * 3 + 1
    assert places(regions[:2]) == {("0001", (), ((0, 128), (0, 128))), ("0001", (), ((0, 128), (128, 256)))}
    assert places(regions[6:]) == {("0002", (), ((0, 100), (0, 150)))}
    assert [region.objects for region in regions] == [True, *[False] * 5, True]
    assert all(0 <= region.chance < 1 for region in regions)


def test_blocks_cover_what_is_reviewed_and_are_disjoint(tmp_path: Path) -> None:
    reviewed = np.zeros((300, 500), bool)
    reviewed[10:200, 20:400] = True
    reviewed[250:300, 450:500] = True
    reviewed[290, 3] = True  # a stray pixel
    training_set = TrainingSet(tmp_path)
    add(training_set, reviewed.shape, "YX", reviewed)
    times = np.zeros(reviewed.shape, int)
    for region in find_regions(training_set, 2, 0):
        times[region.box] += 1
        assert all(60 <= side.stop - side.start <= 192 or side.stop - side.start == 50 for side in region.box)
    assert times.max() == 1
    assert (times[reviewed] == 1).sum() == reviewed.sum() - 1


def test_large_objects_are_not_cut_by_blocks(tmp_path: Path) -> None:
    labels = np.zeros((256, 512), np.uint16)
    for number, (row, column) in enumerate(itertools.product((40, 140), (20, 150, 280, 400)), 1):
        labels[row : row + 20, column : column + 100] = number
    objects = TrainingSet(tmp_path / "objects")
    objects.add(Image(np.zeros(labels.shape, np.uint8), "YX"), labels)
    # 3 objects of 100 pixels: blocks of 256; classes have no size
    assert [r.box[1] for r in find_regions(objects, 2, 0)] == [slice(0, 256), slice(256, 512)]
    classes = TrainingSet(tmp_path / "classes", "semantic", ("background", "cell"))
    classes.add(Image(np.zeros(labels.shape, np.uint8), "YX"), (labels > 0).astype(np.uint8))
    assert len(find_regions(classes, 2, 0)) == 8


def test_an_object_is_where_most_of_it_is(tmp_path: Path) -> None:
    labels = np.zeros((128, 256), np.uint16)
    labels[50:70, 100:140] = 1
    labels[50:70, 230:250] = 2
    training_set = TrainingSet(tmp_path)
    reviewed = np.ones(labels.shape, bool)
    reviewed[:, 200:] = False
    training_set.add(Image(np.zeros(labels.shape, np.uint8), "YX"), labels, reviewed)
    left, right = find_regions(training_set, 2, 0)
    assert left.box[1] == slice(0, 100) and right.box[1] == slice(100, 200)
    assert (left.objects, right.objects) == (False, True)


@pytest.mark.parametrize(("task", "count"), [("instance", 2), ("semantic", 4)])
def test_what_reaches_over_from_elsewhere_is_no_region_of_objects(task: str, count: int, tmp_path: Path) -> None:
    reviewed = np.zeros((300, 300), bool)
    reviewed[:128, :128] = True
    reviewed[200:210, 200:210] = True  # an object
    reviewed[200:210, 250:260] = True  # an end of the next one
    reviewed[280:299, 5:25] = True
    labels = np.zeros(reviewed.shape, np.uint16)
    labels[:, 40] = 1
    labels[202:208, 202:208] = 2
    labels[195:215, 252:290] = 3
    training_set = TrainingSet(tmp_path, task, ("background", *"abc")[: 4 if task == "semantic" else 1])
    training_set.add(Image(np.zeros(labels.shape, np.uint8), "YX"), labels, reviewed)
    regions = find_regions(training_set, 2, 0)
    assert [region.box[0].start for region in regions] == [0, 200, 200, 280][:count]
    assert [region.box[1].start for region in regions] == [0, 200, 250, 5][:count]


def test_blocks_grow_within_their_piece(tmp_path: Path) -> None:
    reviewed = np.zeros((300, 500), bool)
    reviewed[10:266, 20:276] = True
    training_set = TrainingSet(tmp_path)
    add(training_set, reviewed.shape, "YX", reviewed)
    regions = find_regions(training_set, 2, 0)
    assert [region.piece for region in regions] == [(slice(10, 266), slice(20, 276))] * 4
    assert regions[0].grown(100) == regions[0].box
    assert regions[0].grown(200) == (slice(10, 210), slice(20, 220))
    assert regions[3].grown(199.5) == (slice(66, 266), slice(76, 276))
    assert all(region.grown(1000) == region.piece for region in regions)


def test_stacks_plane_by_plane_and_volumes(tmp_path: Path) -> None:
    reviewed = np.zeros((2, 4, 40, 40), bool)
    reviewed[0, 1:3] = True
    reviewed[1, 0] = True
    training_set = TrainingSet(tmp_path)
    add(training_set, reviewed.shape, "TZYX", reviewed)
    assert {region.plane for region in find_regions(training_set, 2, 0)} == {(0, 1), (0, 2), (1, 0)}
    volumes = find_regions(training_set, 3, 0)
    assert {(region.plane, region.box[0].start, region.box[0].stop) for region in volumes} == {
        ((0,), 1, 3),
        ((1,), 0, 1),
    }


def test_planes_in_the_order_of_the_images_blocks() -> None:
    image = Image(np.arange(2 * 3 * 10 * 12 * 2).reshape(12, 3, 2, 2, 10), "XZTCY")
    labels = np.arange(12 * 3 * 2 * 10).reshape(12, 3, 2, 10)
    seen = [(plane, own.copy()) for plane, own, _ in iterate_planes(image, labels, labels > 0, 2)]
    assert [plane for plane, _ in seen] == [index for index, _ in image.blocks(2)]
    for (z, t), own in seen:
        assert np.array_equal(own, labels[:, z, t].T)
    assert next(iterate_planes(image, labels, labels > 0, 3))[1].shape == (3, 10, 12)


def regions_of(chances: list[float], objects: list[bool] | None = None) -> list[Region]:
    filled = [True] * len(chances) if objects is None else objects
    return [
        Region(
            SimpleNamespace(id="0001", hashes={"images": "same"}),
            (number,),
            (slice(0, 1), slice(0, 1)),
            has,
            chance,
            (slice(0, 1), slice(0, 1)),
        )
        for number, (chance, has) in enumerate(zip(chances, filled))
    ]


def numbers(regions: list[Region]) -> list[int]:
    return [region.plane[0] for region in regions]


@pytest.mark.parametrize(
    ("chances", "objects", "held_out"),
    [
        ([0.5], None, []),  # one region cannot be both
        ([0.1], None, []),
        ([0.1, 0.9], None, [0]),
        ([0.8, 0.9], None, [0]),  # none below the share: the lowest
        ([0.1, 0.2], None, [0]),  # all below it: the highest is trained on
        ([0.1, 0.2, 0.3, 0.9], None, [0]),  # no more than the share of few
        ([0.5, 0.1, 0.6], [True, False, True], [0]),  # an empty region scores nothing: one with objects is taken for it
        ([0.5, 0.1, 0.6, 0.7, 0.8], [True, False, True, False, True], [0, 1]),  # added, where the share allows it
        ([0.1, 0.2, 0.6], [True, True, False], [0]),  # an empty region teaches little: one with objects is taken back
        ([0.5, 0.6], [False, False], [0]),
        ([0.1, 0.5, 0.6], [True, False, False], []),  # the only one with objects is needed to learn from
    ],
)
def test_split_by_hand(chances: list[float], objects: list[bool] | None, held_out: list[int]) -> None:
    regions = regions_of(chances, objects)
    train, held = split_regions(regions, 0.25)
    assert sorted(numbers(held)) == held_out
    assert sorted(numbers(train) + numbers(held)) == list(range(len(chances)))


def test_nothing_held_out_when_asked() -> None:
    regions = regions_of([0.1, 0.2, 0.9])
    assert split_regions(regions, 0.0) == (regions, [])


@pytest.mark.parametrize("seed", range(20))
def test_both_parts_have_something_and_share_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 12))
    regions = regions_of(rng.random(count).tolist(), (rng.random(count) < 0.6).tolist())
    train, held_out = split_regions(regions, float(rng.choice([0.05, 0.25, 0.9])))
    assert train and bool(held_out) == (sum(region.objects for region in regions) != 1)
    assert not set(numbers(train)) & set(numbers(held_out))
    if sum(region.objects for region in regions) > 1:
        assert any(region.objects for region in train) and any(region.objects for region in held_out)


@pytest.mark.parametrize("count", [4, 8, 16, 32, 63])
def test_of_few_no_more_than_the_share_is_held_out_where_few_have_objects(count: int) -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        objects = rng.random(count) < 0.3
        _, held_out = split_regions(regions_of(rng.random(count).tolist(), objects.tolist()), 0.25)
        assert len(held_out) <= math.ceil(0.25 * count)
        assert np.count_nonzero(objects) < 2 or any(region.objects for region in held_out)


def test_split_is_stable_as_entries_are_added(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    parts: list[tuple[set[tuple[object, ...]], set[tuple[object, ...]]]] = []
    for _ in range(3):
        for _ in range(4):
            add(training_set, (256, 1200), "YX")
        train, held_out = split_regions(find_regions(training_set, 2, 0), 0.3)
        parts.append((places(train), places(held_out)))
    for (train, held_out), (later_train, later_held_out) in itertools.pairwise(parts):
        assert train <= later_train and held_out <= later_held_out
    share = len(parts[-1][1]) / (len(parts[-1][0]) + len(parts[-1][1]))
    assert 0.1 < share < 0.5
    other, _ = split_regions(find_regions(training_set, 2, seed=1), 0.3)
    assert places(other) != parts[-1][0]


def test_removing_an_entry_leaves_the_others_where_they_were(tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    for _ in range(8):
        add(training_set, (256, 1200), "YX")
    before = places(split_regions(find_regions(training_set, 2, 0), 0.3)[1])
    training_set.remove("0003")
    after = places(split_regions(find_regions(training_set, 2, 0), 0.3)[1])
    assert after == {place for place in before if place[0] != "0003"}


def add_copies(training_set: TrainingSet, side: int, *reviewed: slice) -> None:
    """One image under several keys, of which each time other rows are reviewed; objects everywhere."""
    labels = np.zeros((side, side), np.uint16)
    for number, (row, column) in enumerate(itertools.product(range(4, side - 12, 24), repeat=2), 1):
        labels[row : row + 10, column : column + 10] = number
    for key, rows in enumerate(reviewed):
        mask = np.zeros(labels.shape, bool)
        mask[rows] = True
        image = np.full(labels.shape, side % 251, np.uint8)
        training_set.add(Image(image, "YX"), labels, mask, key=f"{side}-{key}")


@pytest.mark.parametrize("seed", range(6))
def test_copies_that_are_reviewed_differently_are_one_place(seed: int, tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    add_copies(training_set, 96, slice(0, 48), slice(None))
    regions = find_regions(training_set, 2, seed)
    assert [region.entry.id for region in distinct(regions)] == ["0002"]
    assert split_regions(regions, 0.25) == (regions, [])


@pytest.mark.parametrize("seed", range(6))
def test_nothing_that_is_trained_on_is_held_out_of_a_copy(seed: int, tmp_path: Path) -> None:
    training_set = TrainingSet(tmp_path)
    add_copies(training_set, 384, slice(0, 200), slice(None), slice(100, 384))
    add_copies(training_set, 100, slice(None))
    train, held_out = split_regions(find_regions(training_set, 2, seed), 0.4)
    assert train and held_out and any(region.objects for region in train)
    kept_out = np.zeros((384, 384), bool)
    for region in held_out:
        if region.entry.id != "0004":
            kept_out[region.box] = True
    assert all(kept_out[region.box].mean() <= 0.5 for region in train if region.entry.id != "0004")


def test_copies_do_not_make_a_score_more_certain(tmp_path: Path) -> None:
    single, copied = TrainingSet(tmp_path / "single"), TrainingSet(tmp_path / "copied")
    for side in (90, 96, 102, 108):
        add_copies(single, side, slice(None))
        add_copies(copied, side, *[slice(None)] * 4)
    once, often = (split_regions(find_regions(each, 2, 0), 0.5) for each in (single, copied))
    assert {r.chance for r in often[1]} == {r.chance for r in once[1]} and len(often[1]) == len(once[1])
    assert len(often[0]) == 4 * len(once[0])
