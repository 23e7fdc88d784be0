"""Lineage: the regions that a model, or one that it descends from, has learned. To score it there would flatter it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from segloop.models.protocol import ModelSpec
from segloop.train.regions import Region

Learned = Mapping[str, Sequence[Sequence[int]]]
"""By image and plane, the boxes that were learned: first and end pixel along each axis, one axis after another."""

NOTHING: Learned = MappingProxyType({})

SHARE = 0.1
"""A region of which more than this share was learned is known already; blocks move a little as reviewed areas grow."""


def learned_by(spec: ModelSpec) -> Learned:
    """What a model's record says that it and its ancestors have learned; nothing of a bundled model."""
    learned: Any = spec.training.get("learned", NOTHING)
    return learned if isinstance(learned, Mapping) else NOTHING


def is_known(region: Region, learned: Learned) -> bool:
    """Whether a model has learned a region, or parts of it that together count."""
    seen = np.zeros([side.stop - side.start for side in region.box], bool)
    for box in learned.get(_place(region), ()):
        if len(box) == 2 * len(region.box):
            sides = zip(region.box, box[::2], box[1::2])
            seen[tuple(slice(max(0, low - side.start), max(0, high - side.start)) for side, low, high in sides)] = True
    return bool(seen.mean() > SHARE)


def with_learned(learned: Learned, regions: Sequence[Region]) -> dict[str, list[list[int]]]:
    """Return the record with regions added, as JSON values."""
    record = {place: [list(box) for box in boxes] for place, boxes in learned.items()}
    for region in regions:
        box = _edges(region)
        own = record.setdefault(_place(region), [])
        if box not in own:
            own.append(box)
    return record


def regions_digest(regions: Sequence[Region]) -> str:
    """Return a sha256 that tells these regions from others, in whatever order they are."""
    return hashlib.sha256(
        json.dumps(sorted([_place(region), _edges(region)] for region in regions)).encode()
    ).hexdigest()


def _edges(region: Region) -> list[int]:
    return [edge for side in region.box for edge in (int(side.start), int(side.stop))]


def _place(region: Region) -> str:
    # the image itself: numbers of entries begin anew in another training set
    plane = "".join(f"/{index}" for index in region.plane)
    return f"{region.entry.hashes['images'][:16]}{plane}"
