"""An object drawn by its outline: which pixels it gets, and what becomes of the objects under it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from skimage.draw import polygon

MOSTLY = 2 / 3
"""An object of which a larger share is outlined is the object that is meant. More than one half: of two objects in one,
outlining the larger must not take away the other."""


@dataclass(frozen=True, eq=False)
class Claim:
    """What an outline claims.

    Parameters
    ----------
    number : int
        The object that is meant, which keeps its number; 0 for a new one.
    replaced : tuple of int
        All objects that are meant, ``number`` included: what of them lies outside becomes background.
    taken : bool (rows, columns)
        Pixels that the object gets.
    """

    number: int
    replaced: tuple[int, ...]
    taken: np.ndarray


def fill_outline(line: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice, np.ndarray]:
    """The pixels inside a closed line.

    Parameters
    ----------
    line : float (N, 2)
        Corners, Y and X, in pixels; pixel 0 has its centre at 0. The last is joined to the first.
    shape : (int, int)
        Of the plane; what lies outside of it is left out.

    Returns
    -------
    rows, columns : slices
    inside : bool (rows, columns)
        Empty if the line encloses no pixel.
    """
    rows, columns = polygon(line[:, 0], line[:, 1], shape)
    if not len(rows):
        return slice(0, 0), slice(0, 0), np.zeros((0, 0), bool)
    box = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
    inside = np.zeros([side.stop - side.start for side in box], bool)
    inside[rows - box[0].start, columns - box[1].start] = True
    return *box, inside


def claim(inside: np.ndarray, block: np.ndarray, areas: Mapping[int, int], vouched: Collection[int]) -> Claim:
    """Decide what an outline means for the objects under it.

    Objects that lie mostly inside are what is meant. Of others, those that nobody vouched for lose their pixels.

    Parameters
    ----------
    inside : bool (rows, columns)
    block : integers (rows, columns)
        The labels there.
    areas : mapping of int to int
        Pixels of each object under it, on the whole plane.
    vouched : collection of int
        Objects that a person edited, added or confirmed: they keep their pixels unless they are what is meant.
    """
    numbers, counts = np.unique(block[inside], return_counts=True)
    under = {int(number): int(count) for number, count in zip(numbers, counts) if number}
    meant = [number for number, count in under.items() if count > MOSTLY * areas[number]]
    kept = [number for number in under if number in vouched and number not in meant]
    return Claim(
        number=max(meant, key=lambda number: under[number], default=0),
        replaced=tuple(meant),
        taken=inside & ~np.isin(block, kept),
    )
