"""Sliders that decide at once what is shown of what a model found: what the panels of all kinds have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

from segloop._napari.fields import SPACING, Field, TextLabel, button, column, heading

STEPS = 100
"""Of the sliders for shares."""


@dataclass(frozen=True)
class Threshold:
    """One of the thresholds of a panel.

    Parameters
    ----------
    name, help : str
    is_share : bool
        In [0, 1]; a number of pixels otherwise.
    """

    name: str
    help: str
    is_share: bool = True


@dataclass(frozen=True)
class Place:
    """Where a threshold is, where it was after the run, and between what it can be moved."""

    now: float
    start: float
    low: float
    high: float


class SliderPanel(QWidget):
    """A slider for each threshold, what they leave, and a button that puts them back; hidden until there are any.

    Parameters
    ----------
    thresholds : sequence of Threshold
    yours : str
        What a person did that no slider changes: "edited or reviewed".
    """

    reset_requested = Signal()

    def __init__(self, thresholds: Sequence[Threshold], yours: str) -> None:
        super().__init__()
        self._thresholds = tuple(thresholds)
        self._starts = [0.0] * len(self._thresholds)
        self.sliders = [QSlider(Qt.Orientation.Horizontal) for _ in thresholds]
        self._texts = [QLabel() for _ in thresholds]
        self.count = TextLabel()
        self.reset = button("Reset", f"Show what the run showed. What you {yours} stays.")
        layout = column(self, margin=0)
        self.heading = heading("What is shown")
        layout.addWidget(self.heading)
        for threshold, slider, text in zip(thresholds, self.sliders, self._texts):
            text.setFixedWidth(52)
            text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            help = f"{threshold.help}\nActs at once, without a new run. What you {yours} never changes."
            layout.addWidget(Field(threshold.name, slider, help, text))
            slider.valueChanged.connect(self._on_moved)
        foot = QHBoxLayout()
        foot.setSpacing(SPACING)
        foot.addWidget(self.count, 1)
        foot.addWidget(self.reset, 0)
        layout.addLayout(foot)
        self.reset.clicked.connect(lambda _: self.reset_requested.emit())
        self.hide()

    def emit_moved(self) -> None:
        """Say that a slider was moved."""
        raise NotImplementedError

    def show_layer(self, name: str) -> None:
        """Say whose sliders these are."""
        self.heading.show_text(f"What is shown of “{name}”")

    def show_count(self, text: str) -> None:
        """Say how much is shown."""
        self.count.show_text(text)

    def show_places(self, places: Sequence[Place]) -> None:
        """Show where the thresholds are. Nothing is emitted."""
        self._starts = [place.start for place in places]
        for threshold, slider, place in zip(self._thresholds, self.sliders, places):
            steps = STEPS if threshold.is_share else 1
            now, low, high = (round(value * steps) for value in (place.now, place.low, place.high))
            with QSignalBlocker(slider):
                slider.setRange(min(low, now), high)
                slider.setPageStep(max(1, (high - low) // 10))
                slider.setValue(now)
        self._show_values()

    def values(self) -> tuple[float, ...]:
        """The thresholds; those of the run exactly where a slider stands at them."""
        values: list[float] = []
        for threshold, slider, start in zip(self._thresholds, self.sliders, self._starts):
            steps = STEPS if threshold.is_share else 1
            values.append(start if round(start * steps) == slider.value() else slider.value() / steps)
        return tuple(values)

    def _on_moved(self, _: int) -> None:
        self._show_values()
        self.emit_moved()

    def _show_values(self) -> None:
        for threshold, text, value in zip(self._thresholds, self._texts, self.values()):
            text.setText(f"{value:.2f}" if threshold.is_share else f"{value:.0f} px")
