"""What a reader found in a file, before anyone decides what its axes are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Source:
    """Content of an image or label file.

    Parameters
    ----------
    data : array
        NumPy array, memory map or zarr array.
    axes : str
        One letter per dimension if the file says them, else "".
    pixel_size : mapping of letter to float
        Only axes for which the file says a size.
    unit : str
        Unit along Z, Y and X; "" when not calibrated.
    classes : tuple of str
        Names of the label values, for label files that carry them.
    rgb : bool
        Whether the last axis is known to hold the samples of a colour.
    guess : str
        What the axes probably are, where the file says some of them only; else "".
    """

    data: Any
    axes: str = ""
    pixel_size: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""
    classes: tuple[str, ...] = ()
    rgb: bool = False
    guess: str = ""


@dataclass(frozen=True)
class Header:
    """What an image file says of its pixels, without them.

    Parameters
    ----------
    axes : str
        One letter per dimension if the file says them, else "".
    shape : tuple of int
        Of the finest level of the first image; axes of length 1 may be left out.
    extent : tuple of int
        Pixels along Y and X; 0 for an axis that is not known.
    pixel_size : mapping of letter to float
        Only axes for which the file says a size.
    unit : str
        Unit along Z, Y and X; "" when not calibrated.
    """

    axes: str
    shape: tuple[int, ...]
    extent: tuple[int, int]
    pixel_size: Mapping[str, float]
    unit: str
