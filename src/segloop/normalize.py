"""Normalisation: statistics are fitted once on the whole image, frozen, and applied to every tile alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segloop.errors import ImageError, SettingsError
from segloop.image import Image


@dataclass(frozen=True, slots=True)
class Statistics:
    """The intensities that become 0 and 1, per channel.

    Parameters
    ----------
    low, high : tuple of float (C,)
    only : int, optional
        The channel that takes the place of all, where it alone has something to show.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    only: int | None = None


FAINT = 0.1
"""A channel whose intensities span less than this share of the widest one's shows nothing beside it."""
ALIKE = 0.999
"""Channels that are correlated more than this are one in two shades."""
ENOUGH = 100_000
"""So many pixels tell which channels show something."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """Percentile normalisation: intensity ``low`` % becomes 0, ``high`` % becomes 1, then clipped.

    Where both percentiles are one intensity, least and largest intensity take their place.

    Parameters
    ----------
    low, high : float
        Percentiles in [0, 100].
    joint : bool
        Take one pair of percentiles over all channels, which keeps the colours of an RGB image. An RGB image of one
        colour, such as blue nuclei on black, is a grey one: its channel takes the place of all.
    clip_low, clip_high : float
        Normalised values are clipped to this range, so that a hot pixel cannot drown its neighbours.
    """

    low: float = 1.0
    high: float = 99.8
    joint: bool = False
    clip_low: float = -0.5
    clip_high: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise SettingsError(f"percentiles {self.low} and {self.high}; expected 0 <= low < high <= 100")

    def fit(self, image: Image) -> Statistics:
        """Fit the statistics on the whole image (all planes and time points).

        Raises
        ------
        ImageError
            If pixels are NaN or infinite.
        """
        pixels = image.sample()
        check_finite(pixels)
        only = self._only_colour(pixels) if self.joint and image.channel_axis == "S" else None
        if self.joint:
            pixels = pixels.reshape(1, -1) if only is None else pixels[only : only + 1]
        # float32 cannot tell large 32- and 64-bit intensities apart
        exact = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
        pixels = pixels.astype(exact, copy=False)
        low, high = np.percentile(pixels, [self.low, self.high], axis=1)
        # a few small objects on a ground of one intensity: percentiles would not see them
        flat = low == high
        low, high = np.where(flat, pixels.min(axis=1), low), np.where(flat, pixels.max(axis=1), high)
        with np.errstate(over="ignore"):
            if not np.isfinite(high - low).all():
                raise ImageError(f"the image has intensities from {low.min():.3g} to {high.max():.3g}; scale them down")
        repeat = image.channels if self.joint else 1
        return Statistics(tuple(map(float, low)) * repeat, tuple(map(float, high)) * repeat, only)

    def _only_colour(self, pixels: np.ndarray) -> int | None:
        """The channel that shows all there is, if all that show something show the same; ``pixels`` : (C, N)."""
        some = pixels[:, :: max(1, pixels.shape[1] // ENOUGH)].astype(np.float64)
        low, high = np.percentile(some, [self.low, self.high], axis=1)
        span = high - low
        widest = int(span.argmax())
        shown = np.flatnonzero(span > FAINT * span[widest])
        alike = all(np.corrcoef(some[widest], some[other])[0, 1] > ALIKE for other in shown if other != widest)
        return widest if len(span) > 1 and len(shown) and alike else None

    def apply(self, array: np.ndarray, statistics: Statistics) -> np.ndarray:
        """Normalise ``array`` (C, ...) of any real dtype to float32 (C, ...). A constant image becomes all 0.

        Raises
        ------
        ImageError
            If pixels are NaN or infinite.
        """
        check_finite(array)
        if statistics.only is not None:
            array = np.broadcast_to(array[statistics.only], array.shape)
        shape = (-1,) + (1,) * (array.ndim - 1)
        low = np.asarray(statistics.low, np.float64).reshape(shape)
        span = np.asarray(statistics.high, np.float64).reshape(shape) - low
        factor = np.where(span > 0, 1 / np.where(span > 0, span, 1), 0)
        # subtracting in float64 keeps the differences of large uint32/uint64 and float64 intensities
        exact = np.float64 if array.dtype.itemsize > 2 else np.float32
        out = (array.astype(exact) - low.astype(exact)) * factor.astype(exact)
        return np.clip(out, self.clip_low, self.clip_high, out=out).astype(np.float32, copy=False)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return asdict(self)


def check_finite(array: np.ndarray) -> None:
    """Raise ImageError if ``array`` has NaN or infinite pixels."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise ImageError(
            f"the image has NaN or infinite pixels ({bad} of the {array.size} looked at); "
            "replace them by a number, for instance with numpy.nan_to_num"
        )
