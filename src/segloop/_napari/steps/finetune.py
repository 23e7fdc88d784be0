"""Fine-tune: from the training set to a better model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop._napari import training_words as words
from segloop._napari import training_work
from segloop._napari.docking import show_models
from segloop._napari.jobs import Job
from segloop._napari.panels.finetune import FinetunePanel
from segloop._napari.steps.material import MaterialStep
from segloop._napari.steps.review import ReviewStep
from segloop._napari.steps.step import Step, guarded, timer
from segloop._napari.steps.verdict import VerdictStep
from segloop._napari.work import Events
from segloop.errors import FileError, ModelError, SegloopError, TrainingError
from segloop.events import (
    CrossValidating,
    EpochDone,
    Event,
    HeldOutFound,
    Notice,
    Scored,
    StillTraining,
    TrainingStarted,
)
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop.train.finetune import FinetuneSettings
    from segloop.trainings import TrainingFolder

BETWEEN_PLOTS = 30
"""Milliseconds for the person between two pieces of work that she did not ask for."""


class FinetuneStep(Step):
    """Joins the Fine-tune panel to the session; ``review`` knows what is reviewed in the open layers."""

    def __init__(self, panel: FinetunePanel, review: ReviewStep, *args: Any) -> None:
        super().__init__(*args)
        self.panel, self.review = panel, review
        self.material = MaterialStep(panel, review, self.session, self.viewer, self.watch, self)
        self.verdict = VerdictStep(panel, self.material, self.session, self.viewer, self.watch, self)
        for step in (self.material, self.verdict):
            step.said.connect(self.said)
        self._has_looked = False
        self._adding: Job | None = None
        self.job: Job | None = None
        self._stop = threading.Event()
        self._notices: list[str] = []
        self._is_news = True
        self._interrupted: TrainingFolder | None = None
        self._last: TrainingFolder | None = None
        self._next_plot = timer(self, BETWEEN_PLOTS, self.prepare_plots)
        panel.start_requested.connect(self.start)
        panel.stop_requested.connect(self.stop)
        panel.resume_requested.connect(self.resume)
        panel.forget_requested.connect(self.forget)
        panel.last_requested.connect(self.show_last)
        panel.versions_requested.connect(self.show_versions)
        self.material.base_shown.connect(self._show_learning)

    def on_ready(self) -> None:
        """Take note that torch is there."""
        from segloop.train.finetune import FinetuneSettings

        self.panel.build_form(FinetuneSettings)
        self.material.on_ready()

    @guarded
    def prepare_plots(self) -> None:
        """Build the plots of a training one at a time, then look for one that was begun before the dock was closed."""
        if self._build_plot():
            self._next_plot.start()
        else:
            self._look_once()

    def _build_plot(self) -> bool:
        """Build one more of the plots; whether there are more. Without them a training is followed all the same."""
        try:
            return self.panel.build_next_plot()
        except Exception as error:
            self.fail(error)
            return False

    def _look_once(self) -> None:
        if not self._has_looked:
            self._has_looked = True
            self.find_training()
            self.offer_to_resume()

    @property
    def base(self) -> ModelInfo | None:
        """The model to start from."""
        return self.material.base

    def learn_from(self, base: str, folder: Path) -> None:
        """Choose a model to start from and a training set, which must be one of the session's, as a person would.

        Raises
        ------
        TrainingError
            If a training is under way.
        """
        if self.job is not None:
            raise TrainingError("a training is under way; wait until it ends, or stop it, then try again")
        self.material.choose(base, folder)

    @guarded
    def _show_learning(self) -> None:
        if self.panel.form is None or self.base is None:
            return
        # what it needs of torch is there once the form is
        from segloop.trainings import learning_curve

        self.panel.show_learning(learning_curve(self.base.name), self.viewer.theme)

    # training

    @guarded
    def start(self) -> None:
        """Add what is reviewed in the open layers to the training set, then begin to fine-tune."""
        if self.job is not None or self.panel.form is None or self._adding is not None:
            return
        # one may be at work since before the dock was closed: two would compete
        self._look_once()
        if self.job is not None:
            return
        if not self.material.open_layers():
            self._start()
            return
        self.panel.reason.show_text("")
        self._adding = self.review.add_open_layers(self.material.folder, self._start)
        self.material.hold(True)
        self._adding.ended.connect(self._on_added)

    def _on_added(self) -> None:
        self._adding = None
        self.material.hold(False)

    @guarded
    def _start(self) -> None:
        if self.job is not None:
            return
        base = self.base
        if base is None:
            raise ModelError("choose a model to start from")
        settings = self.panel.settings()
        name, folder = self.material.new_name(), self.material.folder
        if folder is None:
            raise FileError("there is no training set to learn from; add a corrected image to it first")
        self.verdict.discard()
        self.say(f"Fine-tuning {base.name}. You can go on working.")
        self._is_news = True
        self._begin(name, settings, partial(training_work.finetune_model, base.path, folder, name, settings))

    def _begin(self, name: str, settings: FinetuneSettings, training: Callable[..., Events]) -> None:
        """Begin to follow a training; ``training`` is given what tells whether it is to stop."""
        self._stop = threading.Event()
        self._notices = []
        self._settings = settings
        self._clock = words.EpochClock(settings.epochs, settings.minutes * 60)
        self.panel.show_verdict("")
        self.panel.reason.show_text("")
        self.panel.show_interrupted("")
        self.panel.show_last("")
        # before the job: what is imported and drawn here lets Qt events in, and events of the job would come
        # out of turn
        while self._build_plot():
            pass
        self.panel.show_plots()
        self.recolor()
        self.panel.show_running(True)
        self.material.lock()
        work_ = partial(training, self._stop.is_set)
        self.job = self.begin(f"SegLoop: {name}", work_, self._on_done, self._on_event)
        self.job.cancelled.connect(self._on_cancelled)
        self.job.ended.connect(self._on_ended)

    @guarded
    def find_training(self) -> None:
        """Follow a training that was begun before the dock was closed, or show again how the last one ended."""
        from segloop.trainings import open_trainings

        if self.job is not None:
            return
        trainings = open_trainings()
        for training in trainings:
            has_result = training.ended is not None and training.result.is_dir() and not training.is_settled
            if (training.is_running or has_result) and not training.is_watched_elsewhere:
                self._follow(training)
                return
        for training in trainings[:1]:
            if training.is_settled and training.result.is_dir():
                if _began_here(training):
                    self._follow(training)
                else:
                    self._last = training
                    self.panel.show_last(training.order.name)

    @guarded
    def show_last(self) -> None:
        """Show how the last training ended, which was begun before napari was started."""
        if self._last is not None and self.job is None:
            self._follow(self._last)

    @guarded
    def offer_to_resume(self) -> None:
        """Offer to go on with the newest training if it was interrupted."""
        from segloop.trainings import open_trainings

        if self.job is not None:
            return
        newest = [training for training in open_trainings() if not training.is_watched_elsewhere][:1]
        self._interrupted = next((training for training in newest if training.can_resume), None)
        if self._interrupted is not None:
            order, done = self._interrupted.order, self._interrupted.epochs_done
            self.panel.show_interrupted(
                f"The training of {order.name} ended after epoch {done} of {order.settings.epochs}."
            )

    @guarded
    def resume(self) -> None:
        """Go on with the training that was interrupted."""
        if self._interrupted is not None and self.job is None:
            self.verdict.discard()
            self._follow(self._interrupted)

    @guarded
    def forget(self) -> None:
        """Delete the training that was interrupted."""
        if self._interrupted is not None:
            self._interrupted.forget()
        self.panel.show_interrupted("")
        self.offer_to_resume()

    def _follow(self, training: TrainingFolder) -> None:
        order = training.order
        # first: what it learns from is not counted beside its start, which would be felt
        self.material.lock()
        self.material.go_on_from(self._base_of(order.base), order.name)
        # of one that ended, and was decided on, the events are told again to draw them
        self._is_news = not training.is_settled
        if self._is_news:
            self.say(f"Training {order.name}. You can go on working.")
        self._begin(order.name, order.settings, partial(training_work.follow_training, training))

    def _base_of(self, path: Path) -> str:
        """The name of the model of which ``path`` is a version."""
        return next((info.name for info in self.session.models if path in (info.path, *info.path.parents)), "")

    @guarded
    def show_versions(self) -> None:
        """Open the dock with the versions of all models."""
        show_models(self.viewer, self.panel)

    def stop(self) -> None:
        """End the training after its current step; what is trained is kept."""
        self._stop.set()

    def _on_event(self, event: Event) -> None:
        match event:
            case TrainingStarted(train_regions=train, validation_regions=held):
                self._clock.start()
                self._show_progress()
                if self._is_news:
                    kept_out = f"; {held} kept out to score the model" if held else ""
                    self.say(f"Learning from {words.count(train, 'block')}{kept_out}. You can go on working.")
            case CrossValidating(fold=fold, folds=folds):
                self._clock.stop()
                self.panel.progress.advance(fold, folds + 1, f"Cross-validating, {fold} of {folds}")
            case EpochDone():
                self._clock.note(event)
                self._show_progress()
            case StillTraining() if self._clock.is_due:
                self._show_progress()
            case Notice(message=message):
                self._notices.append(message)
        if self.panel.curves is not None:
            self._draw(event)

    def _draw(self, event: Event) -> None:
        curves = self.panel.curves
        match event:
            case TrainingStarted(epochs=epochs):
                curves.begin(epochs)
            case Scored(stage="before", score=score):
                curves.show_before(score)
            case Scored(stage="after", score=score):
                curves.show_after(score)
            case EpochDone(epoch=epoch, loss=loss, score=score):
                curves.add_epoch(epoch, loss, score)
                curves.expect(self._clock.expected())
            case HeldOutFound(epoch=epoch, regions=regions):
                self.panel.pictures.show_regions(epoch, regions)

    def recolor(self) -> None:
        """Draw the plots in the colours of napari's theme."""
        for plots in (self.panel.curves, self.panel.learning):
            if plots is not None:
                plots.recolor(self.viewer.theme)

    def _show_progress(self) -> None:
        text = "Stopping …" if self._stop.is_set() else self._clock.text()
        self.panel.progress.advance(self._clock.epoch, self._clock.epochs, text)

    @guarded
    def _on_done(self, finetuned: training_work.Finetuned) -> None:
        self.verdict.tell(finetuned, self._settings, self._notices)

    def fail(self, error: Exception) -> None:
        """Tell the user of an error, beside the button too."""
        from segloop.trainings import FollowedElsewhere

        if isinstance(error, FollowedElsewhere):
            self.say(str(error))
            return
        if isinstance(error, SegloopError):
            self.panel.reason.show_text(str(error), "reason")
            if self.panel.reason.isVisible():
                # once is enough
                self.say("")
                return
        super().fail(error)

    def _on_cancelled(self) -> None:
        self.say("Fine-tuning was cancelled; the model is unchanged.", "over")

    def _on_ended(self) -> None:
        self.job = None
        self.panel.show_running(False)
        self.material.unlock()
        if not self.verdict.is_open:
            self.offer_to_resume()


def _began_here(training: TrainingFolder) -> bool:
    """Whether this program began a training: its end is still news, as long as nothing was trained since."""
    process = training.read("process.json")
    return process is not None and int(process["owner"][0]) == os.getpid()
