"""Live labels: what thresholds show, block by block, around what a person did; compared with drawing anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segloop.candidates import Candidates
from segloop.catalog import Area
from segloop.live_labels import LiveLabels, Thresholds

SHAPE = (2, 600, 560)
NAMES = ("score", "overlap", "min_area", "outline")
START = Thresholds(0.5, 0.4, 8)
ROUND = np.uint8(255) * (np.hypot(*(np.mgrid[:28, :28] - 13.5)) < 13).astype(np.uint8)


@pytest.fixture
def found() -> Candidates:
    rng = np.random.default_rng(3)
    count = 500
    corner = rng.uniform(-10, 560, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 60, (count, 2))], axis=1).astype(np.float32)
    return Candidates(
        boxes,
        rng.random(count, np.float32),
        rng.integers(1, 3, count),
        np.broadcast_to(ROUND, (count, 28, 28)),
        np.arange(count),
        rng.integers(0, 2, count),
        SHAPE,
    )


class Picture:
    """A label image and what moves it, as the window does it."""

    def __init__(self, found: Candidates, thresholds: Thresholds = START) -> None:
        self.found = found
        self.live = LiveLabels(found, thresholds)
        self.data = np.zeros(SHAPE, np.uint16)
        chosen = found.choose(thresholds.score, thresholds.overlap, thresholds.min_area)
        for plane in range(SHAPE[0]):
            self.data[plane] = found.draw(chosen, plane, slice(None), slice(None))
        self.held: set[int] = set()
        self.walls: list[Area] = []

    def read(self, area: Area) -> np.ndarray:
        return self.data[area.plane, area.rows, area.columns]

    def move(self, **changes: float) -> int:
        """Move a threshold; returns how many pixels were written."""
        values = {name: getattr(self.live.thresholds, name) for name in NAMES} | changes
        written = 0
        taken = int(self.data.max())
        for area in self.live.change(Thresholds(**values), self.held, self.walls, self.read, taken):
            before = self.read(area).copy()
            changed = self.live.redraw(area, self.read(area))
            different = self.read(area) != before
            written += int(different.sum())
            assert (changed is None) == (not different.any())
            if changed:
                different[changed] = False
            assert not different.any()
        return written

    def paint(self, label: int, plane: int, rows: slice, columns: slice) -> None:
        before = self.data[plane, rows, columns].copy()
        self.live.forget([label])
        self.held |= {int(n) for n in np.unique(before) if n} | ({label} if label else set())
        self.walls.append(Area(plane, rows, columns))
        self.data[plane, rows, columns] = label

    def regions(self) -> set[bytes]:
        """The objects, without their numbers."""
        return {np.packbits(self.data == n).tobytes() for n in np.unique(self.data) if n}


@pytest.mark.parametrize(
    "thresholds",
    [
        Thresholds(0.2, 0.4, 8),
        Thresholds(0.9, 0.4, 8),
        Thresholds(0.5, 0, 8),
        Thresholds(0.5, 1, 8),
        Thresholds(0, 1, 900),
    ],
)
def test_objects_are_those_that_drawing_anew_gives(found, thresholds):
    picture, anew = Picture(found), Picture(found, thresholds)
    picture.move(score=thresholds.score, overlap=thresholds.overlap, min_area=thresholds.min_area)
    assert picture.regions() == anew.regions()
    table = picture.live.table(picture.read)
    areas = np.bincount(picture.data.ravel())
    assert {label: area for label, *_, area in table} == {n: a for n, a in enumerate(areas) if n and a}


def test_moving_back_restores_every_pixel_and_number(found):
    picture = Picture(found)
    first = picture.data.copy()
    seen: dict[int, int] = {}
    for score in (0.3, 0.05, 0.8, 0.95, 0.2, 0.31, 1, 0.5):
        picture.move(score=score)
        now = {n: picture.live.object_of(n) for n in np.unique(picture.data).tolist() if n}
        assert None not in now.values()
        # a number means one object, whenever it is seen
        assert all(seen.setdefault(number, known) == known for number, known in now.items())
    assert np.array_equal(picture.data, first)
    assert picture.move(score=0.5) == 0


def test_what_a_person_did_never_changes(found):
    picture = Picture(found)
    edited = int(np.bincount(picture.data[0].ravel())[1:].argmax()) + 1
    rows, columns = np.nonzero(picture.data[0] == edited)
    # half of the largest object is erased, a new one is drawn elsewhere
    picture.paint(0, 0, slice(rows.min(), int(rows.mean())), slice(columns.min(), columns.max() + 1))
    new = int(picture.data.max()) + 1
    picture.paint(new, 1, slice(200, 260), slice(300, 380))
    own = np.isin(picture.data, sorted(picture.held))
    before = picture.data.copy()
    picture.move(score=0.5)
    settled = picture.data.copy()
    for changes in ({"score": 0.05}, {"overlap": 1.0}, {"score": 1.0}, {"min_area": 500}, {"score": 0.0}):
        picture.move(**changes)
        assert np.array_equal(picture.data[own], before[own])
        assert not np.isin(picture.data[~own], sorted(picture.held)).any()
    picture.move(score=0.5, overlap=0.4, min_area=8)
    assert np.array_equal(picture.data, settled)


def test_candidates_under_what_a_person_drew_are_not_shown(found):
    picture = Picture(found)
    picture.move(score=1.0)
    new = 999
    picture.paint(new, 0, slice(0, 600), slice(0, 300))
    picture.move(score=0.0, overlap=0.4, min_area=8)
    areas = np.bincount(picture.data.ravel())
    shown = {label: area for label, *_, area in picture.live.table(picture.read)}
    assert shown == {n: a for n, a in enumerate(areas) if n not in (0, new) and a}
    assert (picture.data[0, :, :300] == new).all()
    for label in shown:
        mask = picture.live.catalog.mask(picture.live.object_of(label))
        covered = mask.inside & (picture.read(mask.area) == new)
        assert covered.sum() <= 0.4 * mask.inside.sum()


def test_a_removed_object_does_not_come_back_nor_does_its_double(found):
    double = Candidates(
        np.array([[10, 10, 50, 50], [11, 10, 50, 51]], np.float32),
        np.array([0.9, 0.8], np.float32),
        np.ones(2, np.int64),
        np.broadcast_to(ROUND, (2, 28, 28)),
        np.arange(2),
        np.zeros(2, np.int64),
        SHAPE,
    )
    picture = Picture(double)
    assert np.unique(picture.data).tolist() == [0, 1]
    picture.held.add(1)
    picture.data[:] = 0
    for score in (0.1, 0.95, 0.5):
        picture.move(score=score)
        assert not picture.data.any()
    # undone: it follows the threshold again
    picture.held.clear()
    picture.move(score=0.85)
    assert np.unique(picture.data).tolist() == [0, 1]


def test_a_hidden_objects_number_that_a_person_takes_is_given_up(found):
    picture = Picture(found)
    picture.move(score=0.3)
    late = max(n for n in np.unique(picture.data).tolist() if n)
    number = picture.live.object_of(late)
    picture.move(score=0.5)
    assert not (picture.data == late).any()
    picture.paint(late, 0, slice(0, 3), slice(0, 3))
    picture.move(score=0.3)
    assert (picture.data == late).sum() == 9
    assert picture.live.is_shown(number) and picture.live.label_for(number, 0) != late


def test_numbers_never_exceed_what_the_image_can_hold(found):
    chosen = found.choose(START.score, START.overlap, START.min_area)
    live = LiveLabels(found, START, len(chosen) + 5)
    live.change(Thresholds(0, 0.4, 8), set(), [], lambda area: np.zeros((1, 1)))
    labels = [label for label, *_ in live.table(lambda area: np.zeros((1, 1)))]
    assert max(labels) == len(chosen) + 5 and len(set(labels)) == len(labels)


def test_hidden_candidates_are_found_at_a_pixel_the_best_first(found):
    picture = Picture(found)
    for plane, row, column in np.random.default_rng(0).integers(0, (2, 600, 560), (60, 3)).tolist():
        covering = []
        for number in range(len(found)):
            mask = picture.live.catalog.mask(number)
            if mask.area.plane != plane or picture.live.is_shown(number):
                continue
            whole = np.zeros(SHAPE[1:], bool)
            whole[mask.area.rows, mask.area.columns] = mask.inside
            if whole[row, column]:
                covering.append(number)
        best = max(covering, key=picture.live.catalog.score, default=None)
        assert picture.live.hidden_at(plane, row, column) == best


def test_hidden_parts_are_those_of_the_whole_masks_under_others(found):
    picture = Picture(found)
    parts = {part.label: part.mask for part in picture.live.hidden_parts(picture.read)}
    assert parts
    for label in np.unique(picture.data).tolist()[1:]:
        mask = picture.live.catalog.mask(picture.live.object_of(label))
        shown = picture.read(mask.area)
        under = mask.inside & (shown != label)
        assert under.any() == (label in parts)
        if under.any():
            assert np.array_equal(parts[label].inside, under)
    one = picture.live.hidden_parts(picture.read, [1])
    assert {part.mask.area.plane for part in one} == {1} and len(one) < len(parts)


@pytest.fixture
def soft(found) -> Candidates:
    """The same with outlines of which a model is not sure."""
    away = np.hypot(*(np.mgrid[:28, :28] - 13.5))
    cells = np.rint(255 / (1 + np.exp(away - 9))).astype(np.uint8)
    return replace(found, masks=np.broadcast_to(cells, (len(found), 28, 28)))


def test_outlines_grow_and_shrink_and_come_back(soft):
    picture = Picture(soft)
    first, covered = picture.data.copy(), []
    for outline in (0.1, 0.3, 0.5, 0.7, 0.9):
        picture.move(outline=outline)
        drawn = Picture(soft.outlined(outline)).data
        # as if they had been drawn so from the start, but for their numbers
        assert np.array_equal(picture.data > 0, drawn > 0)
        covered.append(np.count_nonzero(picture.data))
    assert covered == sorted(covered, reverse=True) and len(set(covered)) == 5
    picture.move(outline=0.5)
    assert np.array_equal(picture.data, first)


def test_what_a_person_touched_keeps_its_outline(soft):
    picture = Picture(soft)
    number = int(np.bincount(picture.data[0].ravel())[1:].argmax()) + 1
    picture.held.add(number)
    before = picture.data.copy()
    for outline in (0.2, 0.8, 0.3, 0.9):
        picture.move(outline=outline)
        assert np.array_equal(picture.data == number, before == number)
        assert not np.array_equal(picture.data, before)
    picture.move(outline=0.5)
    assert np.array_equal(picture.data, before)


def test_cells_are_compared_with_the_outline(soft):
    for outline in (0.25, 0.5, 0.8):
        inside = soft.outlined(outline).masks >= 128
        assert np.array_equal(inside, soft.masks.astype(int) >= round(255 * outline + 0.5 - 1e-9))
