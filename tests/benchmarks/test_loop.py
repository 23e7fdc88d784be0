"""The simulated loop: what is reviewed, what is compared with what, and the table."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import loop
from domains import DOMAINS
from loop import Cell, Loop, Way, results_table
from places import SIDE, Place, annotated, lively_places, place_in
from reviewing import Annotated

from segloop import Image, load_model
from segloop.doubt import Doubts, Reason
from segloop.route import Region
from segloop.train.data import trust_whole_objects

WORMS = DOMAINS["worms_bbbc010"]
SECTIONS = DOMAINS["em_drosophila_vnc"]


@pytest.fixture
def image() -> Annotated:
    reference = np.zeros((600, 600), np.int64)
    reference[100:120, 240:280] = 1  # reaches out of the region
    reference[300:320, 300:320] = 2
    return Annotated("A02", Image(np.full(reference.shape, 7, np.uint8), "YX"), reference)


def test_objects_that_reach_into_a_region_are_reviewed_whole(image: Annotated, tmp_path: Path) -> None:
    training_set = annotated(WORMS, {"A02": image}, [Place("A02", 0, 0)], tmp_path)
    _, labels, reviewed = training_set.read(training_set.entries[0])
    # the object, and the background beside it above, below and to the right
    assert reviewed.sum() == SIDE**2 + (20 + 2) * (280 - SIDE) + 20
    assert np.array_equal(labels, np.where(image.reference == 1, 1, 0))
    assert trust_whole_objects(np.asarray(labels), np.asarray(reviewed))[labels == 1].all()


def test_what_lies_beside_an_object_that_is_reviewed_is_not(image: Annotated, tmp_path: Path) -> None:
    image.reference[120:130, 257:270] = 3
    training_set = annotated(WORMS, {"A02": image}, [Place("A02", 0, 0)], tmp_path)
    _, labels, reviewed = training_set.read(training_set.entries[0])
    assert not reviewed[image.reference == 3].any() and not (labels == 3).any()


def test_of_classes_a_region_is_a_region(image: Annotated, tmp_path: Path) -> None:
    places = [Place("A02", 0, 0), Place("A02", 200, 200)]
    training_set = annotated(SECTIONS, {"A02": image}, places, tmp_path)
    (entry,) = training_set.entries
    _, labels, reviewed = training_set.read(entry)
    assert reviewed.sum() == 2 * SIDE**2 - (SIDE - 200) ** 2
    assert np.array_equal(labels, np.where(reviewed, image.reference, 0))


def test_regions_do_not_overlap_and_come_by_chance_where_nothing_is_known(image: Annotated, tmp_path: Path) -> None:
    loop = Loop(tmp_path, tmp_path / "cells", None)
    images = {"a": image, "b": image}
    first = loop.next_places(None, SECTIONS, images, [], 3, seed=0)
    assert len(first) == 3
    more = [*first, *loop.next_places(None, SECTIONS, images, first, 2, seed=0)]
    seen = {name: np.zeros((600, 600), int) for name in images}
    for place in more:
        seen[place.image][place.box] += 1
    assert max(plane.max() for plane in seen.values()) == 1
    assert sum(plane.sum() for plane in seen.values()) == len(more) * SIDE**2
    assert (
        loop.next_places(None, SECTIONS, images, [], 3, seed=0)
        == first
        != loop.next_places(None, SECTIONS, images, [], 3, seed=1)
    )


def test_a_region_is_corrected_where_most_is_of_what_it_asks_about() -> None:
    def asking(boxes: list[tuple[int, int, int, int]], missing: list[float]) -> Place:
        evidence = np.zeros((len(boxes), len(Reason)), np.float32)
        evidence[:, Reason.MISSING] = missing
        nothing = np.zeros(len(boxes), np.int64)
        doubts = Doubts(nothing, nothing, np.array(boxes).reshape(-1, 4), evidence, np.ones(len(boxes)), nothing)
        region = Region(0, slice(0, 600), slice(0, 400), tuple(range(len(boxes))), 0, sum(missing))
        return place_in(region, doubts, "A02", (600, 700))

    # not in the middle of the region, where there is nothing
    assert asking([(500, 300, 520, 380)], [0.5]) == Place("A02", 344, 212)
    # rather two that hold together than one that is as probable alone
    place = asking([(10, 10, 50, 50), (400, 100, 420, 120), (500, 300, 520, 320)], [0.5, 0.4, 0.4])
    assert place.top <= 400 and place.top + SIDE >= 520 and place.left <= 100 and place.left + SIDE >= 320
    # of one larger than the place, as much as it holds; with nothing to ask about, the middle of the region
    assert asking([(0, 0, 600, 100)], [0.5]) == Place("A02", 172, 0)
    assert asking([], []) == Place("A02", 172, 72)


def test_of_a_few_places_the_one_with_most_objects(image: Annotated) -> None:
    crowded = image.reference.copy()
    crowded[:SIDE, 400:] = np.arange(200)
    first, second = lively_places(WORMS, {"a": image, "b": Annotated("b", image.image, crowded)})
    assert (first.image, second.image) == ("a", "b")
    assert len(np.unique(crowded[second.box])) > 10
    assert [place.image for place in lively_places(SECTIONS, {"a": image})] == ["a"]


def test_cells_that_are_done_are_read_and_the_others_need_their_regions(tmp_path: Path) -> None:
    loop = Loop(tmp_path, tmp_path, None)
    cell = Cell("worms_bbbc010", Way.SEGLOOP, 0, (1, 2), 60.0, 1, "cpu")
    assert loop.done(cell) is None
    with pytest.raises(SystemExit, match="add it to --ways"):
        loop._places(Cell("worms_bbbc010", Way.SCRATCH, 0, (1, 2), 60.0, 1, "cpu"))
    (tmp_path / f"{cell.name}.json").write_text(json.dumps({"places": [{"image": "A02", "top": 3, "left": 4}]}))
    assert loop._places(Cell("worms_bbbc010", Way.SCRATCH, 0, (1, 2), 60.0, 1, "cpu")) == [Place("A02", 3, 4)]


def test_the_table_has_means_over_seeds_and_sums_of_actions() -> None:
    def row(way: str, seed: int, ap: float, **own: object) -> dict:
        scores = {"mean AP": ap, "AP50": 2 * ap, "recall50": 0}
        return {"domain": "worms_bbbc010", "way": way, "seed": seed, "rounds": [1, 4], "scores": scores, "steps": 10,
                "round s": 30.4, **own}  # fmt: skip

    work = {"actions": 6, "actions from an empty layer": 10, "objects": 2}
    lines = results_table([row("scratch", 0, 0.1), row("segloop", 0, 0.2, **work), row("segloop", 1, 0.3, **work)])
    ours, theirs = lines.strip().splitlines()[2:]
    assert ours == (
        "| worms_bbbc010 | 4 | segloop | mean AP, AP50 | 0.250 / 0.500 | 10 | 30 | 12 of 20 for 4 objects | 2 |"
    )
    assert theirs == "| worms_bbbc010 | 4 | scratch | mean AP, AP50 | 0.100 / 0.200 | 10 | 30 |  | 1 |"


def test_a_cell_that_was_interrupted_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("worms_bbbc010", Way.SEGLOOP, 0, (1,), 60.0, 1, "cpu")
    (tmp_path / cell.name).mkdir()
    (tmp_path / cell.name / "weights.safetensors").write_text("of the first try")
    base = load_model("nuclei-maskrcnn")
    found = SimpleNamespace(improved=False, before=0.5, after=0.4, model=base)
    base.spec = replace(base.spec, training={"steps": 1})
    monkeypatch.setattr(Loop, "next_places", lambda *given: [])
    monkeypatch.setattr(Loop, "_work", lambda *given: {})
    monkeypatch.setattr(loop, "annotated", lambda *given: None)
    monkeypatch.setattr(loop, "finetune_events", lambda *given, **more: found)
    monkeypatch.setattr(loop, "drain", lambda result: result)
    domain = SimpleNamespace(
        model="nuclei-maskrcnn", task=WORMS.task, classes=(), scores=lambda *given: [{}], annotated=()
    )
    Loop(tmp_path, tmp_path, None)._segloop(cell, domain, {})
    assert load_model(tmp_path / cell.name).spec.name == "nuclei-maskrcnn"
