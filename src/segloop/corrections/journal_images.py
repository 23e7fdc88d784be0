"""Which image a journal belongs to: told by its pixels, not by its name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

WHOLE_BYTES = 1 << 25
"""Images up to this size are told by all of their pixels, larger ones by windows spread over them."""

WINDOWS = 64
WINDOW_SIDE = 128
THINNEST = 4
GOLDEN = 0.6180339887498949


class Match(Enum):
    """How an image fits what a journal says."""

    SAME = "same"
    CHANGED = "changed"
    """It comes from the same file and has the same shape, but other pixels."""
    OTHER = "other"


@dataclass(frozen=True)
class ImageMark:
    """What is known of an image.

    Parameters
    ----------
    shape, dtype : tuple of int, str
        Of its finest level.
    source : str
        Path or address; "" if there is none.
    name : str
        For people only.
    fingerprint : str
        From :func:`fingerprint`; "" if it was not yet known.
    """

    shape: tuple[int, ...]
    dtype: str
    source: str = ""
    name: str = ""
    fingerprint: str = ""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ImageMark:
        """Read a mark from a journal's document."""
        texts = {name: str(document.get(name, "")) for name in ("source", "name", "fingerprint")}
        return cls(tuple(int(n) for n in document["shape"]), str(document["dtype"]), **texts)

    def may_be(self, other: ImageMark) -> bool:
        """Whether it is worth comparing the pixels."""
        return self.shape == other.shape and np.dtype(self.dtype) == np.dtype(other.dtype)

    def match(self, other: ImageMark) -> Match:
        """Say whether both are the same image."""
        if not self.may_be(other):
            return Match.OTHER
        if self.fingerprint and other.fingerprint:
            if self.fingerprint == other.fingerprint:
                return Match.SAME
        elif self.source and self.source == other.source:
            return Match.SAME
        return Match.CHANGED if self.source and self.source == other.source else Match.OTHER


def samples(data: Any) -> list[np.ndarray]:
    """Copy the pixels that a fingerprint is made of.

    Parameters
    ----------
    data : array of any dimensions
        NumPy, or lazy: then reading takes its time, and this is to be called in a worker.
    """
    return [np.array(data[window]) for window in _windows(tuple(data.shape), np.dtype(data.dtype).itemsize)]


def fingerprint(shape: tuple[int, ...], dtype: str, pixels: list[np.ndarray]) -> str:
    """Return a hash of an image's shape, type and the pixels from :func:`samples`."""
    digest = hashlib.sha256(repr((shape, np.dtype(dtype).newbyteorder("<").str)).encode())
    for sample in pixels:
        little = sample.astype(sample.dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(little).view(np.uint8).data if sample.size else b"")
    return f"sha256:{digest.hexdigest()}"


def _windows(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[slice, ...]]:
    if math.prod(shape) * itemsize <= WHOLE_BYTES:
        yield tuple(slice(None) for _ in shape)
        return
    longest = sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2]
    sides = [min(n, WINDOW_SIDE if axis in longest else THINNEST) for axis, n in enumerate(shape)]
    for number in range(WINDOWS):
        # multiples of irrational numbers fill each axis evenly, and no two axes go together
        at = [((number + 0.5) * GOLDEN ** (axis + 1)) % 1 for axis in range(len(shape))]
        starts = [round(share * (n - side)) for share, n, side in zip(at, shape, sides)]
        yield tuple(slice(start, start + side) for start, side in zip(starts, sides))
