"""What the manifest names: the dock, joined to a viewer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import napari

from segloop._napari import work
from segloop._napari.activity import keep_room
from segloop._napari.dock import Dock
from segloop._napari.jobs import Job, explain
from segloop._napari.journal_marks import ImageMarks
from segloop._napari.journaling import JournalStep
from segloop._napari.session import new_session
from segloop._napari.steps.adding import AddingStep
from segloop._napari.steps.candidates import ThresholdStep
from segloop._napari.steps.channels import ChannelStep
from segloop._napari.steps.classes import ClassThresholdStep
from segloop._napari.steps.correct import CorrectStep
from segloop._napari.steps.export import ExportStep
from segloop._napari.steps.finetune import FinetuneStep
from segloop._napari.steps.kept import KeptStep
from segloop._napari.steps.overlaps import OverlapStep
from segloop._napari.steps.parts import PartThresholdStep
from segloop._napari.steps.restore import RestoreStep
from segloop._napari.steps.review import ReviewStep
from segloop._napari.steps.scribble import ScribbleStep
from segloop._napari.steps.segment import SegmentStep
from segloop._napari.steps.step import timer
from segloop._napari.steps.tour import TourStep
from segloop._napari.watch import LayerWatch

CORRECT = 1
"""Number of the tab."""

FINETUNE = 2
"""Number of the tab."""

INVITATION = "Open an image, or one of File ▸ Open Sample ▸ SegLoop."

AFTER_SHOWING = 100
"""Milliseconds."""


class SegloopDock(Dock):
    """The dock "SegLoop": segment, correct, fine-tune, export.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Named so that napari hands it over.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        # napari may hand over a proxy whose layers are proxies too, and no two of them the same object
        self._viewer = viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = new_session(viewer)
        self._watch = LayerWatch(viewer)
        keep_room(viewer)
        given: tuple[Any, ...] = (self.session, viewer, self._watch, self)
        self.segment_step = SegmentStep(self.segment, *given)
        self.channel_step = ChannelStep(self.segment, *given)
        self.correct_step = CorrectStep(self.correct, *given)
        self.threshold_step = ThresholdStep(self.thresholds, *given)
        self.class_threshold_step = ClassThresholdStep(self.class_threshold, *given)
        self.class_threshold_step.waiting.connect(self.show_waiting)
        self.part_threshold_step = PartThresholdStep(self.part_thresholds, *given)
        self.kept_step = KeptStep(self.without_thresholds, *given)
        self.adding_step = AddingStep(self.candidate_tools, self.correct.labels.current, *given)
        self.overlap_step = OverlapStep(self.candidate_tools, lambda: self.adding_step.live, *given)
        self.adding_step.started.connect(self.correct_step.tools.end_tool)
        self.adding_step.chosen.connect(self.correct_step.tools.select)
        self.correct.tools.toggled.connect(self.adding_step.end)
        self.review_step = ReviewStep(self.correct, *given)
        self.tour_step = TourStep(self.correct.tour, self.review_step, *given)
        self.tour_step.wanted.connect(partial(self.tabs.setCurrentIndex, CORRECT))
        self.tour_step.chosen.connect(self.correct_step.tools.select)
        self.tabs.currentChanged.connect(self._on_tab)
        self.finetune_step = FinetuneStep(self.finetune, self.review_step, *given)
        self.channel_step.chosen.connect(self.finetune_step.material.count)
        self.scribble_step = ScribbleStep(self.scribble, self.finetune_step, *given)
        self.export_step = ExportStep(self.export, *given)
        self.marks = ImageMarks(self)
        self.journal_step = JournalStep(self.marks, *given)
        self.restore_step = RestoreStep(self.notice, self.journal_step, self.marks, *given)
        self.restore_step.regions_changed.connect(self.review_step._on_regions)
        self.restore_step.restored.connect(self._on_restored)
        self.correct_step.labels_used.connect(self.review_step.refresh)
        self.correct_step.labels_used.connect(self.adding_step.refresh)
        self.correct_step.labels_used.connect(self.overlap_step.refresh)
        self.correct_step.labels_used.connect(self.tour_step.refresh)
        for step in (
            self.segment_step,
            self.channel_step,
            self.correct_step,
            self.threshold_step,
            self.class_threshold_step,
            self.part_threshold_step,
            self.kept_step,
            self.adding_step,
            self.overlap_step,
            self.review_step,
            self.tour_step,
            self.finetune_step,
            self.scribble_step,
            self.export_step,
            self.journal_step,
            self.restore_step,
        ):
            step.said.connect(self.show_status)
        self._watch.layers_changed.connect(self._on_layers)
        self._layers = len(viewer.layers)
        if self.session.origins:
            # steps that were not there yet when those before them took up what a closed dock knew
            self._watch.layers_changed.emit()
        viewer.events.theme.connect(self._on_theme)
        self._on_theme()
        steps = (
            # before the journal, which is told what is left to draw
            self.class_threshold_step,
            self.part_threshold_step,
            self.journal_step,
            self.correct_step,
            self.threshold_step,
            self.adding_step,
            self.overlap_step,
            self.review_step,
            self.tour_step,
            self.segment_step,
            self.restore_step,
        )
        releases = (
            *(step.release for step in steps),
            self.scribble_step.release,
            partial(viewer.events.theme.disconnect, self._on_theme),
        )
        self.destroyed.connect(partial(_release, self._watch, releases))
        self.session.reload_models()
        self.show_status("Preparing …", "hint")
        # once the dock is on screen: importing would slow it down
        timer(self, AFTER_SHOWING, self._begin).start()

    def _begin(self) -> None:
        """Import torch beside the window; until it is there, Run waits. Journals do not wait."""
        self.restore_step.on_ready()
        job = Job("SegLoop", work.load_torch, self)
        job.done.connect(self._on_ready)
        job.failed.connect(self._on_failed)
        job.start()

    def _on_ready(self, _: Any) -> None:
        self.show_status("" if self.segment_step.image else INVITATION, "hint")
        for step in (self.segment_step, self.review_step, self.tour_step, self.finetune_step, self.scribble_step):
            step.on_ready()
        # a family that cannot be imported is no matter until one of its models is run
        families = {info.family for info in self.session.models}
        loading = Job("SegLoop", partial(work.load_families, families), self)
        loading.ended.connect(self.finetune_step.prepare_plots)
        loading.start()

    def _on_restored(self, layer: Any) -> None:
        if layer in self.session.scribbles:
            self.tabs.setCurrentIndex(FINETUNE)
            self.scribble_fold.expand(animate=False)
            return
        self.tabs.setCurrentIndex(CORRECT)
        self.review_step.refresh()

    def _on_layers(self) -> None:
        """Let what went well not be told of layers that are gone, and nobody be invited to do what was done."""
        if self.segment_step.image and self.status.text() == INVITATION:
            self.show_status("", "hint")
        before, self._layers = self._layers, len(self._viewer.layers)
        if self._layers < before:
            self.forget_what_is_over()

    def _on_tab(self, number: int) -> None:
        self.tour_step.show_on_canvas(number == CORRECT)
        self.finetune_step.material.look(number == FINETUNE)

    def _on_failed(self, error: Exception) -> None:
        self.show_status(explain(error), "error")

    def _on_theme(self, event: Any = None) -> None:
        self.apply_theme(self._viewer.theme)
        self.finetune_step.recolor()


def _release(watch: LayerWatch, releases: tuple[Callable[[], None], ...], _: Any = None) -> None:
    watch.close()
    for release in releases:
        release()
