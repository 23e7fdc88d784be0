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

from segloop._napari import editing, prompt_work
from segloop._napari.areas import area_between, box_of, read, shaped
from segloop._napari.channels import seen_image
from segloop._napari.choosers import UNNAMED
from segloop._napari.editing import Paint
from segloop._napari.features import ObjectOrigin
from segloop._napari.filled import Filled
from segloop._napari.jobs import Job
from segloop._napari.keys import KeyRing
from segloop._napari.layers import Placement, visible_part
from segloop._napari.ledger import Ledger
from segloop._napari.live_layer import LiveLayer
from segloop._napari.marks import Marks
from segloop._napari.outlines import ADD, REMOVE, Outlines
from segloop._napari.panels.candidates import CandidateTools
from segloop._napari.picking import Boxing, Picking
from segloop._napari.pointing import Click
from segloop._napari.session import Stack
from segloop._napari.steps.step import Step, guarded
from segloop.errors import ImageError, LabelsError, ModelError
from segloop.events import Event, Notice, SegmentStarted, TileDone
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop.catalog import Mask
    from segloop.prompting import Prompter

KEYS = {"Q": "toggle_picking", "R": "toggle_boxing"}

MOSTLY = 0.5
"""Objects of the model of which a larger share lies in what is added make way for it."""


