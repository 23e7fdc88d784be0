"""What a Mask R-CNN is to find in a training example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from segloop.labels import consecutive
from segloop.models.protocol import Example

SMALLEST_AREA = 9
"""Remains of objects with fewer pixels than this, at the border of a crop, are neither objects nor background."""


@dataclass(frozen=True)
class DetectionExample(Example):
    """An example whose target is worked out: see :func:`detection_target`."""

    target: Mapping[str, Tensor] = field(default_factory=dict)


def detection_target(example: Example) -> dict[str, Tensor]:
    """Turn a labelled crop into what Mask R-CNN trains on.

    Returns
    -------
    dict
        ``boxes`` float32 (N, 4) and ``labels`` int64 (N,) of the objects that are whole and reviewed; ``objects`` int32
        (Y, X), 1…N where they are; ``unreviewed`` int32 (Y + 1, X + 1), the summed-area table of all other unreviewed
        pixels and objects; ``somewhere`` float32 (1 or 0, 4), a small reviewed box.
    """
    numbers, places = consecutive(example.labels.numpy())
    reviewed = example.reviewed.numpy().copy()
    objects = np.zeros(places.shape, np.int32)
    boxes, classes = [], []
    for place, (rows, columns) in enumerate(ndimage.find_objects(places), 1):
        mask = places[rows, columns] == place
        if np.count_nonzero(mask) < SMALLEST_AREA or not reviewed[rows, columns][mask].all():
            reviewed[rows, columns] &= ~mask
            continue
        boxes.append([columns.start, rows.start, columns.stop, rows.stop])
        classes.append(example.object_classes.get(int(numbers[place - 1]), 1))
        objects[rows, columns][mask] = len(boxes)
    integral = np.zeros((places.shape[0] + 1, places.shape[1] + 1), np.int32)
    integral[1:, 1:] = (~reviewed).cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
    seen = np.flatnonzero(reviewed)
    somewhere = [divmod(int(at), places.shape[1]) for at in seen[len(seen) // 2 : len(seen) // 2 + 1]]
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(classes, dtype=torch.int64),
        "objects": torch.from_numpy(objects),
        "unreviewed": torch.from_numpy(integral),
        "somewhere": torch.tensor([[x, y, x + 1, y + 1] for y, x in somewhere], dtype=torch.float32).reshape(-1, 4),
    }


def object_masks(objects: Tensor, which: Tensor) -> Tensor:
    """Masks of some objects.

    Parameters
    ----------
    objects : int32 (Y, X) or (M, Y, X)
        1…N where objects are; one for all, or one for each mask.
    which : int64 (M,)
        0…N - 1.

    Returns
    -------
    bool (M, Y, X)
    """
    each = objects if objects.ndim == 3 else objects[None]
    return each == (which + 1)[:, None, None].to(objects.dtype)
