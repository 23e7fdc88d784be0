"""Names of length units, as the different formats spell them."""

from __future__ import annotations

SHORT = {
    "nanometer": "nm",
    "micrometer": "um",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "pixel": "px",
}
"""From our names (those of OME-Zarr) to symbols in plain ASCII."""

_SPELLINGS = {
    "micron": "micrometer",
    "microns": "micrometer",
    "µm": "micrometer",  # micro sign
    "μm": "micrometer",  # Greek mu
    "\\u00b5m": "micrometer",  # as ImageJ escapes it
    "micrometre": "micrometer",
    "nanometre": "nanometer",
    "millimetre": "millimeter",
    "centimetre": "centimeter",
    "metre": "meter",
    "pixels": "pixel",
} | {short: name for name, short in SHORT.items()}


def full_name(unit: str) -> str:
    """Return our name of a unit, such as "micrometer" for "um" or "µm"; "" for pixels and no unit."""
    unit = unit.strip()
    name = _SPELLINGS.get(unit.lower(), unit)
    return "" if name == "pixel" else name


def short_name(unit: str) -> str:
    """Return the symbol of a unit in plain ASCII, such as "um"."""
    return SHORT.get(unit, unit)
