"""The bundled weights: what each says of itself, and that it does its job on a sample that none has learned."""

from __future__ import annotations

import numpy as np
import pytest

import segloop
from segloop.metrics import instance_scores
from segloop.samples import load_reference, load_sample
from segloop.store import BUNDLED

NAMES = sorted(folder.name for folder in BUNDLED.iterdir() if folder.is_dir())


def test_there_are_three() -> None:
    assert NAMES == ["nuclei-maskrcnn", "nuclei-unet", "objects-maskrcnn"]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_small_and_say_where_they_come_from(name: str) -> None:
    folder, spec = BUNDLED / name, segloop.load_model(name).spec
    assert (folder / "weights.safetensors").stat().st_size <= 15e6
    assert (spec.name, spec.version, spec.ndim, spec.channels) == (name, 1, 2, 3)
    card = (folder / "README.md").read_text()
    assert card.startswith(f"# {name}") and spec.description in card and spec.license in card
    assert str(spec.training["script"]) in card and "Known failures" in card
    # the MIT licence wants its notice to go along
    assert spec.license == "CC0-1.0" or any(folder.glob("LICENSE*"))


@pytest.mark.parametrize("name, least", [("nuclei-maskrcnn", 0.85), ("nuclei-unet", 0.8), ("objects-maskrcnn", 0.8)])
def test_nuclei_are_found(name: str, least: float) -> None:
    reference = load_reference("fluorescence").data
    settings = segloop.SegmentSettings(instances=name.endswith("unet"))
    found = segloop.segment(segloop.load_model(name), load_sample("fluorescence"), settings).labels
    assert instance_scores(reference, np.asarray(found.data)).ap(0.5) > least
