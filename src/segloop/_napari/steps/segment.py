"""Segment: from an image layer to an editable Labels layer."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import napari.layers

from segloop._napari import work
from segloop._napari.calibration import calibration_of
from segloop._napari.channels import ALL_CHANNELS, fitting_channel, seen_image, seen_layers, stack_of
from segloop._napari.choosers import describe_model
from segloop._napari.jobs import Countdown, Job, in_words
from segloop._napari.layers import Placement, choose_level, guess_layer_axes, level_shapes, visible_part
from segloop._napari.panels.segment import SegmentPanel
from segloop._napari.preview import Preview
from segloop._napari.results import Run, deliver
from segloop._napari.steps.step import Step, guarded, timer
from segloop.errors import ImageError, ModelError, SettingsError
from segloop.events import Event, LabelsDone, Notice, SegmentStarted, TileDone
from segloop.image import check_axes
from segloop.settings import AUTO

AXIS_WORDS = {"T": "time points", "C": "channels", "Z": "planes", "Y": "rows", "X": "columns", "S": "colours"}


class SegmentStep(Step):
    """Joins the Segment panel to the viewer."""

    def __init__(self, panel: SegmentPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self.job: Job | None = None
        self._run: Run | None = None
        self._preview: Preview | None = None
        self._notices: list[str] = []
        self._channel, self._channel_is_chosen = ALL_CHANNELS, False
        # images whose files were not asked for their axes yet
        self._unasked: weakref.WeakSet[napari.layers.Image] = weakref.WeakSet()
        self._layers = len(self.viewer.layers)
        self._removed = timer(self, 0, lambda: None)
        panel.image_chosen.connect(self._on_image)
        panel.axes_edited.connect(self._on_axes)
        panel.channel_chosen.connect(self._on_channel)
        panel.model_chosen.connect(self.session.choose_model)
        panel.model.opening.connect(self.session.reload_models)
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
        self._fit_to_model()
        is_unasked = self.image in self._unasked
        for layer in list(self._unasked):
            self.session.set_axes(layer, _guess(layer, ask_file=True))
        self._unasked.clear()
        if is_unasked or self.image is None:
            self._show_image()
        else:
            self._check()

    @property
    def image(self) -> napari.layers.Image | None:
        """The image layer chosen."""
        return self.panel.image.current()

    # choices

    @guarded
    def _on_layers(self) -> None:
        # what was chosen stays: layers also come, go and are renamed while another image is the active one
        before = self.image
        is_there = before is not None and before in self.watch
        if is_there and len(self.viewer.layers) < self._layers:
            self._removed.start()
        self._layers = len(self.viewer.layers)
        self._offer_images(before if is_there else self.watch.active)

    @guarded
    def _on_active(self, layer: Any) -> None:
        # in place of a layer that was removed napari selects another one, and not the person
        if self._removed.isActive():
            return
        if isinstance(layer, napari.layers.Image) and layer is not self.image and layer in self.watch:
            self._offer_images(layer)

    def _offer_images(self, current: Any) -> None:
        images, before = self.watch.of_type(napari.layers.Image), self.image
        self.panel.image.show_items(images, [layer.name for layer in images], current)
        if self.image is not before or self.image is None:
            self._show_image()

    def _on_image(self, _: Any) -> None:
        self._show_image()

    def _on_models(self, *_: Any) -> None:
        self.panel.model.show_models(self.session.models, self.session.model)
        info = self.session.find_model(self.session.model)
        self.panel.model_field.show_reason("")
        self.panel.model_text.show_text(describe_model(info) if info else "")
        self._fit_to_model()
        if self.image is None:
            self._allow()
        else:
            self._check()

    def _fit_to_model(self) -> None:
        """Let classes be parted into objects where the model has a border class; say the score that objects need."""
        info = self.session.find_model(self.session.model)
        has_scores = info is not None and info.task == "instance"
        self.panel.show_usual_score(f"{info.score:.2f}" if info is not None and has_scores else "")
        self.panel.show_single_objects(info is not None and info.parts_objects)

    def _on_axes(self, text: str) -> None:
        if self.image is not None:
            self._unasked.discard(self.image)
            self.session.set_axes(self.image, text.strip().upper())
            self._channel_is_chosen = False
            self._check()

    def _on_channel(self, number: int) -> None:
        self._channel, self._channel_is_chosen = number, True
        self._forgive()
        self._check()

    def _on_settings(self) -> None:
        self._allow()

    def _forgive(self) -> None:
        """Take away the marks that the last run left."""
        panel = self.panel
        for field in (panel.image_field, panel.channel_field, panel.layers_field, panel.model_field):
            field.show_reason("")

    def _show_image(self) -> None:
        self._forgive()
        self._channel, self._channel_is_chosen = ALL_CHANNELS, False
        layer = self.image
        if layer is None:
            self.panel.axes.clear()
            self.panel.size_text.show_text("")
            self.panel.axes_field.show_reason("")
            self.panel.show_channels(1, False, ALL_CHANNELS)
            self._allow()
            return
        if layer not in self.session.axes:
            # not before torch is there: reading files takes imports that the dock does not wait for
            is_ready = self.panel.form is not None
            self.session.axes[layer] = _guess(layer, ask_file=is_ready)
            if not is_ready:
                self._unasked.add(layer)
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
            channel_axis = next((axis for axis in axes if axis in "CS"), "")
            self._choose_channel(sizes.get("C", 1))
            if self._channel != ALL_CHANNELS and not self._channel_is_chosen:
                text += f"\nThe model sees one channel: now channel {self._channel}."
            said = calibration_of(layer) if self.panel.form is not None else None
            if said is not None:
                text += f"\nPixel size {said.words(axes)}: from the file, napari did not read it. "
                text += "Exports have it." if said.covers(axes) else "Exports need all: set the layer's scale."
            self.panel.size_text.show_text(text)
            self.panel.show_channels(sizes.get(channel_axis, 1), channel_axis == "S", self._channel)
        self._allow()

    def _choose_channel(self, channels: int) -> None:
        """Choose what the model can see of an image, unless a person chose; ``channels`` that are no colours."""
        model = self.session.find_model(self.session.model)
        if not self._channel_is_chosen:
            self._channel = ALL_CHANNELS if model is None else fitting_channel(channels, model.channels)

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
        stack = stack_of(seen_layers(layer, self.viewer.layers, self.session, model.channels))
        image = seen_image(layer, axes, stack)
        seen = work.Seen(*visible_part(self.viewer, layer, axes))
        self._run = Run(weakref.ref(layer), layer.name, axes, self._channel, place, model, settings, stack)
        self._notices = []
        self._done = 0
        self._stop = threading.Event()
        self._countdown = Countdown()
        self._preview = Preview(self.viewer, self.session, self._run, self)
        self._forgive()
        self.panel.show_running(True)
        self._doing = f"Segmenting {layer.name} with {model.name} …"
        self.say(self._doing)
        self.job = self.begin(
            f"SegLoop: {layer.name}",
            partial(
                work.segment_image,
                model.path,
                image,
                settings,
                _source(layer),
                seen,
                self._stop.is_set,
                self._preview.drawn,
            ),
            self._on_done,
            self._on_event,
        )
        self.job.cancelled.connect(self._on_cancelled)
        self.job.ended.connect(self._on_ended)

    def cancel(self) -> None:
        """Stop the run at its next tile; what is done by then is kept."""
        if self.job is not None:
            self._stop.set()
            if not self._done:
                self.job.cancel()

    def release(self) -> None:
        """Leave no layer behind that can only be looked at; called when the dock is gone."""
        if self._preview is not None:
            self._preview.remove()

    def _on_event(self, event: Event) -> None:
        match event:
            case SegmentStarted(tiles=tiles):
                self._countdown = Countdown()
                self.panel.progress.advance(0, tiles, f"0 of {tiles}")
            case TileDone(done=done, tiles=tiles, expected=expected, at_seams=at_seams):
                self._done = done
                total = tiles + expected
                words = [f"{done} of {'about ' if expected else ''}{total}"]
                words += ["objects at seams"] * (at_seams and done < tiles)
                words.append("finishing …" if done == tiles else self._countdown.left(done, total))
                self.panel.progress.advance(done, total, " · ".join(filter(None, words)))
            case work.Canvas():
                self._preview.prepare(event)
            case LabelsDone():
                if self._preview.take(event):
                    self.say(f"{self._doing} What is found is shown; it can be edited when all is done.")
            case Notice(message=message):
                self._notices.append(message)

    def fail(self, error: Exception) -> None:
        """Tell the user of an error, and mark the input that it is about."""
        match error:
            case ModelError():
                self.panel.model_field.show_reason(str(error))
            case ImageError() if not self.panel.layers_field.isHidden():
                self.panel.layers_field.show_reason(str(error))
            case ImageError() if self.panel.channel_field.isHidden():
                self.panel.image_field.show_reason(str(error))
            case ImageError():
                self.panel.channel_field.show_reason(str(error))
            case SettingsError() if self.panel.form is not None:
                self.panel.form.blame(str(error))
                self.panel.advanced.expand()
        super().fail(error)

    def _on_cancelled(self) -> None:
        self.say("Cancelled; nothing was changed.", "over")

    def _on_ended(self) -> None:
        self.job = None
        # after an error or a cancellation there is no result that it became
        self._preview.remove()
        self._preview.deleteLater()
        self._preview = None
        self.panel.show_running(False)
        self._allow()

    @guarded
    def _on_done(self, segmented: work.Segmented) -> None:
        run = self._run
        layer, kept = deliver(self.viewer, self.session, run, segmented, self._preview.finish())
        # the layer can be used from now on, also if it was there before
        self.watch.layers_changed.emit()
        self.viewer.layers.selection.active = layer
        text = _summary(segmented)
        notices = [*dict.fromkeys([*self._notices, *segmented.notices])]
        if kept and segmented.complete:
            notices.append(f"You edited or reviewed the earlier result, so it is kept: {kept} (hidden).")
        elif kept:
            notices.append(f"The earlier result is kept: {kept} (hidden).")
        if run.image() is None or run.image() not in self.watch:
            notices.append(f"The image {run.name} was removed meanwhile.")
        self.say("\n".join([text, *map(_sentence, notices)]), "warning" if notices else "good")


def _guess(layer: napari.layers.Image, ask_file: bool) -> str:
    """The axes of a layer as far as they can be guessed; "" for too many dimensions."""
    try:
        return guess_layer_axes(layer, ask_file)
    except ImageError:
        return ""


def _source(layer: napari.layers.Image) -> str:
    """The file that a layer was read from, or "" if there is none."""
    path = layer.source.path
    return str(path) if path and Path(path).is_file() else ""


def _summary(segmented: work.Segmented) -> str:
    seconds, table = in_words(segmented.seconds), segmented.table
    if not segmented.classes:
        count = len(table)
        return f"{count} {'object' if count == 1 else 'objects'} in {seconds}."
    shares = dict(zip(table["label"], table["area"] / max(1, segmented.labels.size)))
    parts = [f"{name} {shares.get(number, 0):.0%}" for number, name in enumerate(segmented.classes) if number]
    return f"{', '.join(parts)} of the image, in {seconds}."


def _sentence(notice: str) -> str:
    return notice[:1].upper() + notice[1:] + ("" if notice.endswith(".") else ".")
