"""What goes to stdout: lines to read, or one JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer


def print_json(document: Any) -> None:
    """Print one JSON document; numbers that are not finite become null, since JSON has none."""
    typer.echo(json.dumps(_finite(document), indent=2, allow_nan=False, default=str))


def print_line(text: str = "") -> None:
    """Print a line."""
    typer.echo(text)


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun: "1 epoch", "2 epochs"; ``many`` is the plural if it is not made with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, columns aligned to the left."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
