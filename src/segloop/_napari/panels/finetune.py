"""The Fine-tune panel: turn corrections into a better model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLineEdit, QPushButton, QWidget

from segloop._napari.choosers import Chooser, ModelChooser
from segloop._napari.fields import SPACING, Field, TextLabel, button, column
from segloop._napari.folds import Fold
from segloop._napari.forms import SettingsForm
from segloop._napari.panels.progress import ProgressRow


class FinetunePanel(QWidget):
    """Training set, base model, new name, time; Start and Stop; curves; before and after."""

    source_chosen = Signal(object)
    channels_chosen = Signal(object)
    base_chosen = Signal(object)
    name_edited = Signal(str)
    start_requested = Signal()
    stop_requested = Signal()
    keep_requested = Signal()
    discard_requested = Signal()
    resume_requested = Signal()
    forget_requested = Signal()
    last_requested = Signal()
    versions_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.base = ModelChooser()
        self.name = QLineEdit()
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0.1, 24 * 60)
        self.minutes.setDecimals(1)
        # with what comes before and after, the new labels are there within the minute
        self.minutes.setValue(0.7)
        self.minutes.setSuffix(" min")
        self.form: SettingsForm | None = None
        self.advanced = Fold("Advanced settings", "Settings that the program chooses well by itself.")
        # a narrow one: beside it the name of the model is to be read
        self.versions = button("…", "Versions: compare those of your models, go back to an earlier one, delete some.")
        self.versions.setAccessibleName("Versions of models")
        self.versions.setMaximumWidth(40)
        self.base_field = Field(
            "Start from", self.base, "The model that learns from your corrections. It is not changed.", self.versions
        )
        self.name_field = Field(
            "New name",
            self.name,
            "Name of the new model. A name of yours that exists gets a new version; none is lost.",
        )
        self.minutes_field = Field(
            "At most",
            self.minutes,
            "Fine-tuning ends after this time, or sooner when all epochs are done. Many regions gain from more of it.",
        )
        self.source = Chooser("No training set yet")
        self.source_field = Field(
            "Learn from",
            self.source,
            "The training set: your corrected images. Correct ▸ Add to training set fills it.",
        )
        self.channels = Chooser("One channel")
        self.channels_field = Field(
            "Channels",
            self.channels,
            "What the model is to see of your images: what was segmented, or all channels. Layers that are channels of "
            "one image are chosen in Segment ▸ Channels.",
        )
        self.uses = TextLabel("hint")
        self.uses.setToolTip(
            "Only what is reviewed is used. It is cut into blocks of about 128 pixels, or more where objects are "
            "large; some blocks are kept out of training, to score the model."
        )
        self.missing = TextLabel("warning")
        self.interrupted = TextLabel("warning")
        self.resume = button("Resume", "Go on where the training ended, to the same model as without the interruption.")
        self.forget = button("Forget it", "Delete the interrupted training.")
        self.start = button(
            "Fine-tune", "Train a copy of the model on your corrections. You can work on meanwhile.", "main"
        )
        self.last = button("Show the last training", "Its curves, pictures and scores, as they were when it ended.")
        self._running = self._scribbling = False
        self.for_scribbles = TextLabel("hint", "Fine-tune on scribbles, above, trains with these settings.")
        self.reason = TextLabel("reason")
        self.progress = ProgressRow("Stop", "Stop now and keep what is trained so far.")
        self.curves: Any = None
        self._plots = QWidget()
        self._plots.hide()
        self._building: Iterator[None] | None = None
        self.result = TextLabel("good")
        self.details = TextLabel("hint")
        self.details_fold = Fold("Details", "The scores with their errors, and what would help.")
        self.details_fold.add(self.details)
        self.keep = button("Use it anyway", "Save the new model although it did not get better.")
        self.discard = button("Discard it", "Forget the new model. The old one is unchanged.")
        self.pictures: Any = None
        self.learning_fold = Fold("Learning curve", "How the score of this model grew with what you corrected.")
        self.learning: Any = None

        layout = column(self)
        self.for_scribbles.hide()
        for widget in (
            self.for_scribbles,
            self.source_field,
            self.channels_field,
            self.uses,
            self.missing,
            self.base_field,
            self.name_field,
            self.minutes_field,
            self.advanced,
            self.start,
        ):
            layout.addWidget(widget)
        layout.addWidget(self.interrupted)
        layout.addLayout(_side_by_side(self.resume, self.forget))
        layout.addWidget(self.last)
        for widget in (self.reason, self.progress, self.result):
            layout.addWidget(widget)
        layout.addLayout(_side_by_side(self.keep, self.discard))
        layout.addWidget(self.details_fold)
        layout.addWidget(self._plots)
        layout.addWidget(self.learning_fold)
        self.learning_fold.hide()
        self.show_verdict("")
        self.show_choice(False)
        self.show_interrupted("")
        self.show_last("")
        self.show_channels(1, False)

        self.source.chosen.connect(self.source_chosen)
        self.channels.chosen.connect(self.channels_chosen)
        self.base.chosen.connect(self.base_chosen)
        self.name.textEdited.connect(self.name_edited)
        self.progress.end_requested.connect(self.stop_requested)
        self.start.clicked.connect(self.start_requested)
        self.keep.clicked.connect(self.keep_requested)
        self.discard.clicked.connect(self.discard_requested)
        self.resume.clicked.connect(self.resume_requested)
        self.forget.clicked.connect(self.forget_requested)
        self.last.clicked.connect(self.last_requested)
        self.versions.clicked.connect(self.versions_requested)

    def build_form(self, kind: type) -> None:
        """Make the advanced settings from their dataclass; the time has a row of its own."""
        self.form = SettingsForm(kind, leave_out=("minutes",))
        self.advanced.add(self.form)

    def build_next_plot(self) -> bool:
        """Build one more of the plots that a training shows; whether there are more to be built."""
        if self._building is None:
            self._building = self._build_plots()
        return next(self._building, self) is None

    def show_plots(self) -> None:
        """Show the plots, the missing ones built at once."""
        while self.build_next_plot():
            pass
        self._plots.setVisible(self.curves is not None)

    def _build_plots(self) -> Iterator[None]:
        from segloop._napari.panels.curves import Curves
        from segloop._napari.panels.pictures import Pictures

        yield
        curves, pictures = Curves(), Pictures()
        yield from curves.build()
        place = column(self._plots, margin=0)
        place.addWidget(curves)
        place.addWidget(pictures)
        self.curves, self.pictures = curves, pictures

    def show_learning(self, curve: Any, theme: str) -> None:
        """Show the learning curve of the model chosen; a model without versions that were scored has none."""
        self.learning_fold.setVisible(bool(curve.points))
        if not curve.points:
            return
        if self.learning is None:
            from segloop._napari.panels.learning import LearningPlot

            self.learning = LearningPlot()
            self.learning_fold.add(self.learning)
            self.learning_fold.expand(animate=False)
        self.learning.recolor(theme)
        self.learning.show_curve(curve)

    def settings(self) -> Any:
        """Return the settings as they are shown."""
        if self.form is None:
            raise RuntimeError("the settings' form is not there yet")
        return self.form.value(minutes=self.minutes.value())

    def show_verdict(self, line: str, role: str = "", details: str = "") -> None:
        """Show how a training ended: one line, and what unfolds below it; "" shows nothing."""
        self.result.show_text(line, role)
        self.details.show_text(details)
        self.details_fold.setVisible(bool(details))
        self.details_fold.collapse(animate=False)

    def show_choice(self, visible: bool) -> None:
        """Ask whether a model that did not get better is to be kept."""
        self.keep.setVisible(visible)
        self.discard.setVisible(visible)

    def show_interrupted(self, text: str) -> None:
        """Offer to go on with a training that was interrupted; "" offers nothing."""
        self.interrupted.show_text(text)
        self.resume.setVisible(bool(text))
        self.forget.setVisible(bool(text))

    def show_last(self, name: str) -> None:
        """Offer to show how the last training ended, of the model of this name; "" offers nothing."""
        self.last.setText(f"Show the last training: {name}")
        self.last.setVisible(bool(name))

    def show_running(self, running: bool) -> None:
        """Lock the inputs while a training is under way."""
        fields = (self.source_field, self.channels_field, self.base_field, self.name_field, self.minutes_field)
        for widget in (*fields, self.advanced):
            widget.setEnabled(not running)
        self._running = running
        self._show_start()
        if running:
            self.progress.begin("")
            # not the bar that runs to and fro: each of its steps paints the whole window anew
            self.progress.advance(0, 1, "Starting …")
        else:
            self.progress.finish()

    def show_scribbling(self, scribbling: bool) -> None:
        """Leave the start to the scribbles' own button while somebody scribbles: it trains on another set."""
        self._scribbling = scribbling
        self.source_field.setVisible(not scribbling)
        self.channels_field.setVisible(self._has_channels and not scribbling)
        self.uses.setVisible(not scribbling and bool(self.uses.text()))
        self.missing.setVisible(not scribbling and bool(self.missing.text()))
        self.for_scribbles.setVisible(scribbling)
        self._show_start()

    def show_channels(self, most: int, whole: bool) -> None:
        """Offer to learn all of so many channels; hidden where there are none besides what was segmented.

        Parameters
        ----------
        most : int
        whole : bool
            Whether all are chosen.
        """
        self._has_channels = most > 1
        self.channels.show_items([False, True], ["As segmented", f"All {most} channels"], whole)
        self.channels_field.setVisible(self._has_channels and not self._scribbling)

    def show_uses(self, uses: str, missing: str) -> None:
        """Say what a training would learn from, and what is missing in it."""
        self.uses.show_text(uses)
        self.missing.show_text(missing)
        self.show_scribbling(self._scribbling)

    def _show_start(self) -> None:
        self.start.setVisible(not (self._running or self._scribbling))


def _side_by_side(*buttons: QPushButton) -> QHBoxLayout:
    layout = QHBoxLayout()
    layout.setSpacing(SPACING)
    for one in buttons:
        layout.addWidget(one)
    return layout
