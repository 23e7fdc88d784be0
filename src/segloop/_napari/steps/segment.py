"""Segment: from an image layer to an editable Labels layer."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.layers
import numpy as np

from segloop._napari import features, work
from segloop._napari.choosers import describe_model
from segloop._napari.jobs import Countdown, Job, in_words
from segloop._napari.layers import Placement, choose_level, freeze_image, guess_layer_axes, level_shapes
from segloop._napari.panels.segment import ALL_CHANNELS, SegmentPanel
from segloop._napari.session import Origin
from segloop._napari.steps.step import Step, guarded
from segloop.errors import ImageError, ModelError
from segloop.events import Event, Notice, SegmentStarted, TileDone
from segloop.image import check_axes
from segloop.settings import AUTO
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop.segmentation import Segmentation, SegmentSettings

AXIS_WORDS = {"T": "times", "C": "channels", "Z": "planes", "Y": "rows", "X": "columns", "S": "colours"}


@dataclass(frozen=True)
class Run:
    """What a run was asked to do, as the window remembers it while the work goes on."""

    image: weakref.ref[napari.layers.Image]
    name: str
    axes: str
    channel: int
    place: Placement
    model: ModelInfo
    settings: SegmentSettings


class SegmentStep(Step):
    """Joins the Segment panel to the viewer."""

    def __init__(self, panel: SegmentPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self.job: Job | None = None
        self._run: Run | None = None
        self._notices: list[str] = []
        self._channel = ALL_CHANNELS
        panel.image_chosen.connect(self._on_image)
        panel.axes_edited.connect(self._on_axes)
        panel.channel_chosen.connect(self._on_channel)
        panel.model_chosen.connect(self.session.choose_model)
        panel.run_requested.connect(self.run)
        panel.cancel_requested.connect(self.cancel)
        self.watch.layers_changed.connect(self._on_layers)
        self.watch.active_changed.connect(self._on_active)
        self.session.models_changed.connect(self._on_models)
        self.session.model_changed.connect(self._on_models)
        self._on_layers()

    def on_ready(self) -> None:
        """Take note that torch is there: the settings can be shown, and runs started."""
        from segloop.segmentation import SegmentSettings

        self.panel.build_form(SegmentSettings)
        self.panel.form.changed.connect(self._on_settings)
        self._allow()

    @property
    def image(self) -> napari.layers.Image | None:
        """The image layer chosen."""
        return self.panel.image.current()

    # choices

    @guarded
    def _on_layers(self) -> None:
        images = self.watch.of_type(napari.layers.Image)
        active = self.watch.active
        before = self.image
        current = active if isinstance(active, napari.layers.Image) else before
        self.panel.image.show_items(images, [layer.name for layer in images], current)
        if self.image is not before or self.image is None:
            self._show_image()

    @guarded
    def _on_active(self, layer: Any) -> None:
        if isinstance(layer, napari.layers.Image) and layer is not self.image and layer in self.watch:
            self._on_layers()

    def _on_image(self, _: Any) -> None:
        self._show_image()

    def _on_models(self, *_: Any) -> None:
        self.panel.model.show_models(self.session.models, self.session.model)
        info = self.session.find_model(self.session.model)
        self.panel.model_field.show_reason("")
        self.panel.model_text.show_text(describe_model(info) if info else "")
        self._allow()

    def _on_axes(self, text: str) -> None:
        if self.image is not None:
            self.session.set_axes(self.image, text.strip().upper())
            self._channel = ALL_CHANNELS
            self._check()

    def _on_channel(self, number: int) -> None:
        self._channel = number

    def _on_settings(self) -> None:
        self._allow()

    def _show_image(self) -> None:
        self._channel = ALL_CHANNELS
        layer = self.image
        if layer is None:
            self.panel.axes.clear()
            self.panel.size_text.show_text("")
            self.panel.axes_field.show_reason("")
            self.panel.show_channels(1, False, ALL_CHANNELS)
            self._allow()
            return
        if layer not in self.session.axes:
            try:
                self.session.axes[layer] = guess_layer_axes(layer)
            except ImageError:
                self.session.axes[layer] = ""
        self.panel.axes.setText(self.session.axes[layer])
        self._check()

    def _check(self) -> None:
        """Show what the axes mean for the image, or why they cannot be."""
        layer = self.image
        axes = self.session.axes[layer]
        shapes = level_shapes(layer)
        try:
            axes = check_axes(axes, len(shapes[0]))
            Placement.of(layer, axes)
        except ImageError as error:
            self.panel.axes_field.show_reason(str(error))
            self.panel.size_text.show_text("")
        else:
            self.panel.axes_field.show_reason("")
            sizes = dict(zip(axes, shapes[choose_level(layer)]))
            text = " · ".join(f"{size} {AXIS_WORDS[axis]}" for axis, size in sizes.items())
            if len(shapes) > 1:
                text += f"\nLevel {choose_level(layer)} of 0 to {len(shapes) - 1} is segmented."
            self.panel.size_text.show_text(text)
            channel_axis = next((axis for axis in axes if axis in "CS"), "")
            self.panel.show_channels(sizes.get(channel_axis, 1), channel_axis == "S", self._channel)
        self._allow()

    def _allow(self) -> None:
        reason = (
            "Open an image first: File ▸ Open, or File ▸ Open Sample ▸ SegLoop."
            if self.image is None
            else "Preparing …"
            if self.panel.form is None
            else "No model is installed."
            if not self.session.model
            else self.panel.axes_field.reason or self.panel.form.reason
        )
        self.panel.run.setEnabled(not reason)
        self.panel.run.setToolTip(
            reason or "Segment the image with the model. The result is a Labels layer that you can edit."
        )

    # the run

    @guarded
    def run(self) -> None:
        """Segment the image chosen with the model chosen."""
        if self.job is not None or self.panel.form is None:
            return
        layer, model = self.image, self.session.find_model(self.session.model)
        if layer is None:
            raise ImageError("there is no image to segment; open one first")
        if model is None:
            raise ModelError("no model is chosen")
        axes = check_axes(self.session.axes[layer], len(level_shapes(layer)[0]))
        settings = self.panel.settings(channel=AUTO if self._channel == ALL_CHANNELS else self._channel)
        place = Placement.of(layer, axes)
        image = freeze_image(layer, axes)
        self._run = Run(weakref.ref(layer), layer.name, axes, self._channel, place, model, settings)
        self._notices = []
        self._countdown = Countdown()
        self.panel.model_field.show_reason("")
        self.panel.show_running(True)
        self.say(f"Segmenting {layer.name} with {model.name} …")
        self.job = self.begin(
            f"SegLoop: {layer.name}",
            partial(work.segment_image, model.path, image, settings, _source(layer)),
            self._on_done,
            self._on_event,
        )
        self.job.cancelled.connect(self._on_cancelled)
        self.job.ended.connect(self._on_ended)

    def cancel(self) -> None:
        """Stop the run at its next tile."""
        if self.job is not None:
            self.job.cancel()

    def _on_event(self, event: Event) -> None:
        match event:
            case SegmentStarted(tiles=tiles):
                self._countdown = Countdown()
                self.panel.progress.advance(0, tiles, f"0 of {tiles}")
            case TileDone(done=done, tiles=tiles):
                left = self._countdown.left(done, tiles)
                self.panel.progress.advance(done, tiles, f"{done} of {tiles}" + (f" · {left}" if left else ""))
            case Notice(message=message):
                self._notices.append(message)

    def fail(self, error: Exception) -> None:
        """Tell the user of an error, and mark the input that it is about."""
        if isinstance(error, ModelError):
            self.panel.model_field.show_reason(str(error))
        super().fail(error)

    def _on_cancelled(self) -> None:
        self.say("Cancelled; nothing was changed.")

    def _on_ended(self) -> None:
        self.job = None
        self.panel.show_running(False)
        self._allow()

    @guarded
    def _on_done(self, segmented: work.Segmented) -> None:
        run, result = self._run, segmented.result
        layer, kept = self._deliver(run, segmented)
        self.viewer.layers.selection.active = layer
        text = _summary(result)
        notices = [*dict.fromkeys([*self._notices, *result.notices])]
        if kept:
            notices.append(f"You edited the earlier result, so it is kept: {kept} (hidden).")
        if run.image() is None or run.image() not in self.watch:
            notices.append(f"The image {run.name} was removed meanwhile.")
        self.say("\n".join([text, *notices]), "warning" if notices else "good")

    def _deliver(self, run: Run, segmented: work.Segmented) -> tuple[napari.layers.Labels, str]:
        """Put a result into the viewer; return its layer, and the name of an edited earlier result that was kept."""
        result = segmented.result
        labels = run.place.to_layer(_editable(result.labels.data))
        classes = result.labels.classes
        table = features.from_objects(result.objects)
        image = run.image()
        earlier = None if image is None else self.session.result_of(image, run.model.name, list(self.viewer.layers))
        kept = ""
        if earlier is not None:
            origin = self.session.origins[earlier]
            same = earlier.data.shape == labels.shape and bool(origin.classes and origin.task == "semantic") == bool(
                classes
            )
            if same and features.checksum(np.asarray(earlier.data)) == origin.untouched:
                earlier.data = labels
                earlier.features = table
                earlier.visible = True
                self._remember(earlier, run, segmented, labels)
                return earlier, ""
            earlier.visible = False
            kept = earlier.name
        # given at once: napari maps the whole image each time that a colormap is set
        colors = {"colormap": features.class_colors()} if classes else {}
        name = f"{run.name} – {run.model.name}"
        layer = napari.layers.Labels(labels, name=name, features=table, **colors, **run.place.keywords())
        # known before it is in the viewer: the Correct step looks it up when the layer comes
        self._remember(layer, run, segmented, labels)
        self.viewer.add_layer(layer)
        return layer, kept

    def _remember(self, layer: napari.layers.Labels, run: Run, segmented: work.Segmented, labels: np.ndarray) -> None:
        classes = segmented.result.labels.classes
        self.session.origins[layer] = Origin(
            image=run.image,
            axes=run.axes,
            channel=run.channel,
            task="semantic" if classes else "instance",
            classes=classes or (run.model.classes if run.model.task == "instance" else ()),
            model=run.model.name,
            untouched=features.checksum(labels),
            provenance=segmented.provenance,
        )
        layer.metadata["segloop"] = segmented.provenance


def _editable(labels: np.ndarray) -> np.ndarray:
    """Return the labels as numbers with room for more, in an array of the layer's own."""
    return np.array(labels, dtype=np.uint16 if labels.dtype.itemsize < 2 else labels.dtype)


def _source(layer: napari.layers.Image) -> str:
    """The file that a layer was read from, or "" if there is none."""
    path = layer.source.path
    return str(path) if path and Path(path).is_file() else ""


def _summary(result: Segmentation) -> str:
    seconds = in_words(result.seconds)
    if not result.labels.classes:
        count = len(result.objects)
        return f"{count} {'object' if count == 1 else 'objects'} in {seconds}."
    counts = np.bincount(result.labels.data.ravel(), minlength=len(result.labels.classes))
    shares = counts / counts.sum()
    parts = [f"{name} {share:.0%}" for name, share in zip(result.labels.classes[1:], shares[1:])]
    return f"{', '.join(parts)} of the image, in {seconds}."
