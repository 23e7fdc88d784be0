"""Shortage: what is done when a tile does not fit in memory, on this machine or on a worker of a cluster."""

from __future__ import annotations

from collections import deque

from segloop.errors import SegmentError, SettingsError
from segloop.memory import CPU
from segloop.models.device import Precision
from segloop.models.protocol import Segmenter
from segloop.planning import Plan
from segloop.tiling import Tile


def make_smaller(model: Segmenter, plan: Plan, waiting: deque[tuple[int, Tile]], precision: Precision) -> str:
    """Cut all waiting tiles of the first one's size into smaller ones, or go on on the CPU; says what was done.

    Parameters
    ----------
    model : Segmenter
        Taken to the CPU where tiles cannot be made smaller.
    plan : Plan
    waiting : deque of (int, Tile)
        Plane and tile; changed in place, and never empty.
    precision : Precision
        What was asked for, for the CPU.

    Raises
    ------
    SegmentError
        If tiles cannot be made smaller, and the model is on the CPU already.
    """
    largest = longest_side(waiting[0][1])
    try:
        quarters = [
            (plane, part)
            for plane, tile in waiting
            for part in (plan.quarters(tile) if longest_side(tile) == largest else [tile])
        ]
    except SettingsError as error:
        if model.device.type != "cpu":
            name = model.device.type
            model.to(CPU, on_the_cpu(precision).resolve(CPU))
            return f"there is not enough memory on {name}; went on on the CPU"
        raise SegmentError(
            f"there is not enough memory even for tiles of {largest} × {largest} pixels; close other programs"
        ) from error
    waiting.clear()
    waiting.extend(quarters)
    return f"not enough memory for tiles of {largest} pixels; went on with {longest_side(quarters[0][1])}"


def longest_side(tile: Tile) -> int:
    """The larger of a tile's height and width, in network pixels."""
    return max(tile.shape[-2:])


def on_the_cpu(precision: Precision) -> Precision:
    """The precision for the CPU of a run that began elsewhere: float32 if it was asked for, else what the CPU has."""
    return Precision.FLOAT32 if precision is Precision.FLOAT32 else Precision.AUTO
