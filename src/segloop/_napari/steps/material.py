"""Material: what a training is to start from and to learn from, and what is known of it beforehand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal

from segloop._napari import training_words as words
from segloop._napari import training_work as work
from segloop._napari.coming_corrections import ComingCorrections
from segloop._napari.jobs import Job
from segloop._napari.offered_sets import OfferedSets
from segloop._napari.panels.finetune import FinetunePanel
from segloop._napari.session import UNNAMED, is_training_set, task_of
from segloop._napari.steps.review import ReviewStep
from segloop._napari.steps.step import Step, guarded, timer
from segloop.errors import ImageError, LabelsError, ModelError
from segloop.store import ModelInfo, check_name

MOST_FORESEEN = 1 << 26
"""Bytes of labels up to which open layers are counted before they are put into the training set: they are copied."""

EDITS_REST = 700
"""Milliseconds after the last edit, when what is open is counted anew."""


class MaterialStep(Step):
    """Joins the choices of the Fine-tune panel to the session; ``review`` knows what is reviewed in the open layers.

    While a training is under way, it is locked: nothing is chosen or counted anew. What is reviewed in open layers
    counts already while somebody looks at the panel.
    """

    base_shown = Signal()

    def __init__(self, panel: FinetunePanel, review: ReviewStep, *args: Any) -> None:
        super().__init__(*args)
        self.panel, self.review = panel, review
        self._locked = self._held = self._is_looked_at = self._foresees = False
        self._count: Job | None = None
        self._is_counted = False
        self._base = ""
        self._named = False
        self._plan: work.Plan | None = None
        self._sets = OfferedSets(self.session)
        self._coming_corrections = ComingCorrections(review)
        self._coming_corrections.edited.connect(self._on_edited)
        self._edits_rest = timer(self, EDITS_REST, self._count_edits)
        self._settings_changed = timer(self, 300, self._summarize)
        panel.source_chosen.connect(self._on_source)
        panel.channels_chosen.connect(self._on_channels)
        panel.base_chosen.connect(self._on_base)
        panel.base.opening.connect(self.session.reload_models)
        panel.name_edited.connect(self._on_name)
        panel.minutes.valueChanged.connect(self._settings_changed.start)
        self.session.models_changed.connect(self._on_models)
        self.session.model_changed.connect(self._on_model)
        self.session.training_set_changed.connect(self.count)
        review.reviewed_changed.connect(self._on_reviewed)
        self._on_models()

    def on_ready(self) -> None:
        """Take note that the form of the settings is there."""
        if self.panel.form is not None:
            self.panel.form.changed.connect(self._allow)
            self.panel.form.changed.connect(self._settings_changed.start)
        self._show_base()

    def look(self, is_seen: bool) -> None:
        """Take note whether somebody looks at the panel; what changed meanwhile is counted when she does."""
        self._is_looked_at = is_seen
        self._coming_corrections.forget()
        if is_seen and not self._locked:
            self._summarize()

    def lock(self) -> None:
        """Take note that a training is under way."""
        self._locked = True
        self._coming_corrections.forget()

    def unlock(self) -> None:
        """Take note that it ended; what it learned from may have changed."""
        self._locked = False
        self.count()

    @property
    def is_locked(self) -> bool:
        """Whether a training is under way."""
        return self._locked

    def hold(self, held: bool) -> None:
        """Let no training be started, or allow it again."""
        self._held = held
        self._allow()

    @property
    def base(self) -> ModelInfo | None:
        """The model to start from."""
        return self.session.find_model(self._base)

    @property
    def base_name(self) -> str:
        """Its name; of a model that was deleted too."""
        return self._base

    def _on_models(self) -> None:
        if self.base is None:
            self._base = self.session.model
        self._show_base()

    def _on_model(self, name: str) -> None:
        if not self._locked:
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
        self.base_shown.emit()
        self.count()

    def _on_name(self, _: str) -> None:
        self._named = True
        self._allow()

    @property
    def folder(self) -> Path | None:
        """The training set to learn from."""
        return self.panel.source.current()

    def _made_folder(self) -> Path | None:
        """The training set to learn from, unless it is still to be made of what is open."""
        return self.folder if self.folder is not None and is_training_set(self.folder) else None

    @guarded
    def count(self) -> None:
        """Offer the training sets that the model can learn from; count beside the window what the chosen one holds."""
        if self.base is None or self._locked:
            return
        self._coming_corrections.forget()
        folders, current = self._sets.look(_learned(self.base), self._opened_sets(), self.folder)
        names = [f"None for {self.base.name} yet" if folder is None else folder.name for folder in folders]
        self.panel.source.show_items(folders, names, current, [] if None in folders else list(map(str, folders)))
        self._summarize()

    def _opened_sets(self) -> list[Path]:
        """The training sets that what is reviewed in the open layers goes into; they may have to be made."""
        layers = [layer for layer in self.review.open_reviewed(None) if self._can_learn_from(layer)]
        return list(dict.fromkeys(self.review.set_for(self.session.origins[layer]) for layer in layers))

    def _on_edited(self) -> None:
        self._edits_rest.start()

    @guarded
    def _count_edits(self) -> None:
        if self._is_looked_at and not self._locked and not self._coming_corrections.is_current:
            self._summarize()

    def _on_reviewed(self) -> None:
        self._coming_corrections.forget()
        if self.panel.source.items() and not self._sets.knows(self._opened_sets()):
            self.count()
            return
        if self._is_looked_at and not self._locked:
            self._plan, self._is_counted = None, False
            self._settings_changed.start()
        self._foresees = False
        self._allow()

    def choose(self, base: str, folder: Path) -> None:
        """Choose a model to start from and a training set, which must be one of the session's, as a person would.

        Where it is the model chosen already, the new name stays as well.
        """
        self.choose_base(base)
        items = self.panel.source.items()
        self.panel.source.setCurrentIndex(items.index(folder))
        self._summarize()

    def choose_base(self, base: str) -> None:
        """Choose a model to start from, as a person would; where it is chosen already, the new name stays as well."""
        if base != self._base:
            self._on_base(base)

    def go_on_from(self, base: str, name: str = "") -> None:
        """Start from this model next, if there is one, to a new one of this name, or a name that follows from its."""
        self._base, self._named = base or self._base, bool(name)
        self._show_base()
        if name:
            self.panel.name.setText(name)

    def new_name(self) -> str:
        """Return the name that the new model is to have.

        Raises
        ------
        ModelError
            If no model can have it.
        """
        return check_name(self.panel.name.text().strip())

    @guarded
    def _on_source(self, folder: Path | None) -> None:
        self.panel.reason.show_text("")
        task = "" if folder is None else task_of(folder)
        if folder is not None and task and self.base is not None and task not in _learned(self.base):
            fitting = [info.name for info in self.session.models if task in _learned(info)]
            if not fitting:
                raise ModelError(f"no model learns from {folder.name}, which holds {task} labels; choose another set")
            self.choose(fitting[0], folder)
            self.say(f"{folder.name} holds classes of pixels: the training starts from {fitting[0]}.")
            return
        self._summarize()

    @guarded
    def _on_channels(self, whole: bool) -> None:
        self.panel.reason.show_text("")
        self.review.learn_all_channels(whole)
        self.count()
        # what is open goes into another set now
        items, opened = self.panel.source.items(), self._opened_sets()
        if opened and self.folder not in opened and opened[0] in items:
            self.panel.source.setCurrentIndex(items.index(opened[0]))
            self._summarize()

    def _summarize(self) -> None:
        if self._count is not None:
            self._count.cancel()
        self._plan, self._count, self._is_counted = None, None, False
        form = self.panel.form
        coming = self._coming() if self._is_looked_at else None
        self._foresees = coming is not None
        folder = self._made_folder()
        if folder is None and coming:
            folder = self.review.set_for(self.session.origins[self.open_layers()[0]])
        if folder is not None and self.base is not None and form is not None and not form.reason:
            plan = partial(work.plan_training, self.base, folder, self.panel.settings(), coming or ())
            self._count = Job("SegLoop", plan, self)
            self._count.done.connect(self._on_counted)
            self._count.failed.connect(self._on_count_failed)
            self._count.start()
        self._allow()

    def _coming(self) -> list[work.Coming] | None:
        """What a press puts into the training set first; None where that is too much to be copied just to be counted.

        Also where it cannot be put there, which is told when it is tried, or goes into several sets.
        """
        layers = self.open_layers()
        if self._held:
            # it has just been put there
            return []
        if sum(layer.data.size * layer.data.dtype.itemsize for layer in layers) > MOST_FORESEEN:
            return None
        if self.folder is None and len(self._opened_sets()) > 1:
            return None
        try:
            return self._coming_corrections.take_up(layers)
        except (ImageError, LabelsError):
            return None

    def _on_counted(self, plan: work.Plan | None) -> None:
        self._plan, self._is_counted = plan, True
        self._allow()

    def _on_count_failed(self, error: Exception) -> None:
        self._plan, self._is_counted = None, True
        self._allow()
        self.panel.reason.show_text(str(error), "reason")

    def _allow(self) -> None:
        """Say what will be used, and allow to start if it can be."""
        self.panel.name_field.show_reason(self._name_problem())
        if not self._locked:
            self.panel.show_channels(self.review.most_channels(), self.session.learns_all_channels)
        plan, opened = self._plan, self.open_layers()
        passed = [each.text for each in self.review.passed_over(self.folder) if self._can_learn_from(each.layer)]
        missing = "\n".join([*passed, *self._apart(), *(() if plan is None else plan.uses.missing)])
        counting = not self._is_counted and (self._count is not None or self._made_folder() is not None)
        uncounted = [] if self._foresees else [self.review.extent(layer) for layer in opened]
        text = words.material(plan, self.panel.minutes.value(), uncounted)
        if counting:
            text = "Counting …"
        elif plan is None and self._is_counted:
            # why not is said below
            text = ""
        self.panel.show_uses(text, missing)
        anything = bool(opened) or (plan is not None and plan.uses.images > 0)
        ready = self.panel.form is not None and anything and not (self._locked or self._held)
        problem = self.panel.name_field.reason or (self.panel.form.reason if self.panel.form is not None else "")
        self.panel.start.setEnabled(bool(ready and self.base is not None and not problem))

    def _apart(self) -> list[str]:
        """Say so where what is open goes into several training sets, and how to learn all of it at once."""
        if self._locked or len(sets := self._opened_sets()) < 2:
            return []
        layers = [layer for layer in self.review.open_reviewed(None) if self._can_learn_from(layer)]
        classes = {self.session.origins[layer].classes for layer in layers}
        names = ", ".join(folder.name for folder in sets)
        told = f"What is open goes into {len(sets)} training sets ({names}); a training learns from one."
        if UNNAMED in classes and all(len(own) <= 1 for own in classes) and len(classes) == 2:
            told += " To learn both as one kind, choose one set for both in Correct ▸ Training set."
        return [told]

    def open_layers(self) -> list[Any]:
        """The open layers that would be added to the training set: those from whose labels the model can learn."""
        return [layer for layer in self.review.open_reviewed(self.folder) if self._can_learn_from(layer)]

    def _can_learn_from(self, layer: Any) -> bool:
        semantic = self.base is not None and self.base.task != "instance"
        return semantic or self.session.origins[layer].task == "instance"

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


def _learned(model: ModelInfo) -> tuple[str, ...]:
    """What a training set must hold for a model to learn from it: a semantic one learns single objects as well."""
    return ("instance",) if model.task == "instance" else ("semantic", "instance")
