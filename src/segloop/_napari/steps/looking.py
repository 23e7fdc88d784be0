"""Looking: a model looks at the part of an image on screen, once, so that boxes and clicks there can be filled."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import napari.layers
import numpy as np

from segloop._napari import prompt_work
from segloop._napari.areas import area_between
from segloop._napari.channels import seen_image
from segloop._napari.choosers import UNNAMED
from segloop._napari.jobs import Job
from segloop._napari.layers import Placement, visible_part
from segloop._napari.live_layer import LiveLayer
from segloop._napari.panels.candidates import CandidateTools
from segloop._napari.session import Stack
from segloop._napari.steps.step import Step, guarded
from segloop.errors import ImageError, LabelsError, ModelError
from segloop.events import Event, Notice, SegmentStarted, TileDone
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop.catalog import Mask
    from segloop.prompting import Prompter


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


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model makes of a box or a click.

    Parameters
    ----------
    mask : Mask
        May have no pixel.
    class_name : str
    place : Placement
        Of the image.
    is_click : bool
    advice : str
        What to do where it sees nothing.
    """

    mask: Mask
    class_name: str
    place: Placement
    is_click: bool
    advice: str


class LookingStep(Step):
    """Keeps what the models have seen of the image of the layer that is corrected.

    Parameters
    ----------
    panel : CandidateTools
        Shows progress.
    layer : callable
        Returns the Labels layer that is corrected.
    live : callable
        Returns its candidates, or None.
    *args
        As for ``Step``.
    """

    def __init__(
        self,
        panel: CandidateTools,
        layer: Callable[[], napari.layers.Labels],
        live: Callable[[], LiveLayer | None],
        *args: Any,
    ) -> None:
        super().__init__(*args)
        self.panel = panel
        self._layer, self._live = layer, live
        self.job: Job | None = None
        self._prompts: _Prompts | None = None
        self._waiting: list[Callable[[], None]] = []
        self._looked = False

    @property
    def model(self) -> ModelInfo | None:
        """The model that found the objects, else the one chosen, else any that finds objects."""
        live = self._live()
        if live is not None:
            return live.model
        layer = self._layer()
        found = self.session.origins[layer].model if layer in self.session.origins else ""
        known = [*map(self.session.find_model, (found, self.session.model)), *self.session.models]
        return next((info for info in known if info is not None and info.task == "instance"), None)

    @property
    def is_waited_for(self) -> bool:
        """Whether something is to be done once the model has looked."""
        return bool(self._waiting)

    def forget(self) -> None:
        """Do nothing of what was to be done once the model has looked; it goes on looking."""
        self._waiting.clear()

    def cancel(self) -> None:
        """Let the model look no longer."""
        self.forget()
        if self.job is not None:
            self.job.cancel()

    def look(self, then: Callable[[], None], corners: np.ndarray | None = None) -> None:
        """Do something once the model looked at what is on screen, or at a box; now if it did.

        Parameters
        ----------
        then : callable
        corners : float (2, D), optional
            Two corners of a box, in pixels of the layer.

        Raises
        ------
        ImageError, ModelError
            If it is not known what to look at, or nobody can.
        """
        if self.job is not None:
            self._waiting.append(partial(self.look, then, corners))
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

        live = self._live()
        settings = live.settings if live is not None else SegmentSettings()
        if live is None and asked.channel >= 0:
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
        self.job.ended.connect(self._on_ended)

    def answer(self, corners: np.ndarray) -> Answer | None:
        """What the model makes of a box where it looked; of a click, if both corners are the same. None if it did not.

        Parameters
        ----------
        corners : float (2, D)
            In pixels of the layer.
        """
        asked = self._asked()
        image_layer, prompter = asked.image(), asked.prompter
        if prompter is None or not isinstance(image_layer, napari.layers.Image):
            return None
        place = Placement.of(image_layer, asked.axes)
        area = area_between(place, corners)
        y, x = place.axes.index("Y"), place.axes.index("X")
        (y0, x0), (y1, x1) = corners[0][[y, x]], corners[1][[y, x]]
        live, is_click = self._live(), np.array_equal(corners[0], corners[1])
        outline = live.live.thresholds.outline if live is not None else 0.5
        if is_click:
            mask, class_number = prompter.fill_at(area.plane, y0 + 0.5, x0 + 0.5, outline)
        else:
            box = np.array([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]) + 0.5
            mask, class_number = prompter.fill(area.plane, box, 1, outline), 1
        advice = f"{asked.model.name} sees no object there; {self._instead(asked.model, is_click)}"
        return Answer(mask, asked.model.classes[class_number - 1], place, is_click, advice)

    def _instead(self, model: ModelInfo, is_click: bool) -> str:
        """What to do where a model fills nothing."""
        by_hand = "draw it with Outline, or with the brush"
        advice = f"draw a box around it, or {by_hand}" if is_click else by_hand
        general = next((info.name for info in self.session.models if info.classes == UNNAMED), model.name)
        if general == model.name:
            return advice
        run = " and run it" if self._live() is not None else ""
        return f"{advice}. {general} knows more kinds of objects: choose it under Segment{run}"

    def _asked(self) -> _Prompts:
        """The prompter for the layer, its image and model: the one at hand if it is that."""
        layer, model = self._layer(), self.model
        if layer is None:
            raise LabelsError("there are no labels to correct; segment an image, or add a Labels layer")
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
    def _on_ended(self) -> None:
        self.job = None
        self.panel.finish()
        waiting, self._waiting = self._waiting, []
        if self._looked:
            for action in waiting:
                action()
