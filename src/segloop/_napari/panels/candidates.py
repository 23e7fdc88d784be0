"""The sliders that decide which of the objects found are shown, and the tools that add and remove single ones."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QStackedWidget, QWidget

from segloop._napari.fields import SPACING, button, column
from segloop._napari.panels.progress import ProgressRow
from segloop._napari.panels.sliders import STEPS, Place, SliderPanel, Threshold

NOT_KEPT = (
    "Not for these labels: what a model found beyond them is not known.\n"
    "It is kept in this window for results of models of objects; segment the image to have it."
)
PICK = (
    "Point at the image: what the model found but did not show is outlined. Click to add it.\n"
    "Click an object of the model to remove it. Each click is one step of undo.\nKey: Q"
)
OVERLAPS = "Outline the parts of objects that lie under others. They are exported to COCO JSON."

Places = tuple[float, float, int, float]
"""Where thresholds are: score, overlap, smallest area, outline."""


class ThresholdPanel(SliderPanel):
    """Score, overlap, smallest size and outline of the objects shown; hidden where there are no candidates."""

    moved = Signal(float, float, int, float)

    def __init__(self) -> None:
        super().__init__(
            (
                Threshold("Score", "Objects the model is less sure of than this are hidden."),
                Threshold("Overlap", "Objects of which a larger share lies under better ones are hidden."),
                Threshold("Smallest area", "Objects with fewer pixels than this are hidden.", is_share=False),
                Threshold(
                    "Outline",
                    "How sure the model must be that a pixel belongs to its object:\n"
                    "to the left all objects grow a little, to the right they shrink. Boxes that you draw follow, too.",
                ),
            ),
            "edited, added, confirmed or reviewed",
        )
        self.score, self.overlap, self.min_area, self.outline = self.sliders

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
        # the first step at or below the lowest score
        lowest = int(least * STEPS) / STEPS
        ends = ((lowest, 1), (0, 1), (0, max(largest, now[2], start[2], 1)), (0.1, 0.9))
        self.show_places([Place(*own, *both) for own, both in zip(zip(now, start), ends)])

    def emit_moved(self) -> None:
        """Score, overlap, smallest area and outline."""
        score, overlap, area, outline = self.values()
        self.moved.emit(score, overlap, int(area), outline)


class CandidateTools(QWidget):
    """Tools that add objects: from what the model found, and from boxes drawn by hand."""

    pick_toggled = Signal(bool)
    prompt_toggled = Signal(bool)
    overlaps_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.pick = button("Accept / reject", PICK)
        self.prompt = button(
            "Box …",
            "Draw a box around an object, or click on it: the model fills in its outline.\nKey: R",
        )
        self.overlaps = button("Overlaps", OVERLAPS)
        self.progress = ProgressRow("Cancel", "Stop looking at the part of the image on screen.")
        layout = column(self, margin=0)
        self._buttons = QWidget()
        row = QHBoxLayout(self._buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACING)
        for tool, signal in (
            (self.pick, self.pick_toggled),
            (self.prompt, self.prompt_toggled),
            (self.overlaps, self.overlaps_toggled),
        ):
            tool.setCheckable(True)
            tool.toggled.connect(signal)
            row.addWidget(tool)
        # they take turns: the tools below must not move under the mouse
        self._pages = QStackedWidget()
        self._pages.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._pages.addWidget(self._buttons)
        self._pages.addWidget(self.progress)
        layout.addWidget(self._pages)

    def begin(self, text: str) -> None:
        """Show in place of the buttons that the model looks at the image."""
        self.progress.begin(text)
        self._pages.setCurrentWidget(self.progress)

    def finish(self) -> None:
        """Show the buttons again."""
        self.progress.finish()
        self._pages.setCurrentWidget(self._buttons)

    def show_tools(self, pick: bool, prompt: bool, overlaps: bool) -> None:
        """Show which tools are at work. Nothing is emitted."""
        for tool, active in ((self.pick, pick), (self.prompt, prompt), (self.overlaps, overlaps)):
            blocked = tool.blockSignals(True)
            tool.setChecked(active)
            tool.blockSignals(blocked)

    def show_ready(self, candidates: bool, prompts: bool) -> None:
        """Allow what there are candidates for, and boxes where a model can fill them."""
        for tool, help in ((self.pick, PICK), (self.overlaps, OVERLAPS)):
            tool.setEnabled(candidates)
            tool.setToolTip(help if candidates else NOT_KEPT)
        self.prompt.setEnabled(prompts)
