"""Review: which parts of the labels a person vouches for, and the way into the training set."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import napari.layers
import numpy as np
from qtpy.QtCore import Signal

from segloop._napari import features, work
from segloop._napari.channels import learned_image, stained_channels
from segloop._napari.drafts import PassedOver, one_for_each_image
from segloop._napari.jobs import Job
from segloop._napari.layers import Placement, copied, freeze_labels, guess_layer_axes
from segloop._napari.panels.correct import CorrectPanel
from segloop._napari.reviewed import Regions, new_region_layer, plane_rectangle, rectangle, region_mask
from segloop._napari.session import Origin, is_training_set
from segloop._napari.steps.step import Step, guarded, timer
from segloop._napari.training_words import count
from segloop.errors import ImageError, LabelsError, SegloopError
from segloop.image import Image


class ReviewStep(Step):
    """Joins the lower part of the Correct panel to the viewer."""

    reviewed_changed = Signal()

    def __init__(self, panel: CorrectPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self.job: Job | None = None
        self._ready = False
        self._redrawn = timer(self, 150, self._show_share)
        panel.whole_toggled.connect(self._on_whole)
        panel.plane_requested.connect(self.add_plane)
        panel.region_requested.connect(self.add_region)
        panel.clear_requested.connect(self.clear_regions)
        panel.folder_chosen.connect(self._on_folder)
        panel.add_requested.connect(self.add_to_training_set)
        self.watch.layers_changed.connect(self._on_regions)
        self.session.training_set_changed.connect(self._show_folder)
        # of a dock that was closed
        for reference in self.session.regions.values():
            if (regions := reference()) is not None:
                regions.events.data.connect(self._on_regions)
        self.refresh()

    def on_ready(self) -> None:
        """Take note that all is imported: the training set can be read."""
        self._ready = True
        self._show_folder()

    @property
    def labels(self) -> napari.layers.Labels | None:
        """The Labels layer chosen."""
        return self.panel.labels.current()

    @property
    def origin(self) -> Origin:
        """What is known of the Labels layer chosen."""
        return self.session.origins[self.labels]

    @guarded
    def refresh(self) -> None:
        """Show the review and the training set of the layer chosen."""
        self.panel.reason.show_text("")
        self._show_share()
        self._show_folder()
        self._allow()

    def _allow(self) -> None:
        fitting = self.panel.image.current() is not None and not self.panel.image_field.reason
        self.panel.add.setEnabled(self.labels is not None and fitting and self.job is None)

    def _regions(self, create: bool = False) -> napari.layers.Shapes | None:
        if create:
            self.session.note_reviewed(self.labels)
        return self._regions_of(self.labels, create)

    def _regions_of(self, layer: napari.layers.Labels, create: bool = False) -> napari.layers.Shapes | None:
        regions = self.session.region_layer(layer)
        if regions is not None and regions in self.watch:
            return regions
        if not create:
            return None
        regions = new_region_layer(layer)
        regions.events.data.connect(self._on_regions)
        self.session.regions[layer] = weakref.ref(regions)
        self.viewer.add_layer(regions)
        return regions

    @guarded
    def add_region(self) -> None:
        """Let the person draw rectangles."""
        regions = self._regions(create=True)
        self.viewer.layers.selection.active = regions
        regions.mode = "add_rectangle"
        self.say("Drag rectangles over the parts that are right. Then choose the labels again to go on correcting.")

    @guarded
    def add_plane(self) -> None:
        """Mark the plane on screen as reviewed."""
        layer = self.labels
        point = layer.world_to_data(self.viewer.dims.point[-layer.ndim :])
        plane = tuple(int(np.clip(round(p), 0, n - 1)) for p, n in zip(point, layer.data.shape[:-2]))
        self._regions(create=True).add_rectangles(plane_rectangle(layer.data.shape, plane))
        self.viewer.layers.selection.active = layer

    def vouch(self, plane: tuple[int, ...], rows: slice, columns: slice) -> None:
        """Mark a part of a plane as reviewed."""
        layer = self.labels
        self._regions(create=True).add_rectangles(rectangle(plane, rows, columns))
        self.viewer.layers.selection.active = layer

    def reviewed(self) -> np.ndarray:
        """Where the layer chosen is reviewed: bool, the shape of its data."""
        layer = self.labels
        if layer in self.session.wholly_reviewed:
            return np.ones(layer.data.shape, bool)
        return region_mask(self._regions(), layer.data.shape)

    @guarded
    def clear_regions(self) -> None:
        """Remove all reviewed regions."""
        self.session.wholly_reviewed.discard(self.labels)
        regions = self._regions()
        if regions is not None:
            regions.data = []
        self._show_share()

    @guarded
    def _on_whole(self, whole: bool) -> None:
        if whole:
            self._bring_up_to_date(self.labels)
            self.session.wholly_reviewed.add(self.labels)
            self.session.note_reviewed(self.labels)
        else:
            self.session.wholly_reviewed.discard(self.labels)
        self._show_share()

    def release(self) -> None:
        """Follow the regions no longer; called when the dock is gone."""
        for reference in self.session.regions.values():
            regions = reference()
            if regions is not None:
                regions.events.data.disconnect(self._on_regions)

    def _on_regions(self, event: Any = None) -> None:
        if event is not None:
            for layer, reference in list(self.session.regions.items()):
                if reference() is event.source:
                    self._bring_up_to_date(layer)
        self._redrawn.start()

    @guarded
    def _bring_up_to_date(self, layer: napari.layers.Labels) -> None:
        """Let thresholds come to their end before a person vouches for what is seen: it may not change afterwards."""
        self.session.bring_up_to_date(layer)

    @guarded
    def _show_share(self) -> None:
        layer = self.labels
        whole = layer is not None and layer in self.session.wholly_reviewed
        self.panel.show_whole(whole)
        share, reviewed = 0.0, None
        if not whole and layer is not None and not layer.multiscale and self._regions() is not None:
            reviewed = self.reviewed()
        ledger = None if layer is None else self.session.ledgers.get(layer)
        if ledger is not None and whole:
            ledger.vouch_for_all()
        elif ledger is not None:
            ledger.vouch(reviewed)
        if whole:
            share = 1.0
        elif reviewed is not None:
            share = float(reviewed.mean())
        self.panel.show_share(share)
        self.reviewed_changed.emit()

    # training set

    def _show_folder(self) -> None:
        # which training set depends on what the numbers mean
        folder = self.set_for(self.origin) if self.labels is not None else self.session.training_folder("instance")
        images = 0
        if self._ready and is_training_set(folder):
            from segloop.corrections import TrainingSet

            try:
                images = len(TrainingSet(folder))
            except SegloopError as error:
                self.panel.reason.show_text(str(error))
        self.panel.show_folder(folder, images)

    def set_for(self, labels: Origin | work.Correction) -> Path:
        """The training set that labels go into; it may have to be made."""
        image = labels.image if isinstance(labels, work.Correction) else self._learned_image(labels)
        channels = 1 if image is None else stained_channels(image)
        return self.session.training_folder(labels.task, labels.classes, channels)

    def _learned_image(self, origin: Origin, whole: bool | None = None) -> Image | None:
        """The image of labels as it would be learned, of all its channels or not; None where that is not known."""
        if whole is None:
            whole = self.session.learns_all_channels
        layer = origin.image()
        if not isinstance(layer, napari.layers.Image):
            return None
        try:
            axes = self.session.axes.get(layer) or guess_layer_axes(layer)
            return learned_image(origin, layer, axes, self.viewer.layers, self.session, whole)
        except ImageError:
            return None

    def most_channels(self) -> int:
        """The most channels that there are to learn from in the open layers of which something is reviewed.

        1 where no image has more than were segmented.
        """
        most = 1
        for layer in self.open_reviewed(None):
            origin = self.session.origins[layer]
            images = [self._learned_image(origin, whole) for whole in (False, True)]
            few, many = (1 if image is None else stained_channels(image) for image in images)
            most = max(most, many if many > few else 1)
        return most

    def learn_all_channels(self, whole: bool) -> None:
        """Let all channels of corrected images be learned from, or only those that were segmented."""
        self.session.learns_all_channels = whole
        self._show_folder()

    @guarded
    def _on_folder(self, folder: Path) -> None:
        self.panel.reason.show_text("")
        self.session.choose_training_folder(self.origin.task if self.labels is not None else "instance", folder)
        if self.labels is not None and (other := self.set_for(self.origin)) != folder:
            classes = ", ".join(self.origin.classes)
            self.panel.reason.show_text(
                f"{folder.name} holds other classes than these labels ({classes}), which go into {other.name}."
            )

    def open_reviewed(self, folder: Path | None) -> list[napari.layers.Labels]:
        """List the open layers of which something is reviewed, and that go into the training set in ``folder``.

        Of a folder that is None, those that go into any. Where several are reviewed for one image, one of them counts.
        """
        return self._open_reviewed(folder)[0]

    def extent(self, layer: napari.layers.Labels) -> str:
        """Name the image of a reviewed layer, and say how much of it is reviewed: "cells (2 regions)"."""
        image, regions = self.session.origins[layer].image(), self._regions_of(layer)
        name = layer.name if image is None else image.name
        if layer in self.session.wholly_reviewed or regions is None:
            return f"{name} (all of it)"
        return f"{name} ({count(len(regions.data), 'region')})"

    def passed_over(self, folder: Path | None) -> list[PassedOver]:
        """List the other ones, which do not count."""
        return self._open_reviewed(folder)[1]

    def _open_reviewed(self, folder: Path | None) -> tuple[list[napari.layers.Labels], list[PassedOver]]:
        found = []
        for layer in self.finished_labels():
            origin = self.session.origins.get(layer)
            if origin is None or origin.image() is None or layer.multiscale:
                continue
            regions = self._regions_of(layer)
            reviewed = layer in self.session.wholly_reviewed or (regions is not None and len(regions.data) > 0)
            into = self.set_for(origin)
            if reviewed and folder in (None, into):
                found.append((layer, into))
        return one_for_each_image(found, self.session)

    def add_open_layers(self, folder: Path | None, then: Callable[[], None]) -> Job:
        """Save all that is reviewed in the open layers for fine-tuning, then call ``then``; returns the job.

        An image that is there already is replaced by what it is now.

        Raises
        ------
        SegloopError
            If labels do not lie on their image, or a region was drawn across planes.
        """
        layers = self.open_reviewed(folder)
        corrections = []
        for layer in layers:
            origin = self.session.origins[layer]
            correction = self.correction(layer, origin.image())
            corrections.append((self.set_for(correction), correction))
            self.session.saving.emit(layer)

        def added(_: Any) -> None:
            for layer in layers:
                self.session.saved.emit(layer)
            for task, into in dict.fromkeys((correction.task, into) for into, correction in corrections):
                self.session.note_added(task, into)
            then()

        return self.begin("SegLoop", partial(work.add_corrections, corrections), added)

    def correction(self, layer: napari.layers.Labels, image_layer: napari.layers.Image | None) -> work.Correction:
        """Copy what a training set is to have of labels and their image.

        Raises
        ------
        ImageError, LabelsError
            If labels do not lie on their image, nothing is reviewed, or a region was drawn across planes.
        """
        return self.upcoming(layer, image_layer)()

    def upcoming(
        self, layer: napari.layers.Labels, image_layer: napari.layers.Image | None
    ) -> Callable[[], work.Correction]:
        """Copy the labels, and return what makes a correction of them: pixels are copied and regions drawn only then.

        It may be called in a worker, and raises a LabelsError if nothing is reviewed.

        Raises
        ------
        ImageError, LabelsError
            If labels do not lie on their image, or a region was drawn across planes.
        """
        if image_layer is None:
            raise ImageError("choose the image that the labels belong to")
        self.session.bring_up_to_date(layer)
        origin = self.session.origins[layer]
        axes = self.session.axes.get(image_layer) or guess_layer_axes(image_layer)
        whole = self.session.learns_all_channels
        image = learned_image(origin, image_layer, axes, self.viewer.layers, self.session, whole)
        labels = freeze_labels(layer, image, Placement.of(image_layer, axes))
        whole_image = layer in self.session.wholly_reviewed
        regions = None if whole_image else Regions.of(self._regions_of(layer))
        correction = work.Correction(
            image=image,
            labels=labels,
            reviewed=None,
            task=origin.task,
            classes=origin.classes,
            object_classes=(
                features.object_classes(layer.features, origin.classes) if origin.task == "instance" else {}
            ),
            source=str(image_layer.source.path or image_layer.name),
            model=origin.model,
        )
        return partial(_completed, correction, regions, tuple(layer.data.shape))

    @guarded
    def add_to_training_set(self) -> None:
        """Save image, labels and reviewed regions for fine-tuning."""
        if self.job is not None:
            return
        self.panel.reason.show_text("")
        try:
            correction = self.correction(self.labels, self.panel.image.current())
        except (ImageError, LabelsError) as error:
            self.panel.reason.show_text(str(error))
            return
        folder, layer = self.set_for(correction), self.labels
        self.session.saving.emit(layer)
        self.panel.add.setEnabled(False)
        self.say("Saving …")
        self.job = self.begin(
            f"SegLoop: {folder.name}",
            partial(work.add_correction, folder, correction),
            partial(self._on_added, folder, layer, correction.task),
        )
        self.job.ended.connect(self._on_ended)

    def fail(self, error: Exception) -> None:
        """Tell the user of an error, beside the button if it is about the training set."""
        if self.job is not None:
            self.panel.reason.show_text(str(error))
            if isinstance(error, SegloopError) and self.panel.reason.isVisible():
                # once is enough
                self.say("")
                return
        super().fail(error)

    def _on_added(self, folder: Path, layer: napari.layers.Labels, task: str, entry: Any) -> None:
        self.session.saved.emit(layer)
        self.session.note_reviewed(layer)
        instead = "" if entry.created == entry.modified else ", in place of what it had of this image"
        saved = f"Saved as image {int(entry.id)} of {folder.name}{instead}"
        self.say(f"{saved}. Go on with Fine-tune, or correct another image.", "good")
        self.session.note_added(task, folder)

    def _on_ended(self) -> None:
        self.job = None
        self._allow()


def _completed(correction: work.Correction, regions: Regions | None, shape: tuple[int, ...]) -> work.Correction:
    reviewed = None
    if regions is not None:
        reviewed = regions.mask(shape).reshape(correction.image.label_shape)
        if not reviewed.any():
            raise LabelsError("nothing is reviewed yet: tick the whole image, or add a region around what is right")
    return replace(correction, image=copied(correction.image), reviewed=reviewed)
