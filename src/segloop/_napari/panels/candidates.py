"""The sliders that decide which of the objects found are shown, and the tools that add and remove single ones."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

from segloop._napari.fields import SPACING, Field, TextLabel, button, column, heading
from segloop._napari.panels.progress import ProgressRow

STEPS = 100
"""Of the sliders for shares."""


Places = tuple[float, float, int, float]
"""Where thresholds are: score, overlap, smallest area, outline."""


class ThresholdPanel(QWidget):
    """Score, overlap, smallest size and outline of the objects shown; hidden where there are no candidates."""

    moved = Signal(float, float, int, float)
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.score, self._score_text = share_slider()
        self.overlap, self._overlap_text = share_slider()
        self.min_area, self._area_text = share_slider()
        self.outline, self._outline_text = share_slider()
        self.count = TextLabel()
        self.reset = button("Reset", "Show what the run showed. What you edited, added or confirmed stays.")
        self._start: Places = (0.0, 0.0, 0, 0.5)
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
            (
                "Outline",
                self.outline,
                self._outline_text,
                "How sure the model must be that a pixel belongs to its object:\n"
                "to the left all objects grow a little, to the right they shrink. Boxes that you draw follow, too.",
            ),
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

    def show_thresholds(self, now: Places, start: Places, least: float, largest: int) -> None:
        """Show where the thresholds are, and where they were after the run. Nothing is emitted.

        Parameters
        ----------
        now, start : (float, float, int, float)
            Score, overlap, smallest area, outline.
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
            (self.outline, round(now[3] * STEPS), STEPS // 10, STEPS - STEPS // 10),
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

    def values(self) -> Places:
        """Score, overlap, smallest area and outline; those of the run exactly where a slider stands at them."""
        score, overlap, _, outline = self._start
        score, overlap, outline = (
            start if round(start * STEPS) == slider.value() else slider.value() / STEPS
            for start, slider in ((score, self.score), (overlap, self.overlap), (outline, self.outline))
        )
        return score, overlap, self.min_area.value(), outline

    def _on_moved(self, _: int) -> None:
        self._show_values()
        self.moved.emit(*self.values())

    def _on_reset(self) -> None:
        self.reset_requested.emit()

    def _show_values(self) -> None:
        score, overlap, area, outline = self.values()
        self._score_text.setText(f"{score:.2f}")
        self._overlap_text.setText(f"{overlap:.2f}")
        self._area_text.setText(f"{area} px")
        self._outline_text.setText(f"{outline:.2f}")


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
            "Click an object of the model to remove it. Each click is one step of undo.\nKey: Q",
        )
        self.prompt = button(
            "Box …",
            "Draw a box around an object, or click on it: the model fills in its outline.\nKey: R",
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
