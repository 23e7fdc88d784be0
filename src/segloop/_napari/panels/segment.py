"""The Segment panel: choose image and model, run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLineEdit, QWidget

from segloop._napari.channels import ALL_CHANNELS
from segloop._napari.choosers import Chooser, ModelChooser
from segloop._napari.fields import Field, TextLabel, button, column
from segloop._napari.folds import Fold
from segloop._napari.forms import SettingsForm
from segloop._napari.layer_menu import LayerMenu
from segloop._napari.panels.progress import ProgressRow


class SegmentPanel(QWidget):
    """Image, axes, channel, model, settings, Run."""

    image_chosen = Signal(object)
    axes_edited = Signal(str)
    channel_chosen = Signal(object)
    model_chosen = Signal(object)
    run_requested = Signal()
    cancel_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.image = Chooser("Open an image first")
        self.axes = QLineEdit()
        self.channel = Chooser("One channel")
        self.layers = LayerMenu()
        self.model = ModelChooser()
        self.size_text = TextLabel()
        self.model_text = TextLabel()
        self.form: SettingsForm | None = None
        self._can_part = False
        self.advanced = Fold("Advanced settings", "Settings that the program chooses well by itself.")
        self.run = button(
            "Run", "Segment the image with the model. The result is a Labels layer that you can edit.", "main"
        )
        self.progress = ProgressRow("Cancel", "Stop at once. What is found by then is kept.")

        self.image_field = Field("Image", self.image, "The image layer to segment. It follows the layer you select.")
        self.axes_field = Field(
            "Axes",
            self.axes,
            "What each dimension of the image means, slowest first:\n"
            "T time, C channel, Z depth, Y row, X column, S red-green-blue.\n"
            "This is a guess where the file does not say; correct it if it is wrong.",
        )
        self.axes.setMaxLength(8)
        self.channel_field = Field("Channel", self.channel, "The channel in which the objects are seen.")
        self.layers_field = Field(
            "Channels",
            self.layers,
            "Other layers that lie on this one, for a model that sees several channels. Most models see one.",
        )
        self.model_field = Field(
            "Model", self.model, "What finds the objects. Your own fine-tuned models appear here too."
        )

        layout = column(self)
        for widget in (
            self.image_field,
            self.axes_field,
            self.size_text,
            self.channel_field,
            self.layers_field,
            self.model_field,
            self.model_text,
            self.advanced,
            self.run,
            self.progress,
        ):
            layout.addWidget(widget)
        self.channel_field.hide()
        self.layers_field.hide()

        self.image.chosen.connect(self.image_chosen)
        self.axes.textEdited.connect(self.axes_edited)
        self.channel.chosen.connect(self.channel_chosen)
        self.model.chosen.connect(self.model_chosen)
        self.run.clicked.connect(self._on_run)
        self.progress.end_requested.connect(self.cancel_requested)

    def build_form(self, kind: type) -> None:
        """Make the advanced settings from their dataclass; the channel has a row of its own."""
        self.form = SettingsForm(kind, leave_out=("channel",))
        self.advanced.add(self.form)
        # whoever counts objects looks for it: above the fold
        self.single_objects = self.form.fields["instances"]
        column = self.layout()
        column.insertWidget(column.indexOf(self.advanced), self.single_objects)
        self.show_single_objects(False)

    def show_single_objects(self, possible: bool) -> None:
        """Offer to part classes into objects, where the model can; elsewhere it is not asked for."""
        self._can_part = possible
        if self.form is not None:
            self.single_objects.setVisible(possible)

    def show_usual_score(self, score: str) -> None:
        """Say what score the model itself asks of an object; "" where it has none."""
        if self.form is not None:
            self.form.show_automatic("score", score)

    def show_channels(self, channels: int, rgb: bool, current: int) -> None:
        """Offer the channels of the image; hidden if there is one only, or if they are colours."""
        self.channel_field.setVisible(channels > 1 and not rgb)
        numbers = [ALL_CHANNELS, *range(channels)]
        self.channel.show_items(numbers, ["All", *(f"Channel {n}" for n in range(channels))], current)

    def settings(self, **others: Any) -> Any:
        """Return the settings as they are shown."""
        if self.form is None:
            raise RuntimeError("the settings' form is not there yet")
        settings = self.form.value(**others)
        return settings if self._can_part else replace(settings, instances=False)

    def show_running(self, running: bool) -> None:
        """Lock the inputs while a run is under way; the layers stay free."""
        for widget in (
            self.image_field,
            self.axes_field,
            self.channel_field,
            self.layers_field,
            self.model_field,
            self.advanced,
        ):
            widget.setEnabled(not running)
        if self.form is not None:
            self.single_objects.setEnabled(not running)
        self.run.setVisible(not running)
        if running:
            self.progress.begin("Starting …")
        else:
            self.progress.finish()

    def _on_run(self) -> None:
        self.run_requested.emit()
