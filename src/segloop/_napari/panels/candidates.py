"""The sliders that decide which of the objects found are shown, and the tools that add and remove single ones."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

from segloop._napari.fields import SPACING, Field, TextLabel, button, column, heading
from segloop._napari.panels.progress import ProgressRow

STEPS = 100
"""Of the sliders for shares."""


class ThresholdPanel(QWidget):
    """Score, overlap and smallest size of the objects shown; hidden where there are no candidates."""

    moved = Signal(float, float, int)
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.score, self._score_text = share_slider()
        self.overlap, self._overlap_text = share_slider()
        self.min_area, self._area_text = share_slider()
        self.count = TextLabel()
        self.reset = button("Reset", "Show what the run showed. What you edited, added or confirmed stays.")
        self._start = (0.0, 0.0, 0)
        layout = column(self, margin=0)
        layout.addWidget(heading("What is shown"))
        kept = "Objects that you edited, added or confirmed never change."
        for name, slider, text, help in (
            ("Score", self.score, self._score_text, "Objects the model is less sure of than this are hidden."),
            (
                "Overlap",
                self.overlap,
                self._overlap_text,
                "Objects of which a larger share lies under better ones are hidden.",
            ),
            ("Smallest area", self.min_area, self._area_text, "Objects with fewer pixels than this are hidden."),
        ):
            layout.addWidget(Field(name, slider, f"{help}\nActs at once, without a new run. {kept}", text))
            slider.valueChanged.connect(self._on_moved)
        foot = QHBoxLayout()
        foot.setSpacing(SPACING)
        foot.addWidget(self.count, 1)
        foot.addWidget(self.reset, 0)
        layout.addLayout(foot)
        self.reset.clicked.connect(self._on_reset)
        self.hide()

    def show_thresholds(
        self, now: tuple[float, float, int], start: tuple[float, float, int], least: float, largest: int
    ) -> None:
        """Show where the thresholds are, and where they were after the run. Nothing is emitted.

        Parameters
        ----------
        now, start : (float, float, int)
            Score, overlap, smallest area.
        least : float
            The lowest score that there is.
        largest : int
            The largest area worth choosing.
        """
        self._start = start
        for slider, value, low, high in (
            (self.score, round(now[0] * STEPS), int(least * STEPS), STEPS),
            (self.overlap, round(now[1] * STEPS), 0, STEPS),
            (self.min_area, now[2], 0, max(largest, now[2], start[2], 1)),
        ):
            blocked = slider.blockSignals(True)
            slider.setRange(min(low, value), high)
            slider.setPageStep(max(1, (high - low) // 10))
            slider.setValue(value)
            slider.blockSignals(blocked)
        self._show_values()

    def show_count(self, text: str) -> None:
        """Say how many objects are shown."""
        self.count.show_text(text)

    def values(self) -> tuple[float, float, int]:
        """Score, overlap and smallest area; those of the run exactly where a slider stands at them."""
        places = (self.score.value() / STEPS, self.overlap.value() / STEPS)
        shares = (
            start if round(start * STEPS) == round(place * STEPS) else place
            for start, place in zip(self._start, places)
        )
        return (*shares, self.min_area.value())  # type: ignore[return-value]

    def _on_moved(self, _: int) -> None:
        self._show_values()
        self.moved.emit(*self.values())

    def _on_reset(self) -> None:
        self.reset_requested.emit()

    def _show_values(self) -> None:
        score, overlap, area = self.values()
        self._score_text.setText(f"{score:.2f}")
        self._overlap_text.setText(f"{overlap:.2f}")
        self._area_text.setText(f"{area} px")


class CandidateTools(QWidget):
    """Tools that add objects: from what the model found, and from boxes drawn by hand."""

    pick_toggled = Signal(bool)
    prompt_toggled = Signal(bool)
    overlaps_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.pick = button(
            "Accept / reject",
            "Point at the image: what the model found but did not show is outlined. Click to add it.\n"
            "Click an object of the model to remove it. Each click is one step of undo.",
        )
        self.prompt = button(
            "Box …",
            "Draw a box around an object, or click on it: the model fills in its outline.",
        )
        self.overlaps = button(
            "Overlaps",
            "Outline the parts of objects that lie under others. They are exported to COCO JSON.",
        )
        self.progress = ProgressRow("Cancel", "Stop looking at the part of the image on screen.")
        layout = column(self, margin=0)
        row = QHBoxLayout()
        row.setSpacing(SPACING)
        for tool, signal in (
            (self.pick, self.pick_toggled),
            (self.prompt, self.prompt_toggled),
            (self.overlaps, self.overlaps_toggled),
        ):
            tool.setCheckable(True)
            tool.toggled.connect(signal)
            row.addWidget(tool)
        layout.addLayout(row)
        layout.addWidget(self.progress)

    def show_tools(self, pick: bool, prompt: bool, overlaps: bool) -> None:
        """Show which tools are at work. Nothing is emitted."""
        for tool, active in ((self.pick, pick), (self.prompt, prompt), (self.overlaps, overlaps)):
            blocked = tool.blockSignals(True)
            tool.setChecked(active)
            tool.blockSignals(blocked)

    def show_ready(self, candidates: bool, prompts: bool) -> None:
        """Allow what there are candidates for, and boxes where a model can fill them."""
        self.pick.setEnabled(candidates)
        self.overlaps.setEnabled(candidates)
        self.prompt.setEnabled(prompts)


def share_slider() -> tuple[QSlider, QLabel]:
    """A slider, and the text that says where it stands."""
    slider, text = QSlider(Qt.Orientation.Horizontal), QLabel()
    text.setFixedWidth(52)
    text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return slider, text
