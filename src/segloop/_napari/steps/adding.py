"""Adding: objects from what the model found, and from boxes and clicks; each is one step of the layer's undo."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import napari.layers
import numpy as np
from qtpy.QtCore import Signal

from segloop._napari import editing
from segloop._napari.additions import Addition, painted, plan_addition, vouched
from segloop._napari.areas import area_between, read
from segloop._napari.features import ObjectOrigin
from segloop._napari.filled import Filled
from segloop._napari.jobs import Job
from segloop._napari.keys import KeyRing
from segloop._napari.ledger import Ledger
from segloop._napari.live_layer import LiveLayer
from segloop._napari.marks import Marks
from segloop._napari.outlines import ADD, REMOVE, Outlines
from segloop._napari.panels.candidates import CandidateTools
from segloop._napari.picking import Boxing, Picking
from segloop._napari.pointing import Click
from segloop._napari.steps.looking import Answer, LookingStep
from segloop._napari.steps.step import Step, guarded
from segloop.errors import LabelsError

if TYPE_CHECKING:
    from segloop.catalog import Mask

KEYS = {"Q": "toggle_picking", "R": "toggle_boxing"}

STAYS = {
    "edited": "you edited it",
    "added": "you added it",
    "confirmed": "you confirmed it",
    "reviewed": "it lies in a region that you reviewed",
}
"""Why an object is not drawn anew."""


@dataclass(frozen=True, eq=False)
class _Refusal:
    """Objects that were there already when a box was drawn: drawn once more, it is meant to take their place."""

    layer: weakref.ref[napari.layers.Labels]
    numbers: frozenset[int]


class AddingStep(Step):
    """Joins the tools for candidates and boxes to the viewer.

    Parameters
    ----------
    panel : CandidateTools
    labels : callable
        Returns the Labels layer that is corrected, or None.
    *args
        As for ``Step``.
    """

    started = Signal()
    chosen = Signal(int)

    def __init__(self, panel: CandidateTools, labels: Callable[[], napari.layers.Labels | None], *args: Any) -> None:
        super().__init__(*args)
        self.panel, self._labels = panel, labels
        self.looking = LookingStep(panel, labels, lambda: self.live, *args)
        self.looking.said.connect(self.said)
        self._outlines = Outlines(self.viewer)
        self._picking = Picking(self._outlines, self._on_hover, self._on_click)
        self._boxing = Boxing(Marks(self.viewer), self._on_box)
        self._keys = KeyRing(self, KEYS)
        self._hovered: tuple[int, int] = (0, -1)
        self._filled: Filled | None = None
        self._refusal: _Refusal | None = None
        for tool in (self._picking, self._boxing):
            tool.ended.connect(self._on_ended)
        panel.pick_toggled.connect(self._on_pick)
        panel.prompt_toggled.connect(self._on_prompt)
        panel.progress.end_requested.connect(self._on_cancel)
        self.session.models_changed.connect(self.refresh)
        self.refresh()

    def release(self) -> None:
        """Give the mouse back; called when the dock is gone."""
        self.session.models_changed.disconnect(self.refresh)
        self._keys.bind(None)
        for tool in (self._picking, self._boxing):
            tool.ended.disconnect(self._on_ended)
            tool.stop()

    # which tools there are

    @property
    def layer(self) -> napari.layers.Labels:
        """The layer that is corrected."""
        layer = self._labels()
        if layer is None:
            raise LabelsError("there are no labels to correct; segment an image, or add a Labels layer")
        return layer

    @property
    def job(self) -> Job | None:
        """The model's looking at the image, while it does."""
        return self.looking.job

    @property
    def live(self) -> LiveLayer | None:
        """The candidates of the layer, if they are kept and still fit."""
        layer = self._labels()
        live = None if layer is None else self.session.live.get(layer)
        return live if live is not None and live.fits else None

    @property
    def ledger(self) -> Ledger:
        """The ledger of the layer."""
        return self.session.ledgers[self.layer]

    def refresh(self, *_: Any) -> None:
        """Allow the tools that make sense for the layer."""
        layer = self._labels()
        objects = layer is not None and not layer.multiscale and self.session.origins[layer].task == "instance"
        self._keys.bind(layer if objects else None)
        self.panel.show_ready(self.live is not None and objects, objects and self.looking.model is not None)
        for tool in (self._picking, self._boxing):
            if tool.active and tool.layer is not layer:
                tool.stop()

    def end(self, *_: Any) -> None:
        """Give the mouse back to napari, or to another tool."""
        for tool in (self._picking, self._boxing):
            if tool.active:
                tool.stop()

    def _on_ended(self) -> None:
        # what was drawn while the model looked goes with the tool
        self.looking.forget()
        self._refusal = None
        self._hovered = (0, -1)
        self._outlines.clear()
        self._show_tools()
        self.say("")

    def _start(self, tool: Picking | Boxing) -> None:
        self._other(tool).stop()
        self.started.emit()
        layer = self.layer
        if self.viewer.dims.ndisplay != 2:
            raise LabelsError("objects are added plane by plane: switch to the 2D view")
        self.viewer.layers.selection.active = layer
        tool.start(layer)
        self._show_tools()

    def _show_tools(self) -> None:
        self.panel.show_tools(self._picking.active, self._boxing.active, self.panel.overlaps.isChecked())

    def _other(self, tool: Picking | Boxing) -> Picking | Boxing:
        return self._boxing if tool is self._picking else self._picking

    def toggle_picking(self) -> None:
        """Start or end accepting and rejecting by clicks."""
        if self.panel.pick.isEnabled():
            self._on_pick(not self._picking.active)
        else:
            self.say("What the model found was not kept for these labels.", "warning")

    def toggle_boxing(self) -> None:
        """Start or end drawing boxes."""
        if self.panel.prompt.isEnabled():
            self._on_prompt(not self._boxing.active)
        else:
            self.say("No model that finds objects is installed.", "warning")

    # candidates

    @guarded
    def _on_pick(self, active: bool) -> None:
        self.end()
        # should it not start, its button must not stay down
        self._show_tools()
        if active:
            self._start(self._picking)
            self.say("Point at the image. Green: a click adds it. Red: a click removes it.")

    @guarded
    def _on_hover(self, position: tuple[int, ...]) -> None:
        live = self.live
        target = (0, -1) if live is None else self._target(live, position)
        if target == self._hovered or live is None:
            return
        self._hovered = target
        label, number = target
        if number < 0:
            self._outlines.clear()
            return
        mask, score = live.live.catalog.mask(number), live.live.catalog.score(number)
        if label:
            mask = type(mask)(mask.area, live.read(mask.area) == label)
            self._outlines.outline(live.layer, [mask], REMOVE, live.place.rows_first)
            self.say(f"Object {label}, score {score:.2f}. Click to remove it.")
            return
        addition = self._accepting(live, mask)
        self._outlines.outline(live.layer, [addition.mask], ADD, live.place.rows_first)
        if addition.mask.inside.any():
            self.say(f"Not shown, score {score:.2f}. Click to add it.")
        else:
            self.say(_met(addition))

    def _accepting(self, live: LiveLayer, mask: Mask) -> Addition:
        return plan_addition(self.ledger, live, live.place, mask, accepted=True)

    def _target(self, live: LiveLayer, position: tuple[int, ...]) -> tuple[int, int]:
        """The label under the pointer that a click removes, or 0, and its candidate, or that which a click adds."""
        spot = live.spot(position)
        if spot is None:
            return 0, -1
        plane, row, column = spot
        label = int(live.layer.data[position])
        number = live.live.object_of(label) if label else live.live.hidden_at(plane, row, column)
        kept = label and (label in live.held() or vouched(self.ledger, label))
        return (0, -1) if number is None or kept else (label, number)

    @guarded
    def _on_click(self, click: Click) -> None:
        live = self.live
        if live is None:
            return
        label, number = self._target(live, click.position)
        if label:
            score = live.live.catalog.score(number)
            self.ledger.index.seek(label, click.position)
            editing.delete_objects(self.ledger, [label])
            self.say(f"Object {label} (score {score:.2f}) is removed. Ctrl+Z brings it back.")
        elif number >= 0:
            addition = self._accepting(live, live.live.catalog.mask(number))
            if not addition.mask.inside.any():
                self.say(_met(addition), "warning")
                return
            taken = editing.next_free_label(self.ledger) - 1
            label = live.live.label_for(number, taken)
            if not label:
                raise LabelsError("the layer cannot hold another number; convert it to uint32 in the layer list")
            live.live.accept(number)
            row = live.row(number, label, 0, ObjectOrigin.CONFIRMED.value)
            del row["area"]
            self._add(addition, label, row, live)
        elif click.number:
            self.say(f"Object {click.number} is yours, and no click removes it: select it and press D.", "warning")
        else:
            self.say("Nothing was found here. Draw it: with a box, or with the brush.", "warning")
        self._hovered = (0, -1)
        self._outlines.clear()

    def _add(self, addition: Addition, label: int, row: dict[str, Any], at: LiveLayer | Answer) -> None:
        paints = [*addition.paints, painted(at.place, addition.mask, label)]
        editing.paint(self.ledger, paints, {label: row})
        self.chosen.emit(label)
        self.say(f"Object {label} is added: {_pixels(addition.mask)}. Ctrl+Z takes it back.")

    # boxes

    @guarded
    def _on_prompt(self, active: bool) -> None:
        self.end()
        # should it not start, its button must not stay down
        self._show_tools()
        if active:
            self._start(self._boxing)
            self.looking.look(self._invite)

    def _invite(self) -> None:
        if self._boxing.active:
            self.say("Draw a box around an object, or click on it.")

    @guarded
    def _on_box(self, corners: np.ndarray) -> None:
        self.looking.look(partial(self._fill, corners), corners)

    def _on_cancel(self) -> None:
        self.looking.cancel()
        self.end()

    @guarded
    def _fill(self, corners: np.ndarray) -> None:
        answer = self.looking.answer(corners)
        if answer is None:
            return
        ledger, mask, place = self.ledger, answer.mask, answer.place
        if not mask.inside.any():
            there = int(read(self.layer, place, mask.area)[0, 0]) if answer.is_click else 0
            if not there:
                raise LabelsError(answer.advice)
            self.chosen.emit(there)
            self.say(f"Object {there} is here already, and selected.", "warning")
            return
        last = self._last_meant(answer)
        instead = () if last is None else (last.label,)
        # who draws a box means what is in it, not what the model has drawn there; a click may have gone astray
        drawn = None if answer.is_click else area_between(place, corners)
        addition = plan_addition(ledger, self.live, place, mask, instead, accepted=not answer.is_click, drawn=drawn)
        if addition.same and self._is_meant_again(addition.same):
            instead = addition.same
            addition = plan_addition(ledger, self.live, place, mask, instead)
        if not addition.mask.inside.any():
            self._refuse(addition, "Click" if answer.is_click else "Draw the box")
            return
        least = self.live.live.thresholds.min_area if self.live is not None else 1
        if np.count_nonzero(addition.mask.inside) < least:
            raise LabelsError(
                f"only {_pixels(addition.mask)} would be added there, fewer than the smallest area of {least}; "
                "lower that under Segment, or draw the object with the brush"
            )
        # of several that make way none is the one that was drawn anew
        anew = instead or (addition.replaced if len(addition.replaced) == 1 else ())
        self._draw(addition, answer, anew, last is not None)

    def _draw(self, addition: Addition, answer: Answer, instead: tuple[int, ...], again: bool) -> None:
        """Draw what a box or a click gave, as a new object or as the first of those in whose place it comes."""
        label = instead[0] if instead else editing.next_free_label(self.ledger)
        row = {"class": answer.class_name, "score": np.nan}
        if not again:
            row["origin"] = (ObjectOrigin.EDITED if instead else ObjectOrigin.ADDED).value
        self._add(addition, label, row, answer)
        self._filled, self._refusal = Filled(weakref.ref(self.layer), label, addition.mask), None
        gone = [number for number in addition.replaced if number != label]
        if instead or gone:
            done = "drawn anew" if instead else "added"
            more = f" in place of {', '.join(map(str, gone))}" if gone else ""
            self.say(f"Object {label} is {done}{more}: {_pixels(addition.mask)}. Ctrl+Z takes it back.")

    def _last_meant(self, answer: Answer) -> Filled | None:
        """What the last box or click gave, if this one means the same, and nobody has changed or confirmed it since."""
        last = self._filled
        if last is None or not last.is_meant_by(answer.mask, self.ledger, answer.place):
            return None
        return last if vouched(self.ledger, last.label) != ObjectOrigin.CONFIRMED else None

    def _is_meant_again(self, numbers: tuple[int, ...]) -> bool:
        """Whether these objects were said to be there a moment ago, and may all be drawn anew."""
        last = self._refusal
        if last is None or last.layer() is not self.layer or last.numbers != frozenset(numbers):
            return False
        return not any(vouched(self.ledger, number) for number in numbers)

    def _refuse(self, addition: Addition, once_more: str) -> None:
        """Say what is there already, select it, and what can be done."""
        self._refusal = None
        if not addition.same:
            raise LabelsError(f"there is no room: {_named(addition.others)} in the way; remove or merge first")
        self.chosen.emit(addition.same[0])
        kept = {n: reason for n in addition.same if (reason := vouched(self.ledger, n))}
        if kept:
            number, reason = next(iter(kept.items()))
            name = "It" if len(addition.same) == 1 else f"Object {number}"
            more = f"{name} stays, since {STAYS[reason]}: delete it first (D) if it is to be drawn anew."
        else:
            self._refusal = _Refusal(weakref.ref(self.layer), frozenset(addition.same))
            more = f"{once_more} again to have {'it drawn anew' if len(addition.same) == 1 else 'one in their place'}."
        self.say(f"{_met(addition)} {more}", "warning")


def _met(addition: Addition) -> str:
    if addition.same:
        return f"{_named(addition.same)} here already."
    return f"There is no room: {_named(addition.others)} in the way."


def _named(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:4])) + (" …" if len(numbers) > 4 else "")
    return f"Object {shown} is" if len(numbers) == 1 else f"Objects {shown} are"


def _pixels(mask: Mask) -> str:
    count = int(np.count_nonzero(mask.inside))
    return f"{count} pixel{'s' * (count != 1)}"
