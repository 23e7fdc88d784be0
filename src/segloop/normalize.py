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


FAINT, RARE = 0.1, 0.3
"""Channels that differ from a shade of the widest one by at most the first part of its range, and nowhere by more than
the second, are of one colour: JPEG blurs colours at edges."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """Percentile normalisation: intensity ``low`` % becomes 0, ``high`` % becomes 1, then clipped.

    Where both percentiles are one intensity, least and largest intensity take their place.

    Parameters
    ----------
    low, high : float
        Percentiles in [0, 100].
    joint : bool
        Take one pair of percentiles over all channels, which keeps the colours of an RGB image.
    clip_low, clip_high : float
        Normalised values are clipped to this range, so that a hot pixel cannot drown its neighbours.
    one_colour : bool
        With ``joint``, an RGB image of one colour, such as blue nuclei on black, is a grey one: its channel takes the
        place of all. Not for models that tell classes by colour, which such an image would lose.
    """

    low: float = 1.0
    high: float = 99.8
    joint: bool = False
    clip_low: float = -0.5
    clip_high: float = 2.0
    one_colour: bool = False

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
        only = _only_colour(pixels) if self.joint and self.one_colour and image.channel_axis == "S" else None
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


def _only_colour(pixels: np.ndarray) -> int | None:
    """The channel of which all others are shades, everywhere: a few bright pixels may be what an image is about.

    Parameters
    ----------
    pixels : (C, N)
    """
    exact = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    low = pixels.min(axis=1).astype(exact)
    spans = pixels.max(axis=1).astype(exact) - low
    widest = int(spans.argmax())
    if len(spans) < 2 or not 0 < spans[widest] < np.inf:
        return None
    shape = (pixels[widest].astype(exact) - low[widest]) / spans[widest]
    centred = shape - shape.mean()
    for channel in range(len(pixels)):
        own = (pixels[channel].astype(exact) - low[channel]) / spans[widest]
        rest = own - shape * (np.dot(own, centred) / np.dot(centred, centred))
        if np.ptp(rest) > RARE or np.ptp(np.percentile(rest, [1, 99])) > FAINT:
            return None
    return widest
