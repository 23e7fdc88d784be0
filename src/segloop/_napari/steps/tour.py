"""Tour: goes from region to region, where most is probably wrong first, and says why."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import napari.layers
import numpy as np
from napari.components._viewer_constants import CanvasPosition
from qtpy.QtCore import Signal

from segloop._napari import editing
from segloop._napari.canvas_text import write
from segloop._napari.jobs import Job
from segloop._napari.keys import KeyRing
from segloop._napari.marks import Marks
from segloop._napari.panels.tour import TourPanel
from segloop._napari.steps.review import ReviewStep
from segloop._napari.steps.step import Step, guarded
from segloop._napari.tour import Tour
from segloop.events import Event, PlaneExamined

KEYS = {"J": "go_on", "K": "vouch"}

CONTEXT = 1.6
"""Side of what is shown, in sides of the region: its surroundings say a lot."""

LEAST_SHOWN = 4
"""Objects of the usual size side by side: the least that is shown."""

FAR = 0.5
"""Zoomed out by more than this, or with the region out of sight, the person is elsewhere: the text goes."""


class TourStep(Step):
    """Joins the tour's panel to the viewer.

    Parameters
    ----------
    panel : TourPanel
    review : ReviewStep
        Knows the layer, and takes note of what is reviewed.
    *args
        As for ``Step``.
    """

    wanted = Signal()
    chosen = Signal(int)

    def __init__(self, panel: TourPanel, review: ReviewStep, *args: Any) -> None:
        super().__init__(*args)
        self.panel, self.review = panel, review
        self.job: Job | None = None
        self._ready = self._seen = False
        self._tours: weakref.WeakKeyDictionary[napari.layers.Labels, Tour] = weakref.WeakKeyDictionary()
        self._outline, self._candidate = Marks(self.viewer), Marks(self.viewer)
        self._keys = KeyRing(self, KEYS)
        self._text_shown, self._zoom = "", 0.0
        panel.next_requested.connect(self.go_on)
        panel.right_requested.connect(self.vouch)
        review.reviewed_changed.connect(self._on_reviewed)
        self.session.redrawn.connect(self._on_redrawn)
        self.viewer.dims.events.current_step.connect(self._on_plane)
        self.viewer.scene.camera.events.connect(self._on_camera)
        self.refresh()

    def on_ready(self) -> None:
        """Take note that all is imported."""
        self._ready = True
        self.refresh()

    @property
    def labels(self) -> napari.layers.Labels | None:
        """The Labels layer chosen."""
        return self.review.labels

    @property
    def tour(self) -> Tour | None:
        """The tour through that layer, if one has begun and still holds."""
        layer = self.labels
        tour = None if layer is None else self._tours.get(layer)
        if tour is not None and tour.is_over():
            del self._tours[layer]
            return None
        return tour

    @guarded
    def refresh(self) -> None:
        """Show the tour of the layer chosen."""
        layer = self.labels
        usable = layer is not None and not layer.multiscale
        self._keys.bind(layer if usable else None)
        tour = self.tour
        self._allow()
        if tour is None:
            self._show_nowhere()
            self.panel.show_nothing()
        else:
            self._show(tour, move=False)

    def show_on_canvas(self, seen: bool) -> None:
        """Show where the tour stands also on the canvas, or not: only where its panel is seen."""
        self._seen = seen
        self.refresh()

    def release(self) -> None:
        """Leave nothing behind in the viewer; called when the dock is gone."""
        self._keys.bind(None)
        self.session.redrawn.disconnect(self._on_redrawn)
        self.viewer.dims.events.current_step.disconnect(self._on_plane)
        self.viewer.scene.camera.events.disconnect(self._on_camera)
        self._show_nowhere()

    def _allow(self) -> None:
        layer, tour = self.labels, self.tour
        usable = self._ready and layer is not None and not layer.multiscale and self.job is None
        self.panel.show_usable(usable, tour is not None and tour.region is not None)

    # from region to region

    @guarded
    def go_on(self) -> None:
        """Go to the region in which most is probably wrong; the one on screen is left for later."""
        layer = self.labels
        if not self._ready or layer is None or layer.multiscale or self.job is not None:
            return
        # the key works wherever the layer is selected
        self.wanted.emit()
        tour = self.tour
        if tour is None:
            self._begin(layer)
        else:
            tour.follow(self.review.reviewed())
            self._advance(tour)

    @guarded
    def vouch(self) -> None:
        """Mark the region on screen as reviewed, and go to the next."""
        tour = self.tour
        if tour is None or tour.region is None or self.job is not None:
            return
        region = tour.region
        tour.pace.stop()
        self.review.vouch(self._place(region.plane), region.rows, region.columns)
        tour.follow(self.review.reviewed())
        self._advance(tour)

    def _begin(self, layer: napari.layers.Labels) -> None:
        from segloop.route import route_events

        data = layer.data.copy() if isinstance(layer.data, np.ndarray) else layer.data
        origin = self.session.origins[layer]
        live, found = self.session.live.get(layer), self.session.scores.get(layer)
        rejected, parts, cleared = (), self.session.live_parts.get(layer), None
        if live is not None and live.fits and live.place.rows_first:
            found, rejected = live.live.found, live.rejected()
        if parts is not None and parts.fits:
            cleared = parts.cleared
        self.panel.show_why("Looking for what may be wrong …", "hint")
        self.job = self.begin(
            "SegLoop: review",
            partial(route_events, data, found, origin.task == "semantic", _vouched(layer), rejected, cleared),
            partial(self._on_route, weakref.ref(layer)),
            self._on_event,
        )
        self.job.ended.connect(self._on_ended)
        self._allow()

    def _on_event(self, event: Event) -> None:
        match event:
            case PlaneExamined(done=done, planes=planes) if planes > 1:
                self.panel.show_why(f"Looking for what may be wrong … {done} of {planes} slices", "hint")

    @guarded
    def _on_route(self, reference: weakref.ref[napari.layers.Labels], route: Any) -> None:
        layer = reference()
        if layer is None:
            return
        self._tours[layer] = tour = Tour(layer, route)
        if layer is self.labels:
            tour.follow(self.review.reviewed())
            self._advance(tour)

    def _on_ended(self) -> None:
        self.job = None
        if self.tour is None:
            self.panel.show_nothing()
        self._allow()

    def _advance(self, tour: Tour) -> None:
        tour.advance()
        self._show(tour, move=True)
        self._allow()

    @guarded
    def _on_reviewed(self) -> None:
        tour = self.tour
        if tour is not None:
            tour.follow(self.review.reviewed())
            self._show_progress(tour)

    def _on_redrawn(self, layer: napari.layers.Labels, _: Any) -> None:
        # other objects are shown now: where to look is another question
        self._tours.pop(layer, None)
        self.refresh()

    # what is seen

    def _place(self, plane: int) -> tuple[int, ...]:
        leading = self.labels.data.shape[:-2]
        return tuple(int(n) for n in np.unravel_index(plane, leading)) if leading else ()

    def _show(self, tour: Tour, move: bool) -> None:
        self._show_progress(tour)
        layer, region = self.labels, tour.region
        if region is None:
            self._show_nowhere()
            if tour.regions[0] == tour.regions[1]:
                self.panel.show_why("Everything has been looked at.", "good")
            return
        place = self._place(region.plane)
        gone = tour.gone(layer.data[place]) if region.things else set()
        why = tour.route.why(region, gone)
        self.panel.show_why(why)
        if move:
            self._go_to(layer, place, *tour.extent, LEAST_SHOWN * tour.object_side)
            doubts = tour.route.doubts
            labels = [int(doubts.labels[thing]) for thing in region.things if thing not in gone]
            if not tour.route.classes:
                # never an object that is out of sight: keys would act on it
                self.chosen.emit((labels and labels[0]) or editing.free_number(self.session.ledgers[layer]))
        self._draw(layer, tour, gone)
        self._write(why)

    def _show_progress(self, tour: Tour) -> None:
        self.panel.show_progress(tour.regions, tour.objects, tour.time_left)

    def _go_to(
        self, layer: napari.layers.Labels, place: tuple[int, ...], rows: slice, columns: slice, least: float
    ) -> None:
        viewer = self.viewer
        viewer.dims.ndisplay = 2
        ndim, offset = layer.ndim, viewer.dims.ndim - layer.ndim
        if tuple(viewer.dims.displayed) != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
            viewer.dims.order = tuple(range(viewer.dims.ndim))
        corners = [[*place, y - 0.5, x - 0.5] for y in (rows.start, rows.stop) for x in (columns.start, columns.stop)]
        world = np.array([layer.data_to_world(corner) for corner in corners])
        for axis in range(ndim - 2):
            viewer.dims.set_point(axis + offset, world[0, axis])
        low, high = world[:, -2:].min(axis=0), world[:, -2:].max(axis=0)
        pixel = np.abs(np.asarray(layer.scale[-2:], float))
        shown = np.maximum(CONTEXT * (high - low), least * pixel)
        viewer.scene.camera.center = (0.0, *(low + high) / 2)
        viewer.scene.camera.zoom = float(np.min(np.asarray(viewer.canvas.size, float) / shown))
        self._zoom = viewer.scene.camera.zoom
        viewer.layers.selection.active = layer
        layer.visible = True

    def _draw(self, layer: napari.layers.Labels, tour: Tour, gone: set[int]) -> None:
        """Outline the region, and what is hidden in it."""
        region, nothing = tour.region, np.empty((0, 2))
        self._outline.clear()
        self._candidate.clear()
        if not self._seen or region is None or not self._is_on_screen(layer, region.plane):
            return
        self._outline.show(layer, nothing, _loop(region.rows, region.columns))
        doubts = tour.route.doubts
        hidden = [thing for thing in region.things if thing not in gone and not doubts.labels[thing]]
        if hidden:
            top, left, bottom, right = doubts.boxes[hidden[0]].tolist()
            self._candidate.show(layer, nothing, _loop(slice(top, bottom), slice(left, right)))

    def _is_on_screen(self, layer: napari.layers.Labels, plane: int) -> bool:
        point = layer.world_to_data(self.viewer.dims.point[-layer.ndim :])
        return all(round(float(at)) == own for at, own in zip(point, self._place(plane)))

    @guarded
    def _on_plane(self, event: Any = None) -> None:
        layer, tour = self.labels, self.tour
        if tour is not None and tour.region is not None and layer.ndim > 2:
            gone = tour.gone(layer.data[self._place(tour.region.plane)])
            self._draw(layer, tour, gone)
            # it is about what is outlined
            seen = self._is_on_screen(layer, tour.region.plane) and self._is_near()
            self._write(tour.route.why(tour.region, gone) if seen else "")

    def _on_camera(self, event: Any = None) -> None:
        if self._text_shown and not self._is_near():
            self._write("")

    def _is_near(self) -> bool:
        """Whether the middle of the region is on screen, about as large as it was shown."""
        layer, tour, camera = self.labels, self.tour, self.viewer.scene.camera
        if layer is None or tour is None or tour.region is None:
            return False
        region = tour.region
        middle = [(side.start + side.stop - 1) / 2 for side in (region.rows, region.columns)]
        at = np.asarray(layer.data_to_world([*self._place(region.plane), *middle]))[-2:]
        away = np.abs(at - np.asarray(camera.center)[-2:]) * camera.zoom
        return bool(camera.zoom >= FAR * self._zoom and (away <= np.asarray(self.viewer.canvas.size) / 2).all())

    def _show_nowhere(self) -> None:
        self._outline.clear()
        self._candidate.clear()
        self._write("")

    def _write(self, text: str) -> None:
        """Write onto the canvas, where nothing else is written."""
        text = text if self._seen else ""
        overlay = self.viewer.canvas.overlays.text
        if overlay.visible and overlay.text != self._text_shown:
            return
        overlay.position = CanvasPosition.TOP_LEFT
        self._text_shown = write(overlay, text)


def _loop(rows: slice, columns: slice) -> np.ndarray:
    """The outline of a box, for ``Marks``: float (5, 2), pixel centres at whole numbers."""
    top, bottom, left, right = (edge - 0.5 for edge in (rows.start, rows.stop, columns.start, columns.stop))
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])


def _vouched(layer: napari.layers.Labels) -> frozenset[int]:
    """Objects that a person drew, edited or confirmed."""
    table = layer.features
    if "index" not in table or "origin" not in table:
        return frozenset()
    own = table["origin"].isin(["edited", "added", "confirmed"])
    return frozenset(int(label) for label in table["index"][own])
