"""``segloop models``."""

from __future__ import annotations

from dataclasses import asdict

from segloop.cli.printing import print_json, print_line, print_table
from segloop.store import home, list_models


def list_all(as_json: bool) -> None:
    """Print the bundled and the user's own models."""
    found = list_models()
    if as_json:
        print_json([asdict(info) for info in found])
        return
    rows = [
        (
            info.name,
            "bundled"
            if info.bundled
            else f"version {info.version}" + (f" of {len(info.versions)}" if len(info.versions) > 1 else ""),
            info.family,
            info.task,
            ", ".join(info.classes),
            info.parent,
        )
        for info in found
    ]
    print_table(("name", "kept", "family", "task", "classes", "made from"), rows)
    print_line()
    print_line(f"your own models are in {home() / 'models'}")
