"""Scribble: paint a little of each class, and see at once what the model makes of it."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.layers

from segloop._napari import scribble_work as work
from segloop._napari.jobs import Job, in_words
from segloop._napari.layers import (
    Placement,
    as_image,
    freeze_image,
    freeze_labels,
    guess_layer_axes,
    visible_part,
)
from segloop._napari.panels.scribble import MOST_CLASSES, ScribblePanel
from segloop._napari.scribble_layers import (
    PredictionLayer,
    drop_class,
    find_scribbles,
    new_scribbles,
    show_below,
    strokes_of,
    take_brush,
)
from segloop._napari.scribble_points import PaintedPoints
from segloop._napari.session import Origin
from segloop._napari.steps.finetune import FinetuneStep
from segloop._napari.steps.step import Step, guarded, timer
from segloop.errors import ImageError, LabelsError, ModelError, SegloopError, TrainingError
from segloop.events import Event, LabelsDone, TileDone
from segloop.image import Image
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop.scribbling import LivePrediction, Refreshed, View

AFTER_STROKE = 60
"""Milliseconds from the end of a stroke to the work that it starts: strokes in quick succession start it once."""

AFTER_MOVE = 250
"""Milliseconds after the last movement of the view."""

NEW_CLASSES = ("background", "object")


class ScribbleStep(Step):
    """Joins the Scribble panel to the viewer; ``finetune`` takes over when scribbles are to become a model."""

    def __init__(self, panel: ScribblePanel, finetune: FinetuneStep, *args: Any) -> None:
        super().__init__(*args)
        self.panel, self.finetune = panel, finetune
        self.job: Job | None = None
        self.layer: napari.layers.Labels | None = None
        self.prediction: PredictionLayer | None = None
        self.refreshes = 0
        self._image: weakref.ref[napari.layers.Image] | None = None
        self._axes = ""
        self._live: LivePrediction | None = None
        self._painted: PaintedPoints | None = None
        self._again = False
        self._ready = False
        # whether names were changed that no layer knows of
        self._named = False
        # the class that goes when "Remove class" is pressed once more
        self._doomed: int | None = None
        self._after_stroke = timer(self, AFTER_STROKE, self._on_painted)
        self._after_move = timer(self, AFTER_MOVE, self._refresh)
        panel.image_chosen.connect(self._show_image)
        panel.start_requested.connect(self.start)
        panel.stop_requested.connect(self.stop)
        panel.class_chosen.connect(self._on_class)
        panel.names_edited.connect(self._on_names)
        panel.add_requested.connect(self.add_class)
        panel.remove_requested.connect(self.remove_class)
        panel.finetune_requested.connect(self.finetune_on_scribbles)
        panel.classes.show_classes(NEW_CLASSES, 0)
        self.watch.layers_changed.connect(self._on_layers)
        self.watch.active_changed.connect(self._on_active)
        self.session.models_changed.connect(self._allow)
        self._camera = self.viewer.scene.camera
        self._camera.events.center.connect(self._on_moved)
        self._camera.events.zoom.connect(self._on_moved)
        self.viewer.dims.events.current_step.connect(self._on_moved)
        self._on_layers()

    def on_ready(self) -> None:
        """Take note that torch is there."""
        self._ready = True
        self._allow()

    def release(self) -> None:
        """Listen no longer to the viewer; called when the dock is gone."""
        self._camera.events.center.disconnect(self._on_moved)
        self._camera.events.zoom.disconnect(self._on_moved)
        self.viewer.dims.events.current_step.disconnect(self._on_moved)
        self._let_go()

    @property
    def is_active(self) -> bool:
        """Whether strokes are followed."""
        return self.layer is not None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.panel.classes.names()

    # choices

    @guarded
    def _on_layers(self) -> None:
        images, before = self.watch.of_type(napari.layers.Image), self.panel.image.current()
        active = self.watch.active
        current = active if isinstance(active, napari.layers.Image) and not self.is_active else before
        self.panel.image.show_items(images, [layer.name for layer in images], current)
        image = self._image() if self._image is not None else None
        gone = self.prediction is not None and not self.prediction.is_there
        if self.is_active and (gone or self.layer not in self.watch or image not in self.watch):
            self.stop()
        elif self.panel.image.current() is not before:
            self._show_image()
        self._allow()

    @guarded
    def _on_active(self, layer: Any) -> None:
        if isinstance(layer, napari.layers.Image) and layer in self.watch and not self.is_active:
            self._on_layers()

    @guarded
    def _show_image(self, _: Any = None) -> None:
        layer = self.panel.image.current()
        if layer is None:
            self.panel.show_channels(1, False)
            return
        try:
            image = as_image(layer, self._axes_of(layer))
        except ImageError:
            # said when it matters: at the start
            self.panel.show_channels(1, False)
            return
        self.panel.show_channels(image.channels, layer.rgb)

    def _axes_of(self, layer: napari.layers.Image) -> str:
        return self.session.axes.get(layer) or guess_layer_axes(layer)

    def _seen(self, image: Image) -> Image:
        """The image as the model sees it: the channel chosen, or all if these are colours."""
        if "C" not in image.axes:
            return image
        return image.channel(self.panel.channel.current() or 0)

    def _describer(self) -> ModelInfo | None:
        """The model that looks at the image: the one that a training would start from, if it can."""
        fitting = [info for info in self.session.models if info.task == "semantic" and info.ndim == 2]
        return self.finetune.base if self.finetune.base in fitting else next(iter(fitting), None)

    def _allow(self) -> None:
        model = self._describer()
        self.panel.start.setEnabled(self._ready and self.panel.image.current() is not None and model is not None)
        painted = self._painted is not None and len(self._painted.points().painted) > 1
        self.panel.finetune.setEnabled(self.is_active and painted)
        self.panel.add.setEnabled(len(self.classes) < MOST_CLASSES)
        self.panel.remove.setEnabled(len(self.classes) > 2)

    # begin and end

    @guarded
    def start(self) -> None:
        """Make the layer to paint on, or take up the one there is, and look at what is on screen."""
        image_layer, model = self.panel.image.current(), self._describer()
        if self.is_active or image_layer is None or model is None:
            return
        self.panel.reason.show_text("")
        axes = self._axes_of(image_layer)
        image = self._seen(as_image(image_layer, axes))
        place = Placement.of(image_layer, axes)
        layer = find_scribbles(self.viewer, image_layer, place)
        if layer is None:
            layer = new_scribbles(image_layer, place)
            self.session.scribbles[layer] = Origin(weakref.ref(image_layer), axes, task="semantic")
            self.viewer.add_layer(layer)
        self._image, self._axes = weakref.ref(image_layer), axes
        self.layer = layer
        self._painted = PaintedPoints(layer, place)
        self._begin_with(model, int(layer.data.max(initial=0)))
        show_below(self.viewer, image_layer, layer)
        name = layer.name.replace("scribbles", "live prediction")
        self.prediction = PredictionLayer(self.viewer, self.session, place, layer, name)
        for changed in strokes_of(layer):
            changed.connect(self._on_stroke)
        layer.events.selected_label.connect(self._on_selected)
        take_brush(self.viewer, layer)
        layer.selected_label = 1
        self.panel.show_active(True)
        self.finetune.panel.show_scribbling(True)
        if self.finetune.job is None:
            # it is seen below what a training of these scribbles starts from
            self.finetune.material.choose_base(model.name)
        self.panel.state.show_text(f"Looking at the image with {model.name} …")
        self._run(partial(work.open_live, model.path, image), self._on_open)
        self._allow()

    def _begin_with(self, model: ModelInfo, painted: int) -> None:
        """Offer the classes that the model knows if it is the person's own; and no fewer than are painted."""
        names = list(self.classes)
        known = self.session.scribbles.get(self.layer)
        if known is not None and known.classes and not self._named:
            names = list(known.classes)
        elif tuple(names) == NEW_CLASSES and not model.bundled and len(model.classes) <= MOST_CLASSES:
            names = list(model.classes)
        names += [f"class {number + 1}" for number in range(len(names), min(painted, MOST_CLASSES))]
        self.panel.classes.show_classes(names, 0)
        self._note_classes()

    def _note_classes(self) -> None:
        """Let the layer know the names of its classes: they are saved with it."""
        image = self._image() if self._image is not None else None
        if self.layer is not None and image is not None:
            self._named = False
            self.session.scribbles[self.layer] = Origin(
                weakref.ref(image), self._axes, task="semantic", classes=self.classes
            )

    def _on_open(self, live: LivePrediction) -> None:
        self._live = live
        self._refresh()

    @guarded
    def stop(self) -> None:
        """Take the prediction away; what was painted stays."""
        self._let_go()
        self.panel.show_active(False)
        self.finetune.panel.show_scribbling(False)
        self._allow()

    def _let_go(self) -> None:
        if self.job is not None:
            self.job.cancel()
        self.job = None
        layer, prediction, painted = self.layer, self.prediction, self._painted
        self.layer = self.prediction = self._live = self._painted = self._image = None
        self._again = False
        if layer is not None:
            for changed in strokes_of(layer):
                changed.disconnect(self._on_stroke)
            layer.events.selected_label.disconnect(self._on_selected)
        if painted is not None:
            painted.close()
        if prediction is not None:
            prediction.remove()

    # classes

    @guarded
    def _on_class(self, number: int) -> None:
        self._doomed = None
        if self.layer is None:
            return
        self.layer.selected_label = number + 1
        if self.watch.active is not self.layer or self.layer.mode not in ("paint", "fill", "polygon"):
            take_brush(self.viewer, self.layer)

    def _on_selected(self, _: Any = None) -> None:
        number = self.layer.selected_label
        if number > len(self.classes):
            self.layer.selected_label = 1
        elif number:
            self.panel.classes.show_classes(self.classes, number - 1)

    def _on_names(self) -> None:
        self._named = True
        self._note_classes()
        self.panel.reason.show_text(self.panel.classes.problem())

    @guarded
    def add_class(self) -> None:
        """Add a class, and paint it from now on."""
        names = self.classes
        if len(names) >= MOST_CLASSES:
            return
        self.panel.classes.show_classes([*names, f"class {len(names) + 1}"], len(names))
        self._on_names()
        self._on_class(len(names))
        self.panel.classes.edit(len(names))
        self._allow()

    @guarded
    def remove_class(self) -> None:
        """Remove the class being painted, and what was painted of it."""
        number = self.panel.classes.current
        names = [name for n, name in enumerate(self.classes) if n != number]
        if self.layer is not None and number != self._doomed and bool((self.layer.data == number + 1).any()):
            # it cannot be undone: the numbers of the other classes change with it
            self._doomed = number
            name = self.classes[number]
            self.say(f"The strokes of {name!r} would be gone for good. Press Remove class again.", "warning")
            return
        self._doomed = None
        if self.layer is not None:
            drop_class(self.layer, number)
        self.panel.classes.show_classes(names, min(number, len(names) - 1))
        self._on_names()
        self._on_class(min(number, len(names) - 1))
        self._after_stroke.start()
        self._allow()

    # prediction

    def _on_stroke(self, _: Any = None) -> None:
        self._after_stroke.start()

    def _on_moved(self, _: Any = None) -> None:
        if self._live is not None:
            self._after_move.start()

    @guarded
    def _on_painted(self) -> None:
        if self._painted is None:
            return
        changed = self._painted.look()
        if self._painted.is_painting:
            # to be looked at again when the stroke has come to its end
            return
        if changed:
            self._allow()
            self._refresh()

    def _view(self) -> View | None:
        from segloop.scribbling import View

        image = self._image() if self._image is not None else None
        if image is None:
            return None
        part, plane = visible_part(self.viewer, image, self._axes)
        if part is None:
            return None
        (rows, columns), (y, x) = part, self._painted.focus
        inside = rows.start <= y < rows.stop and columns.start <= x < columns.stop
        middle = ((rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2)
        return View(plane, rows, columns, (y, x) if inside else middle)

    @guarded
    def _refresh(self) -> None:
        """Predict anew what is on screen; what is under way is stale by then and given up."""
        if self._live is None:
            return
        if self.job is not None:
            self._again = True
            self.job.cancel()
            return
        view = self._view()
        if view is None:
            self.panel.state.show_text("No plane of the image is seen: move it back, in 2D.", "warning")
            return
        points = self._painted.points()
        if len(points.painted) < 2:
            self.prediction.clear()
        self._run(partial(self._live.refresh_events, points, view), self._on_refreshed, self._on_event)

    def _run(self, job: work.Work, done: Any, event: Any = None) -> None:
        self.job = begun = self.begin("SegLoop", job, done, event)
        begun.ended.connect(partial(self._on_ended, begun))

    def _on_event(self, event: Event) -> None:
        match event:
            case LabelsDone() if self.prediction is not None:
                self.prediction.draw(event)
            case TileDone(done=done, tiles=tiles):
                self.panel.state.show_text(f"Looking at the image: {done} of {tiles} parts …")

    def _on_refreshed(self, refreshed: Refreshed) -> None:
        self.refreshes += 1
        if not refreshed.classes:
            missing = "two classes" if not len(self._painted.points()) else "a second class"
            self.panel.state.show_text(f"Ready. Paint a stroke of {missing}.")
            return
        text = f"Predicted in {in_words(refreshed.seconds)}."
        unpainted = [name for n, name in enumerate(self.classes) if n not in refreshed.classes]
        if unpainted:
            text += f" Nothing is painted of {', '.join(unpainted)} yet."
        if not refreshed.complete:
            text += " Only the part about your last stroke: zoom in to see all that is on screen."
        self.panel.state.show_text(text)

    def _on_ended(self, job: Job) -> None:
        if self.job is not job:
            # of scribbles that are over
            return
        self.job = None
        if self._again:
            self._again = False
            self._refresh()

    def fail(self, error: Exception) -> None:
        """Tell the user of an error, beside the button too; what cannot go on is stopped."""
        if self.is_active and self._live is None:
            self.stop()
        if isinstance(error, SegloopError):
            self.panel.reason.show_text(str(error))
        self._allow()
        super().fail(error)

    # training

    @guarded
    def finetune_on_scribbles(self) -> None:
        """Put the scribbles into a training set for these classes, and fine-tune on it."""
        image_layer = self._image() if self._image is not None else None
        if self.layer is None or image_layer is None:
            return
        if problem := self.panel.classes.problem():
            raise LabelsError(problem)
        if self.finetune.job is not None:
            raise TrainingError("a training is under way; wait until it ends, or stop it, then try again")
        model = self._describer()
        if model is None:
            raise ModelError("no model learns from scribbles in 2D; stop scribbling, then restore one")
        self.panel.reason.show_text("")
        image = freeze_image(image_layer, self._axes)
        scribbles = freeze_labels(self.layer, image, Placement.of(image_layer, self._axes))
        folder = self.session.training_folder("semantic", self.classes)
        scribbled = work.Scribbled(
            self._seen(image),
            scribbles,
            self.classes,
            str(image_layer.source.path or image_layer.name),
            model.name,
        )
        self.panel.finetune.setEnabled(False)
        self.begin(
            "SegLoop", partial(work.save_scribbles, folder, scribbled), partial(self._on_saved, folder, model.name)
        )

    @guarded
    def _on_saved(self, folder: Path, model: str, _: Any) -> None:
        self._allow()
        self.session.note_added("semantic", folder)
        self.finetune.learn_from(model, folder)
        self.finetune.start()
