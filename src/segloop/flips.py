"""Flips: the same tile seen four ways, as it is and mirrored, and what the model says of them put together.

A network is not quite indifferent to mirrors, and where its four answers differ it errs in different places: their mean
is better than each, at four times the cost ("test-time augmentation"). Boxes are put together as in weighted boxes
fusion (Solovyev, Wang, Gabruseva 2021, https://doi.org/10.1016/j.imavis.2021.104117).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from segloop.models.protocol import Instances, ScoreMap, Segmenter

VIEWS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""The axes that are mirrored, counted from the end: X is -1, Y is -2. Depth is never mirrored."""

SAME = 0.5
"""Objects of one class from two views whose boxes agree by this IoU are one object."""


def predict_flipped(model: Segmenter, pixels: np.ndarray) -> list[ScoreMap] | list[Instances]:
    """Predict tiles as they are and mirrored.

    Parameters
    ----------
    model : Segmenter
    pixels : float32 (N, C, [Z], Y, X)
        Normalised. Y and X are multiples of the model's divisor, so that its grid lies equally in each view.

    Returns
    -------
    list of ScoreMap or of Instances
        One per tile, in the pixels of the tile as it is.
    """
    maps: list[list[np.ndarray]] = [[] for _ in pixels]
    objects: list[list[Instances]] = [[] for _ in pixels]
    for axes in VIEWS:
        for number, found in enumerate(model.predict(torch.from_numpy(np.ascontiguousarray(np.flip(pixels, axes))))):
            if isinstance(found, Instances):
                objects[number].append(mirrored(found, axes, pixels.shape[-2:]))
            elif isinstance(found, ScoreMap):
                maps[number].append(np.flip(found.scores, axes))
    if objects and objects[0]:
        return [fuse(views) for views in objects]
    return [ScoreMap(np.asarray(np.mean(views, axis=0, dtype=np.float32))) for views in maps]


def mirrored(found: Instances, axes: tuple[int, ...], size: tuple[int, int]) -> Instances:
    """Mirror instances of a tile of ``size`` (Y, X) along -1 (X), -2 (Y) or both."""
    boxes = found.boxes.copy()
    if -1 in axes:
        boxes[:, [0, 2]] = size[1] - boxes[:, [2, 0]]
    if -2 in axes:
        boxes[:, [1, 3]] = size[0] - boxes[:, [3, 1]]
    return Instances(boxes, found.scores, found.classes, np.ascontiguousarray(np.flip(found.masks, axes)))


def fuse(views: Sequence[Instances]) -> Instances:
    """Put together what several views of one tile hold, all in the same pixels.

    From the best object on, each takes to itself of every other view the object of its class that agrees with it most,
    by at least :data:`SAME`, and is not taken yet. Box and mask are the means of those, weighted by their scores. The
    score is the sum of theirs over the number of views: what only one view shows counts little.

    Parameters
    ----------
    views : sequence of Instances, at least one
        Masks of one size.

    Returns
    -------
    Instances
        Best first; scores are in [0, 1].
    """
    boxes, scores, classes = (
        np.concatenate([getattr(view, name) for view in views]) for name in ("boxes", "scores", "classes")
    )
    masks = np.concatenate([view.masks for view in views])
    source = np.repeat(np.arange(len(views)), [len(view) for view in views])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    free = np.ones(len(boxes), bool)
    out: list[tuple[float, np.ndarray, int, np.ndarray]] = []
    for best in np.argsort(-scores, kind="stable"):
        if not free[best]:
            continue
        free[best] = False
        meets = free & (source != source[best]) & (classes == classes[best])
        meets &= (boxes[:, :2] < boxes[best, 2:]).all(axis=1) & (boxes[:, 2:] > boxes[best, :2]).all(axis=1)
        near = np.flatnonzero(meets)
        sides = np.minimum(boxes[near, 2:], boxes[best, 2:]) - np.maximum(boxes[near, :2], boxes[best, :2])
        shared = sides.prod(axis=1)
        iou = shared / np.maximum(area[near] + area[best] - shared, 1e-6)
        # the one that agrees most comes first, and so is the first of its view
        order = np.argsort(-iou, kind="stable")
        order = order[iou[order] >= SAME]
        _, firsts = np.unique(source[near[order]], return_index=True)
        members = np.concatenate([[best], near[order[np.sort(firsts)]]])
        free[members] = False
        total = scores[members].sum()
        weights = scores[members] / total if total > 0 else np.full(len(members), 1 / len(members), scores.dtype)
        out.append(
            (
                float(total) / len(views),
                np.tensordot(weights, boxes[members], 1),
                classes[best],
                np.tensordot(weights, masks[members], 1),
            )
        )
    if not out:
        return views[0]
    out.sort(key=lambda item: -item[0])
    return Instances(
        np.array([box for _, box, _, _ in out], np.float32),
        np.array([score for score, _, _, _ in out], np.float32),
        np.array([number for _, _, number, _ in out], np.int64),
        np.array([mask for _, _, _, mask in out], np.float32),
    )