@dataclass(eq=False)
class _Prompts:
    """A prompter with what it is for."""

    layer: weakref.ref[napari.layers.Labels]
    image: weakref.ref[napari.layers.Image]
    axes: str
    channel: int
    stack: Stack
    model: ModelInfo
    prompter: Prompter | None = None


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

    def __init__(self, panel: CandidateTools, labels: Callable[[], napari.layers.Labels | None], *args: Any) -> None:
        super().__init__(*args)
        self.panel, self._labels = panel, labels
        self.job: Job | None = None
        self._outlines = Outlines(self.viewer)
        self._picking = Picking(self._outlines, self._on_hover, self._on_click)
        self._boxing = Boxing(Marks(self.viewer), self._on_box)
        self._keys = KeyRing(self, KEYS)
        self._hovered: tuple[int, int] = (0, -1)
        self._prompts: _Prompts | None = None
        self._filled: Filled | None = None
        self._waiting: list[Callable[[], None]] = []
        self._looked = False
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
        self.panel.show_ready(self.live is not None and objects, objects and self._model() is not None)
        for tool in (self._picking, self._boxing):
            if tool.active and tool.layer is not layer:
                tool.stop()

    def _model(self) -> ModelInfo | None:
        """The model that found the objects, else the one chosen, else any that finds objects."""
        if self.live is not None:
            return self.live.model
        known = [self.session.find_model(self.session.model), *self.session.models]
        return next((info for info in known if info is not None and info.task == "instance"), None)

    def end(self, *_: Any) -> None:
        """Give the mouse back to napari, or to another tool."""
        for tool in (self._picking, self._boxing):
            if tool.active:
                tool.stop()

    def _on_ended(self) -> None:
        # what was drawn while the model looked goes with the tool
        self._waiting.clear()
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
        mask = live.live.catalog.mask(number)
        if label:
            mask = type(mask)(mask.area, live.read(mask.area) == label)
        self._outlines.outline(live.layer, [mask], REMOVE if label else ADD, live.place.rows_first)
        score = live.live.catalog.score(number)
        named, done = (f"Object {label}", "remove") if label else ("Not shown", "add")
        self.say(f"{named}, score {score:.2f}. Click to {done} it.")

    def _target(self, live: LiveLayer, position: tuple[int, ...]) -> tuple[int, int]:
        """The label under the pointer that a click removes, or 0, and its candidate, or that which a click adds."""
        spot = live.spot(position)
        if spot is None:
            return 0, -1
        plane, row, column = spot
        label = int(live.layer.data[position])
        number = live.live.object_of(label) if label else live.live.hidden_at(plane, row, column)
        return (0, -1) if number is None or (label and label in live.held()) else (label, number)

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
            taken = editing.next_free_label(self.ledger) - 1
            label = live.live.label_for(number, taken)
            if not label:
                raise LabelsError("the layer cannot hold another number; convert it to uint32 in the layer list")
            live.live.accept(number)
            row = live.row(number, label, 0, ObjectOrigin.CONFIRMED.value)
            del row["area"]
            self._add(live.live.catalog.mask(number), label, row, live.place)
        else:
            self.say("Nothing was found here. Draw it: with a box, or with the brush.", "warning")
        self._hovered = (0, -1)
        self._outlines.clear()

    def _add(
        self, mask: Mask, label: int, row: dict[str, Any], place: Placement, before: Mask | None = None, least: int = 1
    ) -> Mask:
        """Paint an object on what is free, and on objects of the model that lie mostly under it; returns what it got.

        ``before`` is what it was, if it is drawn anew; fewer pixels than ``least`` are an error.
        """
        layer, live = self.layer, self.live
        box = box_of(place, mask.area)
        current = read(layer, place, mask.area)
        free = current == 0
        paints = []
        if before is not None:
            free |= current == label
            paints.append(Paint(box_of(place, before.area), shaped(before.inside, place, before.area), 0))
        held = live.held() if live is not None else set()
        for other in np.unique(current[mask.inside]).tolist():
            number = live.live.object_of(other) if live is not None and other else None
            if live is None or number is None or other in held or other == label:
                continue
            area = live.live.catalog.area(number)
            own = live.read(area) == other
            under = (current == other) & mask.inside
            if under.sum() > MOSTLY * own.sum():
                free |= current == other
                paints.append(Paint(box_of(place, area), shaped(own, place, area), 0))
        inside = mask.inside & free
        if not inside.any():
            raise LabelsError("there is no room: other objects are in the way; remove or merge them first")
        if inside.sum() < least:
            raise LabelsError(
                f"only {inside.sum()} pixels would be added there, fewer than the smallest area of {least}; "
                "lower that under Segment, or draw the object with the brush"
            )
        paints.append(Paint(box, shaped(inside, place, mask.area), label))
        editing.paint(self.ledger, paints, {label: row})
        layer.selected_label = label
        self.say(f"Object {label} is added: {int(inside.sum())} pixels. Ctrl+Z takes it back.")
        return type(mask)(mask.area, inside)

    # boxes

    @guarded
    def _on_prompt(self, active: bool) -> None:
        self.end()
        # should it not start, its button must not stay down
        self._show_tools()
        if active:
            self._start(self._boxing)
            self._look(self._invite)

    def _invite(self) -> None:
        if self._boxing.active:
            self.say("Draw a box around an object, or click on it.")

    @guarded
    def _on_box(self, corners: np.ndarray) -> None:
        self._look(partial(self._fill, corners), corners)

    def _instead(self, model: ModelInfo, corners: np.ndarray) -> str:
        """What to do where a model fills nothing."""
        by_hand = "draw it with Outline, or with the brush"
        advice = f"draw a box around it, or {by_hand}" if np.array_equal(corners[0], corners[1]) else by_hand
        general = next((info.name for info in self.session.models if info.classes == UNNAMED), model.name)
        if general == model.name:
            return advice
        run = " and run it" if self.live is not None else ""
        return f"{advice}. {general} knows more kinds of objects: choose it under Segment{run}"

    def _asked(self) -> _Prompts:
        """The prompter for the layer, its image and model: the one at hand if it is that."""
        layer, model = self.layer, self._model()
        origin = self.session.origins[layer]
        image = origin.image()
        if not isinstance(image, napari.layers.Image):
            raise ImageError("it is not known which image these labels belong to; choose it above")
        if model is None:
            raise ModelError("no model that finds objects is installed")
        now = self._prompts
        if (
            now is None
            or now.layer() is not layer
            or now.image() is not image
            or (now.axes, now.channel, now.stack, now.model) != (origin.axes, origin.channel, origin.stack, model)
        ):
            now = self._prompts = _Prompts(
                weakref.ref(layer), weakref.ref(image), origin.axes, origin.channel, origin.stack, model
            )
        return now

    def _look(self, then: Callable[[], None], corners: np.ndarray | None = None) -> None:
        """Do something once the model looked at what is on screen and at a box; now if it did."""
        if self.job is not None:
            self._waiting.append(partial(self._look, then, corners))
            return
        asked = self._asked()
        image_layer = asked.image()
        assert isinstance(image_layer, napari.layers.Image)
        seen, plane = visible_part(self.viewer, image_layer, asked.axes)
        region = seen if seen is not None else (slice(0, 1), slice(0, 1))
        if corners is not None:
            place = Placement.of(image_layer, asked.axes)
            area = area_between(place, corners)
            region = (area.rows, area.columns)
            plane = area.plane
        if asked.prompter is not None and not asked.prompter.missing(plane, region):
            then()
            return
        from segloop.segmentation import SegmentSettings

        settings = self.live.settings if self.live is not None else SegmentSettings()
        if self.live is None and asked.channel >= 0:
            settings = SegmentSettings(channel=asked.channel)
        self._waiting.append(then)
        self._looked = False
        self.say(f"{asked.model.name} looks at the part on screen …")
        self.panel.begin("Loading …")
        self.job = self.begin(
            f"SegLoop: {image_layer.name}",
            partial(
                prompt_work.look,
                asked.prompter,
                asked.model.path,
                seen_image(image_layer, asked.axes, asked.stack),
                settings,
                plane,
                region,
            ),
            partial(self._on_looked, asked),
            self._on_event,
        )
        self.job.ended.connect(self._on_job_ended)

    def _on_event(self, event: Event) -> None:
        match event:
            case Notice(message=text):
                self.say(text)
            case SegmentStarted(tiles=tiles):
                self.panel.progress.advance(0, tiles, f"0 of {tiles}")
            case TileDone(done=done, tiles=tiles):
                self.panel.progress.advance(done, tiles, f"{done} of {tiles}")

    def _on_looked(self, asked: _Prompts, prompter: Prompter) -> None:
        asked.prompter, self._looked = prompter, True

    @guarded
    def _on_job_ended(self) -> None:
        self.job = None
        self.panel.finish()
        waiting, self._waiting = self._waiting, []
        if self._looked:
            for action in waiting:
                action()

    def _on_cancel(self) -> None:
        self._waiting.clear()
        if self.job is not None:
            self.job.cancel()
        self.end()

    @guarded
    def _fill(self, corners: np.ndarray) -> None:
        asked = self._asked()
        image_layer, prompter = asked.image(), asked.prompter
        if prompter is None or not isinstance(image_layer, napari.layers.Image):
            return
        place = Placement.of(image_layer, asked.axes)
        area = area_between(place, corners)
        y, x = place.axes.index("Y"), place.axes.index("X")
        (y0, x0), (y1, x1) = corners[0][[y, x]], corners[1][[y, x]]
        outline = self.live.live.thresholds.outline if self.live is not None else 0.5
        if np.array_equal(corners[0], corners[1]):
            mask, class_number = prompter.fill_at(area.plane, y0 + 0.5, x0 + 0.5, outline)
        else:
            box = np.array([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]) + 0.5
            mask, class_number = prompter.fill(area.plane, box, 1, outline), 1
        if not mask.inside.any():
            raise LabelsError(f"{asked.model.name} sees no object there; {self._instead(asked.model, corners)}")
        last = self._filled if self._filled and self._filled.is_meant_by(mask, self.ledger, place) else None
        label = editing.next_free_label(self.ledger) if last is None else last.label
        row = {"class": asked.model.classes[class_number - 1], "origin": ObjectOrigin.ADDED.value}
        least = self.live.live.thresholds.min_area if self.live is not None else 1
        drawn = self._add(mask, label, row, place, None if last is None else last.mask, least)
        self._filled = Filled(weakref.ref(self.layer), label, drawn)
        if last is not None:
            self.say(f"Object {label} is drawn anew: {int(drawn.inside.sum())} pixels. Ctrl+Z takes it back.")
