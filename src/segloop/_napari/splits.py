"""Splitting an object of a Labels layer: by a line that was drawn, or between points that were clicked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segloop._napari import editing
from segloop._napari.features import ObjectOrigin
from segloop._napari.history import join_last_steps, undo_items
from segloop._napari.ledger import Ledger
from segloop.editing import splitting
from segloop.editing.changes import Box
from segloop.errors import LabelsError

GAP = 64
"""Pixels: so far from a line, or its own length, the pieces that it runs between may be."""


def split_by_line(
    ledger: Ledger, line: np.ndarray, plane: tuple[int, ...], within: Box | None = editing.EVERYWHERE
) -> list[int]:
    """Cut the object that most of a line lies on, or between whose pieces it runs. Return the numbers of its parts.

    The largest part comes first and keeps the number; the others get free ones, and the object's class.

    Parameters
    ----------
    line : float (N, 2)
        Y and X of its corners, in pixels.
    plane : tuple of int
        Index of the plane on which it was drawn.

    Raises
    ------
    LabelsError
        If it lies on no object and between no pieces of one, or cuts nothing off.
    """
    rows, columns = splitting.rasterize(line, ledger.layer.data.shape[-2:])
    if not len(rows):
        raise LabelsError("the line lies outside the labels; draw it across an object")
    corner = (int(rows.min()), int(columns.min()))
    region = np.asarray(
        ledger.layer.data[(*plane, slice(corner[0], int(rows.max()) + 1), slice(corner[1], int(columns.max()) + 1))]
    )
    numbers, counts = np.unique(region[rows - corner[0], columns - corner[1]], return_counts=True)
    counts[numbers == 0] = 0
    if not counts.any():
        return _split_pieces(ledger, line, plane, within)
    number = int(numbers[counts.argmax()])
    box, block = ledger.index.read(number, within=within)
    parts = splitting.split_by_line(block == number, line - [side.start for side in box[-2:]])
    if parts.max() < 2:
        raise LabelsError(f"the line cuts nothing off object {number}; draw it from side to side")
    return share_out(ledger, box, parts, [number])


def _split_pieces(ledger: Ledger, line: np.ndarray, plane: tuple[int, ...], within: Box | None) -> list[int]:
    """Part the pieces of the nearest object of which a line that lies on none runs between the pieces.

    Only of objects whose box the line as drawn runs through: made longer, it may run between pieces far away.
    """
    reach = max(GAP, math.ceil(np.ptp(line, axis=0).max()))
    found = []
    for number in _around(ledger, line, plane):
        try:
            box, block = ledger.index.read(number, within=within)
        except LabelsError:
            # its box was larger than the object is by now
            continue
        if not all(side.start <= n < side.stop for n, side in zip(plane, box)):
            continue
        mask, here = block == number, line - [side.start for side in box[-2:]]
        on_plane = mask[tuple(n - side.start for n, side in zip(plane, box))]
        crossed = splitting.rasterize(here, on_plane.shape)
        if len(crossed[0]) and on_plane.any():
            away = np.ones(on_plane.shape, bool)
            away[crossed] = False
            found.append((float(ndimage.distance_transform_edt(away)[on_plane].min()), number, box, mask, here))
    for distance, number, box, mask, here in sorted(found, key=lambda near: near[:2]):
        parts = splitting.split_pieces(mask, here)
        if distance <= reach and parts.max() > 1:
            return share_out(ledger, box, parts, [number])
    raise LabelsError("the line lies on no object, and between no pieces of one; draw it across one")


def _around(ledger: Ledger, line: np.ndarray, plane: tuple[int, ...]) -> list[int]:
    """Objects on a plane whose boxes meet that of a line; by their boxes, since there may be thousands."""
    ledger.index.finish()
    low, high = line.min(axis=0), line.max(axis=0)
    corners = [(n, n) for n in plane] + list(zip(low, high))
    return [
        number
        for number in ledger.index.numbers
        if (box := ledger.index.box(number)) is not None
        and all(side.start <= last and first < side.stop for side, (first, last) in zip(box, corners))
    ]


def share_out(ledger: Ledger, box: Box, parts: np.ndarray, numbers: list[int]) -> list[int]:
    """Give the parts of an object their numbers. Return them, part by part.

    Parameters
    ----------
    box : tuple of slice
    parts : int, the box's shape
        n for the nth part.
    numbers : list of int
        Numbers that the first parts have already; the object's own comes first. The rest get free ones.
    """
    numbers = list(numbers)
    missing = int(parts.max()) - len(numbers)
    if missing > 0:
        first = editing.next_free_label(ledger)
        editing.make_room(ledger, first + missing - 1)
        numbers += range(first, first + missing)
    block = np.asarray(ledger.layer.data[box])
    masks = [(parts == place) & (block != number) for place, number in enumerate(numbers, 1)]
    parent = ledger.row(numbers[0]) or {}
    row = {"class": parent["class"]} if "class" in parent else {}
    origin = ObjectOrigin.EDITED.value
    editing.paint(
        ledger,
        [editing.Paint(box, mask, number) for mask, number in zip(masks, numbers)],
        {
            number: {**row, "origin": origin}
            for number, mask in zip(numbers, masks)
            if mask.any() and number != numbers[0]
        },
    )
    return numbers


@dataclass
class SeededSplit:
    """An object that is shared out between points; each further point shares it out anew, as the same undo step."""

    ledger: Ledger
    within: Box | None
    spacing: tuple[float, ...]
    seeds: list[tuple[int, ...]]
    numbers: list[int]
    box: Box
    mask: np.ndarray
    step: object = None

    @classmethod
    def begin(
        cls, ledger: Ledger, number: int, seed: tuple[int, ...], spacing: Sequence[float], within: Box | None
    ) -> SeededSplit:
        """Begin with one point inside an object."""
        box, block = ledger.index.read(number, within=within)
        return cls(ledger, within, tuple(spacing), [seed], [number], box, block == number)

    def continues(self, number: int) -> bool:
        """Whether a point on this object adds to the split: nothing else was edited since."""
        items = undo_items(self.ledger.layer)
        unbroken = self.step is None or (bool(items) and items[-1] is self.step)
        return unbroken and number in self.numbers

    def add(self, seed: tuple[int, ...]) -> list[int]:
        """Share the object out between one more point and those before. Return the numbers of the parts."""
        if seed in self.seeds:
            return self.numbers
        self.seeds.append(seed)
        corner = [side.start for side in self.box]
        inner = [tuple(int(n) for n in np.subtract(point, corner)) for point in self.seeds]
        parts = splitting.split_by_seeds(self.mask, inner, self.spacing)
        self.numbers = share_out(self.ledger, self.box, parts, self.numbers)
        if self.step is not None:
            join_last_steps(self.ledger.layer)
        self.step = undo_items(self.ledger.layer)[-1]
        return self.numbers
