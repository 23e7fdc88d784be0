"""Live labels: a label image that follows thresholds, block by block, around what a person did in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from segloop.candidates import Candidates, Chosen
from segloop.catalog import Area, Catalog, Mask
from segloop.compiled import compiled
from segloop.painting import frozen, paint

BLOCK = 256
"""Side, in pixels, of the blocks in which labels are brought up to date."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What decides which candidates are shown, and how large.

    See :meth:`segloop.candidates.Candidates.choose` and :meth:`segloop.candidates.Candidates.outlined`.
    """

    score: float
    overlap: float
    min_area: int
    outline: float = 0.5


@dataclass(frozen=True, eq=False)
class Hidden:
    """The part of an object that lies under others in the label image; ``label`` is its number there."""

    label: int
    mask: Mask


Read = Callable[[Area], np.ndarray]


class LiveLabels:
    """Which candidates a label image shows, and under which numbers.

    It holds no pixels: the image belongs to the caller, who asks what changes (:meth:`change`) and has each block
    redrawn (:meth:`redraw`). What is shown follows from thresholds, from the objects that a person touched (*held*:
    they are left as they are, and hide worse candidates of the same object), and from where she drew (*walls*). It does
    not depend on the way there, so moving a threshold back restores what was there.

    An object keeps its number while the image lives, also when it is hidden for a while.

    Parameters
    ----------
    candidates : Candidates
    thresholds : Thresholds
        Those by which the label image was made, with an outline at one half: what ``choose`` gave is in it as 1…L.
    largest : int
        The largest number that the image can hold.
    """

    def __init__(self, candidates: Candidates, thresholds: Thresholds, largest: int = 2**32 - 1) -> None:
        self.found = candidates
        """As the model gave them."""
        self.candidates, self.catalog = candidates, Catalog(candidates)
        self.thresholds = thresholds
        self._largest = largest
        count = len(self.catalog)
        self._chosen = candidates.choose(thresholds.score, thresholds.overlap, thresholds.min_area)
        self._numbers = np.zeros(count, np.int64)
        self._numbers[self._objects(self._chosen)] = np.arange(1, len(self._chosen) + 1)
        self._objects_by_number = {int(number): n for n, number in enumerate(self._numbers) if number}
        self._next = len(self._chosen) + 1
        self._shown = self._numbers > 0
        self._held = np.zeros(count, bool)
        self._accepted: set[int] = set()
        self._near_walls: set[int] = set()
        self.complete = True
        """False when the image could not hold numbers for all objects that thresholds ask for."""
        self._walls: frozenset[tuple[int, int, int, int, int]] = frozenset()
        self._tables = self._lookups()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.catalog.nbytes + sum(a.nbytes for a in (self._numbers, self._shown, self._held))

    def __len__(self) -> int:
        return len(self.catalog)

    @property
    def shown(self) -> int:
        """How many objects are shown or held."""
        return int((self._shown | self._held).sum())

    def counts(self, number: int) -> bool:
        """Whether an object is one of those that ``shown`` counts."""
        return bool(self._shown[number] or self._held[number])

    # numbers

    def object_of(self, label: int) -> int | None:
        """The object that has a number in the label image, shown or not; None for what a person drew."""
        return self._objects_by_number.get(label)

    def is_shown(self, number: int) -> bool:
        """Whether the thresholds show an object."""
        return bool(self._shown[number])

    def label_for(self, number: int, taken: int) -> int:
        """The number that an object has in the label image, or gets now: above ``taken`` and all given before.

        Returns 0 if the image cannot hold another number.
        """
        if not self._numbers[number]:
            label = max(self._next, taken + 1)
            if label > self._largest:
                return 0
            self._numbers[number], self._next = label, label + 1
            self._objects_by_number[label] = number
        return int(self._numbers[number])

    def accept(self, number: int) -> None:
        """Take note that a person adds a hidden object under its number."""
        self._accepted.add(number)

    def forget(self, labels: Iterable[int]) -> None:
        """Take note that a person gave numbers to objects of her own: a hidden object that had one gets another."""
        for label in labels:
            number = self._objects_by_number.get(label)
            if number is not None and not (self._shown[number] or self._held[number] or number in self._accepted):
                del self._objects_by_number[label]
                self._numbers[number] = 0

    # thresholds

    def change(
        self,
        thresholds: Thresholds,
        held: Collection[int],
        walls: Collection[Area],
        read: Read,
        taken: int = 0,
        closed: Read | None = None,
    ) -> list[Area]:
        """Take other thresholds, or note what a person did since; returns the blocks to be redrawn.

        Parameters
        ----------
        thresholds : Thresholds
        held : labels
            Numbers that a person edited, added, confirmed or removed.
        walls : areas
            Where held numbers may lie, beside the boxes of their own candidates. Of a candidate that reaches into one,
            pixels of held numbers count as covered by a better object.
        read : callable
            Returns the pixels of an area of the label image.
        taken : int
            The largest number in use in the image.
        closed : callable, optional
            Returns where in an area nothing may change, as bool; such pixels must lie in walls. A candidate that has
            one is not shown, unless it is held.
        """
        known = [self._objects_by_number[label] for label in held if label in self._objects_by_number]
        now_held = np.zeros_like(self._held)
        now_held[known] = True
        self._accepted &= set(known)
        # what a person touched covers what it covers, whatever the outline of the others
        self.candidates = self.catalog.candidates = self.found.outlined(thresholds.outline, np.flatnonzero(now_held))
        chosen = self.candidates.choose(
            thresholds.score, thresholds.overlap, thresholds.min_area, np.flatnonzero(now_held)
        )
        moved = thresholds.outline != self.thresholds.outline
        before, was_held, was_walls = self._shown, self._held, self._walls
        self.thresholds, self._held = thresholds, now_held
        self._walls = frozenset(wall.bounds for wall in walls)
        objects = self._objects(chosen)
        blocked = self._blocked(objects, [*walls, *self.catalog.areas(now_held)], read, frozenset(held), closed)
        keep = ~blocked
        for place in np.flatnonzero(keep & (self._numbers[objects] == 0)):
            keep[place] = self.label_for(int(objects[place]), taken) > 0
        self.complete = bool((keep | blocked).all())
        self._chosen = chosen = _only(chosen, keep)
        self._shown = np.zeros_like(before)
        self._shown[self._objects(chosen)] = True
        self._tables = self._lookups()
        changed = (before != self._shown) | (was_held != now_held)
        if moved:
            changed |= before | self._shown
        regions = [area.bounds for area in self.catalog.areas(changed)]
        regions += list(self._walls ^ was_walls)
        return self._blocks(regions)

    def redraw(self, area: Area, current: np.ndarray) -> tuple[slice, slice] | None:
        """Bring a block up to date, in place; returns the part of it that changed, or None if nothing did.

        Parameters
        ----------
        area : Area
        current : integers (rows, columns)
            The block's pixels; a view will do.
        """
        drawn = self.candidates.draw(self._chosen, area.plane, area.rows, area.columns)
        top, left, bottom, right = _lay(current, drawn, *self._tables)
        return (slice(top, bottom), slice(left, right)) if bottom > top else None

    def warm_up(self, kind: np.dtype) -> None:
        """Have everything compiled that label images of a type of integers need: the first move is not to wait."""
        self.change(self.thresholds, set(), [], lambda area: np.zeros((1, 1), np.int64))
        area = Area(0, slice(0, 2), slice(0, 2))
        whole = np.zeros((4, 4), kind)
        for block in (whole[1:3, 1:3], np.zeros((2, 2), kind)):
            drawn = np.zeros(block.shape, np.uint32)
            _lay(block, drawn, *self._tables)
            found = self.candidates
            boxes, masks = frozen(found.boxes, np.float32), frozen(found.masks, np.uint8)
            _cover(block, self._tables[1], 0, 0, boxes, masks, frozen(np.zeros(0, np.int64), np.int64))
        self.candidates.draw(self._chosen, area.plane, area.rows, area.columns)

    def _lookups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What :func:`_lay` looks up: the number of each object drawn, which numbers are free, and which are gone."""
        objects = self._objects(self._chosen)
        wanted = np.zeros(len(objects) + 1, np.int64)
        wanted[1:] = np.where(self._held[objects], -1, self._numbers[objects])
        free, gone = np.zeros(self._next, bool), np.zeros(self._next, bool)
        free[self._numbers[~self._held]] = True
        gone[self._numbers[~self._held & ~self._shown]] = True
        free[0], gone[0] = True, False
        return wanted, free, gone

    def table(self, read: Read) -> list[tuple[int, float, int, int]]:
        """Label, score, class and visible pixels of each object that is shown and not held."""
        rows = []
        for number, area in zip(self._objects(self._chosen).tolist(), self._chosen.area.tolist()):
            if self._held[number]:
                continue
            label = int(self._numbers[number])
            if number in self._near_walls:
                area = int((read(self.catalog.area(number)) == label).sum())
            rows.append((label, self.catalog.score(number), self.catalog.object_class(number), area))
        return rows

    # objects

    def hidden_at(self, plane: int, row: int, column: int) -> int | None:
        """The best object at a pixel that is neither shown nor held; None if there is none."""
        for number in self.catalog.at(plane, row, column):
            if not self._shown[number] and not self._held[number]:
                return number
        return None

    def hidden_parts(self, read: Read, planes: Collection[int] = ()) -> list[Hidden]:
        """Objects of the label image of which a part lies under others, with that part.

        Parameters
        ----------
        read : callable
            Returns the pixels of an area of the label image.
        planes : numbers of planes, optional
            All by default.
        """
        parts = []
        shown = np.flatnonzero((self._shown | self._held) & (self._numbers > 0))
        for number in self.catalog.meeting(shown):
            if planes and self.catalog.plane(number) not in planes:
                continue
            mask, label = self.catalog.mask(number), int(self._numbers[number])
            current = read(mask.area)
            # what lies on background was taken away by a person
            under = mask.inside & (current != label) & (current != 0)
            if under.any() and (mask.inside & (current == label)).any():
                parts.append(Hidden(label, Mask(mask.area, under)))
        return parts

    def _objects(self, chosen: Chosen) -> np.ndarray:
        objects: np.ndarray = self.candidates.objects[chosen.index]
        return objects

    def _blocked(
        self,
        objects: np.ndarray,
        walls: Collection[Area],
        read: Read,
        held: frozenset[int],
        closed: Read | None,
    ) -> np.ndarray:
        """Which objects lie too far under what a person drew: bool (len(objects),)."""
        blocked = np.zeros(len(objects), bool)
        self._near_walls = set()
        if not walls:
            return blocked
        pieces = self.catalog.piece[objects]
        regions, planes = self.catalog.regions[pieces], self.candidates.planes[pieces]
        near = np.zeros(len(objects), bool)
        for wall in walls:
            near |= (
                (planes == wall.plane)
                & (regions[:, 0] < wall.rows.stop)
                & (regions[:, 2] > wall.rows.start)
                & (regions[:, 1] < wall.columns.stop)
                & (regions[:, 3] > wall.columns.start)
            )
        near &= ~self._held[objects]
        self._near_walls = set(objects[near].tolist())
        lookup = np.zeros(max(held, default=0) + 1, bool)
        lookup[list(held)] = True
        boxes, masks = frozen(self.candidates.boxes, np.float32), frozen(self.candidates.masks, np.uint8)
        thresholds = self.thresholds
        for place in np.flatnonzero(near):
            pieces, area = self.catalog.pieces(int(objects[place])), self.catalog.area(int(objects[place]))
            inside, covered = _cover(
                read(area), lookup, area.rows.start, area.columns.start, boxes, masks, frozen(pieces, np.int64)
            )
            blocked[place] = inside - covered < max(1, thresholds.min_area) or covered > thresholds.overlap * inside
            if closed is not None and not blocked[place]:
                mask = self.catalog.mask(int(objects[place]))
                blocked[place] = bool((mask.inside & closed(area)).any())
        return blocked

    def _blocks(self, regions: Sequence[tuple[int, int, int, int, int]]) -> list[Area]:
        """The blocks of a grid that regions (plane, first row, first column, end row, end column) reach into."""
        cells = {
            (plane, row, column)
            for plane, top, left, bottom, right in regions
            for row in range(top // BLOCK, -(-bottom // BLOCK))
            for column in range(left // BLOCK, -(-right // BLOCK))
        }
        height, width = self.candidates.shape[1:]
        return [
            Area(
                plane,
                slice(row * BLOCK, min(height, (row + 1) * BLOCK)),
                slice(column * BLOCK, min(width, (column + 1) * BLOCK)),
            )
            for plane, row, column in sorted(cells)
        ]


def _only(chosen: Chosen, keep: np.ndarray) -> Chosen:
    """Leave objects out."""
    if keep.all():
        return chosen
    lengths = np.diff(chosen.starts)
    return Chosen(
        index=chosen.index[keep],
        planes=chosen.planes[keep],
        area=chosen.area[keep],
        centroid=chosen.centroid[keep],
        bbox=chosen.bbox[keep],
        pieces=chosen.pieces[np.repeat(keep, lengths)],
        starts=np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int64),
    )


@compiled
def _lay(current, drawn, wanted, free, gone):  # type: ignore[no-untyped-def]
    """Set pixels to what is wanted where they are free; returns the box of those that changed, empty if none did.

    Where a held object is (-1) pixels stay as they are, but for those of numbers that are gone.
    """
    height, width = current.shape
    top, left, bottom, right = height, width, 0, 0
    for row in range(height):
        for column in range(width):
            now = current[row, column]
            new = wanted[drawn[row, column]]
            if now < 0 or now >= len(free) or not free[now]:
                continue
            if new < 0:
                new = 0 if gone[now] else now
            if new != now:
                current[row, column] = new
                top, bottom = min(top, row), max(bottom, row + 1)
                left, right = min(left, column), max(right, column + 1)
    return top, left, bottom, right


@compiled
def _cover(window, held, top, left, boxes, masks, pieces):  # type: ignore[no-untyped-def]
    """Pixels of an object in a window that begins at (``top``, ``left``), and how many of them have held numbers."""
    scratch = np.zeros(window.shape, np.uint8)
    for piece in pieces:
        paint(scratch, top, left, masks[piece], boxes[piece], np.uint8(0), np.uint8(1))
    inside = covered = 0
    for row in range(window.shape[0]):
        for column in range(window.shape[1]):
            if scratch[row, column]:
                inside += 1
                now = window[row, column]
                if now >= 0 and now < len(held) and held[now]:
                    covered += 1
    return inside, covered
