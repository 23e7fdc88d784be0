"""Live parts: objects parted from a semantic prediction that follow thresholds, around what a person did in them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from segloop.parting import HALF, SEED
from segloop.pieces import NEVER, find_pieces, lay_pieces, part_pieces, turning_levels

FOREGROUND = (0.05, 0.95)
"""Between these the threshold of foreground can be moved: what is below is not even looked for."""

MOST_PIXELS = 2**31 - 1
"""In the whole label image: its pixels are counted in 32 bits."""

SEEDS = (0.5, 1.0)
"""Between these the level of seeds can be moved."""


@dataclass(frozen=True, slots=True)
class PartThresholds:
    """What decides which objects are shown.

    Parameters
    ----------
    foreground : float in [0.05, 0.95]
        A pixel belongs to some object if the score of background is below one less this.
    seeds : float in [0.5, 1]
        Seeds of objects are where the score of lying inside is at least this. The higher, the more objects that touch
        are parted.
    min_area : int
        Objects with fewer pixels are left out.
    """

    foreground: float = 0.5
    seeds: float = SEED / 255
    min_area: int = 0

    @property
    def limit(self) -> int:
        """Background of foreground, in 255ths, is below this."""
        return HALF if self.foreground == 0.5 else math.ceil(255 * (1 - self.foreground))

    @property
    def level(self) -> int:
        """The inside of seeds, in 255ths, is at least this."""
        return max(1, round(255 * self.seeds))


class LiveParts:
    """Which objects a label image shows that were parted from scores, and under which numbers.

    It holds no labels: those belong to the caller. What is shown does not depend on the way there, so moving a
    threshold back restores what was there. An object keeps its number, also when it is hidden, joined to another or
    parted for a while: it is known by the pixel of which the model is surest.

    Parameters
    ----------
    scores : uint8 (P, K, [Z,] Y, X)
        Of background, inside and further classes, in 255ths, for P planes or volumes. Where all are 0, nothing was
        looked at.
    labels : integers (P, [Z,] Y, X)
        As they were parted by ``thresholds``.
    thresholds : PartThresholds
    largest : int
        The largest number that the image can hold.

    Raises
    ------
    ValueError
        If the image has more than ``MOST_PIXELS``.
    """

    def __init__(
        self, scores: np.ndarray, labels: np.ndarray, thresholds: PartThresholds, largest: int = 2**32 - 1
    ) -> None:
        if labels.size > MOST_PIXELS:
            raise ValueError(f"{labels.size} pixels; at most {MOST_PIXELS} can be parted live")
        planes, _, *side = scores.shape
        self.shape: tuple[int, ...] = tuple(labels.shape)
        shape = (planes, *(1,) * (3 - len(side)), *side)
        # views of the scores where they can be
        self._inside = np.ascontiguousarray(scores[:, 1]).reshape(-1)
        looked_at = scores.any(axis=1)
        background = scores[:, 0] if looked_at.all() else np.where(looked_at, scores[:, 0], 255).astype(np.uint8)
        self._background = np.ascontiguousarray(background).reshape(-1)
        widest = PartThresholds(FOREGROUND[0]).limit
        self.pieces = find_pieces((self._background < widest).reshape(shape))
        self._turning = turning_levels(*self._places, self._inside)
        self.start = self.thresholds = thresholds
        self._largest = largest
        self._numbers: dict[int, int] = {}
        self._next = int(labels.max(initial=0)) + 1
        self.complete = True
        """False when the image could not hold numbers for all objects that thresholds ask for."""
        self._shut = np.zeros(len(self._inside), bool)
        self._guarded = np.zeros(len(self.pieces), bool)
        self._held: frozenset[int] = frozenset()
        self._stale = np.zeros(len(self.pieces), bool)
        self._exceptions: dict[int, np.ndarray] = {}
        self._found = np.zeros((0, 5), np.int64)
        self._shown = np.zeros(0, np.int64)
        self._begin(labels.reshape(-1))

    @property
    def nbytes(self) -> int:
        """Bytes held beside the scores."""
        own = (self._inside, self._background, self._shut, self._turning)
        return sum(a.nbytes for a in own if a.base is None) + self.pieces.nbytes

    @property
    def shown(self) -> int:
        """How many objects thresholds show."""
        return len(np.unique(self._shown[self._shown > 0]))

    @property
    def found(self) -> int:
        """How many objects there are, with those that are too small."""
        return len(self._found)

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each object, those that are too small included: int64 (N,)."""
        return self._found[:, 2]

    def table(self) -> dict[int, tuple[float, int]]:
        """Score, the mean probability of foreground, and area of the objects that thresholds show, by number."""
        rows: dict[int, tuple[float, int]] = {}
        for number, (_, _, area, total, _) in zip(self._shown.tolist(), self._found.tolist()):
            if number:
                rows[number] = total / (255 * area), area
        return rows

    def hold(self, shut: np.ndarray | None, held: Collection[int]) -> None:
        """Say what no threshold may change; the next :meth:`move` minds it.

        Parameters
        ----------
        shut : bool, the shape of the label image, or None for nothing
            Pixels that a person painted or reviewed, and those of objects that she touched.
        held : labels
            Numbers of those objects, and others that are not to be used.
        """
        now = np.zeros(len(self._inside), bool) if shut is None else shut.reshape(-1)
        self._stale |= self.pieces.of(now != self._shut)
        self._guarded = self.pieces.of(now)
        self._shut, self._held = now, frozenset(held)

    def move(self, thresholds: PartThresholds, data: np.ndarray, taken: int = 0) -> tuple[slice, ...] | None:
        """Move thresholds, and bring the label image up to date, in place.

        Parameters
        ----------
        thresholds : PartThresholds
        data : integers
            The label image, in C order.
        taken : int
            The largest number in use in it.

        Returns
        -------
        tuple of slice or None
            A box that holds all that changed; None if nothing did.
        """
        before, self.thresholds = self.thresholds, thresholds
        due = self._stale.copy()
        if thresholds.limit != before.limit:
            due[:] = True
        else:
            due |= self._levels(before.level) != self._levels(thresholds.level)
            due |= self._guarded & (thresholds.level != before.level)
        low, high = sorted((before.min_area, thresholds.min_area))
        areas = self._found[:, 2]
        due[self._found[(areas >= low) & (areas < high), 0]] = True
        self._stale[:] = False
        self._next = max(self._next, taken + 1)
        return self._redraw(np.flatnonzero(due), data)

    def warm_up(self, kind: np.dtype) -> None:
        """Have everything compiled that label images of a type of integers need: the first move is not to wait."""
        none = np.zeros(0, np.int64)
        lay_pieces(*self._places[:3], none, np.zeros(0, np.int32), np.zeros(1, np.int64), self._shut, np.zeros(1, kind))

    @property
    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int, int]]:
        pieces = self.pieces
        return pieces.pixels, pieces.starts, pieces.boxes, pieces.shape

    def _levels(self, level: int) -> np.ndarray:
        """The level that stands for all that give a piece the same seeds: int64 (pieces,); the run's if it does."""
        first = level + self._turning[:, level:].argmax(axis=1)
        start = self.start.level
        same = start + self._turning[:, start:].argmax(axis=1) == first
        levels: np.ndarray = np.where(same, start, np.where(self._guarded, level, first))
        return levels

    def _part(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        levels = np.minimum(self._levels(self.thresholds.level)[which], NEVER)
        limit = self.thresholds.limit
        result: tuple[np.ndarray, np.ndarray] = part_pieces(
            *self._places, which, levels, limit, self._inside, self._background, self._shut
        )
        return result

    def _begin(self, labels: np.ndarray) -> None:
        """Find each object in the labels of the run, and where these are not what pieces give by themselves."""
        which = np.arange(len(self.pieces))
        objects, self._found = self._part(which)
        keys = self._found[:, 1]
        shown = self._visible(self._found)
        self._shown = np.where(shown, labels[keys], 0).astype(np.int64)
        self._numbers = {int(key): int(number) for key, number in zip(keys, self._shown) if number}
        drawn = np.concatenate([[0], self._shown])[objects]
        different = drawn != labels[self.pieces.pixels]
        for piece in np.flatnonzero(np.logical_or.reduceat(different, self.pieces.starts[:-1]) if len(which) else []):
            # the run parts block by block, and a flood that goes far over the edge of a block may end elsewhere
            own = self.pieces.pixels[self.pieces.starts[piece] : self.pieces.starts[piece + 1]]
            self._exceptions[int(piece)] = labels[own].copy()

    def _visible(self, found: np.ndarray) -> np.ndarray:
        # what is left around an object that a person vouched for is none by itself
        visible: np.ndarray = (found[:, 2] >= max(1, self.thresholds.min_area)) & (found[:, 4] == 0)
        return visible

    def _redraw(self, which: np.ndarray, data: np.ndarray) -> tuple[slice, ...] | None:
        if not len(which):
            return None
        objects, found = self._part(which)
        numbers = self._number(found)
        at_start = self.thresholds.limit == self.start.limit
        as_run = self._levels(self.thresholds.level) == self.start.level
        for piece in self._exceptions.keys() & set(which.tolist()):
            if at_start and as_run[piece] and not self._guarded[piece]:
                place = int(np.searchsorted(which, piece))
                lengths = np.diff(self.pieces.starts)[which]
                begin = int(lengths[:place].sum())
                own = self._exceptions[piece]
                objects, found, numbers = _as_run(objects, found, numbers, begin, own, piece, self.thresholds.min_area)
        stay = np.ones(len(self.pieces), bool)
        stay[which] = False
        kept = stay[self._found[:, 0]]
        self._found = np.concatenate([self._found[kept], found])
        self._shown = np.concatenate([self._shown[kept], numbers])
        flat = data.reshape(-1)
        assert np.shares_memory(flat, data)
        box = lay_pieces(*self._places[:3], which, objects, np.append(0, numbers), self._shut, flat)
        if box[0] >= box[3]:
            return None
        inner = tuple(slice(int(low), int(high)) for low, high in zip(box[:3], box[3:]))
        return tuple(slice(0, n) for n in self.shape[: -len(self._side)]) + inner[3 - len(self._side) :]

    @property
    def _side(self) -> tuple[int, ...]:
        depth = self.pieces.shape[0]
        return self.pieces.shape if depth > 1 else self.pieces.shape[1:]

    def _number(self, found: np.ndarray) -> np.ndarray:
        """The number of each object, 0 for those that are not shown."""
        self.complete = True
        numbers = np.zeros(len(found), np.int64)
        for place in np.flatnonzero(self._visible(found)).tolist():
            key = int(found[place, 1])
            number = self._numbers.get(key, 0)
            if not number or number in self._held:
                if self._next > self._largest:
                    self.complete = False
                    continue
                number, self._next = self._next, self._next + 1
                self._numbers[key] = number
            numbers[place] = number
        return numbers


def _as_run(
    objects: np.ndarray,
    found: np.ndarray,
    numbers: np.ndarray,
    begin: int,
    own: np.ndarray,
    piece: int,
    min_area: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put the run's labels of one piece in place of its own parting."""
    known, index, areas = np.unique(own, return_inverse=True, return_counts=True)
    before = found[:, 0] == piece
    sums, total = found[before, 3].sum(), max(1, found[before, 2].sum())
    rows = np.stack(
        [np.full(len(known), piece), np.full(len(known), -1), areas, areas * sums // total, known * 0], axis=1
    )
    objects = objects.copy()
    objects[begin : begin + len(own)] = np.where(own > 0, len(found) + 1 + index, 0)
    numbers = np.where(before, 0, numbers)
    hidden = found.copy()
    hidden[before, 2] = 0
    shown = np.where(areas >= min_area, known, 0).astype(np.int64)
    return objects, np.concatenate([hidden, rows]), np.concatenate([numbers, shown])
