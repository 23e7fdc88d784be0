"""Verdict: how a training ended, and what becomes of the model that it made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from segloop._napari import result_words as words
from segloop._napari import training_work as work
from segloop._napari.panels.finetune import FinetunePanel
from segloop._napari.steps.material import MaterialStep
from segloop._napari.steps.step import Step, guarded

if TYPE_CHECKING:
    from segloop.train.finetune import FinetuneSettings


class VerdictStep(Step):
    """Tells how a training ended; puts its model into use, or asks whether to.

    Parameters
    ----------
    panel : FinetunePanel
    material : MaterialStep
        Knows what the training started from; the next one goes on from its model.
    *args
        As for ``Step``.
    """

    def __init__(self, panel: FinetunePanel, material: MaterialStep, *args: Any) -> None:
        super().__init__(*args)
        self.panel, self.material = panel, material
        self._undecided: work.Finetuned | None = None
        self._notices: tuple[str, ...] = ()
        panel.keep_requested.connect(self.keep)
        panel.discard_requested.connect(self.discard)

    @property
    def is_open(self) -> bool:
        """Whether a model that did not get better waits for a decision."""
        return self._undecided is not None

    def tell(self, finetuned: work.Finetuned, settings: FinetuneSettings, notices: Sequence[str]) -> None:
        """Tell how a training ended; take its model if it got better, unless that was decided before."""
        from segloop.train.own_domain import rehearsal_share

        result = finetuned.result
        self._notices = tuple(dict.fromkeys([*notices, *result.notices]))
        taken = words.taken(result, settings.epochs, rehearsal_share(settings.rehearsal, result.model.spec))
        if finetuned.folder is not None:
            self._show(taken)
            self._take(finetuned)
        elif finetuned.training is not None and finetuned.training.is_settled:
            is_there = result.improved and self.session.find_model(finetuned.name) is not None
            self._show(taken if is_there else words.decided(result), f"Saved as {finetuned.name}." * is_there)
            if is_there:
                self.material.go_on_from(finetuned.name)
        else:
            self._undecided = finetuned
            self._show(words.refused(result, self.material.base_name))
            self.panel.show_choice(True)
            self.say("The new model did not get better; it is not in use.", "warning")

    def _show(self, verdict: words.Verdict, more: str = "") -> None:
        notices = [notice[:1].upper() + notice[1:] for notice in self._notices]
        details = [*verdict.details, *(notice.rstrip(".") + "." for notice in notices), more]
        self.panel.show_verdict(verdict.line, verdict.role, "\n\n".join(filter(None, details)))

    def _take(self, finetuned: work.Finetuned) -> None:
        """Make a saved model the one that Run uses."""
        folder = finetuned.folder
        self.session.reload_models()
        self.session.choose_model(finetuned.name)
        # the next round goes on from here
        self.material.go_on_from(finetuned.name)
        version = folder.name if folder is not None else ""
        info = self.session.find_model(finetuned.name)
        if info is not None and version != str(info.version):
            # another program saved one at the same time: the name means the newer one
            self.say(
                f"Saved as {finetuned.name}, version {version}, but version {info.version} is in use, which was saved "
                "elsewhere meanwhile. The dock Models (… beside Start from) puts yours into use.",
                "warning",
            )
            return
        self.say(f"Saved as {finetuned.name}, version {version}, and chosen. Press Run in Segment.", "good")

    @guarded
    def keep(self) -> None:
        """Save the model that did not get better, and use it."""
        if self._undecided is not None:
            self.panel.show_choice(False)
            undecided, self._undecided = self._undecided, None
            job = self.begin("SegLoop", partial(work.save_finetuned, undecided), self._on_kept)
            job.failed.connect(lambda _: self._ask_again(undecided))

    def _ask_again(self, undecided: work.Finetuned) -> None:
        """Let a model that could not be saved be kept once there is room for it, say, unless another one was made."""
        if self._undecided is None and not self.material.is_locked:
            self._undecided = undecided
            self.panel.show_choice(True)

    @guarded
    def _on_kept(self, finetuned: work.Finetuned) -> None:
        self._show(words.insisted(finetuned.result))
        self._take(finetuned)

    @guarded
    def discard(self) -> None:
        """Forget the model that did not get better."""
        if self._undecided is not None and self._undecided.training is not None:
            self._undecided.training.settle()
        self._undecided = None
        self.panel.show_choice(False)
        self.panel.show_verdict("")
