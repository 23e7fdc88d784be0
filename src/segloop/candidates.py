"""Candidates: all that a model found, kept, so that thresholds can be applied again without running it again."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segloop.canvas import DiskArray, DiskBytes
from segloop.errors import SegmentError
from segloop.packing import packed, unpack
from segloop.painting import choose_objects, draw_objects, frozen, grid_cell, paint, pixel_regions

STRIP = 1 << 20
"""Pixels of a plane that class scores are packed and unpacked by."""

_PACKING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Candidates:
    """What an instance model found in a stack of P planes: N pieces, forming objects.

    Nearly always an object is one piece; one that is larger than a tile is several, with the same object number.

    Parameters
    ----------
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in image pixels.
    scores : float32 (N,) in [0, 1]
        Of the object: equal for its pieces.
    classes : int64 (N,)
        1…K.
    masks : uint8 (N, M, M)
        Probability in 255ths, on M × M cells laid over the box.
    objects : int64 (N,)
        Object number, 0…; unique over all planes.
    planes : int64 (N,)
    shape : (int, int, int)
        P, Y, X.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    objects: np.ndarray
    planes: np.ndarray
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def outlined(self, outline: float, except_of: Sequence[int] | np.ndarray = ()) -> Candidates:
        """The same candidates, of which cells belong to an object from another probability on than one half.

        Parameters
        ----------
        outline : float in [0, 1]
            Lower ones draw larger objects, but never beyond their boxes.
        except_of : integers
            Numbers of objects that stay as they are.
        """
        shift = round(255 * (0.5 - outline))
        if not shift:
            return self
        masks = np.clip(self.masks.astype(np.int16) + np.int16(shift), 0, 255).astype(np.uint8)
        kept = np.isin(self.objects, np.asarray(except_of, np.int64))
        masks[kept] = self.masks[kept]
        return replace(self, masks=masks)

    def choose(self, score: float, overlap: float, min_area: int, held: Sequence[int] | np.ndarray = ()) -> Chosen:
        """Decide which objects are shown, and measure them, without drawing a plane.

        Objects are taken plane by plane, the best score first, in the order of their numbers where scores are equal.

        Parameters
        ----------
        score : float in [0, 1]
            Objects below it are left out.
        overlap : float in [0, 1]
            Objects of which a larger share lies under better ones that are shown are left out: mostly the same object
            found twice.
        min_area : int
            Objects with fewer visible pixels are left out.
        held : integers (H,)
            Numbers of objects that are shown whatever the thresholds.
        """
        kept = np.isin(self.objects, np.asarray(held, np.int64))
        # stable order: planes, then scores, then first come; the result does not depend on ties
        order = np.lexsort((np.arange(len(self)), self.objects, -self.scores, self.planes))
        order = order[(self.scores[order] >= score) | kept[order]]
        starts = np.flatnonzero(np.diff(self.objects[order], prepend=-1, append=-1))
        if not len(order):
            starts = np.zeros(1, np.int64)
        planes = self.planes[order[starts[:-1]]]
        height, width = self.shape[1:]
        boxes, masks = frozen(self.boxes, np.float32), frozen(self.masks, np.uint8)
        regions = frozen(pixel_regions(boxes, (height, width)), np.int64)
        measured = np.zeros((len(planes), 7), np.int64)
        # from the first object of each plane to that of the next
        edges = np.flatnonzero(np.diff(planes, prepend=-1, append=-1)) if len(planes) else np.zeros(1, np.int64)
        for start, end in itertools.pairwise(edges.tolist()):
            own = frozen(order[starts[start] : starts[end]], np.int64)
            own_starts = frozen(starts[start : end + 1] - starts[start], np.int64)
            cell = grid_cell(regions[own], (height, width))
            own_kept = frozen(kept[order[starts[start:end]]], np.bool_)
            measured[start:end] = choose_objects(
                boxes, masks, regions, own, own_starts, height, width, cell, float(overlap), int(min_area), own_kept
            )
        shown = np.flatnonzero(measured[:, 0])
        lengths = np.diff(starts)[shown]
        ends = np.cumsum(lengths)
        places = np.arange(lengths.sum()) + np.repeat(starts[shown] - (ends - lengths), lengths)
        area = measured[shown, 0]
        return Chosen(
            index=order[starts[shown]],
            planes=planes[shown],
            area=area,
            centroid=measured[shown, 1:3] / area[:, None],
            bbox=measured[shown, 3:],
            pieces=order[places],
            starts=np.concatenate([[0], ends]).astype(np.int64),
        )

    def draw(self, chosen: Chosen, plane: int, rows: slice, columns: slice) -> np.ndarray:
        """Draw a block of the label image.

        Blocks put together are the whole label image, however it is cut.

        Parameters
        ----------
        chosen : Chosen
            What :meth:`choose` of these candidates gave.
        plane : int
        rows, columns : slice
            Start and stop of the block, within the plane.

        Returns
        -------
        uint32 (rows, columns)
            0 for background, 1…L over all planes, the best score on top.
        """
        top, bottom, _ = rows.indices(self.shape[1])
        left, right, _ = columns.indices(self.shape[2])
        out = np.zeros((max(0, bottom - top), max(0, right - left)), np.uint32)
        first, end = np.searchsorted(chosen.planes, [plane, plane + 1]).tolist()
        boxes, masks = frozen(self.boxes, np.float32), frozen(self.masks, np.uint8)
        pieces, starts = frozen(chosen.pieces, np.int64), frozen(chosen.starts, np.int64)
        draw_objects(out, top, left, boxes, masks, pieces, starts, first, end)
        return out

    def paste(self, score: float, overlap: float, min_area: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the objects into label images, the best score on top.

        Parameters
        ----------
        score, overlap, min_area
            As :meth:`choose` takes them.

        Returns
        -------
        labels : uint32 (P, Y, X)
            1…L, planes in order and in each plane from the best score down.
        chosen : int64 (L,)
            Index of a candidate of object 1…L, for its score and class.
        """
        chosen = self.choose(score, overlap, min_area)
        everything = slice(None)
        labels = np.empty(self.shape, np.uint32)
        for plane in range(self.shape[0]):
            labels[plane] = self.draw(chosen, plane, everything, everything)
        return labels, chosen.index


@dataclass(frozen=True, eq=False)
class Chosen:
    """Which candidates are shown as objects 1…L, planes in order and in each plane from the best score down.

    Area, centroid and box are of the visible pixels, as ``labels.object_table`` measures them on the drawn plane.

    Parameters
    ----------
    index : int64 (L,)
        A candidate of each object, for its score and class.
    planes : int64 (L,)
    area : int64 (L,)
        Visible pixels, at least 1.
    centroid : float64 (L, 2)
        Row and column, in pixels; pixel (0, 0) has its centre at 0, 0.
    bbox : int64 (L, 4)
        First row, first column, end row, end column (exclusive).
    pieces : int64 (K,)
        The candidates of all objects, object after object.
    starts : int64 (L + 1,)
        Where each object's begin in ``pieces``.
    """

    index: np.ndarray
    planes: np.ndarray
    area: np.ndarray
    centroid: np.ndarray
    bbox: np.ndarray
    pieces: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


class ClassScores:
    """What a semantic model found: probabilities of classes in 255ths.

    From the first reading on they are kept compressed, without loss, if there is room for it: most results are written
    to a file, and nobody reads what they came from. Scores of a pixel add up to 255, or nearly: of background only by
    how much they do not is kept.

    Parameters
    ----------
    scores : uint8 (P, K, [Z], Y, X)
        Of P planes or volumes, background first; NumPy's, or an array in a file. Not to be changed afterwards.
    """

    def __init__(self, scores: np.ndarray | DiskArray) -> None:
        self.shape: tuple[int, ...] = tuple(scores.shape)
        self.in_memory = isinstance(scores, np.ndarray)
        """Whether what is kept is in memory; otherwise it is in a file that goes with it."""
        self._loose: np.ndarray | DiskArray | None = scores
        self._parts: list[bytes] | DiskBytes = []
        self._can_pack = True

    def pack(self) -> None:
        """Compress what is kept, at once; where there is no room for that, it stays as it is."""
        with _PACKING:
            loose = self._loose
            if loose is None or not self._can_pack:
                return
            try:
                parts: list[bytes] | DiskBytes = [] if self.in_memory else DiskBytes()
                for place, rows in self._strips():
                    strip = np.array(loose[_indexed(place, rows)])
                    strip[0] = strip.sum(axis=0, dtype=np.uint8)
                    for one in strip:
                        parts.append(packed(one))
            except (MemoryError, SegmentError):
                self._can_pack = False
            else:
                self._parts, self._loose = parts, None

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        loose = self._loose.size if self.in_memory and self._loose is not None else 0
        return loose + (sum(map(len, self._parts)) if isinstance(self._parts, list) else 0)

    @property
    def scores(self) -> np.ndarray:
        """All of them, uint8 (P, K, [Z], Y, X), anew each time."""
        self.pack()
        if self._loose is not None:
            return np.array(self._loose[...])
        whole = np.empty(self.shape, np.uint8)
        for number, (place, rows) in enumerate(self._strips()):
            self._unpack(number, whole[_indexed(place, rows)])
        return whole

    def plane(self, plane: int) -> np.ndarray:
        """The scores of one plane, those of volumes counted one by one: uint8 (K, Y, X)."""
        self.pack()
        if self._loose is not None:
            outer, depth = divmod(plane, math.prod(self.shape[2:-2]))
            place = (outer, depth) if len(self.shape) > 4 else (outer,)
            return np.array(self._loose[_indexed(place, slice(None))])
        whole = np.empty((self.shape[1], *self.shape[-2:]), np.uint8)
        for number in range(plane * self._cuts, (plane + 1) * self._cuts):
            top = number % self._cuts * self._rows
            self._unpack(number, whole[:, top : top + self._rows])
        return whole

    def strip_places(self) -> list[tuple[int, slice]]:
        """The plane, as :meth:`plane` counts them, and the rows of each strip that can be read by itself."""
        depth = math.prod(self.shape[2:-2])
        return [(place[0] * depth + (place[1] if len(place) > 1 else 0), rows) for place, rows in self._strips()]

    def strip(self, number: int) -> np.ndarray:
        """The scores of one strip: uint8 (K, rows, X), anew each time."""
        self.pack()
        if self._loose is not None:
            return np.array(self._loose[_indexed(*next(itertools.islice(self._strips(), number, None)))])
        top = number % self._cuts * self._rows
        whole = np.empty((self.shape[1], min(self._rows, self.shape[-2] - top), self.shape[-1]), np.uint8)
        self._unpack(number, whole)
        return whole

    @property
    def _rows(self) -> int:
        """Rows of a strip."""
        return max(1, STRIP // max(1, self.shape[-1]))

    @property
    def _cuts(self) -> int:
        """Strips of a plane."""
        return -(-self.shape[-2] // self._rows)

    def _strips(self) -> Iterator[tuple[tuple[int, ...], slice]]:
        """Where each strip lies: plane, or volume and depth, and rows."""
        outer = (self.shape[0], *self.shape[2:-2]) if len(self.shape) > 3 else (0,)
        for place in np.ndindex(*outer):
            for cut in range(self._cuts):
                yield place, slice(cut * self._rows, min((cut + 1) * self._rows, self.shape[-2]))

    def _unpack(self, strip: int, out: np.ndarray) -> None:
        """Unpack a strip into uint8 (K, rows, X)."""
        classes = self.shape[1]
        for number in range(classes):
            unpack(self._parts[strip * classes + number], out[number])
        for own in out[1:]:
            np.subtract(out[0], own, out=out[0])


def _indexed(place: tuple[int, ...], rows: slice) -> tuple[int | slice, ...]:
    """Index of a strip in scores (P, K, [Z], Y, X)."""
    return (place[0], slice(None), *place[1:], rows)


Region = tuple[slice, slice]


def rasterize(mask: np.ndarray, box: np.ndarray, shape: tuple[int, ...]) -> tuple[Region, np.ndarray]:
    """Draw a box's mask onto the pixels whose centres lie in the box.

    Parameters
    ----------
    mask : uint8 (M, M)
        Probability in 255ths; 0 outside the box. Cell centres lie at half-integers of the box divided by M.
    box : float32 (4,)
        x0, y0, x1, y1; not rounded, since snapping boxes to whole pixels moves outlines by up to half a pixel.
    shape : (int, int)
        Y, X of the plane.

    Returns
    -------
    region : (slice, slice)
        Rows and columns in the plane.
    inside : bool, shaped like the region
        Probability, interpolated bilinearly in float32, of at least one half.
    """
    top, left, bottom, right = pixel_regions(np.asarray(box, np.float32)[None], (shape[0], shape[1]))[0].tolist()
    inside = np.zeros((bottom - top, right - left), np.uint8)
    paint(inside, top, left, frozen(mask, np.uint8), frozen(box, np.float32), np.uint8(0), np.uint8(1))
    return (slice(top, bottom), slice(left, right)), inside.view(bool)
