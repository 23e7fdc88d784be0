"""Blocks: the pieces in which a journal keeps a label image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

EDGE = 256
"""Rows and columns of a block: small beside a layer, so that a stroke of the brush costs little, and large enough that
thousands of planes have no more blocks than can be kept count of."""

FEW_PIXELS = 1 << 18
"""Up to so many single pixels, their blocks are looked up one by one; for more, those of the box around them."""


@dataclass(frozen=True)
class Blocks:
    """A label image of ``shape`` (..., Y, X), cut into planes and each plane into squares.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        As ``numpy.dtype.str``, byte order included.
    """

    shape: tuple[int, ...]
    dtype: str

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """Size of a block along each axis; less at the far borders."""
        leading = max(0, len(self.shape) - 2)
        return (1,) * leading + (EDGE,) * (len(self.shape) - leading)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(-(-n // edge) for n, edge in zip(self.shape, self.edges))

    def __len__(self) -> int:
        return math.prod(self.counts)

    @property
    def block_bytes(self) -> int:
        """Size of a whole block in memory."""
        return math.prod(min(n, edge) for n, edge in zip(self.shape, self.edges)) * np.dtype(self.dtype).itemsize

    def place(self, number: int) -> tuple[slice, ...]:
        """Return where a block lies in the image."""
        starts = [int(at) * edge for at, edge in zip(np.unravel_index(number, self.counts), self.edges)]
        return tuple(slice(at, min(at + edge, n)) for at, edge, n in zip(starts, self.edges, self.shape))

    def touching(self, box: Sequence[slice]) -> Iterator[int]:
        """Yield the numbers of the blocks that a box has a part in; what lies outside the image does not count."""
        spans = []
        for side, edge, n in zip(box, self.edges, self.shape):
            start, stop, _ = side.indices(n)
            spans.append(range(start // edge, -(-stop // edge)) if stop > start else range(0))
        for at in itertools.product(*spans):
            yield int(np.ravel_multi_index(at, self.counts))

    def holding(self, pixels: Sequence[np.ndarray]) -> Iterator[int]:
        """Yield the numbers of the blocks that hold some pixels, given as one array of indices per axis."""
        axes = [np.asarray(axis).ravel() for axis in pixels]
        if not axes or not axes[0].size:
            return
        axes = [np.where(axis < 0, axis + n, axis) if axis.min() < 0 else axis for axis, n in zip(axes, self.shape)]
        if axes[0].size > FEW_PIXELS:
            yield from self.touching([slice(int(axis.min()), int(axis.max()) + 1) for axis in axes])
            return
        at = np.ravel_multi_index(tuple(axis // edge for axis, edge in zip(axes, self.edges)), self.counts)
        yield from np.unique(at).tolist()
