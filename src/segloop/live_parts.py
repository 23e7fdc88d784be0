"""Live parts: objects parted from a semantic prediction that follow thresholds, around what a person did in them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segloop.candidates import ClassScores
from segloop.packing import Packed
from segloop.parting import HALF, SEED
from segloop.pieces import NEVER, Pieces, find_pieces, lay_pieces, part_pieces, turning_levels

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


@dataclass(eq=False)
class _Working:
    """What moves need, all of it flat: see :func:`segloop.pieces.part_pieces`.

    ``numbers`` : of each object that has had one, by its surest pixel. ``shown`` : the number of each that was found.
    """

    inside: np.ndarray
    background: np.ndarray
    pieces: Pieces
    turning: np.ndarray
    shut: np.ndarray
    found: np.ndarray
    shown: np.ndarray
    numbers: dict[int, int]

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.pieces.pixels, self.pieces.starts, self.pieces.boxes


class _Asleep(NamedTuple):
    """The part of it that changes, compressed."""

    shut: Packed
    found: Packed
    shown: Packed
    numbers: Packed

    @classmethod
    def nothing(cls, size: int) -> _Asleep:
        empty = (np.zeros(shape, np.int64) for shape in ((0, 5), (0,), (0, 2)))
        return cls(Packed.of(np.zeros(size, bool)), *map(Packed.of, empty))

    @classmethod
    def of(cls, now: _Working) -> _Asleep:
        numbers = np.array(list(now.numbers.items()), np.int64).reshape(-1, 2)
        return cls(*map(Packed.of, (now.shut, now.found, now.shown, numbers)))

    def woken(self, inside: np.ndarray, background: np.ndarray, pieces: Pieces, turning: np.ndarray) -> _Working:
        shut, found, shown = (part.array() for part in self[:3])
        numbers = dict(self.numbers.array().tolist())
        return _Working(inside, background, pieces, turning, shut, found, shown, numbers)


class LiveParts:
    """Which objects a label image shows that were parted from scores, and under which numbers.

    It holds no labels: those belong to the caller. What is shown does not depend on the way there, so moving a
    threshold back restores what was there. An object keeps its number, also when it is hidden, joined to another or
    parted for a while: it is known by the pixel of which the model is surest.

    Parameters
    ----------
    scores : ClassScores
        Of P planes or volumes: background, inside and further classes. Where all are 0, nothing was looked at.
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
        self, scores: ClassScores, labels: np.ndarray, thresholds: PartThresholds, largest: int = 2**32 - 1
    ) -> None:
        if labels.size > MOST_PIXELS:
            raise ValueError(f"{labels.size} pixels; at most {MOST_PIXELS} can be parted live")
        self.shape: tuple[int, ...] = tuple(labels.shape)
        self.start = self.thresholds = thresholds
        self.complete = True
        """False when the image could not hold numbers for all objects that thresholds ask for."""
        self._scores, self._largest = scores, largest
        all_scores = scores.scores
        looked_at = all_scores.any(axis=1).reshape(-1)
        self._unseen = None if looked_at.all() else Packed.of(~looked_at)
        inside, background = self._read(all_scores)
        depth, height, width = (1,) * (4 - labels.ndim) + self.shape[1:]
        widest = PartThresholds(FOREGROUND[0]).limit
        pieces = find_pieces((background < widest).reshape(-1, depth, height, width))
        turning = turning_levels(pieces.pixels, pieces.starts, pieces.boxes, pieces.shape, inside)
        self._pieces, self._turning = pieces.packed(), Packed.of(turning)
        self._guarded, self._stale = np.zeros(len(pieces), bool), np.zeros(len(pieces), bool)
        self._is_shut = False
        self._held: frozenset[int] = frozenset()
        self._exceptions: dict[int, np.ndarray] = {}
        self._next = int(labels.max(initial=0)) + 1
        self._asleep = _Asleep.nothing(labels.size)
        self._open: _Working | None = self._asleep.woken(inside, background, pieces, turning)
        self._begin(labels.reshape(-1))
        self.rest()

    @property
    def nbytes(self) -> int:
        """Bytes held beside the scores while nothing moves."""
        packed = (self._pieces, self._turning, *self._asleep, *((self._unseen,) if self._unseen else ()))
        plain = (self._guarded, self._stale, *self._exceptions.values())
        return sum(part.nbytes for part in packed) + sum(part.nbytes for part in plain)

    def rest(self) -> None:
        """Compress what only moves need; the next one takes it out again."""
        if self._open is not None:
            self._asleep, self._open = _Asleep.of(self._open), None

    @property
    def _working(self) -> _Working:
        if self._open is None:
            scores = self._read(self._scores.scores)
            self._open = self._asleep.woken(*scores, self._pieces.pieces(), self._turning.array())
        return self._open

    def _read(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inside and background, flat; background is 255 where nothing was looked at."""
        background, inside = (np.ascontiguousarray(scores[:, number]).reshape(-1) for number in (0, 1))
        if self._unseen is not None:
            background[self._unseen.array()] = 255
        return inside, background

    @property
    def shown(self) -> int:
        """How many objects thresholds show."""
        return self._count

    @property
    def found(self) -> int:
        """How many objects there are, with those that are too small."""
        return len(self.areas)

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each object, those that are too small included: int64 (N,)."""
        found = self._asleep.found.array() if self._open is None else self._open.found
        return found[:, 2]

    def table(self) -> dict[int, tuple[float, int]]:
        """Score, the mean probability of foreground, and area of the objects that thresholds show, by number."""
        rows: dict[int, tuple[float, int]] = {}
        now = self._working
        for number, (_, _, area, total, _) in zip(now.shown.tolist(), now.found.tolist()):
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
        if shut is None and not self._is_shut:
            self._held = frozenset(held)
            return
        self._is_shut = shut is not None
        now = self._working
        last, now.shut = now.shut, np.zeros(now.inside.size, bool) if shut is None else shut.reshape(-1)
        self._stale |= now.pieces.of(now.shut != last)
        self._guarded = now.pieces.of(now.shut)
        self._held = frozenset(held)

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
        found = self._working.found
        areas = found[:, 2]
        due[found[(areas >= low) & (areas < high), 0]] = True
        self._stale[:] = False
        self._next = max(self._next, taken + 1)
        return self._redraw(np.flatnonzero(due), data)

    def warm_up(self, kind: np.dtype) -> None:
        """Have everything compiled that label images of a type of integers need: the first move is not to wait."""
        no_pieces = find_pieces(np.zeros((1, *self._pieces.shape), bool))
        places = no_pieces.pixels, no_pieces.starts, no_pieces.boxes
        none = np.zeros(0, np.int64)
        lay_pieces(*places, none, np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(1, bool), np.zeros(1, kind))

    def _levels(self, level: int) -> np.ndarray:
        """The level that stands for all that give a piece the same seeds: int64 (pieces,); the run's if it does."""
        turning = self._working.turning
        first = level + turning[:, level:].argmax(axis=1)
        start = self.start.level
        same = start + turning[:, start:].argmax(axis=1) == first
        levels: np.ndarray = np.where(same, start, np.where(self._guarded, level, first))
        return levels

    def _part(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        now = self._working
        levels = np.minimum(self._levels(self.thresholds.level)[which], NEVER)
        result: tuple[np.ndarray, np.ndarray] = part_pieces(
            *now.places, now.pieces.shape, which, levels, self.thresholds.limit, now.inside, now.background, now.shut
        )
        return result

    def _begin(self, labels: np.ndarray) -> None:
        """Find each object in the labels of the run, and where these are not what pieces give by themselves."""
        now = self._working
        pieces, which = now.pieces, np.arange(len(now.pieces))
        objects, now.found = self._part(which)
        keys = now.found[:, 1]
        now.shown = np.where(self._visible(now.found), labels[keys], 0).astype(np.int64)
        self._count = len(np.unique(now.shown[now.shown > 0]))
        now.numbers = {int(key): int(number) for key, number in zip(keys, now.shown) if number}
        drawn = np.concatenate([[0], now.shown])[objects]
        different = drawn != labels[pieces.pixels]
        for piece in np.flatnonzero(np.logical_or.reduceat(different, pieces.starts[:-1]) if len(which) else []):
            # the run parts block by block, and a flood that goes far over the edge of a block may end elsewhere
            own = pieces.pixels[pieces.starts[piece] : pieces.starts[piece + 1]]
            self._exceptions[int(piece)] = labels[own].copy()

    def _visible(self, found: np.ndarray) -> np.ndarray:
        # what is left around an object that a person vouched for is none by itself
        visible: np.ndarray = (found[:, 2] >= max(1, self.thresholds.min_area)) & (found[:, 4] == 0)
        return visible

    def _redraw(self, which: np.ndarray, data: np.ndarray) -> tuple[slice, ...] | None:
        if not len(which):
            return None
        now = self._working
        objects, found = self._part(which)
        numbers = self._number(found)
        at_start = self.thresholds.limit == self.start.limit
        as_run = self._levels(self.thresholds.level) == self.start.level
        for piece in self._exceptions.keys() & set(which.tolist()):
            if at_start and as_run[piece] and not self._guarded[piece]:
                place = int(np.searchsorted(which, piece))
                lengths = np.diff(now.pieces.starts)[which]
                begin = int(lengths[:place].sum())
                own = self._exceptions[piece]
                objects, found, numbers = _as_run(objects, found, numbers, begin, own, piece, self.thresholds.min_area)
        stay = np.ones(len(now.pieces), bool)
        stay[which] = False
        kept = stay[now.found[:, 0]]
        now.found = np.concatenate([now.found[kept], found])
        now.shown = np.concatenate([now.shown[kept], numbers])
        self._count = len(np.unique(now.shown[now.shown > 0]))
        flat = data.reshape(-1)
        assert np.shares_memory(flat, data)
        box = lay_pieces(*now.places, which, objects, np.append(0, numbers), now.shut, flat)
        if box[0] >= box[3]:
            return None
        inner = [slice(int(low), int(high)) for low, high in zip(box[:3], box[3:])]
        return (slice(0, self.shape[0]), *inner[4 - len(self.shape) :])

    def _number(self, found: np.ndarray) -> np.ndarray:
        """The number of each object, 0 for those that are not shown."""
        self.complete = True
        known = self._working.numbers
        numbers = np.zeros(len(found), np.int64)
        for place in np.flatnonzero(self._visible(found)).tolist():
            key = int(found[place, 1])
            number = known.get(key, 0)
            if not number or number in self._held:
                if self._next > self._largest:
                    self.complete = False
                    continue
                number, self._next = self._next, self._next + 1
                known[key] = number
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
