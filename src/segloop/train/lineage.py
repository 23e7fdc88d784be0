"""Lineage: the regions that a model, or one that it descends from, has learned. To score it there would flatter it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

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
    """Whether a model has learned a region, or a part of it that counts."""
    size = 1
    for side in region.box:
        size *= side.stop - side.start
    return any(_overlap(region, box) > SHARE * size for box in learned.get(_place(region), ()))


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


def _overlap(region: Region, box: Sequence[int]) -> int:
    pixels = 1
    for side, start, stop in zip(region.box, box[::2], box[1::2]):
        pixels *= max(0, min(side.stop, stop) - max(side.start, start))
    return pixels if len(box) == 2 * len(region.box) else 0
