"""Fine-tune: from the training set to a better model."""

from __future__ import annotations

import math
import threading
from functools import partial
from pathlib import Path
from typing import Any

from segloop._napari import work
from segloop._napari.jobs import Countdown, Job
from segloop._napari.panels.finetune import FinetunePanel
from segloop._napari.session import is_training_set
from segloop._napari.steps.step import Step, guarded
from segloop.errors import FileError, ModelError, SegloopError
from segloop.events import EpochDone, Event, Notice, Scored, TrainingStarted
from segloop.store import ModelInfo, check_name


class FinetuneStep(Step):
    """Joins the Fine-tune panel to the session."""

    def __init__(self, panel: FinetunePanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        self.job: Job | None = None
        self._count: Job | None = None
        self._base = ""
        self._named = False
        self._stop = threading.Event()
        self._undecided: work.Finetuned | None = None
        self._notices: list[str] = []
        self._summary: work.TrainingSetSummary | None = None
        panel.source_chosen.connect(self._on_source)
        panel.base_chosen.connect(self._on_base)
        panel.base.opening.connect(self.session.reload_models)
        panel.name_edited.connect(self._on_name)
        panel.start_requested.connect(self.start)
        panel.stop_requested.connect(self.stop)
        panel.keep_requested.connect(self.keep)
        panel.discard_requested.connect(self.discard)
        self.session.models_changed.connect(self._on_models)
        self.session.model_changed.connect(self._on_model)
        self.session.training_set_changed.connect(self.count)
        self._on_models()

    def on_ready(self) -> None:
        """Take note that torch is there."""
        from segloop.train.finetune import FinetuneSettings

        self.panel.build_form(FinetuneSettings)
        self.panel.form.changed.connect(self._allow)
        self.count()

    @property
    def base(self) -> ModelInfo | None:
        """The model to start from."""
        return self.session.find_model(self._base)

    def _on_models(self) -> None:
        if self.base is None:
            self._base = self.session.model
        self._show_base()

    def _on_model(self, name: str) -> None:
        if self.job is None:
            self._base = name
            self._show_base()

    def _on_base(self, name: str) -> None:
        self.panel.reason.show_text("")
        self._base = name
        self._named = False
        self._show_base()

    def _show_base(self) -> None:
        self.panel.base.show_models(self.session.models, self._base)
        if self.base is not None and not self._named:
            self.panel.name.setText(f"my-{self.base.name}" if self.base.bundled else self.base.name)
        self.count()

    def _on_name(self, _: str) -> None:
        self._named = True
        self._allow()

    @property
    def folder(self) -> Path | None:
        """The training set to learn from."""
        return self.panel.source.current()

    @guarded
    def count(self) -> None:
        """Offer the training sets that the model can learn from; count beside the window what the chosen one holds."""
        if self.base is None or self.job is not None:
            return
        # a semantic model can learn from single objects as well, but not the other way round
        tasks = ("instance",) if self.base.task == "instance" else ("semantic", "instance")
        folders = [folder for task in tasks if is_training_set(folder := self.session.training_folder(task))]
        self.panel.source.show_items(folders, [folder.name for folder in folders], self.folder)
        self._summarize()

    def _on_source(self, _: Path) -> None:
        self.panel.reason.show_text("")
        self._summarize()

    def _summarize(self) -> None:
        if self._count is not None:
            self._count.cancel()
        self._summary, self._count = None, None
        if self.folder is not None:
            self._count = Job("SegLoop", partial(work.summarize_training_set, self.folder), self)
            self._count.done.connect(self._on_counted)
            self._count.failed.connect(self._on_count_failed)
            self._count.start()
        self._allow()

    def _on_counted(self, summary: work.TrainingSetSummary | None) -> None:
        self._summary = summary
        self._allow()

    def _on_count_failed(self, error: Exception) -> None:
        self._summary = None
        self._allow()
        self.panel.reason.show_text(str(error), "reason")

    def _allow(self) -> None:
        """Say what will be used, and allow to start if it can be."""
        self.panel.name_field.show_reason(self._name_problem())
        summary = self._summary
        if summary is None and self.folder is not None:
            self.panel.uses.show_text("Counting …")
        elif summary is None or not summary.images:
            self.panel.uses.show_text(
                "There is nothing to learn from yet. Correct a result, say what you checked, and add it to the "
                "training set."
            )
        else:
            images = f"{summary.images} image{'s' * (summary.images != 1)}"
            content = f"{summary.objects} objects" if summary.task == "instance" else ", ".join(summary.classes)
            self.panel.uses.show_text(f"{images}, {content} in reviewed regions. Nothing else is used.")
        ready = self.panel.form is not None and summary is not None and summary.images > 0
        problem = self.panel.name_field.reason or (self.panel.form.reason if self.panel.form is not None else "")
        self.panel.start.setEnabled(bool(ready and self.base is not None and not problem and self.job is None))

    def _name_problem(self) -> str:
        name = self.panel.name.text().strip()
        if self.base is None:
            return ""
        try:
            check_name(name)
        except ModelError as error:
            return str(error)
        if any(info.bundled and info.name == name for info in self.session.models):
            return f"{name} is the bundled model; choose a name of your own."
        return ""

    # training

    @guarded
    def start(self) -> None:
        """Begin to fine-tune."""
        if self.job is not None or self.panel.form is None:
            return
        base = self.base
        if base is None:
            raise ModelError("choose a model to start from")
        settings = self.panel.settings()
        name = check_name(self.panel.name.text().strip())
        folder = self.folder
        if folder is None:
            raise FileError("there is no training set to learn from; add a corrected image to it first")
        self.discard()
        self._stop = threading.Event()
        self._notices = []
        self._countdown, self._limit = Countdown(), settings.minutes * 60
        self.panel.result.show_text("")
        self.panel.reason.show_text("")
        # before the job: what is imported and drawn here lets Qt events in, and events of the job would come
        # out of turn
        self.panel.build_curves()
        self.recolor()
        self.panel.show_running(True)
        self.say(f"Fine-tuning {base.name}. You can go on working.")
        self.job = self.begin(
            f"SegLoop: {name}",
            partial(work.finetune_model, base.path, folder, name, settings, self._stop.is_set),
            self._on_done,
            self._on_event,
        )
        self.job.cancelled.connect(self._on_cancelled)
        self.job.ended.connect(self._on_ended)

    def stop(self) -> None:
        """End the training after its current step; what is trained is kept."""
        self._stop.set()

    def _on_event(self, event: Event) -> None:
        match event:
            case TrainingStarted(epochs=epochs, train_regions=train, validation_regions=held):
                self._countdown = Countdown()
                self.panel.curves.begin(epochs)
                self.panel.progress.advance(0, epochs, f"Epoch 0 of {epochs}")
                regions = f"{train} region{'s' * (train != 1)}"
                self.say(f"Learning from {regions}; {held} kept out to score the model. You can go on working.")
            case Scored(stage="before", score=score):
                self.panel.curves.show_before(score)
            case Scored(stage="after", score=score):
                self.panel.curves.show_after(score)
            case EpochDone(epoch=epoch, epochs=epochs, loss=loss, score=score):
                self.panel.curves.add_epoch(epoch, loss, score)
                self.panel.progress.advance(epoch, epochs, self._progress_text(epoch, epochs))
            case Notice(message=message):
                self._notices.append(message)

    def recolor(self) -> None:
        """Draw the plots in the colours of napari's theme."""
        if self.panel.curves is not None:
            self.panel.curves.recolor(self.viewer.theme)

    def _progress_text(self, epoch: int, epochs: int) -> str:
        if self._stop.is_set():
            return "Stopping …"
        left = self._countdown.left(epoch, epochs, self._limit)
        return f"Epoch {epoch} of {epochs}" + (f" · {left}" if left else "")

    @guarded
    def _on_done(self, finetuned: work.Finetuned) -> None:
        result = finetuned.result
        scores = f"Held-out score {_score(result.before)} before, {_score(result.after)} after ({result.metric})"
        if finetuned.folder is not None:
            self.panel.result.show_text(f"Better. {scores}.", "good")
            self._take(finetuned)
        else:
            self._undecided = finetuned
            self.panel.result.show_text(
                f"Not better. {scores}. {self._base} stays in use. More reviewed objects usually help.",
                "warning",
            )
            self.panel.show_choice(True)
            self.say("The new model did not get better; it is not in use.", "warning")
        notices = [*dict.fromkeys([*self._notices, *result.notices])]
        if notices:
            self.panel.reason.show_text("\n".join(notices), "warning")

    def _take(self, finetuned: work.Finetuned) -> None:
        """Make a saved model the one that Run uses."""
        folder = finetuned.folder
        self.session.reload_models()
        self.session.choose_model(finetuned.name)
        # the next round goes on from here
        self._base, self._named = finetuned.name, False
        self._show_base()
        version = folder.name if folder is not None else ""
        self.say(f"Saved as {finetuned.name}, version {version}, and chosen. Press Run to segment with it.", "good")

    @guarded
    def keep(self) -> None:
        """Save the model that did not get better, and use it."""
        if self._undecided is not None:
            self.panel.show_choice(False)
            self.begin("SegLoop", partial(work.save_finetuned, self._undecided), self._on_kept)
            self._undecided = None

    @guarded
    def _on_kept(self, finetuned: work.Finetuned) -> None:
        self._take(finetuned)

    @guarded
    def discard(self) -> None:
        """Forget the model that did not get better."""
        self._undecided = None
        self.panel.show_choice(False)
        self.panel.result.show_text("")

    def fail(self, error: Exception) -> None:
        """Tell the user of an error, beside the button too."""
        if isinstance(error, SegloopError):
            self.panel.reason.show_text(str(error), "reason")
        super().fail(error)

    def _on_cancelled(self) -> None:
        self.say("Fine-tuning was cancelled; the model is unchanged.")

    def _on_ended(self) -> None:
        self.job = None
        self.panel.show_running(False)
        self.count()


def _score(score: float) -> str:
    return f"{score:.3f}" if math.isfinite(score) else "not scored"
