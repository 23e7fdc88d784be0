"""Large sets: what is trained on is read when it is drawn, and little of it is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segloop.corrections import Entry, TrainingSet
from segloop.errors import FileError
from segloop.image import Image
from segloop.labels import Task
from segloop.models.protocol import ModelSpec
from segloop.train import material, opened
from segloop.train.material import read_set
from segloop.train.opened import OpenedEntries
from segloop.train.regions import Region, find_regions, split_regions

SPEC = ModelSpec("tiny", "unet", Task.SEMANTIC, ("background", "inside", "border"))


@pytest.fixture
def many(tmp_path: Path) -> TrainingSet:
    """Twelve images of 64 × 64, one of them a stack of three."""
    made = TrainingSet(tmp_path, Task.INSTANCE, ("cell",))
    rng = np.random.default_rng(0)
    for number in range(12):
        shape, axes = ((3, 64, 64), "ZYX") if number == 5 else ((64, 64), "YX")
        labels = np.zeros(shape, np.uint16)
        labels[..., 8:30, 8:30] = number + 1
        made.add(Image(rng.integers(0, 255, shape).astype(np.uint8), axes), labels)
    return made


def regions_of(many: TrainingSet) -> tuple[list[Region], list[Region]]:
    return split_regions(find_regions(many, 2, 0), 0.25)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    real = TrainingSet.read

    def counted(self: TrainingSet, entry: Entry) -> tuple[Image, np.ndarray, np.ndarray]:
        read.append(entry.id)
        return real(self, entry)

    monkeypatch.setattr(TrainingSet, "read", counted)
    return read


@pytest.mark.parametrize("most", [3, 100])
def test_what_is_read_later_is_what_was_there(most: int, many: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "MOST_ENTRIES", most)
    train, held_out = regions_of(many)
    images, scored = read_set(many, SPEC, train, held_out, 1.0, 64)
    assert len(scored) == len(held_out) and len(images) == len({(r.entry.id, r.plane) for r in train})
    read = count_reads(monkeypatch)
    for source, (number, plane) in zip(images, dict.fromkeys((r.entry.id, r.plane) for r in train)):
        image, labels, reviewed = many.read(next(entry for entry in many.entries if entry.id == number))
        window = (slice(4, 40), slice(10, 30))
        assert np.array_equal(source.labels[window], labels[plane][window]) and source.labels.shape == (64, 64)
        assert np.array_equal(source.reviewed[window], reviewed[plane][window])
        assert np.array_equal(source.image.read(window)[0], np.asarray(image.data)[plane][window])
    # a small set is read once; of a large one, what was used last stays
    read_again = len(read) - len(images)
    assert read_again == 0 if most == 100 else read_again > 0


def test_few_entries_are_open_at_a_time(many: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = OpenedEntries(many, 2)
    monkeypatch.setattr(opened, "MOST_ENTRIES", 4)
    for entry in many.entries:
        keep.take(entry, *many.read(entry))
        assert len(keep._open) <= 4
    monkeypatch.setattr(opened, "MOST_ENTRIES", 100)
    # labels of 2 and a mask of 1 byte per pixel: two entries of one plane
    monkeypatch.setattr(opened, "MOST_BYTES", 2 * 64 * 64 * 3)
    for entry in many.entries:
        keep.take(entry, *many.read(entry))
        assert keep._bytes == sum(size for size, _ in keep._open.values())
        assert keep._bytes <= opened.MOST_BYTES or len(keep._open) == 1


def test_a_small_set_may_change_while_it_is_learned(many: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    train, held_out = regions_of(many)
    images, _ = read_set(many, SPEC, train, held_out, 1.0, 64)
    many.remove(train[0].entry.id)
    assert images[0].labels[8:30, 8:30].all()
    # of a large one, what is gone cannot be read again, and that is said
    monkeypatch.setattr(opened, "MOST_ENTRIES", 1)
    train, held_out = regions_of(many)
    images, _ = read_set(many, SPEC, train, held_out, 1.0, 64)
    many.remove(train[0].entry.id)
    with pytest.raises(FileError, match="was replaced or removed"):
        images[0].labels[8:30, 8:30]


def test_few_regions_score_and_always_the_same(many: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "MOST_SCORED", 2)
    train, held_out = split_regions(find_regions(many, 2, 0), 0.6)
    assert len(held_out) > 4
    images, scored = read_set(many, SPEC, train, held_out, 1.0, 64)
    lowest = {region.entry.id for region in sorted(held_out, key=lambda region: region.chance)[:2]}
    assert len(scored) == 2 and {int(part.labels.max()) for part in scored} == {int(number) for number in lowest}
    # the others are not learned either
    assert sum(len(source.boxes) for source in images) == len(train)
    kept = sum(len(source.held_out) for source in images)
    assert kept == len([r for r in held_out if (r.entry.id, r.plane) in {(t.entry.id, t.plane) for t in train}])
