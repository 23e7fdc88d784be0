"""The correction tools, joined to the layer being corrected: buttons, keys, clicks and strokes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari.layers
import numpy as np

from segloop._napari import editing, history, outlining, slices, splits
from segloop._napari.features import ObjectOrigin
from segloop._napari.keys import KeyRing
from segloop._napari.panels.tools import ToolGrid
from segloop._napari.pointing import NO_POINTS, Click, Clicking, Pointing, Stroking
from segloop._napari.steps.selecting import SelectingStep, stack_axis
from segloop._napari.steps.step import guarded
from segloop._napari.tools import NOT_OBJECTS, TOOLS, find, show_key
from segloop.editing import shapes
from segloop.errors import LabelsError


class ToolStep(SelectingStep):
    """Gives the layer that is corrected its tools.

    Parameters
    ----------
    grid : ToolGrid
    *args
        As for ``Step``.
    """

    def __init__(self, grid: ToolGrid, *args: Any) -> None:
        super().__init__(grid, *args)
        self._target = 0
        self._split: splits.SeededSplit | None = None
        self._undone: list[tuple[int, int]] = []
        self._pointing: dict[str, Pointing] = {
            "toggle_merging": Clicking(self.marks, self._on_merge_click),
            "toggle_cutting": Stroking(self.marks, self._on_cut),
            "toggle_seeding": Clicking(self.marks, self._on_seed),
            "toggle_outlining": Stroking(self.marks, self._on_outline),
        }
        for tool in self._pointing.values():
            tool.ended.connect(self._on_tool_ended)
        self._keys = KeyRing(self)
        grid.pressed.connect(lambda name: getattr(self, name)())
        grid.toggled.connect(self._on_toggled)
        grid.class_chosen.connect(self.set_class)
        grid.undo_requested.connect(self.undo)
        grid.redo_requested.connect(self.redo)

    def use(self, layer: napari.layers.Labels | None) -> None:
        """Give the tools to a layer, and to no other; None takes them away."""
        if layer is not self.layer:
            if self.layer is not None:
                self.layer.events.set_data.disconnect(self._on_drawn)
            if layer is not None:
                self._undone = [history.key_of(item) for item in history.redo_items(layer)]
                layer.events.set_data.connect(self._on_drawn)
        super().use(layer)
        self._keys.bind(layer)

    def show_usable(self, ready: bool) -> None:
        """Allow the tools that make sense for the layer."""
        layer = self.layer
        semantic = layer is not None and self.session.origins[layer].task == "semantic"
        reasons = {}
        for tool in TOOLS:
            if not ready:
                reasons[tool.name] = "There are no labels to correct yet."
            elif semantic and not tool.classes:
                reasons[tool.name] = NOT_OBJECTS
        self.grid.show_usable(reasons, ready)
        self.grid.show_stack(layer is not None and stack_axis(layer) is not None)
        if any(name in reasons for name, tool in self._pointing.items() if tool.active):
            self.end_tool()
        self.show_classes()

    def _allowed(self, name: str) -> None:
        made = self.grid.buttons.get(name)
        if made is not None and not made.isEnabled():
            raise LabelsError(made.toolTip().split("\n\n")[-1])

    # tools that act at once

    @guarded
    def new_object(self) -> None:
        """Take the next free number and the brush."""
        self._allowed("new_object")
        number = editing.next_free_label(self.ledger)
        self.layer.selected_label = number
        self.viewer.layers.selection.active = self.layer
        self.layer.mode = "paint"
        self.say(f"Paint object {number}.")

    @guarded
    def delete_object(self) -> None:
        """Delete the selected objects."""
        self._allowed("delete_object")
        numbers = self.numbers
        editing.delete_objects(self.ledger, numbers, self._within())
        self._clear_more()
        self.say(f"{_named(numbers)} deleted.")

    @guarded
    def delete_at_border(self) -> None:
        """Delete all objects that touch the border."""
        self._allowed("delete_at_border")
        count = editing.delete_at_border(self.ledger, self._within())
        self.say(f"{count} objects at the border deleted." if count else "No object touches the border.")

    @guarded
    def confirm_object(self) -> None:
        """Note that the selected objects are right."""
        self._allowed("confirm_object")
        numbers = editing.existing(self.ledger, self.numbers)
        self.ledger.change_rows(numbers, origin=ObjectOrigin.CONFIRMED.value)
        self._clear_more()
        self.say(f"{_named(numbers)} confirmed.")

    def grow(self) -> None:
        """Make the selected objects larger by a pixel."""
        self._reshape("grow", shapes.grow, "grown")

    def shrink(self) -> None:
        """Make the selected objects smaller by a pixel."""
        self._reshape("shrink", shapes.shrink, "shrunk")

    def smooth(self) -> None:
        """Round off the selected objects."""
        self._reshape("smooth", shapes.smooth, "smoothed")

    def fill_holes(self) -> None:
        """Fill the holes of the selected objects."""
        self._reshape("fill_holes", shapes.fill_holes, "filled")

    @guarded
    def _reshape(self, name: str, reshaped: Callable[[np.ndarray, int], shapes.Reshaped], done: str) -> None:
        self._allowed(name)
        numbers = self.numbers
        changed = editing.reshape(self.ledger, numbers, reshaped, self._within())
        self.say(
            f"{_named(numbers)} {done}: {changed} pixels." if changed else f"{_named(numbers)}: nothing to change."
        )

    @guarded
    def interpolate(self) -> None:
        """Fill in the selected object, or several as one, between the slices that it is drawn on."""
        self._allowed("interpolate")
        # classes do not become one another
        numbers = self.numbers[:1] if self.session.origins[self.layer].task == "semantic" else self.numbers
        filled = slices.interpolate(self.ledger, numbers, self._axis(), self._along_stack())
        self._clear_more()
        self.layer.refresh()
        joined = f" {_named(numbers)} are one now." if len(numbers) > 1 else ""
        self.say(f"Object {numbers[0]}: filled in on {len(filled)} slices.{joined}")

    def copy_next(self) -> None:
        """Copy the selected objects to the slice after this one, and go there."""
        self._copy("copy_next", 1)

    def copy_previous(self) -> None:
        """Copy the selected objects to the slice before this one, and go there."""
        self._copy("copy_previous", -1)

    @guarded
    def _copy(self, name: str, step: int) -> None:
        self._allowed(name)
        axis, numbers = self._axis(), self.numbers
        drawn = slices.copy_to_slice(self.ledger, numbers, self._plane(), axis, step)
        slider = axis + self.viewer.dims.ndim - self.layer.ndim
        self.viewer.dims.set_current_step(slider, self.viewer.dims.current_step[slider] + step)
        self.say(f"{_named(numbers)} copied: {drawn} pixels.")

    @guarded
    def undo(self) -> None:
        """Take back the last edit of the layer."""
        self.layer.undo()

    @guarded
    def redo(self) -> None:
        """Do the last edit that was taken back again."""
        self.layer.redo()

    @guarded
    def _on_drawn(self, event: Any = None) -> None:
        """Let what was said of an edit not stand when it is taken back, by the button or by napari's own key."""
        undone = [history.key_of(item) for item in history.redo_items(self.layer)]
        before, self._undone = self._undone, undone
        done = history.undo_items(self.layer)
        if len(undone) > len(before):
            self.say("The last edit was taken back.")
        elif before and undone == before[:-1] and done and history.key_of(done[-1]) == before[-1]:
            self.say("The edit was done again.")

    # classes

    def class_names(self) -> list[str]:
        """The classes that objects of the layer can have."""
        if self.layer is None or self.session.origins[self.layer].task == "semantic":
            return []
        known = self.session.origins[self.layer].classes or ("object",)
        used = self.layer.features["class"].unique() if "class" in self.layer.features else ()
        return [*known, *(name for name in used if name and name not in known)]

    def show_classes(self) -> None:
        """Show the class of the selected object."""
        names = self.class_names()
        row = self.ledger.row(int(self.layer.selected_label)) if names else None
        self.grid.show_classes(names, None if row is None else str(row.get("class", "")))

    @guarded
    def set_class(self, name: str) -> None:
        """Give the selected objects a class; a new name is added to the layer's classes."""
        self._allowed("next_class")
        numbers = editing.existing(self.ledger, self.numbers)
        names = self.class_names()
        if name not in names:
            self.session.update_origin(self.layer, classes=(*names, name))
            self._describe()
        # the score is of the class that the model gave
        self.ledger.change_rows(numbers, **{"class": name, "origin": ObjectOrigin.EDITED.value, "score": np.nan})
        self.say(f"{_named(numbers)}: {name}.")
        self.show_classes()

    @guarded
    def next_class(self) -> None:
        """Give the selected objects the next class of the list."""
        names = self.class_names()
        if not names:
            raise LabelsError(NOT_OBJECTS)
        row = self.ledger.row(int(self.layer.selected_label)) or {}
        place = names.index(row["class"]) if row.get("class") in names else -1
        if len(names) == 1 and place == 0:
            raise LabelsError(f"{names[0]!r} is the only class; add one with “New class …” in the list")
        self.set_class(names[(place + 1) % len(names)])

    # tools that have the mouse

    def toggle_merging(self) -> None:
        """Merge the selected objects, or start or end merging by clicks."""
        self._press("toggle_merging")

    def toggle_cutting(self) -> None:
        """Start or end cutting by lines."""
        self._press("toggle_cutting")

    def toggle_seeding(self) -> None:
        """Start or end splitting by clicks."""
        self._press("toggle_seeding")

    def toggle_outlining(self) -> None:
        """Start or end drawing objects by their outlines."""
        self._press("toggle_outlining")

    @guarded
    def _press(self, name: str) -> None:
        self._allowed(name)
        self._on_toggled(name, not self._pointing[name].active)

    def end_tool(self) -> None:
        """Give the mouse back to napari."""
        for tool in self._pointing.values():
            tool.stop()

    @guarded
    def _on_toggled(self, name: str, active: bool) -> None:
        more = self.numbers[1:]
        self.end_tool()
        if not active or self.layer is None:
            return
        if name == "toggle_merging" and more:
            self.grid.show_active("")
            self._merge_selected()
            return
        self._plane()
        self._target, self._split = 0, None
        self.viewer.layers.selection.active = self.layer
        self._pointing[name].start(self.layer)
        self.grid.show_active(name)
        begin = {
            "toggle_merging": "Click the object that others are to join.",
            "toggle_cutting": "Draw a line across the object to cut.",
            "toggle_seeding": "Click in one part of an object, then in the others.",
            "toggle_outlining": "Draw around an object.",
        }
        self.say(f"{begin[name]} {show_key(find(name).key)} ends it.")

    def _on_tool_ended(self) -> None:
        self.grid.show_active("")
        self.say("")

    def _merge_selected(self) -> None:
        keep, *others = [number for number in self.numbers if number]
        editing.merge_objects(self.ledger, keep, others, self._within())
        self._clear_more()
        self.say(f"{_named([keep, *others])} are now object {keep}.")

    @guarded
    def _on_merge_click(self, click: Click) -> None:
        if not click.number:
            return
        self.ledger.notice(click.number, click.position)
        if not self._target:
            self._target = click.number
            self.layer.selected_label = click.number
            self.marks.show(self.layer, np.array([click.position[-2:]], float), NO_POINTS)
            self.say(f"Now click the objects that belong to object {click.number}. Press Merge again to end.")
        elif click.number != self._target:
            editing.merge_objects(self.ledger, self._target, [click.number], self._within())
            self.say(f"Object {click.number} is part of object {self._target} now.")

    @guarded
    def _on_cut(self, line: np.ndarray) -> None:
        plane = self._plane()
        numbers = splits.split_by_line(self.ledger, line[:, -2:], plane, self._within())
        self.layer.selected_label = numbers[0]
        self.say(f"Object {numbers[0]} is cut: {_named(numbers).lower()}.")

    @guarded
    def _on_outline(self, line: np.ndarray) -> None:
        number = outlining.outline_object(self.ledger, line[:, -2:], self._plane())
        self.layer.selected_label = number
        self.say(f"Object {number} is as you drew it. Ctrl+Z takes it back.")

    @guarded
    def _on_seed(self, click: Click) -> None:
        if not click.number:
            return
        self.ledger.notice(click.number, click.position)
        split = self._split
        if split is None or not split.continues(click.number):
            within = self._within()
            self._split = split = splits.SeededSplit.begin(
                self.ledger, click.number, click.position, self.layer.scale, within
            )
            self.say(f"Object {click.number}: click in its other parts.")
        else:
            numbers = split.add(click.position)
            self.say(f"Object {numbers[0]} is split: {_named(numbers).lower()}.")
        points = np.array([seed[-2:] for seed in split.seeds], float)
        self.marks.show(self.layer, points, NO_POINTS)
        self.layer.selected_label = split.numbers[0]


def _named(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:6])) + (" …" if len(numbers) > 6 else "")
    return f"Object {shown}" if len(numbers) == 1 else f"Objects {shown}"
