"""Pieces: connected foreground of a semantic prediction, each parted by itself, as often as thresholds move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segloop.compiled import compiled
from segloop.packing import Packed

NEVER = 256
"""The level of seeds of a piece that has none."""

SHUT, FOREGROUND = 1, 2
"""Kinds of pixels while a piece is parted; 0 is neither."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces 0…N - 1 of a stack of planes or volumes.

    Parameters
    ----------
    pixels : int32 (M,)
        Flat indices of the pixels, piece by piece, ascending in each.
    starts : int64 (N + 1,)
        Where each piece begins in ``pixels``.
    boxes : int32 (N, 6)
        First Z, Y, X, then end (exclusive), in the plane or volume of the piece.
    shape : (int, int, int)
        Z, Y, X of a plane or volume; Z is 1 for planes.
    """

    pixels: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.boxes)

    def packed(self) -> PackedPieces:
        """The same, compressed."""
        # the next pixel is mostly the one beside it
        steps = np.diff(self.pixels, prepend=np.int32(0))
        return PackedPieces(Packed.of(steps), Packed.of(self.starts), Packed.of(self.boxes), self.shape)

    def of(self, mask: np.ndarray) -> np.ndarray:
        """Which pieces have a pixel in a mask: bool (N,); ``mask`` : bool, flat."""
        if not len(self):
            return np.zeros(0, bool)
        some: np.ndarray = np.logical_or.reduceat(mask[self.pixels], self.starts[:-1])
        return some


@dataclass(frozen=True, eq=False)
class PackedPieces:
    """Pieces while nobody needs them; ``steps`` : from each of their pixels to the next."""

    steps: Packed
    starts: Packed
    boxes: Packed
    shape: tuple[int, int, int]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.steps.nbytes + self.starts.nbytes + self.boxes.nbytes

    def pieces(self) -> Pieces:
        """Unpack them."""
        pixels = np.cumsum(self.steps.array(), dtype=np.int32)
        return Pieces(pixels, self.starts.array(), self.boxes.array(), self.shape)


def find_pieces(mask: np.ndarray) -> Pieces:
    """The connected regions of planes or volumes; ``mask`` : bool (P, Z, Y, X)."""
    shape = (int(mask.shape[1]), int(mask.shape[2]), int(mask.shape[3]))
    size, pixels, counts, boxes = int(np.prod(shape)), [], [], []
    for plane, inside in enumerate(mask):
        labels, count = ndimage.label(inside)
        flat = np.flatnonzero(labels)
        order = np.argsort(labels.ravel()[flat], kind="stable")
        pixels.append((flat[order] + plane * size).astype(np.int32))
        counts.append(np.bincount(labels.ravel()[flat], minlength=count + 1)[1:])
        found = [[s.start for s in box] + [s.stop for s in box] for box in ndimage.find_objects(labels)]
        boxes.append(np.array(found, np.int32).reshape(-1, 6))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return Pieces(np.concatenate(pixels), starts, np.concatenate(boxes), shape)


@compiled
def part_pieces(pixels, starts, boxes, shape, which, levels, limit, inside, background, shut):  # type: ignore[no-untyped-def]
    """Part some pieces as :func:`segloop.parting.part` parts a whole plane, but for what is shut.

    Parameters
    ----------
    pixels, starts, boxes, shape
        See :class:`Pieces`.
    which : int64 (K,)
        Pieces.
    levels : int64 (K,)
        Where ``inside`` is at least this, the seeds of each are.
    limit : int
        Foreground has less than this of background.
    inside, background : uint8, flat
        Scores in 255ths.
    shut : bool, flat
        Pixels that do not count.

    Returns
    -------
    objects : int32 (pixels of these pieces,)
        Number of the object of each pixel, counted from 1 over all these pieces; 0 where there is none.
    found : int64 (objects, 5)
        Piece, pixel with the largest ``inside`` (the first of equal ones), area, sum of foreground in 255ths, and
        whether it has no seed and touches what is shut.
    """
    total = 0
    for piece in which:
        total += starts[piece + 1] - starts[piece]
    objects = np.zeros(total, np.int32)
    found = np.zeros((max(16, 2 * len(which)), 5), np.int64)
    count, at = 0, 0
    depth, height, width = shape
    volume, area = depth * height * width, height * width
    head, tail = np.full(256, -1, np.int32), np.full(256, -1, np.int32)
    for k in range(len(which)):
        piece = which[k]
        first, n = starts[piece], starts[piece + 1] - starts[piece]
        z0, y0, x0 = boxes[piece, 0], boxes[piece, 1], boxes[piece, 2]
        row = boxes[piece, 5] - x0 + 2
        sheet = row * (boxes[piece, 4] - y0 + 2)
        deep = 1 if depth > 1 else 0
        size = sheet * (boxes[piece, 3] - z0 + 2 * deep)
        # a rim of nothing around it: neighbours need no care
        value, kind = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        label = np.zeros(size, np.int32)
        place, stack = np.empty(n, np.int32), np.empty(n, np.int32)
        steps = np.array([-sheet, -row, -1, 1, row, sheet], np.int32)
        low, high = (0, 6) if deep else (1, 5)
        for i in range(n):
            pixel = pixels[first + i]
            inner = pixel % volume
            z, y, x = inner // area, inner // width % height, inner % width
            q = (z - z0 + deep) * sheet + (y - y0 + 1) * row + x - x0 + 1
            place[i] = q
            if shut[pixel]:
                kind[q] = SHUT
            else:
                value[q] = inside[pixel]
                kind[q] = FOREGROUND if background[pixel] < limit else 0
        begun = count
        # seeds, in the order of their first pixels
        for i in range(n):
            q = place[i]
            if value[q] < levels[k] or label[q] != 0:
                continue
            count += 1
            label[q], stack[0] = count, q
            _spread(label, value, levels[k], stack, 1, steps[low:high])
        seeds = count - begun
        if seeds == 1:
            # all foreground around it is its own, in whatever order
            top = 0
            for i in range(n):
                q = place[i]
                if label[q] and kind[q] != FOREGROUND:
                    label[q] = 0
                elif label[q]:
                    stack[top] = q
                    top += 1
            _spread(label, kind, FOREGROUND, stack, top, steps[low:high])
        elif seeds > 1:
            following = np.full(size, -1, np.int32)
            level = 0
            for i in range(n):
                if label[place[i]] and kind[place[i]] != FOREGROUND:
                    label[place[i]] = 0
            for i in range(n):
                q = place[i]
                if label[q] == 0:
                    continue
                is_open = False
                for side in range(low, high):
                    is_open |= kind[q + steps[side]] == FOREGROUND and label[q + steps[side]] == 0
                if is_open:
                    here = value[q]
                    if head[here] < 0:
                        head[here] = q
                    else:
                        following[tail[here]] = q
                    tail[here] = q
                    level = max(level, here)
            while level >= 0:
                if head[level] < 0:
                    level -= 1
                    continue
                q = head[level]
                head[level] = following[q]
                for side in range(low, high):
                    other = q + steps[side]
                    if kind[other] != FOREGROUND or label[other] != 0:
                        continue
                    label[other] = label[q]
                    here = value[other]
                    if head[here] < 0:
                        head[here] = other
                    else:
                        following[tail[here]] = other
                    tail[here] = other
                    level = max(level, here)
        # foreground without a seed
        for i in range(n):
            q = place[i]
            if kind[q] != FOREGROUND or label[q] != 0:
                continue
            count += 1
            label[q], stack[0] = count, q
            _spread(label, kind, FOREGROUND, stack, 1, steps[low:high])
        while count > len(found):
            found = np.concatenate((found, np.zeros_like(found)))
        for number in range(begun, count):
            found[number, 0], found[number, 1] = piece, -1
        for i in range(n):
            q, pixel = place[i], pixels[first + i]
            if label[q] == 0:
                continue
            objects[at + i] = label[q]
            own = found[label[q] - 1]
            if own[1] < 0 or inside[pixel] > inside[own[1]]:
                own[1] = pixel
            own[2] += 1
            own[3] += 255 - background[pixel]
            if label[q] > begun + seeds:
                for side in range(low, high):
                    if kind[q + steps[side]] == SHUT:
                        own[4] = 1
        at += n
    return objects, found[:count]


@compiled
def _spread(label, field, least, stack, top, steps):  # type: ignore[no-untyped-def]
    """Give the number of the pixels on the stack, ``top`` of them, to all around them where a field is large enough."""
    while top:
        top -= 1
        q = stack[top]
        for step in steps:
            other = q + step
            if field[other] >= least and label[other] == 0:
                label[other] = label[q]
                stack[top] = other
                top += 1


@compiled
def lay_pieces(pixels, starts, boxes, which, objects, numbers, shut, data):  # type: ignore[no-untyped-def]
    """Write the numbers of objects into a label image, but for what is shut; ``numbers`` : int64, that of 0 first.

    Returns the box that holds all pixels that changed: first pixel and end of each piece that has one, as int32 (6,),
    empty if none has.
    """
    box = np.array([1 << 30, 1 << 30, 1 << 30, 0, 0, 0], np.int64)
    at = 0
    for piece in which:
        changed = False
        for i in range(starts[piece], starts[piece + 1]):
            pixel = pixels[i]
            if not shut[pixel]:
                new = numbers[objects[at]]
                if data[pixel] != new:
                    data[pixel] = new
                    changed = True
            at += 1
        if changed:
            for axis in range(3):
                box[axis] = min(box[axis], boxes[piece, axis])
                box[axis + 3] = max(box[axis + 3], boxes[piece, axis + 3])
    return box


@compiled
def turning_levels(pixels, starts, boxes, shape, inside):  # type: ignore[no-untyped-def]
    """At which levels the seeds of pieces are born or run together, as the level of seeds goes down.

    Between two of them seeds grow, but stay the same ones.

    Parameters
    ----------
    pixels, starts, boxes, shape
        See :class:`Pieces`.
    inside : uint8, flat

    Returns
    -------
    bool (N, 257)
        The last column, :data:`NEVER`, is always true.
    """
    depth, height, width = shape
    volume, area = depth * height * width, height * width
    turning = np.zeros((len(starts) - 1, 257), np.bool_)
    turning[:, 256] = True
    for piece in range(len(starts) - 1):
        first, n = starts[piece], starts[piece + 1] - starts[piece]
        z0, y0, x0 = boxes[piece, 0], boxes[piece, 1], boxes[piece, 2]
        row = boxes[piece, 5] - x0 + 2
        sheet = row * (boxes[piece, 4] - y0 + 2)
        deep = 1 if depth > 1 else 0
        size = sheet * (boxes[piece, 3] - z0 + 2 * deep)
        steps = np.array([-sheet, -row, -1, 1, row, sheet], np.int32)
        low, high = (0, 6) if deep else (1, 5)
        place, level = np.empty(n, np.int32), np.empty(n, np.uint8)
        for i in range(n):
            inner = pixels[first + i] % volume
            z, y, x = inner // area, inner // width % height, inner % width
            place[i] = (z - z0 + deep) * sheet + (y - y0 + 1) * row + x - x0 + 1
            level[i] = inside[pixels[first + i]]
        # largest first, by counting
        counts = np.zeros(257, np.int64)
        for i in range(n):
            counts[256 - level[i]] += 1
        counts = np.cumsum(counts)
        order = np.empty(n, np.int32)
        for i in range(n):
            order[counts[255 - level[i]]] = i
            counts[255 - level[i]] += 1
        root, peak = np.full(size, -1, np.int32), np.zeros(size, np.uint8)
        i, born = 0, 0
        while i < n:
            q, here = place[order[i]], level[order[i]]
            root[q], peak[q] = q, here
            born += 1
            for side in range(low, high):
                other = q + steps[side]
                if root[other] < 0:
                    continue
                a, b = q, other
                while root[a] != a:
                    root[a] = root[root[a]]
                    a = root[a]
                while root[b] != b:
                    root[b] = root[root[b]]
                    b = root[b]
                if a == b:
                    continue
                if peak[a] < peak[b]:
                    a, b = b, a
                root[b] = a
                if peak[b] == here:
                    born -= 1
                else:
                    turning[piece, here] = True
            i += 1
            if i == n or level[order[i]] != here:
                if born:
                    turning[piece, here] = True
                born = 0
    return turning
