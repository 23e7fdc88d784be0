"""``segloop models``."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from segloop.cli.printing import print_json, print_line, print_table
from segloop.errors import ModelError
from segloop.store import ModelInfo, home, list_models
from segloop.versions import PICTURES, Version, list_versions

_COLUMN = 44


def list_all(as_json: bool) -> None:
    """Print the bundled and the user's own models."""
    found = list_models()
    if as_json:
        print_json([asdict(info) for info in found])
        return
    rows = [
        (
            info.name,
            _kept(info),
            info.family,
            info.task,
            _shortened(info.classes),
            _score(info),
            info.parent,
        )
        for info in found
    ]
    print_table(("name", "in use", "family", "task", "classes", "score", "made from"), rows)
    print_line()
    for info in found:
        if info.damage:
            print_line(f"{info.name}: {info.damage}")
    print_line(f"your own models are in {home() / 'models'}; segloop models NAME shows the versions of one")


def list_history(name: str, as_json: bool, may_be_gone: bool = False) -> None:
    """Print the versions of a model, the newest first; of one that ``may_be_gone`` there may be none.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    versions = list_versions(name, thorough=True)
    if not versions and not may_be_gone:
        raise ModelError(f"unknown model {name!r}; segloop models lists them")
    if as_json:
        print_json([_document(version) for version in versions])
        return
    rows = [
        (
            f"{version.version}{' (in use)' if version.in_use else ''}",
            "damaged" if version.damage else "" if version.saved is None else f"{version.saved:%Y-%m-%d %H:%M}",
            with_error(version.before, version.number("before_error")),
            with_error(version.after, version.number("after_error")),
            with_error(version.gain, version.number("gain_error"), signed=True),
            str(version.regions or ""),
            str(version.objects or ""),
            version.parent,
        )
        for version in versions
    ]
    heads = ("version", "saved (UTC)", "before", "after", "gain", "regions", "objects", "made from")
    print_table(heads, rows)
    print_line()
    if metric := next((version.metric for version in versions if version.metric), ""):
        print_line(f"scores: {metric}, on the regions kept out of that version's training, with standard errors")
    for version in versions:
        if version.damage:
            print_line(f"version {version.version}: {version.damage}")


def with_error(value: float, error: float, signed: bool = False) -> str:
    """Write a score with its standard error; "" if it is not known."""
    if not math.isfinite(value):
        return ""
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    return f"{text} ± {error:.3f}" if math.isfinite(error) else text


def _shortened(classes: tuple[str, ...]) -> str:
    """The classes as far as they fit into a column; --json has all of them."""
    shown = len(classes)
    while shown > 1 and len(", ".join(classes[:shown])) > _COLUMN:
        shown -= 1
    text = ", ".join(classes[:shown])
    text = text if len(text) <= _COLUMN else f"{text[: _COLUMN - 1]}…"
    return text if shown == len(classes) else f"{text} and {len(classes) - shown} more"


def _kept(info: ModelInfo) -> str:
    if info.bundled:
        return "damaged" if info.damage else "bundled"
    more = f" of {info.versions[-1]}" if info.version != info.versions[-1] or len(info.versions) > 1 else ""
    return f"version {info.version}{more}{', damaged' if info.damage else ''}"


def _score(info: ModelInfo) -> str:
    if info.bundled:
        return ""
    version = next(v for v in list_versions(info.name) if v.in_use)
    return with_error(version.after, version.number("after_error"))


def _document(version: Version) -> dict[str, Any]:
    names = ("name", "version", "bundled", "in_use", "damage", "parent", "training")
    pictures = version.path / PICTURES
    return {
        **{name: getattr(version, name) for name in names},
        "saved": None if version.saved is None else version.saved.isoformat(),
        "path": str(version.path),
        "pictures": str(pictures) if pictures.is_file() else None,
    }
