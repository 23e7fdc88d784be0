"""Painting: masks in boxes onto pixels, compiled. The rules are told in ``candidates.py``.

The functions release the GIL and use one thread. Arrays are in C order; those that are only read are given read-only
(:func:`frozen`), so that each function is compiled once.
"""

from __future__ import annotations

import math

import numpy as np

from segloop.compiled import compiled

HALF = np.float32(0.5)
ONE = np.float32(1)
LEVEL = np.float32(127.5)
STRIP = 1 << 16
"""Objects are counted in strips of about this many pixels, so that no memory grows with the size of an object."""


def frozen(array: np.ndarray, dtype: type) -> np.ndarray:
    """``array`` as ``dtype``, in C order and read-only; a view where it can be."""
    view: np.ndarray = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def pixel_regions(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that boxes reach into.

    Parameters
    ----------
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in pixels.
    shape : (int, int)
        Y, X of the plane.

    Returns
    -------
    int64 (N, 4)
        First row, first column, end row, end column (exclusive) within the plane; the end is never below the first.
    """
    height, width = shape
    edges = np.nan_to_num(np.concatenate([np.floor(boxes[:, 1::-1]), np.ceil(boxes[:, :1:-1])], axis=1))
    regions = np.clip(edges, 0, (height, width, height, width)).astype(np.int64)
    regions[:, 2:] = np.maximum(regions[:, 2:], regions[:, :2])
    return regions


def grid_cell(regions: np.ndarray, shape: tuple[int, int]) -> int:
    """Side of the cells of a grid in which to look regions up, so that its memory is in proportion to their number.

    Parameters
    ----------
    regions : int64 (N, 4)
        As :func:`pixel_regions` gives them.
    shape : (int, int)
        Y, X of the plane.
    """
    cell, most = 32, 6 * len(regions) + 1024
    while True:
        cells = (shape[0] // cell + 1) * (shape[1] // cell + 1)
        spans = (regions[:, 2:] // cell - regions[:, :2] // cell + 1).astype(np.float64)
        if cell > max(shape) or (cells <= most and np.prod(spans, axis=1).sum() <= most):
            return cell
        cell *= 2


@compiled
def paint(out, top, left, mask, box, old, new):  # type: ignore[no-untyped-def]
    """Set the pixels of a mask to ``new`` where they are ``old``.

    Parameters
    ----------
    out : integers (H, W)
        A window of the plane, whose first pixel is (``top``, ``left``).
    mask : uint8 (M, M)
        Probability in 255ths.
    box : float32 (4,)
        x0, y0, x1, y1 in pixels of the plane.
    old, new : integers of the type of ``out``
    """
    height, width = out.shape
    down, across = mask.shape
    x0, y0, x1, y1 = box[0], box[1], box[2], box[3]
    first_row = int(max(np.floor(y0), float(top)) if y0 < top + height else top + height)
    end_row = int(min(np.ceil(y1), float(top + height)) if y1 > top else top)
    first_column = int(max(np.floor(x0), float(left)) if x0 < left + width else left + width)
    end_column = int(min(np.ceil(x1), float(left + width)) if x1 > left else left)
    if first_row >= end_row or first_column >= end_column:
        return
    step_y = np.float32(down / max(np.float64(y1) - np.float64(y0), 1e-6))
    step_x = np.float32(across / max(np.float64(x1) - np.float64(x0), 1e-6))
    # places between cells, counted from the dark cells that are laid around the mask
    cells, shares = np.empty(end_column - first_column, np.int32), np.empty(end_column - first_column, np.float32)
    for j in range(end_column - first_column):
        place = (np.float32(first_column + j) + HALF - x0) * step_x - HALF
        place = min(max(place, -ONE), np.float32(across))
        cell = math.floor(place)
        cells[j], shares[j] = cell + 1, place - np.float32(cell)
    line = np.zeros(across + 3, np.float32)
    for row in range(first_row, end_row):
        place = (np.float32(row) + HALF - y0) * step_y - HALF
        if not (place > -ONE and place < np.float32(down)):
            continue
        cell = math.floor(place)
        share = place - np.float32(cell)
        rest = ONE - share
        if cell < 0:
            for j in range(across):
                line[j + 1] = share * np.float32(mask[0, j])
        elif cell + 1 < down:
            for j in range(across):
                line[j + 1] = rest * np.float32(mask[cell, j]) + share * np.float32(mask[cell + 1, j])
        else:
            for j in range(across):
                line[j + 1] = rest * np.float32(mask[cell, j])
        target = out[row - top, first_column - left : end_column - left]
        for j in range(len(target)):
            cell = cells[j]
            inside = (ONE - shares[j]) * line[cell] + shares[j] * line[cell + 1] >= LEVEL
            target[j] = new if inside & (target[j] == old) else target[j]


@compiled
def choose_objects(boxes, masks, regions, pieces, starts, height, width, cell, overlap, min_area, held):  # type: ignore[no-untyped-def]
    """Decide which objects of one plane are shown.

    Parameters
    ----------
    boxes, masks, regions : float32 (N, 4), uint8 (N, M, M), int64 (N, 4)
        Of all candidates.
    pieces : int64 (K,)
        The candidates of the plane, object after object, the best object first.
    starts : int64 (O + 1,)
        Where each object's pieces begin in ``pieces``.
    height, width, cell : int
        The plane's shape, and :func:`grid_cell`'s answer.
    overlap, min_area : float, int
        As ``Candidates.choose`` takes them.
    held : bool (O,)
        Objects that are shown whatever their overlap and area.

    Returns
    -------
    int64 (O, 7)
        Visible pixels, the sums of their rows and of their columns, and their box (first row, first column, end row,
        end column); all 0 for objects that are not shown.
    """
    count = len(starts) - 1
    result = np.zeros((count, 7), np.int64)
    # shown pieces by cell of a grid, as linked lists
    columns = width // cell + 1
    head = np.full((height // cell + 1) * columns, -1, np.int64)
    capacity = 1024
    entry_piece, entry_next = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    entries = 0
    seen = np.full(len(pieces), -1, np.int64)
    near = np.empty(len(pieces), np.int64)
    scratch = np.empty(max(STRIP, width), np.uint8)
    for number in range(count):
        top, left, bottom, right = height, width, 0, 0
        for place in range(starts[number], starts[number + 1]):
            region = regions[pieces[place]]
            top, left = min(top, region[0]), min(left, region[1])
            bottom, right = max(bottom, region[2]), max(right, region[3])
        if top >= bottom or left >= right:
            continue
        neighbours = 0
        for row in range(top // cell, (bottom - 1) // cell + 1):
            for column in range(left // cell, (right - 1) // cell + 1):
                entry = head[row * columns + column]
                while entry >= 0:
                    place = entry_piece[entry]
                    if seen[place] != number:
                        seen[place] = number
                        region = regions[pieces[place]]
                        if region[0] < bottom and region[2] > top and region[1] < right and region[3] > left:
                            near[neighbours] = pieces[place]
                            neighbours += 1
                    entry = entry_next[entry]
        whole = visible = sum_y = sum_x = 0
        low_y, low_x, high_y, high_x = bottom, right, top, left
        side = right - left
        strip = max(1, STRIP // side)
        for start in range(top, bottom, strip):
            rows = min(strip, bottom - start)
            window = scratch[: rows * side].reshape(rows, side)
            window[:] = 0
            for place in range(starts[number], starts[number + 1]):
                piece = pieces[place]
                paint(window, start, left, masks[piece], boxes[piece], np.uint8(0), np.uint8(1))
            for index in range(neighbours):
                piece = near[index]
                paint(window, start, left, masks[piece], boxes[piece], np.uint8(1), np.uint8(2))
            for i in range(rows):
                here, along = 0, 0
                for j in range(side):
                    free = np.int64(window[i, j] == 1)
                    here += free
                    along += free * j
                    whole += np.int64(window[i, j] > 0)
                if here:
                    first, last = 0, side - 1
                    while window[i, first] != 1:
                        first += 1
                    while window[i, last] != 1:
                        last -= 1
                    low_x, high_x = min(low_x, left + first), max(high_x, left + last + 1)
                    visible += here
                    sum_y += here * (start + i)
                    sum_x += here * left + along
                    low_y, high_y = min(low_y, start + i), max(high_y, start + i + 1)
        if not held[number] and (visible < max(1, min_area) or whole - visible > overlap * whole):
            continue
        result[number, 0], result[number, 1], result[number, 2] = visible, sum_y, sum_x
        result[number, 3], result[number, 4] = low_y, low_x
        result[number, 5], result[number, 6] = high_y, high_x
        for place in range(starts[number], starts[number + 1]):
            region = regions[pieces[place]]
            if region[0] >= region[2] or region[1] >= region[3]:
                continue
            for row in range(region[0] // cell, (region[2] - 1) // cell + 1):
                for column in range(region[1] // cell, (region[3] - 1) // cell + 1):
                    if entries == capacity:
                        capacity *= 2
                        longer = np.empty(capacity, np.int64)
                        longer[:entries] = entry_piece
                        entry_piece = longer
                        longer = np.empty(capacity, np.int64)
                        longer[:entries] = entry_next
                        entry_next = longer
                    entry_piece[entries] = place
                    entry_next[entries] = head[row * columns + column]
                    head[row * columns + column] = entries
                    entries += 1
    return result


@compiled
def draw_objects(out, top, left, boxes, masks, pieces, starts, first, end):  # type: ignore[no-untyped-def]
    """Draw objects ``first``…``end`` - 1, each under those before it, as numbers counted from 1.

    Parameters
    ----------
    out : uint32 (H, W)
        A window of the plane, whose first pixel is (``top``, ``left``); drawn into where it is 0.
    boxes, masks : float32 (N, 4), uint8 (N, M, M)
        Of all candidates.
    pieces, starts : int64 (K,), int64 (L + 1,)
        The candidates of each object.
    """
    bottom, right = top + out.shape[0], left + out.shape[1]
    for number in range(first, end):
        for place in range(starts[number], starts[number + 1]):
            piece = pieces[place]
            x0, y0, x1, y1 = boxes[piece]
            if y0 < bottom and y1 > top and x0 < right and x1 > left:
                paint(out, top, left, masks[piece], boxes[piece], np.uint32(0), np.uint32(number + 1))
