"""Cutting an object in parts: along a line that was drawn, or between points that were clicked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

SLIVER = 4
"""Pixels: what a cut leaves over and is smaller belongs to the part beside it."""


def split_by_line(mask: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Cut an object along a line.

    A line that ends inside the object is made longer, straight on, until it leaves the object. Pieces of the object
    that the line does not touch stay with the largest part.

    Parameters
    ----------
    mask : bool (…, Y, X)
        The object. In a stack, the line cuts each plane.
    line : float (N, 2), N ≥ 2
        Corners of the line, Y and X, in pixels of ``mask``; may leave it.

    Returns
    -------
    int32, shape of ``mask``
        0 outside the object, 1 the largest part, 2 … the others by falling area. All 1 where the line cuts nothing off.
    """
    for corners in (line, _longer(line, mask.shape[-2:])):
        cut = np.zeros(mask.shape[-2:], bool)
        cut[rasterize(corners, mask.shape[-2:])] = True
        parts = _cut(mask, np.broadcast_to(cut, mask.shape))
        if parts.max() > 1:
            return parts
    return mask.astype(np.int32)


def split_pieces(mask: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Share out an object that is in pieces between the sides of a line that runs between them.

    The line is made longer, straight on, as far as the image of the object goes. A piece belongs to the side on which
    most of it lies.

    Parameters
    ----------
    mask : bool (…, Y, X)
        The object.
    line : float (N, 2), N ≥ 2
        As for :func:`split_by_line`.

    Returns
    -------
    int32, shape of ``mask``
        As from :func:`split_by_line`.
    """
    shape = mask.shape[-2:]
    away = np.ones(shape, bool)
    for corners in (line, _longer(line, shape)):
        away[rasterize(corners, shape)] = False
    sides, _ = ndimage.label(away)
    pieces, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    counts = np.zeros((count + 1, int(sides.max()) + 1), np.int64)
    np.add.at(counts, (pieces, np.broadcast_to(sides, mask.shape)), 1)
    # the line itself is on no side
    counts[:, 0] = 0
    owners = counts.argmax(axis=1)
    owners[0] = 0
    parts = owners[pieces]
    areas = np.bincount(parts[mask], minlength=counts.shape[1])
    order = [side for side in np.argsort(-areas, kind="stable") if areas[side]]
    rank = np.zeros(len(areas), np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    return np.where(mask, rank[parts], 0).astype(np.int32)


def split_by_seeds(
    mask: np.ndarray, seeds: Sequence[Sequence[int]], spacing: Sequence[float] | None = None
) -> np.ndarray:
    """Share out an object between points inside it, along its waists: a watershed of the distance to its outline.

    Where no waist is between two points, the pixels between them go to the nearer one.

    Parameters
    ----------
    mask : bool (…, Y, X)
        The object.
    seeds : sequence of N pixel coordinates
        Inside the object, one for each part.
    spacing : sequence of float, optional
        Size of a pixel along each axis of ``mask``.

    Returns
    -------
    int32, shape of ``mask``
        0 outside the object, n for the part around the nth seed. Pieces without a seed belong to the nearest part.
    """
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    padded = np.pad(mask, 1)
    inner = (slice(1, -1),) * mask.ndim
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(padded, sampling=spacing), 1.0)[inner]
    # the hills of the distance: a seed low on a slope is to get its hill, not what another one leaves of it
    peaks, _ = ndimage.label(local_maxima(depth) & mask, np.ones((3,) * mask.ndim))
    hills = watershed(-depth, peaks, mask=mask)
    parts = np.zeros(mask.shape, np.int32)
    owners: dict[int, list[int]] = {}
    for number, seed in enumerate(seeds, 1):
        owners.setdefault(int(hills[tuple(seed)]), []).append(number)
    for hill, numbers in owners.items():
        pixels = np.nonzero(hills == hill if hill else _at(seeds[numbers[0] - 1], mask.shape))
        parts[pixels] = _nearest(np.array([seeds[number - 1] for number in numbers]), numbers, pixels, spacing)
    return _spread(np.asarray(watershed(-depth, parts, mask=mask), np.int32), mask)


def rasterize(line: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels on a line that lie within ``shape`` (Y, X); neighbours share at least a corner."""
    rows, columns = [], []
    for (y0, x0), (y1, x1) in itertools.pairwise(line):
        steps = int(np.ceil(max(abs(y1 - y0), abs(x1 - x0)))) + 1
        rows.append(np.linspace(y0, y1, steps))
        columns.append(np.linspace(x0, x1, steps))
    y, x = np.rint(np.concatenate(rows)).astype(int), np.rint(np.concatenate(columns)).astype(int)
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return y[inside], x[inside]


def _at(pixel: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(pixel)] = True
    return mask


def _nearest(
    seeds: np.ndarray, numbers: Sequence[int], pixels: tuple[np.ndarray, ...], spacing: Sequence[float] | None
) -> np.ndarray:
    """For each pixel the number of the seed that is nearest."""
    if len(numbers) == 1:
        return np.full(len(pixels[0]), numbers[0])
    unit = np.ones(seeds.shape[1]) if spacing is None else np.asarray(spacing, float)
    offsets = np.stack(pixels, 1)[:, None] - seeds[None]
    return np.asarray(numbers)[((offsets * unit) ** 2).sum(axis=2).argmin(axis=1)]


def _longer(line: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    line = np.asarray(line, float)
    length = math.hypot(*shape)

    def beyond(end: np.ndarray, inner: np.ndarray) -> np.ndarray:
        direction = end - inner
        norm = math.hypot(*direction)
        return end + direction / norm * length if norm else end

    # the last pixels of a stroke wobble: its direction is that of a longer piece
    reach = max(1, len(line) // 4)
    return np.concatenate([[beyond(line[0], line[reach])], line, [beyond(line[-1], line[-1 - reach])]])


def _cut(mask: np.ndarray, cut: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    touched = np.unique(pieces[cut & mask])
    concerned = np.isin(pieces, touched[touched > 0])
    parts, count = ndimage.label(concerned & ~cut)
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    areas[0] = 0
    order = [number for number in np.argsort(-areas, kind="stable") if areas[number] >= SLIVER]
    if len(order) < 2:
        return mask.astype(np.int32)
    rank = np.zeros(count + 1, np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    shared = _spread(rank[parts], concerned)
    shared[mask & ~concerned] = 1
    return shared


def _spread(parts: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give the object's pixels that belong to no part to the nearest one."""
    left = mask & (parts == 0)
    if left.any():
        nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
        parts = parts.copy()
        parts[left] = parts[tuple(axis[left] for axis in nearest)]
    return parts
