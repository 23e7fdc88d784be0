"""Pictures of held-out regions in a file: groups of them, such as before and after training."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segloop.errors import FileError
from segloop.events import FoundRegion

Groups = Mapping[str, Sequence[FoundRegion]]
_FIELDS = ("image", "reference", "found", "scored")


def pack_pictures(groups: Groups) -> bytes:
    """Return an npz file of groups of regions, compressed."""
    arrays = {
        f"{group}-{number}-{field}": getattr(region, field)
        for group, regions in groups.items()
        for number, region in enumerate(regions)
        for field in _FIELDS
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def read_pictures(path: Path) -> dict[str, tuple[FoundRegion, ...]]:
    """Read what :func:`pack_pictures` made; a group that has no regions is left out. Nothing in the file can run code.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            places = sorted({tuple(name.rsplit("-", 2)[:2]) for name in arrays.files}, key=lambda p: (p[0], int(p[1])))
            found: dict[str, list[FoundRegion]] = {}
            for group, number in places:
                planes = [arrays[f"{group}-{number}-{field}"] for field in _FIELDS]
                if any(plane.ndim != 2 or plane.shape != planes[0].shape for plane in planes):
                    raise ValueError(f"planes of shapes {[plane.shape for plane in planes]}")
                found.setdefault(group, []).append(FoundRegion(*planes))
    except Exception as error:
        # zipfile and zlib have a different error for almost every byte
        raise FileError(f"the pictures in {path} cannot be read ({error})") from error
    return {group: tuple(regions) for group, regions in found.items()}
