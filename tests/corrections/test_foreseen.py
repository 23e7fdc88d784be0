"""What a training set will be is what it becomes when the additions are made, and asking leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segloop.corrections import TrainingSet
from segloop.corrections.foreseen import Addition, ForeseenSet
from segloop.errors import LabelsError, TrainingError
from segloop.image import Image
from segloop.train.regions import find_regions, split_regions

PIXELS = np.random.default_rng(0).integers(0, 255, (256, 300)).astype(np.uint8)
LABELS = np.zeros(PIXELS.shape, np.uint16)
LABELS[20:60, 30:80], LABELS[150:200, 100:160], LABELS[40:90, 200:260] = 1, 2, 3
HALF = np.zeros(PIXELS.shape, bool)
HALF[:, :150] = True


def addition(key, **changes):
    return replace(Addition(Image(PIXELS, "YX", name=key), LABELS, None, key), **changes)


def add(training_set, one):
    training_set.add(one.image, one.labels, one.reviewed, key=one.key, object_classes=one.object_classes)


def split(training_set):
    parts = split_regions(find_regions(training_set, 2, 0), 0.25)
    return [[(region.entry.id, region.box, region.chance) for region in part] for part in parts]


def test_regions_and_their_split_are_those_of_the_set_that_comes(tmp_path):
    has = TrainingSet(tmp_path / "set", classes=("cell",))
    add(has, addition("old"))
    add(has, addition("same"))
    before = sorted(tmp_path.rglob("*"))
    coming = [
        addition("same"),
        addition("old", reviewed=HALF),
        addition("new", image=Image(PIXELS[::-1], "YX"), labels=LABELS[::-1]),
    ]
    foreseen = ForeseenSet(has.folder, coming, "instance", ("cell",))
    assert (foreseen.added, foreseen.renewed) == ((2,), (1,)) and len(foreseen) == 3
    assert sorted(tmp_path.rglob("*")) == before and len(has) == 2
    told = split(foreseen)
    for one in coming:
        add(has, one)
    assert split(has) == told
    again = ForeseenSet(has.folder, coming, "instance", ("cell",))
    assert (again.added, again.renewed) == ((), ())
    # of classes of objects, 1 need not be named
    for number, renewed in ((1, ()), (2, (0,))):
        named = replace(coming[2], object_classes={1: number})
        assert ForeseenSet(has.folder, [named]).renewed == renewed


def test_a_set_that_is_not_there_is_not_made(tmp_path):
    foreseen = ForeseenSet(tmp_path / "set", [addition("a")], "instance", ("cell",))
    assert foreseen.classes == ("cell",) and foreseen.added == (0,)
    image, labels, reviewed = foreseen.read(foreseen.entries[0])
    assert image.shape == PIXELS.shape and reviewed.all() and (labels == LABELS).all()
    assert not (tmp_path / "set").exists()


def test_objects_that_nobody_named_take_the_name_that_comes(tmp_path):
    add(TrainingSet(tmp_path / "set"), addition("a"))
    assert ForeseenSet(tmp_path / "set", [addition("b")], "instance", ("cell",)).classes == ("cell",)
    assert ForeseenSet(tmp_path / "set", [addition("b")]).classes == ("object",)


def test_what_could_not_be_added_is_refused(tmp_path):
    with pytest.raises(LabelsError):
        ForeseenSet(tmp_path, [addition("a", labels=LABELS[1:])])
    with pytest.raises(LabelsError):
        ForeseenSet(tmp_path, [addition("a", reviewed=HALF[1:])])
    add(TrainingSet(tmp_path / "set", classes=("cell",)), addition("a"))
    with pytest.raises(TrainingError, match="expected worm"):
        ForeseenSet(tmp_path / "set", [], "instance", ("worm",))
