"""Agreement: which masks in boxes meet, and how many pixels they share. Compiled; as in ``painting.py``, one thread."""

from __future__ import annotations

import numpy as np

from segloop.compiled import compiled
from segloop.painting import frozen, grid_cell, paint, pixel_regions


def meeting(boxes: np.ndarray, groups: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pairs of boxes, of two groups each, that share an area.

    Parameters
    ----------
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in pixels of the plane.
    groups : int64 (N,)
        Boxes of one group are not paired.
    shape : (int, int)
        Y, X of the plane.

    Returns
    -------
    int64 (P, 2)
        Positions of two boxes, the smaller first; sorted.
    """
    regions = pixel_regions(boxes, shape)
    cell = grid_cell(regions, shape)
    columns = shape[1] // cell + 1
    arguments = (frozen(boxes, np.float32), frozen(regions, np.int64), frozen(groups, np.int64), cell, columns)
    starts, members = _grid(arguments[1], cell, columns, (shape[0] // cell + 1) * columns)
    pairs = np.empty((_pairs(*arguments, starts, members, np.empty((0, 2), np.int64)), 2), np.int64)
    _pairs(*arguments, starts, members, pairs)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def shared_pixels(
    boxes: np.ndarray, masks: np.ndarray, pairs: np.ndarray, windows: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Count pixels of pairs of masks.

    Parameters
    ----------
    boxes, masks : float32 (N, 4), uint8 (N, M, M)
    pairs : int64 (P, 2)
        Fastest where pairs with the same first follow each other.
    windows : int64 (P, 4)
        First row, first column, end row, end column of where to count.
    shape : (int, int)
        Y, X of the plane.

    Returns
    -------
    int64 (P, 3)
        Pixels of the first mask, of the second, and of both.
    """
    regions = pixel_regions(boxes, shape)
    sides = regions[pairs[:, 0], 2:] - regions[pairs[:, 0], :2]
    scratch = np.empty(int(np.prod(sides, axis=1).max(initial=0)), np.uint8)
    boxes, masks, regions = frozen(boxes, np.float32), frozen(masks, np.uint8), frozen(regions, np.int64)
    return _shared(boxes, masks, regions, frozen(pairs, np.int64), frozen(windows, np.int64), scratch)


@compiled
def connected(count, pairs):  # type: ignore[no-untyped-def]
    """The smallest number that each of 0…``count`` - 1 is connected with by ``pairs``, int64 (P, 2): int64 (count,)."""
    parent = np.arange(count)
    for index in range(len(pairs)):
        ends = [pairs[index, 0], pairs[index, 1]]
        for side in range(2):
            node = ends[side]
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            ends[side] = node
        parent[max(ends[0], ends[1])] = min(ends[0], ends[1])
    for node in range(count):  # parents are smaller than their children
        parent[node] = parent[parent[node]]
    return parent


@compiled
def connected_apart(sources, pairs):  # type: ignore[no-untyped-def]
    """As :func:`connected`, but none of a source is ever connected with another of the same source.

    Parameters
    ----------
    sources : int64 (N,)
    pairs : int64 (P, 2)
        The most certain first. One that would bring two of a source together is left out.

    Returns
    -------
    int64 (N,)
    """
    count = len(sources)
    parent = np.arange(count)
    following = np.arange(count)  # each group is a ring
    for index in range(len(pairs)):
        first, second = pairs[index, 0], pairs[index, 1]
        while parent[first] != first:
            first = parent[first]
        while parent[second] != second:
            second = parent[second]
        clash = first == second
        one = first
        while not clash:
            other = second
            while not clash:
                clash = sources[one] == sources[other]
                other = following[other]
                if other == second:
                    break
            one = following[one]
            if one == first:
                break
        if not clash:
            parent[max(first, second)] = min(first, second)
            following[first], following[second] = following[second], following[first]
    for node in range(count):  # parents are smaller than their children
        parent[node] = parent[parent[node]]
    return parent


@compiled
def rearrange(rows, order):  # type: ignore[no-untyped-def]
    """Put ``rows``, uint8 (N, B), into another order in place: row i becomes what row ``order[i]`` was."""
    done = np.zeros(len(rows), np.bool_)
    kept = np.empty(rows.shape[1], rows.dtype)
    for start in range(len(rows)):
        if done[start]:
            continue
        kept[:] = rows[start]
        place = start
        while order[place] != start:
            rows[place] = rows[order[place]]
            done[place] = True
            place = order[place]
        rows[place] = kept
        done[place] = True


@compiled
def _grid(regions, cell, columns, cells):  # type: ignore[no-untyped-def]
    """Which regions reach into each cell of a grid: where its members start, and the members."""
    starts = np.zeros(cells + 1, np.int64)
    for counting in (True, False):
        if not counting:
            starts = np.cumsum(starts)
            members = np.empty(starts[-1], np.int64)
            place = starts.copy()
        for index in range(len(regions)):
            top, left, bottom, right = regions[index]
            if top >= bottom or left >= right:
                continue
            for row in range(top // cell, (bottom - 1) // cell + 1):
                for column in range(left // cell, (right - 1) // cell + 1):
                    if counting:
                        starts[row * columns + column + 1] += 1
                    else:
                        members[place[row * columns + column]] = index
                        place[row * columns + column] += 1
    return starts, members


@compiled
def _pairs(boxes, regions, groups, cell, columns, starts, members, pairs):  # type: ignore[no-untyped-def]
    """Count the pairs of boxes that share an area, and write as many as there is room for."""
    count = 0
    for here in range(len(starts) - 1):
        for i in range(starts[here], starts[here + 1]):
            first = members[i]
            for j in range(i + 1, starts[here + 1]):
                second = members[j]
                if groups[first] == groups[second]:
                    continue
                # of the cells that both reach into, only the one where they begin to share
                top = max(regions[first, 0], regions[second, 0]) // cell
                left = max(regions[first, 1], regions[second, 1]) // cell
                if top * columns + left != here:
                    continue
                width = min(boxes[first, 2], boxes[second, 2]) - max(boxes[first, 0], boxes[second, 0])
                height = min(boxes[first, 3], boxes[second, 3]) - max(boxes[first, 1], boxes[second, 1])
                if width > 0 and height > 0:
                    if count < len(pairs):
                        pairs[count, 0], pairs[count, 1] = first, second
                    count += 1
    return count


@compiled
def _shared(boxes, masks, regions, pairs, windows, scratch):  # type: ignore[no-untyped-def]
    counts = np.zeros((len(pairs), 3), np.int64)
    drawn = np.int64(-1)
    top, left, bottom, right = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for index in range(len(pairs)):
        first, second = pairs[index, 0], pairs[index, 1]
        if first != drawn:
            drawn = first
            top, left, bottom, right = regions[first]
            own = scratch[: (bottom - top) * (right - left)].reshape(bottom - top, right - left)
            own[:] = 0
            paint(own, top, left, masks[first], boxes[first], np.uint8(0), np.uint8(1))
        own = scratch[: (bottom - top) * (right - left)].reshape(bottom - top, right - left)
        low_y, low_x, high_y, high_x = windows[index]
        for row in range(max(low_y, top), min(high_y, bottom)):
            for column in range(max(low_x, left), min(high_x, right)):
                counts[index, 0] += own[row - top, column - left]
        start_y, start_x = max(low_y, regions[second, 0]), max(low_x, regions[second, 1])
        end_y, end_x = min(high_y, regions[second, 2]), min(high_x, regions[second, 3])
        if start_y >= end_y or start_x >= end_x:
            continue
        its = np.zeros((end_y - start_y, end_x - start_x), np.uint8)
        paint(its, start_y, start_x, masks[second], boxes[second], np.uint8(0), np.uint8(1))
        for row in range(start_y, end_y):
            for column in range(start_x, end_x):
                counts[index, 1] += its[row - start_y, column - start_x]
        for row in range(max(start_y, top), min(end_y, bottom)):
            for column in range(max(start_x, left), min(end_x, right)):
                counts[index, 2] += its[row - start_y, column - start_x] & own[row - top, column - left]
    return counts
