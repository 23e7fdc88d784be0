"""File ▸ Open Sample ▸ SegLoop."""

from __future__ import annotations

from typing import Any

from segloop.samples import find_sample, load_sample

LayerData = tuple[Any, dict[str, Any], str]


def _open(name: str) -> list[LayerData]:
    image, sample = load_sample(name), find_sample(name)
    axes = image.label_axes
    keywords = {
        "name": sample.name,
        "rgb": image.channel_axis == "S",
        "axis_labels": tuple(axes.lower()),
        "metadata": {"description": sample.description, "source": sample.source},
    }
    return [(image.data, keywords, "image")]


def fluorescence() -> list[LayerData]:
    """Nuclei, fluorescence."""
    return _open("fluorescence")


def large_nuclei() -> list[LayerData]:
    """Large nuclei, fluorescence."""
    return _open("large-nuclei")


def histology() -> list[LayerData]:
    """Nuclei in stained tissue, RGB."""
    return _open("histology")


def chloroplasts() -> list[LayerData]:
    """Chloroplasts in a z-stack of electron micrographs."""
    return _open("chloroplasts")
