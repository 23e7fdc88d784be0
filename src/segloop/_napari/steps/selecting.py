"""Which layer is corrected, which of its objects are selected, and where tools act."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

import napari.layers
import numpy as np
from qtpy.QtCore import Signal

from segloop._napari import editing
from segloop._napari.ledger import Ledger
from segloop._napari.marks import Marks
from segloop._napari.outlines import SELECTED, Outlines
from segloop._napari.panels.tools import ToolGrid
from segloop._napari.pointing import NO_POINTS, Click, tools_on, watch_click
from segloop._napari.redrawn import Redrawn
from segloop._napari.steps.step import Step, guarded, timer
from segloop.editing.changes import Box, Change
from segloop.errors import LabelsError

SCAN_SECONDS = 0.008
"""The share of each turn of the event loop that looking through a new layer takes."""

MOST_OUTLINED = 1 << 20
"""Pixels of boxes; what is larger is not outlined, since that would be felt."""


class SelectingStep(Step):
    """Takes up one Labels layer at a time, lets objects be selected by clicks, and keeps the tables of all layers true.

    Parameters
    ----------
    grid : ToolGrid
    *args
        As for ``Step``.
    """

    selected = Signal()

    def __init__(self, grid: ToolGrid, *args: Any) -> None:
        super().__init__(*args)
        self.grid = grid
        self.layer: napari.layers.Labels | None = None
        self.marks = Marks(self.viewer)
        self._outlines = Outlines(self.viewer)
        self._outlining = timer(self, 0, self._outline_selected)
        self.selected.connect(self._outlining.start)
        self._more: dict[int, tuple[int, ...]] = {}
        self._clicked: tuple[int, ...] = ()
        self._scan = timer(self, 20, self._on_scan)
        self._flush = timer(self, 50, self._on_flush)
        self.session.redrawn.connect(self._on_redrawn)
        self.session.followers.append(self.bring_up_to_date)

    @property
    def busy(self) -> bool:
        """Whether a tool, of this step or another, has the mouse."""
        return self.layer is not None and bool(tools_on(self.layer))

    @abstractmethod
    def end_tool(self) -> None:
        """Give the mouse back to napari."""

    @abstractmethod
    def show_classes(self) -> None:
        """Show the class of the selected object."""

    # the layer

    def use(self, layer: napari.layers.Labels | None) -> None:
        """Give the tools to a layer, and to no other; None takes them away."""
        before = self.layer
        if layer is before:
            self._describe()
            return
        self.end_tool()
        self._more.clear()
        self.layer = layer
        if before is not None:
            before.mouse_drag_callbacks.remove(self._on_pick)
            before.events.selected_label.disconnect(self._on_selected)
            self.viewer.dims.events.disconnect(self._on_dims)
            self._outlines.clear()
        if layer is not None:
            layer.mouse_drag_callbacks.append(self._on_pick)
            layer.events.selected_label.connect(self._on_selected)
            self.viewer.dims.events.connect(self._on_dims)
            self._outlining.start()
            self._describe()
            self._scan.start()

    def _describe(self) -> None:
        layer = self.layer
        if layer is None:
            return
        origin = self.session.origins[layer]
        ledger = self.session.ledgers.get(layer)
        if ledger is None:
            ledger = self.session.ledgers[layer] = Ledger(layer, origin.classes, origin.task == "semantic")
            ledger.stale.connect(self._on_stale)
        ledger.describe(origin.classes, origin.task == "semantic")

    def release(self) -> None:
        """Follow the layers no longer; called when the dock is gone."""
        self.use(None)
        self.session.redrawn.disconnect(self._on_redrawn)
        self.session.followers.remove(self.bring_up_to_date)
        for ledger in self.session.ledgers.values():
            ledger.stale.disconnect(self._on_stale)
            ledger.close()

    def bring_up_to_date(self, layer: napari.layers.Labels) -> None:
        """Have the table of a layer hold all that was edited: it is to be read."""
        if ledger := self.session.ledgers.get(layer):
            ledger.flush()

    @property
    def ledger(self) -> Ledger:
        """The ledger of the layer.

        Raises
        ------
        LabelsError
            If there is no layer to correct.
        """
        if self.layer is None:
            raise LabelsError("there are no labels to correct; segment an image, or add a Labels layer")
        return self.session.ledgers[self.layer]

    @guarded
    def _on_redrawn(self, layer: napari.layers.Labels, blocks: Sequence[Redrawn]) -> None:
        ledger = self.session.ledgers.get(layer)
        if ledger is None:
            return
        for block in blocks:
            changed = block.before != block.after
            ledger.follow(Change.in_box(block.box, changed, block.before[changed], block.after[changed]))

    def _on_stale(self) -> None:
        self._flush.start()

    @guarded
    def _on_flush(self) -> None:
        for layer, ledger in list(self.session.ledgers.items()):
            origin = self.session.origins.get(layer)
            if origin is not None:
                ledger.describe(origin.classes, origin.task == "semantic")
            if not ledger.advance(0):
                self._scan.start()
            ledger.flush()
        self.selected.emit()

    @guarded
    def _on_scan(self) -> None:
        if self.layer is None:
            return
        if self.ledger.advance(SCAN_SECONDS):
            self.selected.emit()
        else:
            self._scan.start()

    # selection

    @property
    def numbers(self) -> list[int]:
        """The selected objects: napari's selected label, and those that were added by Shift and a click."""
        if self.layer is None:
            return []
        return [int(self.layer.selected_label), *(n for n in self._more if n != self.layer.selected_label)]

    @guarded
    def select(self, number: int) -> None:
        """Select an object, or a number that is free, and no other."""
        if self.layer is None:
            return
        if number != self.layer.selected_label:
            self.layer.selected_label = number
        else:
            self._on_selected()

    def _on_pick(self, layer: napari.layers.Labels, event: Any) -> Generator[None, None, None]:
        if layer.mode == "pan_zoom" and not self.busy:
            yield from watch_click(layer, event, self._on_click)

    @guarded
    def _on_click(self, click: Click) -> None:
        if not click.number or self.layer is None:
            return
        self.ledger.notice(click.number, click.position)
        if "Shift" in click.modifiers:
            if click.number in self._more:
                del self._more[click.number]
            else:
                self._more[click.number] = click.position
            places = [self._clicked, *self._more.values()] if self._more else []
            points = np.array([place[-2:] for place in places if place], float).reshape(-1, 2)
            self.marks.show(self.layer, points, NO_POINTS)
            self.selected.emit()
        else:
            if click.number != self.layer.selected_label:
                self.layer.selected_label = click.number
            else:
                self._on_selected()
            self._clicked = click.position

    def _on_selected(self, event: Any = None) -> None:
        self._more.clear()
        self._clicked = ()
        if not self.busy:
            self.marks.clear()
        self.show_classes()
        self.selected.emit()

    def _on_dims(self, event: Any = None) -> None:
        self._outlining.start()

    @guarded
    def _outline_selected(self) -> None:
        """Outline the selected objects on the slice on screen; classes lie everywhere, and are not outlined."""
        from segloop.catalog import Area, Mask

        layer = self.layer
        if layer is None or not self._is_flat() or self.session.origins[layer].task == "semantic":
            self._outlines.clear()
            return
        plane, masks, room = self._plane(), [], MOST_OUTLINED
        for number in self.numbers:
            box = self.ledger.index.box(number) if number else None
            if box is None or any(not side.start <= n < side.stop for side, n in zip(box, plane)):
                continue
            rows, columns = box[-2:]
            room -= (rows.stop - rows.start) * (columns.stop - columns.start)
            if room >= 0:
                masks.append(Mask(Area(0, rows, columns), np.asarray(layer.data[(*plane, rows, columns)]) == number))
        self._outlines.outline(layer, masks, SELECTED)

    # where tools act

    def _is_flat(self) -> bool:
        """Whether slices of the last two axes are on screen."""
        layer = self.layer
        displayed = list(layer._slice_input.displayed)
        return self.viewer.dims.ndisplay == 2 and displayed == [layer.ndim - 2, layer.ndim - 1]

    def _plane(self) -> tuple[int, ...]:
        """Index of the slice on screen, in all dimensions but the last two."""
        layer = self.layer
        if not self._is_flat():
            raise LabelsError("correct labels slice by slice: switch to the 2D view, Y against X")
        point = np.rint(layer.world_to_data(self.viewer.dims.point[-layer.ndim :])).astype(int)
        return tuple(int(np.clip(n, 0, size - 1)) for n, size in zip(point, layer.data.shape[:-2]))

    def _within(self) -> Box | None:
        """The part of the layer that tools change: the slice on screen, or all slices along the last slider."""
        layer = self.layer
        if layer.ndim == 2:
            return editing.EVERYWHERE
        if self.grid.all_slices.isChecked():
            return self._along_stack()
        return editing.plane_box(self._plane(), layer.data.shape)

    def _along_stack(self) -> Box:
        layer, axis = self.layer, stack_axis(self.layer)
        box = list(editing.plane_box(self._plane(), layer.data.shape))
        if axis is not None:
            box[axis] = slice(0, layer.data.shape[axis])
        return tuple(box)

    def _axis(self) -> int:
        axis = stack_axis(self.layer)
        if axis is None:
            raise LabelsError("this layer has one slice only")
        return axis

    def _clear_more(self) -> None:
        self._more.clear()
        self.marks.clear()
        self.selected.emit()


def stack_axis(layer: napari.layers.Labels) -> int | None:
    """The last of the axes with a slider that has more than one slice; None for a single plane."""
    return next((axis for axis in reversed(range(layer.ndim - 2)) if layer.data.shape[axis] > 1), None)
