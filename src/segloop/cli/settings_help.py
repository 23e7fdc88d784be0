"""Help texts of options that are settings: taken from the setting's one definition when help is asked for.

The definitions stand beside networks and import torch, which takes seconds; ``segloop --help`` must not.
"""

from __future__ import annotations

import dataclasses
import math
from importlib import import_module
from typing import Any

from typer.core import TyperCommand

_MARK = "setting of "


def help_of(settings: str, field: str) -> str:
    """Return a place-holder for the help of a field; ``settings`` is like "segloop.segmentation:SegmentSettings"."""
    return f"{_MARK}{settings}.{field}"


class SettingsCommand(TyperCommand):
    """A command whose place-holders are filled in when its help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page, with the settings' own texts and ranges."""
        for parameter in self.params:
            text = getattr(parameter, "help", None) or ""
            if text.startswith(_MARK):
                parameter.help = _help(text.removeprefix(_MARK))  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _help(place: str) -> str:
    home, _, name = place.rpartition(".")
    module, _, settings = home.partition(":")
    fields = dataclasses.fields(getattr(import_module(module), settings))
    field = next(field for field in fields if field.name == name)
    meta = field.metadata
    low, high, usual = meta["min"], meta["max"], field.default
    if math.isinf(low) and math.isinf(high):
        return str(meta["help"])
    limits = f"at least {low:g}" if math.isinf(high) or high >= 1e6 else f"{low:g} to {high:g}"
    if isinstance(usual, int | float):
        limits += f"; default {usual:g}" if math.isfinite(usual) else "; no limit by default"
    return f"{meta['help']} [{limits}]"
