"""The shelf: descriptions that were computed, as many as fit, the longest unused put away first."""

from __future__ import annotations

from collections import OrderedDict

from segloop.scribbling.description import Description

Key = tuple[int, int]
"""Plane and number of the tile."""


class Shelf:
    """Keeps descriptions up to a number of bytes.

    Parameters
    ----------
    limit : int
        Bytes. The description put in last is kept in any case.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[Key, Description] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(one.nbytes for one in self._kept.values())

    def get(self, key: Key) -> Description | None:
        """Return what is kept; it counts as used now."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: Key, description: Description) -> None:
        """Keep a description, and put away others until all fits."""
        self._kept[key] = description
        self._kept.move_to_end(key)
        held = self.nbytes
        while held > self.limit and len(self._kept) > 1:
            held -= self._kept.popitem(last=False)[1].nbytes
