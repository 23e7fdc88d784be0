"""Settings: one definition per setting, from which form, command line, JSON and provenance follow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from segloop.errors import RangeError


class Auto(Enum):
    """The value of a setting that the program chooses itself."""

    AUTO = "auto"


AUTO = Auto.AUTO


def setting(default: Any, *, label: str, help: str, least: float = -math.inf, most: float = math.inf) -> Any:
    """Define a field of a settings dataclass: its default, its label and help text, its range (inclusive)."""
    return dataclasses.field(default=default, metadata={"label": label, "help": help, "min": least, "max": most})


def check_ranges(settings: Any) -> None:
    """Raise RangeError if a number of a settings dataclass is outside the range of its field."""
    for field in dataclasses.fields(settings):
        value, low, high = getattr(settings, field.name), field.metadata["min"], field.metadata["max"]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not low <= value <= high:
            raise RangeError(field.name, field.metadata["label"], f"is {value:.9g}; expected {low:g} to {high:g}")


def settings_to_json(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain JSON values; enums become their values, infinity becomes null."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    return {name: None if value == math.inf else value for name, value in plain.items()}


def settings_from_json(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Undo :func:`settings_to_json` for a settings dataclass; what is not named keeps its default.

    Raises
    ------
    ValueError, TypeError, SettingsError
        If a value is not of its setting's kind, or outside its range.
    """
    given: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name not in values:
            continue
        value = values[field.name]
        if value is None:
            value = math.inf
        elif field.default is AUTO:
            value = AUTO if value == AUTO.value else value
        elif isinstance(field.default, Enum):
            value = type(field.default)(value)
        given[field.name] = value
    return kind(**given)
