"""The sliders that decide how a model of classes parts objects."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from segloop._napari.fields import SPACING, Field, TextLabel, button, column, heading
from segloop._napari.panels.candidates import STEPS, share_slider


class PartThresholdPanel(QWidget):
    """Foreground, seeds and smallest size of objects that were parted; hidden where there are none."""

    moved = Signal(float, float, int)
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.foreground, self._foreground_text = share_slider()
        self.seeds, self._seeds_text = share_slider()
        self.min_area, self._area_text = share_slider()
        self.count = TextLabel()
        self.reset = button("Reset", "Show what the run showed. What you edited, added, confirmed or reviewed stays.")
        self._start = (0.5, 0.75, 0)
        layout = column(self, margin=0)
        layout.addWidget(heading("What is shown"))
        kept = "Acts at once, without a new run. What you edited, added, confirmed or reviewed never changes."
        for name, slider, text, help in (
            (
                "Foreground",
                self.foreground,
                self._foreground_text,
                "Pixels the model is less sure of than this are background:\n"
                "to the left objects grow, to the right they shrink.",
            ),
            (
                "Parting",
                self.seeds,
                self._seeds_text,
                "How sure the model must be of the cores that objects grow from:\n"
                "to the left objects that touch run together, to the right they are parted.",
            ),
            ("Smallest area", self.min_area, self._area_text, "Objects with fewer pixels than this are hidden."),
        ):
            layout.addWidget(Field(name, slider, f"{help}\n{kept}", text))
            slider.valueChanged.connect(self._on_moved)
        foot = QHBoxLayout()
        foot.setSpacing(SPACING)
        foot.addWidget(self.count, 1)
        foot.addWidget(self.reset, 0)
        layout.addLayout(foot)
        self.reset.clicked.connect(self._on_reset)
        self.hide()

    def show_thresholds(
        self,
        now: tuple[float, float, int],
        start: tuple[float, float, int],
        ranges: tuple[tuple[float, float], tuple[float, float]],
        largest: int,
    ) -> None:
        """Show where the thresholds are, and where they were after the run. Nothing is emitted.

        Parameters
        ----------
        now, start : (float, float, int)
            Foreground, seeds, smallest area.
        ranges : pair of (float, float)
            Of foreground and seeds.
        largest : int
            The largest area worth choosing.
        """
        self._start = start
        (low, high), (least, most) = ranges
        for slider, value, first, last in (
            (self.foreground, round(now[0] * STEPS), round(low * STEPS), round(high * STEPS)),
            (self.seeds, round(now[1] * STEPS), round(least * STEPS), round(most * STEPS)),
            (self.min_area, now[2], 0, max(largest, now[2], start[2], 1)),
        ):
            blocked = slider.blockSignals(True)
            slider.setRange(first, last)
            slider.setPageStep(max(1, (last - first) // 10))
            slider.setValue(value)
            slider.blockSignals(blocked)
        self._show_values()

    def show_count(self, text: str) -> None:
        """Say how many objects are shown."""
        self.count.show_text(text)

    def values(self) -> tuple[float, float, int]:
        """Foreground, seeds and smallest area; those of the run exactly where a slider stands at them."""
        shares = (
            start if round(start * STEPS) == slider.value() else slider.value() / STEPS
            for start, slider in zip(self._start, (self.foreground, self.seeds))
        )
        return (*shares, self.min_area.value())  # type: ignore[return-value]

    def _on_moved(self, _: int) -> None:
        self._show_values()
        self.moved.emit(*self.values())

    def _on_reset(self) -> None:
        self.reset_requested.emit()

    def _show_values(self) -> None:
        foreground, seeds, area = self.values()
        self._foreground_text.setText(f"{foreground:.2f}")
        self._seeds_text.setText(f"{seeds:.2f}")
        self._area_text.setText(f"{area} px")
