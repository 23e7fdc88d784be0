from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields

import pytest

from segloop.errors import SegloopError, SettingsError
from segloop.settings import AUTO, Auto, check_ranges, setting, settings_to_json


@dataclass(frozen=True)
class Example:
    epochs: int = setting(10, label="Epochs", help="How often all images are seen.", least=1, most=1000)
    minutes: float = setting(math.inf, label="Minutes", help="When to stop.", least=0)
    score: float | Auto = setting(AUTO, label="Score", help="Least score.", least=0, most=1)
    shuffle: bool = setting(True, label="Shuffle", help="In another order each time.", least=2, most=3)

    def __post_init__(self) -> None:
        check_ranges(self)


def test_a_setting_knows_its_label_help_and_range() -> None:
    field = fields(Example)[0]
    assert field.default == 10
    assert dict(field.metadata) == {
        "label": "Epochs",
        "help": "How often all images are seen.",
        "min": 1,
        "max": 1000,
    }


def test_ranges_are_inclusive_and_auto_is_always_in_range() -> None:
    assert Example(epochs=1, score=1.0).score == 1
    assert Example(epochs=1000, score=0).score == 0
    assert Example().score is AUTO


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "Epochs is 0; expected 1 to 1000"),
        ({"score": 1.01}, r"Score is 1\.01; expected 0 to 1"),
        ({"minutes": -1}, "Minutes is -1; expected 0 to inf"),
        ({"minutes": math.nan}, "Minutes is nan; expected 0 to inf"),
    ],
)
def test_out_of_range_says_the_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        Example(**values)
    assert isinstance(caught.value, SegloopError) and isinstance(caught.value, ValueError)


def test_json_has_plain_values_only() -> None:
    plain = settings_to_json(Example())
    assert plain == {"epochs": 10, "minutes": None, "score": "auto", "shuffle": True}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
