"""The slider that decides how sure a model of classes must be."""

from __future__ import annotations

from qtpy.QtCore import Signal

from segloop._napari.panels.sliders import STEPS, Place, SliderPanel, Threshold


class ClassThresholdPanel(SliderPanel):
    """How much of background and best class together a pixel must be the class; hidden where there are no scores."""

    moved = Signal(float)

    def __init__(self) -> None:
        help = "Pixels the model is less sure of than this become background."
        super().__init__((Threshold("Threshold", help),), "painted or reviewed")
        (self.threshold,) = self.sliders

    def show_threshold(self, threshold: float, start: float) -> None:
        """Show where the threshold is, and where it was after the run, in (0, 1). Nothing is emitted."""
        self.show_places([Place(threshold, start, 1 / STEPS, 1 - 1 / STEPS)])

    def emit_moved(self) -> None:
        """The threshold."""
        self.moved.emit(self.values()[0])
