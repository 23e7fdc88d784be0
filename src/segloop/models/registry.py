"""Families by name: the entry points "segloop.families", imported when first asked for."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from threading import RLock

from segloop.errors import ModelError
from segloop.models.protocol import Family

GROUP = "segloop.families"

# two threads that import torchvision at once, from different ends, can each wait for the other
_IMPORTING = RLock()


def family_names() -> list[str]:
    """Names of all installed families."""
    return sorted({point.name for point in entry_points(group=GROUP)})


@cache
def get_family(name: str) -> Family:
    """Return the family called ``name``.

    Families are imported one after the other, whichever threads ask for them.

    Raises
    ------
    ModelError
        If no installed package has it, or it cannot be imported.
    """
    points = entry_points(group=GROUP, name=name)
    if not points:
        raise ModelError(f"unknown model family {name!r}; installed are {', '.join(family_names()) or 'none'}")
    try:
        with _IMPORTING:
            family: Family = next(iter(points)).load()
    except Exception as error:
        # what a package says while it is imported is its own matter
        raise ModelError(f"the model family {name!r} cannot be imported: {error}") from error
    return family
