"""Held-out scores: what was found in the held-out regions, as a number with its uncertainty, and as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from segloop.image import Image
from segloop.metrics import ClassScores, InstanceScores

DRAWS = 300
"""Bootstrap samples."""

Score = InstanceScores | ClassScores


@dataclass(frozen=True)
class HeldOutScores:
    """The scores of one model in each held-out region.

    Parameters
    ----------
    regions : tuple of InstanceScores, or of ClassScores
    """

    regions: tuple[Score, ...]

    @property
    def value(self) -> float:
        """All regions pooled: mean AP over IoU 0.5 to 0.95, or mean Dice; in [0, 1], NaN without regions."""
        return _pooled(self.regions) if self.regions else math.nan

    @property
    def error(self) -> float:
        """Standard error of ``value``: bootstrap over regions (Efron 1979), NaN if it cannot be known.

        Regions of objects are at least as uncertain as a share of so many objects is; this is what holds when there
        are too few regions to draw from. Regions of classes are not scored by independent things: two are needed.
        """
        drawn = float(np.std([_pooled(sample) for sample in self._samples()])) if len(self.regions) > 1 else math.nan
        return _at_least(drawn, self._share_error(self.value))

    def gain_error(self, before: HeldOutScores) -> float:
        """Standard error of ``value - before.value`` for two models in the same regions: bootstrap of pairs.

        What both find alike does not count, so this may be smaller than the errors of the two. But objects that one of
        them finds and the other does not make up the gain, and it is at least as uncertain as a share of so many: where
        one of the two finds nothing, this is the error of the other. NaN if there are fewer than two regions.
        """
        if len(self.regions) != len(before.regions):
            raise ValueError(f"{len(before.regions)} regions before and {len(self.regions)} after cannot be paired")
        if len(self.regions) < 2:
            return math.nan
        pairs = zip(self._samples(), before._samples())
        drawn = float(np.std([_pooled(after) - _pooled(earlier) for after, earlier in pairs]))
        # the least variance of a paired difference (McNemar 1947): no more objects told apart than make up the gain
        better = max(self, before, key=lambda scores: scores.value)
        return _at_least(drawn, better._share_error(abs(self.value - before.value)))

    def _samples(self) -> list[list[Score]]:
        rng = np.random.default_rng(0)
        n = len(self.regions)
        return [[self.regions[i] for i in rng.integers(n, size=n)] for _ in range(DRAWS)]

    def _share_error(self, value: float) -> float:
        objects = [region for region in self.regions if isinstance(region, InstanceScores)]
        if not objects:
            return math.nan
        pooled = reduce(add, objects)
        count = pooled.tp[0] + pooled.fp[0] + pooled.fn[0]
        # one more success and failure, so that few objects that are all right are no certainty (Agresti & Coull 1998)
        share = (value * count + 1) / (count + 2)
        return math.sqrt(share * (1 - share) / (count + 2))


def _pooled(regions: Sequence[Score]) -> float:
    total = reduce(add, regions)
    return float(total.mean_ap if isinstance(total, InstanceScores) else total.mean_dice)


def _at_least(value: float, least: float) -> float:
    known = [number for number in (value, least) if not math.isnan(number)]
    return max(known) if known else math.nan


def grey_plane(image: Image) -> np.ndarray:
    """Return an image's middle plane as uint8 (Y, X): its channels' mean, from the 1st to the 99.8th percentile."""
    letters = "CYX" if "Z" not in image.axes else "CZYX"
    pixels = np.asarray(image.data, np.float32)
    if len(letters) == 4:
        pixels = pixels[:, pixels.shape[1] // 2]
    plane = pixels.mean(axis=0)
    low, high = np.percentile(plane, (1, 99.8))
    return (255 * np.clip((plane - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)


def middle_plane(labels: np.ndarray) -> np.ndarray:
    """Return the middle plane of labels ([Z], Y, X)."""
    return labels if labels.ndim == 2 else labels[labels.shape[0] // 2]
