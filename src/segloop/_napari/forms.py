"""Forms made from settings dataclasses: one row per field, from its label, help and range."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from enum import Enum
from typing import Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractSpinBox, QCheckBox, QComboBox, QDoubleSpinBox, QSpinBox, QWidget

from segloop._napari.fields import Field, column
from segloop.errors import SettingsError
from segloop.settings import AUTO, Auto

LARGEST_INT = 2**31 - 1


class SettingsForm(QWidget):
    """A form for a frozen settings dataclass.

    Parameters
    ----------
    kind : type
        The dataclass; each field has ``metadata`` with label, help, min and max.
    leave_out : tuple of str
        Fields that are shown elsewhere.
    """

    changed = Signal()

    def __init__(self, kind: type, leave_out: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._kind = kind
        self.fields: dict[str, Field] = {}
        layout = column(self, margin=0)
        hints = typing.get_type_hints(kind)
        for definition in dataclasses.fields(kind):
            if definition.name in leave_out:
                continue
            meta = definition.metadata
            editor = _editor(hints[definition.name], definition.default, meta["min"], meta["max"])
            if isinstance(editor, QCheckBox):
                editor.setText(meta["label"])
            # a check box says its label itself
            field = Field("" if isinstance(editor, QCheckBox) else meta["label"], editor, meta["help"])
            self.fields[definition.name] = field
            layout.addWidget(field)
            _changed_signal(editor).connect(self._on_changed)

    def value(self, **others: Any) -> Any:
        """Return the settings, with the fields that are shown elsewhere from ``others``.

        Raises
        ------
        SettingsError
            If they do not fit together.
        """
        return self._kind(**{name: _read(field.editor) for name, field in self.fields.items()}, **others)

    def show_value(self, settings: Any) -> None:
        """Show other settings."""
        for name, field in self.fields.items():
            _write(field.editor, getattr(settings, name))

    def _on_changed(self, *_: object) -> None:
        for field in self.fields.values():
            field.show_reason("")
        try:
            self.value(**{f.name: f.default for f in dataclasses.fields(self._kind) if f.name not in self.fields})
        except SettingsError as error:
            self.blame(str(error))
        self.changed.emit()

    def show_automatic(self, name: str, value: str) -> None:
        """Say of a field that can be chosen automatically what that is now; "" says nothing of it."""
        editor = self.fields[name].editor
        if isinstance(editor, (_AutoInt, _AutoFloat)) and editor.auto:
            editor.setSpecialValueText(f"Automatic ({value})" if value else "Automatic")

    def blame(self, reason: str) -> None:
        """Mark the field that an error is about; the error names the setting by its label."""
        labels = {f.name: f.metadata["label"] for f in dataclasses.fields(self._kind)}
        named = [name for name in self.fields if labels[name].lower() in reason.lower()]
        for name in named or list(self.fields)[:1]:
            self.fields[name].show_reason(reason)

    @property
    def reason(self) -> str:
        """Why the settings cannot be used; "" if they can."""
        return next((field.reason for field in self.fields.values() if field.reason), "")


class _StillMixin:
    """Leaves the wheel to the dock: scrolling must not change a setting in passing."""

    def wheelEvent(self, event: Any) -> None:
        event.ignore()


class _Choice(_StillMixin, QComboBox):
    """One of an enum's members."""


class _AutoInt(_StillMixin, QSpinBox):
    """A whole number, or "Automatic" below its least value."""

    def __init__(self, low: float, high: float, auto: bool) -> None:
        super().__init__()
        self.auto = auto
        least = int(max(low, -LARGEST_INT + 1))
        self.setRange(least - 1 if auto else least, int(min(high, LARGEST_INT)))
        if auto:
            self.setSpecialValueText("Automatic")


class _AutoFloat(_StillMixin, QDoubleSpinBox):
    """A number, "Automatic" below its least value, or "No limit" above its largest finite one."""

    def __init__(self, low: float, high: float, auto: bool, unlimited: bool) -> None:
        super().__init__()
        self.auto, self.unlimited = auto, unlimited
        share = low >= 0 and high <= 1
        self.setDecimals(max(2 if share else 1, math.ceil(-math.log10(low)) if 0 < low < 1 else 0))
        if 0 < low < 1e-3:
            self.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        else:
            self.setSingleStep(0.05 if share else 1.0)
        least = low if math.isfinite(low) else -1e9
        below = 10.0 ** -self.decimals() if least < 1e-3 and least else self.singleStep()
        self.setRange(least - below if auto or unlimited else least, high if math.isfinite(high) else 1e9)
        if auto or unlimited:
            self.setSpecialValueText("Automatic" if auto else "No limit")

    def textFromValue(self, value: float) -> str:
        """Write as many decimals as there are, and no more."""
        return np.format_float_positional(round(value, self.decimals()), trim="-")


def _editor(hint: Any, default: Any, low: float, high: float) -> QWidget:
    kinds = set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}
    auto = Auto in kinds
    kinds -= {Auto}
    kind = kinds.pop()
    editor: QWidget
    if kind is bool:
        editor = QCheckBox()
    elif issubclass(kind, Enum):
        editor = _Choice()
        for member in kind:
            editor.addItem(_member_text(member), member)
    elif kind is int:
        editor = _AutoInt(low, high, auto)
    else:
        editor = _AutoFloat(low, high, auto, default == math.inf)
    if isinstance(editor, QAbstractSpinBox):
        editor.setKeyboardTracking(False)
    _write(editor, default)
    return editor


def _member_text(member: Enum) -> str:
    text = str(member.value)
    return "Automatic" if text == "auto" else text.upper() if len(text) <= 4 else text.capitalize()


def _changed_signal(editor: QWidget) -> Any:
    match editor:
        case QCheckBox():
            return editor.toggled
        case QComboBox():
            return editor.currentIndexChanged
        case _:
            return editor.valueChanged


def _read(editor: QWidget) -> Any:
    match editor:
        case QCheckBox():
            return editor.isChecked()
        case QComboBox():
            return editor.currentData()
        case _AutoInt() | _AutoFloat() if editor.auto and editor.value() == editor.minimum():
            return AUTO
        case _AutoFloat() if editor.unlimited and editor.value() == editor.minimum():
            return math.inf
        case _:
            return editor.value()


def _write(editor: QWidget, value: Any) -> None:
    match editor:
        case QCheckBox():
            editor.setChecked(bool(value))
        case QComboBox():
            editor.setCurrentIndex(editor.findData(value))
        case _ if value is AUTO or value == math.inf:
            editor.setValue(editor.minimum())
        case _:
            editor.setValue(value)
