"""Sums over the pixels of each object, in compiled loops. Whole numbers, so that no order of adding matters.

Columns of a row, per object: 0 pixels; 1–3 sums of z, y, x; 4–6 sums of y², y·x, x²; 7–9 the origin z, y, x that those
are relative to (the object's first pixel, which keeps them small); 10–12 least z, y, x; 13–15 largest, exclusive.
"""

from __future__ import annotations

import math

import numpy as np

from segloop.compiled import compiled

STRAIGHT, DIAGONAL, MIXED = 1.0, math.sqrt(2), (1 + math.sqrt(2)) / 2


def _lengths() -> np.ndarray:
    """Length that a border pixel adds to the perimeter, by 2 · (neighbours on the border) + 10 · (diagonal ones).

    Benkrid, Crookes: Design and FPGA implementation of a perimeter estimator (2000), as scikit-image takes it.
    """
    lengths = np.zeros(49)
    for code in (4, 6, 14, 16, 24, 26):
        lengths[code] = STRAIGHT
    for code in (20, 32):
        lengths[code] = DIAGONAL
    for code in (12, 22):
        lengths[code] = MIXED
    return lengths


LENGTHS = _lengths()


@compiled
def add_block(labels, start, inner, count):  # type: ignore[no-untyped-def]
    """Add up a block.

    Parameters
    ----------
    labels : int64 (Z, Y, X)
        Objects 1…count.
    start : int64 (3,)
        Where the block lies in the image.
    inner : int64 (3, 2)
        Start and stop of the part whose pixels count; the rest is known for the perimeter.
    count : int

    Returns
    -------
    sums : int64 (count, 16)
    perimeters : float64 (count,)
        0 unless the block is a plane.
    """
    depth, height, width = labels.shape
    sums = np.zeros((count, 16), np.int64)
    perimeters = np.zeros(count)
    border = np.zeros((height, width), np.bool_)
    if depth == 1:
        plane = labels[0]
        for y in range(height):
            for x in range(width):
                own = plane[y, x]
                if own:
                    border[y, x] = (
                        y == 0
                        or x == 0
                        or y == height - 1
                        or x == width - 1
                        or plane[y - 1, x] != own
                        or plane[y + 1, x] != own
                        or plane[y, x - 1] != own
                        or plane[y, x + 1] != own
                    )
    for z in range(inner[0, 0], inner[0, 1]):
        for y in range(inner[1, 0], inner[1, 1]):
            for x in range(inner[2, 0], inner[2, 1]):
                own = labels[z, y, x]
                if own == 0:
                    continue
                row = sums[own - 1]
                at_z, at_y, at_x = z + start[0], y + start[1], x + start[2]
                if row[0] == 0:
                    row[7], row[8], row[9] = at_z, at_y, at_x
                    row[10], row[11], row[12] = at_z, at_y, at_x
                row[0] += 1
                off_z, off_y, off_x = at_z - row[7], at_y - row[8], at_x - row[9]
                row[1] += off_z
                row[2] += off_y
                row[3] += off_x
                row[4] += off_y * off_y
                row[5] += off_y * off_x
                row[6] += off_x * off_x
                row[10], row[13] = min(row[10], at_z), max(row[13], at_z + 1)
                row[11], row[14] = min(row[11], at_y), max(row[14], at_y + 1)
                row[12], row[15] = min(row[12], at_x), max(row[15], at_x + 1)
                if border[y, x]:
                    code = 0
                    for i in range(max(0, y - 1), min(height, y + 2)):
                        for j in range(max(0, x - 1), min(width, x + 2)):
                            if (i != y or j != x) and border[i, j] and labels[0, i, j] == own:
                                code += 2 if i == y or j == x else 10
                    perimeters[own - 1] += LENGTHS[code]
    return sums, perimeters


@compiled
def merge(sums, perimeters, group, count):  # type: ignore[no-untyped-def]
    """Join the rows of objects that lie in several blocks; ``group`` int64 (R,) is the object 0…count-1 of each row.

    Columns 4–6 of the whole are returned by themselves, float64 (count, 3): of classes that span a slide of a hundred
    thousand pixels a side they do not fit 64 bits.
    """
    total = np.zeros((count, 16), np.int64)
    second = np.zeros((count, 3))
    length = np.zeros(count)
    for index in range(len(sums)):
        row, own = total[group[index]], sums[index]
        length[group[index]] += perimeters[index]
        moments = second[group[index]]
        if row[0] == 0:
            row[:] = own
            moments[:] = own[4:7]
            continue
        pixels = own[0]
        by_z, by_y, by_x = own[7] - row[7], own[8] - row[8], own[9] - row[9]
        row[0] += pixels
        row[1] += own[1] + pixels * by_z
        far_y, far_x = float(by_y), float(by_x)
        moments[0] += own[4] + 2 * far_y * own[2] + pixels * far_y * far_y
        moments[1] += own[5] + far_y * own[3] + far_x * own[2] + pixels * far_y * far_x
        moments[2] += own[6] + 2 * far_x * own[3] + pixels * far_x * far_x
        row[2] += own[2] + pixels * by_y
        row[3] += own[3] + pixels * by_x
        for axis in range(3):
            row[10 + axis] = min(row[10 + axis], own[10 + axis])
            row[13 + axis] = max(row[13 + axis], own[13 + axis])
    return total, second, length
