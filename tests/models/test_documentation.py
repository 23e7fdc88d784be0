"""docs/models.md names every number that a model is made of."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.protocol import ModelSpec
from segloop.models.unet import UNetConfig

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [UNetConfig, MaskRCNNConfig, ModelSpec])
def test_every_number_is_in_a_table(kind: type) -> None:
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", PAGE, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert {field.name for field in fields(kind)} <= named
