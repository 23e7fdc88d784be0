"""The slider that decides how sure a model of classes must be."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from segloop._napari.fields import SPACING, Field, TextLabel, button, column, heading
from segloop._napari.panels.candidates import STEPS, share_slider


class ClassThresholdPanel(QWidget):
    """How much of background and best class together a pixel must be the class; hidden where there are no scores."""

    moved = Signal(float)
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.threshold, self._text = share_slider()
        self.threshold.setRange(1, STEPS - 1)
        self.threshold.setPageStep(STEPS // 10)
        self.count = TextLabel()
        self.reset = button("Reset", "Show what the run showed. What you painted or reviewed stays.")
        layout = column(self, margin=0)
        layout.addWidget(heading("What is shown"))
        help = (
            "Pixels the model is less sure of than this become background.\n"
            "Acts at once, without a new run. What you painted or reviewed never changes."
        )
        layout.addWidget(Field("Threshold", self.threshold, help, self._text))
        foot = QHBoxLayout()
        foot.setSpacing(SPACING)
        foot.addWidget(self.count, 1)
        foot.addWidget(self.reset, 0)
        layout.addLayout(foot)
        self.threshold.valueChanged.connect(self._on_moved)
        self.reset.clicked.connect(self._on_reset)
        self.hide()

    def show_threshold(self, threshold: float) -> None:
        """Show where the threshold is, in (0, 1). Nothing is emitted."""
        blocked = self.threshold.blockSignals(True)
        self.threshold.setValue(round(threshold * STEPS))
        self.threshold.blockSignals(blocked)
        self._show_value()

    def show_share(self, share: float) -> None:
        """Say how much of the image, in [0, 1], is not background."""
        self.count.show_text(f"{share:.1%} is not background")

    def _on_moved(self, _: int) -> None:
        self._show_value()
        self.moved.emit(self.threshold.value() / STEPS)

    def _on_reset(self) -> None:
        self.reset_requested.emit()

    def _show_value(self) -> None:
        self._text.setText(f"{self.threshold.value() / STEPS:.2f}")
