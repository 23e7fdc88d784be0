"""Agreement: which masks in boxes meet, and how many pixels they share. Compiled; as in ``painting.py``, one thread."""

from __future__ import annotations

import numpy as np

from segloop.compiled import compiled
from segloop.painting import STRIP, frozen, grid_cell, paint, pixel_regions

WORD = 64
"""Pixels of a row in a word of bits."""

KEPT_WORDS = 1 << 23
"""Masks are drawn once, as bits, and kept in this many words (64 MB); with more, the drawing begins anew."""


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
    words = (regions[:, 2] - regions[:, 0]) * (-(-regions[:, 3] // WORD) - regions[:, 1] // WORD)
    two = int((words[pairs[:, 0]] + words[pairs[:, 1]]).max(initial=0))
    kept = np.empty(max(two, min(int(words[np.unique(pairs)].sum()), KEPT_WORDS)), np.uint64)
    scratch = np.empty(max(STRIP, shape[1]), np.uint8)
    boxes, masks, regions = frozen(boxes, np.float32), frozen(masks, np.uint8), frozen(regions, np.int64)
    return _shared(boxes, masks, regions, frozen(pairs, np.int64), frozen(windows, np.int64), kept, scratch)


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
def _shared(boxes, masks, regions, pairs, windows, kept, scratch):  # type: ignore[no-untyped-def]
    """Count on masks drawn as bits, which are kept in ``kept`` as long as there is room; it holds any two."""
    counts = np.zeros((len(pairs), 3), np.int64)
    places = np.zeros(len(boxes), np.int64)
    rounds = np.zeros(len(boxes), np.int64)
    now, used = 1, 0
    for index in range(len(pairs)):
        first, second = pairs[index, 0], pairs[index, 1]
        needed = 0
        for mask in (first, second):
            if rounds[mask] != now:
                needed += _words(regions[mask])
        if used + needed > len(kept):
            now, used = now + 1, 0
        for mask in (first, second):
            if rounds[mask] != now:
                size = _words(regions[mask])
                _draw(kept[used : used + size], boxes[mask], masks[mask], regions[mask], scratch)
                places[mask], rounds[mask] = used, now
                used += size
        one = kept[places[first] : places[first] + _words(regions[first])]
        other = kept[places[second] : places[second] + _words(regions[second])]
        window = windows[index]
        counts[index, 0] = _common(one, regions[first], one, regions[first], window)
        counts[index, 1] = _common(other, regions[second], other, regions[second], window)
        counts[index, 2] = _common(one, regions[first], other, regions[second], window)
    return counts


@compiled
def _words(region):  # type: ignore[no-untyped-def]
    """Words that the pixels of a region take: a column of them for each 64 columns of the plane it reaches into."""
    return (region[2] - region[0]) * (-(-region[3] // WORD) - region[1] // WORD)


@compiled
def _draw(bits, box, mask, region, scratch):  # type: ignore[no-untyped-def]
    """Draw a mask into words; those of 64 columns lie together, row by row."""
    top, left, bottom, right = region
    height, side, base = bottom - top, right - left, left // WORD
    if not height or not side:
        return
    strip = len(scratch) // side
    for start in range(top, bottom, strip):
        rows = min(strip, bottom - start)
        window = scratch[: rows * side].reshape(rows, side)
        window[:] = 0
        paint(window, start, left, mask, box, np.uint8(0), np.uint8(1))
        for column in range(len(bits) // height):
            edge = (base + column) * WORD
            low, high = max(left, edge), min(right, edge + WORD)
            for row in range(rows):
                word = np.uint64(0)
                for x in range(low, high):
                    word |= np.uint64(window[row, x - left]) << np.uint64(x - edge)
                bits[column * height + start - top + row] = word


@compiled
def _common(one, region, other, its, window):  # type: ignore[no-untyped-def]
    """Pixels of a window that are set in both of two masks drawn by :func:`_draw`."""
    top, bottom = max(region[0], its[0], window[0]), min(region[2], its[2], window[2])
    left, right = max(region[1], its[1], window[1]), min(region[3], its[3], window[3])
    count = 0
    if top >= bottom or left >= right:
        return count
    for column in range(left // WORD, (right - 1) // WORD + 1):
        low, high = max(left - column * WORD, 0), min(right - column * WORD, WORD)
        inside = (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(WORD - (high - low))) << np.uint64(low)
        start = (column - region[1] // WORD) * (region[2] - region[0]) - region[0]
        begin = (column - its[1] // WORD) * (its[2] - its[0]) - its[0]
        for row in range(top, bottom):
            count += _ones(one[start + row] & other[begin + row] & inside)
    return count


@compiled
def _ones(word):  # type: ignore[no-untyped-def]
    """How many bits of a word are set."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
