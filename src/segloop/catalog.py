"""The catalog of what a model found: each object with its score, class, place and whole mask, shown or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segloop.candidates import Candidates, Chosen
from segloop.painting import pixel_regions


@dataclass(frozen=True, slots=True)
class Area:
    """Pixels of plane number ``plane``: rows and columns with start and stop."""

    plane: int
    rows: slice
    columns: slice

    @property
    def bounds(self) -> tuple[int, int, int, int, int]:
        """Plane, first row, first column, end row, end column."""
        return self.plane, self.rows.start, self.columns.start, self.rows.stop, self.columns.stop


@dataclass(frozen=True, eq=False)
class Mask:
    """An object as the model sees it, whatever lies above it.

    Parameters
    ----------
    area : Area
    inside : bool (rows, columns)
    """

    area: Area
    inside: np.ndarray


class Catalog:
    """Objects 0…N-1 of candidates: pieces that belong together are one object.

    Parameters
    ----------
    candidates : Candidates
    """

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        count = int(candidates.objects.max(initial=-1)) + 1
        self.piece = np.zeros(count, np.int64)
        """A piece of each object, for its score, class and plane: int64 (N,)."""
        self.piece[candidates.objects[::-1]] = np.arange(len(candidates))[::-1]
        self._by_object = np.argsort(candidates.objects, kind="stable")
        self._starts = np.searchsorted(candidates.objects[self._by_object], np.arange(count + 1))
        self.regions = pixel_regions(candidates.boxes, candidates.shape[1:])
        """First row, first column, end row, end column of each piece: int64 (pieces, 4)."""

    def __len__(self) -> int:
        return len(self.piece)

    @property
    def nbytes(self) -> int:
        """Bytes held, those of the candidates included."""
        found = self.candidates
        arrays = (found.boxes, found.scores, found.classes, found.masks, found.objects, found.planes)
        return sum(a.nbytes for a in (*arrays, self.piece, self._by_object, self._starts, self.regions))

    def score(self, number: int) -> float:
        """The score of an object, in [0, 1]."""
        return float(self.candidates.scores[self.piece[number]])

    def object_class(self, number: int) -> int:
        """The class of an object, 1…K."""
        return int(self.candidates.classes[self.piece[number]])

    def plane(self, number: int) -> int:
        """The plane in which an object lies."""
        return int(self.candidates.planes[self.piece[number]])

    def pieces(self, number: int) -> np.ndarray:
        """The candidates that an object is made of: int64 (K,)."""
        return self._by_object[self._starts[number] : self._starts[number + 1]]

    def area(self, number: int) -> Area:
        """The area around an object."""
        pieces = self.pieces(number)
        top, left = self.regions[pieces, :2].min(axis=0).tolist()
        bottom, right = self.regions[pieces, 2:].max(axis=0).tolist()
        return Area(self.plane(number), slice(top, bottom), slice(left, right))

    def areas(self, objects: np.ndarray) -> list[Area]:
        """The areas around the pieces of objects that are true in bool (N,)."""
        areas = []
        for piece in np.flatnonzero(objects[self.candidates.objects]):
            top, left, bottom, right = self.regions[piece].tolist()
            areas.append(Area(int(self.candidates.planes[piece]), slice(top, bottom), slice(left, right)))
        return areas

    def mask(self, number: int) -> Mask:
        """An object as the model sees it."""
        pieces, area = self.pieces(number), self.area(number)
        alone = Chosen(
            index=pieces[:1],
            planes=self.candidates.planes[pieces[:1]],
            area=np.zeros(1, np.int64),
            centroid=np.zeros((1, 2)),
            bbox=np.zeros((1, 4), np.int64),
            pieces=pieces,
            starts=np.array([0, len(pieces)]),
        )
        return Mask(area, self.candidates.draw(alone, area.plane, area.rows, area.columns) > 0)

    def at(self, plane: int, row: int, column: int) -> list[int]:
        """Objects that cover a pixel, the best first."""
        regions, found = self.regions, self.candidates
        near = (found.planes == plane) & (regions[:, 0] <= row) & (regions[:, 2] > row)
        near &= (regions[:, 1] <= column) & (regions[:, 3] > column)
        numbers = np.unique(found.objects[near])
        numbers = numbers[np.argsort(-found.scores[self.piece[numbers]], kind="stable")]
        return [n for n in numbers.tolist() if self._covers(n, row, column)]

    def meeting(self, objects: np.ndarray) -> list[int]:
        """Those of some objects, int64 (M,), whose box meets that of another one; ascending."""
        pieces = self.piece[objects]
        places, planes = self.regions[pieces], self.candidates.planes[pieces]
        order = np.lexsort((places[:, 0], planes))
        found: set[int] = set()
        for at, first in enumerate(order):
            for second in order[at + 1 :]:
                if planes[second] != planes[first] or places[second, 0] >= places[first, 2]:
                    break
                if places[second, 1] < places[first, 3] and places[second, 3] > places[first, 1]:
                    found |= {int(objects[first]), int(objects[second])}
        return sorted(found)

    def _covers(self, number: int, row: int, column: int) -> bool:
        mask = self.mask(number)
        return bool(mask.inside[row - mask.area.rows.start, column - mask.area.columns.start])
