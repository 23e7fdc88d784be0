"""Forms: a settings dataclass goes through the form unchanged, and what is wrong is marked."""

from __future__ import annotations

import dataclasses
import math
from enum import Enum

import pytest

from segloop._napari.forms import SettingsForm
from segloop.errors import SettingsError
from segloop.settings import AUTO, Auto, check_ranges, setting


class Kind(Enum):
    AUTO = "auto"
    FAST = "fast"


@dataclasses.dataclass(frozen=True)
class Settings:
    number: int = setting(3, label="Number", help="A number.", least=1, most=10)
    auto_number: int | Auto = setting(AUTO, label="Tile", help="Auto.", least=64, most=8192)
    share: float = setting(0.4, label="Share", help="A share.", least=0, most=1)
    auto_share: float | Auto = setting(AUTO, label="Score", help="Auto.", least=0, most=1)
    rate: float | Auto = setting(AUTO, label="Rate", help="Small.", least=1e-7, most=1)
    minutes: float = setting(math.inf, label="Minutes", help="Open.", least=0.01)
    kind: Kind = setting(Kind.AUTO, label="Kind", help="A kind.")
    flag: bool = setting(False, label="Flag", help="A flag.")

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.number == 7:
            raise SettingsError("number 7 is taken; use another")


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(10, 64, 1.0, 0.0, 0.0003, 2.5, Kind.FAST, True),
        Settings(1, 8192, 0.0, 1.0, 1e-6, math.inf, Kind.AUTO, False),
    ],
)
def test_values_go_through_the_form_unchanged(qtbot, settings):
    form = SettingsForm(Settings)
    qtbot.addWidget(form)
    assert form.value() == Settings()
    form.show_value(settings)
    value = form.value()
    assert dataclasses.replace(value, rate=AUTO) == dataclasses.replace(settings, rate=AUTO)
    assert value.rate is settings.rate or value.rate == pytest.approx(settings.rate)


def test_every_row_is_explained(qtbot):
    form = SettingsForm(Settings, leave_out=("kind",))
    qtbot.addWidget(form)
    assert "kind" not in form.fields
    assert form.value(kind=Kind.FAST).kind is Kind.FAST
    for name, field in form.fields.items():
        assert field.editor.toolTip() == Settings.__dataclass_fields__[name].metadata["help"]
    assert form.fields["auto_number"].editor.text() == "Automatic"
    form.show_automatic("auto_number", "7")
    assert (
        form.fields["auto_number"].editor.text() == "Automatic (7)" and form.value(kind=Kind.FAST).auto_number is AUTO
    )
    form.show_automatic("auto_number", "")
    assert form.fields["auto_number"].editor.text() == "Automatic"
    assert form.fields["minutes"].editor.text() == "No limit"


def test_what_does_not_fit_is_marked_with_the_reason(qtbot):
    form = SettingsForm(Settings)
    qtbot.addWidget(form)
    with qtbot.waitSignal(form.changed):
        form.fields["number"].editor.setValue(7)
    assert form.reason == "number 7 is taken; use another"
    assert form.fields["number"].reason == form.reason
    assert form.fields["number"].editor.property("invalid") == "true"
    form.fields["number"].editor.setValue(6)
    assert form.reason == ""
    assert form.fields["number"].editor.property("invalid") == "false"


@pytest.mark.parametrize("module, name", [("segmentation", "SegmentSettings"), ("train.finetune", "FinetuneSettings")])
def test_the_real_settings_have_forms(qtbot, module, name):
    import importlib

    kind = getattr(importlib.import_module(f"segloop.{module}"), name)
    form = SettingsForm(kind)
    qtbot.addWidget(form)
    assert form.value() == kind()
