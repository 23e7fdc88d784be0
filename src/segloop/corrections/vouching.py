"""Vouching: what somebody who calls a region right says of the objects that reach out of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

MOST = 0.5
"""An object lies in a region if more than this share of its pixels does."""


def vouched_for(labels: np.ndarray, reviewed: np.ndarray) -> np.ndarray:
    """Return what is reviewed with the objects that lie mostly in it as a whole, and the background around them.

    An object that ends where nothing is known may go on there, and is not learned. Somebody who looked at most of it
    saw where it ends.

    Parameters
    ----------
    labels : int (..., Y, X)
        Of whole objects, not cut off where the region ends; 0 is background. Planes are looked at one by one.
    reviewed : bool (..., Y, X)

    Returns
    -------
    bool (..., Y, X)
        All that ``reviewed`` has, and more.
    """
    grown = np.array(reviewed, bool)
    planes = zip(labels.reshape(-1, *labels.shape[-2:]), grown.reshape(-1, *grown.shape[-2:]))
    for own, mask in planes:
        if not mask.any() or mask.all():
            continue
        codes, numbers = pd.factorize(own.ravel())
        inside = np.bincount(codes[mask.ravel()], minlength=len(numbers))
        mostly = (inside > MOST * np.bincount(codes, minlength=len(numbers))) & (numbers != 0)
        whole = mostly[codes].reshape(own.shape)
        mask |= whole | (ndimage.binary_dilation(whole) & (own == 0))
    return grown
