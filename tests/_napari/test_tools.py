"""The correction tools through the real window: keys, clicks and strokes on the canvas."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from app_model.types import KeyBinding
from napari.layers import Labels
from napari.utils.action_manager import action_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QInputDialog

from segloop._napari import pointing
from segloop._napari.redrawn import Redrawn
from segloop._napari.session import Origin
from segloop._napari.steps import adding, tour
from segloop._napari.tools import NOT_OBJECTS, TOOLS, Group, show_key

PATIENCE = 60_000
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
DOCS = Path(__file__).parents[2] / "docs"

spec = importlib.util.spec_from_file_location("pointer", Path(__file__).with_name("pointer.py"))
pointer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pointer)


@pytest.fixture
def plane() -> np.ndarray:
    """A ring, two squares side by side, a dumbbell, and an object at the border."""
    labels = np.zeros((96, 128), np.uint8)
    labels[20:40, 20:40] = 1
    labels[25:30, 25:30] = 0
    labels[50:80, 70:90] = 2
    labels[50:80, 90:110] = 3
    y, x = np.mgrid[:96, :128]
    labels[(y - 20) ** 2 + (x - 70) ** 2 < 100] = 4
    labels[(y - 20) ** 2 + (x - 86) ** 2 < 100] = 4
    labels[60:70, 0:10] = 5
    return labels


@pytest.fixture
def drawn(open_dock, plane, errors):
    """The dock in a window that is shown, with labels from elsewhere; the viewer, its layer, and a hand."""
    return open_window(open_dock, plane)


@pytest.fixture
def stacked(open_dock, plane, errors):
    stack = np.zeros((6, *plane.shape), np.uint8)
    stack[1] = plane
    return open_window(open_dock, stack)


class Window:
    def __init__(self, dock, layer, hand):
        self.dock, self.layer, self.hand = dock, layer, hand
        self.viewer, self.grid, self.step = dock._viewer, dock.correct.tools, dock.correct_step.tools

    def pixels(self) -> np.ndarray:
        return np.array(self.layer.data)

    def table(self) -> pd.DataFrame:
        self.step.ledger.flush()
        return self.layer.features.set_index("index")

    def undo(self) -> None:
        self.hand.key(Qt.Key.Key_Z, CONTROL)


def open_window(open_dock, labels):
    dock = open_dock(show=True)
    viewer = dock._viewer
    names = {"axis_labels": ("z", "y", "x")} if labels.ndim == 3 else {}
    viewer.add_image(np.zeros(labels.shape, np.uint8), name="cells", **names)
    layer = viewer.add_labels(labels.copy(), name="draft", **names)
    dock.tabs.setCurrentIndex(1)
    if labels.ndim == 3:
        viewer.dims.set_current_step(0, 1)
    end = time.monotonic() + 60
    while not dock.session.ledgers[layer]._reconciled and time.monotonic() < end:
        QApplication.processEvents()
    viewer.reset_view()
    QApplication.processEvents()
    return Window(dock, layer, None)


@pytest.fixture(autouse=True)
def hand(request, qtbot):
    """Give the window a hand."""
    for name in ("drawn", "stacked"):
        if name in request.fixturenames:
            window = request.getfixturevalue(name)
            window.hand = pointer.Hand(window.viewer, qtbot)


def test_a_click_selects_and_keys_act_on_what_is_selected(drawn, plane):
    drawn.hand.click(drawn.layer, 60, 100)
    assert drawn.layer.selected_label == 3
    assert "Selected: 3 · object · 600 pixels · draft" in drawn.dock.correct.object_text.text()
    drawn.hand.key(Qt.Key.Key_D)
    np.testing.assert_array_equal(drawn.pixels(), np.where(plane == 3, 0, plane))
    assert "Object 3 deleted" in drawn.dock.status.text()
    drawn.undo()
    np.testing.assert_array_equal(drawn.pixels(), plane)
    assert drawn.dock.status.text() == "The last edit was taken back."
    drawn.hand.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert drawn.dock.status.text() == "The edit was done again."
    assert not (drawn.pixels() == 3).any()


def test_a_click_on_the_background_or_a_drag_select_nothing(drawn):
    drawn.hand.click(drawn.layer, 60, 100)
    drawn.hand.click(drawn.layer, 90, 50)
    assert drawn.layer.selected_label == 3
    drawn.hand.drag(drawn.layer, (30, 22), (60, 60))
    assert drawn.layer.selected_label == 3


@pytest.mark.parametrize("name", [tool.name for tool in TOOLS if tool.group in (Group.OBJECT, Group.SHAPE)])
def test_button_and_key_do_the_same(drawn, qtbot, name):
    tool = next(tool for tool in TOOLS if tool.name == name)
    drawn.hand.click(drawn.layer, 22, 22)
    before = drawn.pixels()
    qtbot.mouseClick(drawn.grid.buttons[name], Qt.MouseButton.LeftButton)
    pressed, table, number = drawn.pixels(), drawn.table(), drawn.layer.selected_label
    drawn.layer.undo()
    np.testing.assert_array_equal(drawn.pixels(), before)
    drawn.layer.selected_label, drawn.layer.mode = 1, "pan_zoom"
    *modifier, key = tool.key.split("-")
    drawn.hand.key(Qt.Key(ord(key)), SHIFT if modifier else Qt.KeyboardModifier.NoModifier)
    np.testing.assert_array_equal(drawn.pixels(), pressed)
    assert drawn.table().equals(table)
    assert drawn.layer.selected_label == number
    if name != "new_object":
        assert (pressed != before).any() or (table["origin"] == "confirmed").any()


def test_merging_by_clicks(drawn, plane):
    drawn.hand.key(Qt.Key.Key_G)
    assert drawn.grid.buttons["toggle_merging"].isChecked()
    drawn.hand.click(drawn.layer, 60, 80)
    drawn.hand.click(drawn.layer, 60, 100)
    drawn.hand.click(drawn.layer, 90, 50)
    np.testing.assert_array_equal(drawn.pixels(), np.where(plane == 3, 2, plane))
    drawn.hand.key(Qt.Key.Key_G)
    assert not drawn.grid.buttons["toggle_merging"].isChecked()
    drawn.undo()
    np.testing.assert_array_equal(drawn.pixels(), plane)


def test_merging_what_is_selected(drawn, plane):
    drawn.hand.click(drawn.layer, 60, 80)
    drawn.hand.click(drawn.layer, 60, 100, SHIFT)
    drawn.hand.click(drawn.layer, 65, 5, SHIFT)
    assert "Selected: 2, 3, 5" in drawn.dock.correct.object_text.text()
    drawn.hand.click(drawn.layer, 65, 5, SHIFT)
    assert "Selected: 2, 3" in drawn.dock.correct.object_text.text()
    drawn.hand.key(Qt.Key.Key_G)
    np.testing.assert_array_equal(drawn.pixels(), np.where(plane == 3, 2, plane))
    assert not drawn.grid.buttons["toggle_merging"].isChecked()
    assert drawn.step.numbers == [2]


def test_deleting_several_is_one_step(drawn, plane):
    drawn.hand.click(drawn.layer, 60, 80)
    drawn.hand.click(drawn.layer, 60, 100, SHIFT)
    drawn.hand.key(Qt.Key.Key_D)
    np.testing.assert_array_equal(drawn.pixels(), np.where(np.isin(plane, (2, 3)), 0, plane))
    drawn.undo()
    np.testing.assert_array_equal(drawn.pixels(), plane)


def test_cutting_along_a_stroke(drawn, plane):
    center = drawn.viewer.scene.camera.center
    drawn.hand.key(Qt.Key.Key_S)
    drawn.hand.drag(drawn.layer, (45, 80), (85, 80))
    after = drawn.pixels()
    assert set(np.unique(after)) == {0, 1, 2, 3, 4, 5, 6}
    assert (after[50:80, 70:79] == after[60, 72]).all() and (after[50:80, 82:90] == after[60, 86]).all()
    assert {int(after[60, 72]), int(after[60, 86])} == {2, 6}
    # the stroke moved no camera
    assert drawn.viewer.scene.camera.center == center
    assert drawn.table()["origin"].to_dict() == {
        1: "draft",
        2: "edited",
        3: "draft",
        4: "draft",
        5: "draft",
        6: "edited",
    }
    drawn.hand.key(Qt.Key.Key_S)
    assert drawn.layer.mouse_pan
    drawn.undo()
    np.testing.assert_array_equal(drawn.pixels(), plane)


def test_a_line_through_the_gap_of_an_object_parts_its_pieces(open_dock, plane, qtbot, errors):
    plane[60:70, 30:44] = 5
    window = open_window(open_dock, plane)
    hand = window.hand = pointer.Hand(window.viewer, qtbot)
    hand.key(Qt.Key.Key_S)
    hand.drag(window.layer, (62, 20), (68, 20))
    after = window.pixels()
    assert (after[60:70, 30:44] == 5).all() and (after[60:70, 0:10] == 6).all()
    assert "Object 5 is cut: objects 5, 6." in window.dock.status.text()
    # beside everything
    hand.drag(window.layer, (86, 20), (92, 20))
    assert "between no pieces of one" in window.dock.status.text()
    window.undo()
    np.testing.assert_array_equal(window.pixels(), plane)


def around(top, left, bottom, right):
    """The corners of a stroke around a box."""
    return [(top, left), (top, right), (bottom, right), (bottom, left), (top, left)]


def test_outlining_in_one_stroke(drawn, plane):
    center = drawn.viewer.scene.camera.center
    drawn.hand.key(Qt.Key.Key_A)
    assert drawn.grid.buttons["toggle_outlining"].isChecked()
    # the square on the left, with a bit of its neighbour: it keeps its number, and the neighbour makes way
    drawn.hand.drag(drawn.layer, *around(48, 68, 82, 95))
    after = drawn.pixels()
    assert (after[52:78, 70:94] == 2).all() and (after[52:78, 97:110] == 3).all()
    assert drawn.layer.selected_label == 2
    # where nothing is, a new one
    drawn.hand.drag(drawn.layer, *around(50, 20, 60, 50))
    assert (drawn.pixels()[52:58, 22:48] == 6).all()
    # a part of an object that is two in one: that part gets a number of its own
    drawn.hand.drag(drawn.layer, *around(8, 79, 32, 98))
    assert drawn.pixels()[20, 90] == 7 and drawn.pixels()[20, 65] == 4
    table = drawn.table()
    assert table["origin"].to_dict() == {
        1: "draft",
        2: "edited",
        3: "edited",
        4: "edited",
        5: "draft",
        6: "added",
        7: "added",
    }
    assert table["area"].to_dict() == {n: int((drawn.pixels() == n).sum()) for n in table.index}
    assert drawn.viewer.scene.camera.center == center
    drawn.hand.key(Qt.Key.Key_A)
    assert drawn.layer.mouse_pan
    for _ in range(3):
        drawn.undo()
    np.testing.assert_array_equal(drawn.pixels(), plane)


def test_outlines_leave_what_a_person_vouched_for(drawn, plane, errors):
    drawn.layer.selected_label = 3
    drawn.hand.key(Qt.Key.Key_Y)
    drawn.hand.key(Qt.Key.Key_A)
    drawn.hand.drag(drawn.layer, *around(48, 68, 82, 95))
    np.testing.assert_array_equal(drawn.pixels() == 3, plane == 3)
    drawn.hand.drag(drawn.layer, *around(52, 95, 60, 105))
    assert errors == ["other objects that you vouched for are in the way; delete or merge them first"]


def test_outlining_on_a_slice(stacked):
    stacked.hand.key(Qt.Key.Key_A)
    stacked.hand.drag(stacked.layer, *around(48, 68, 82, 95))
    after = stacked.pixels()
    assert (after[1, 52:78, 70:94] == 2).all() and not after[[0, 2, 3, 4, 5]].any()


def test_a_stroke_beside_the_objects_is_told(drawn, plane, errors):
    drawn.hand.key(Qt.Key.Key_S)
    drawn.hand.drag(drawn.layer, (90, 20), (90, 60))
    assert errors == ["the line lies on no object, and between no pieces of one; draw it across one"]
    np.testing.assert_array_equal(drawn.pixels(), plane)
    assert drawn.grid.buttons["toggle_cutting"].isChecked()


def test_splitting_by_clicks(drawn, plane):
    drawn.hand.key(Qt.Key.Key_W)
    drawn.hand.click(drawn.layer, 20, 66)
    np.testing.assert_array_equal(drawn.pixels(), plane)
    drawn.hand.click(drawn.layer, 20, 90)
    after = drawn.pixels()
    assert (after[:, :76][plane[:, :76] == 4] == 4).all()
    assert (after[:, 81:][plane[:, 81:] == 4] == 6).all()
    # one more click in a part shares the whole out anew
    drawn.hand.click(drawn.layer, 13, 70)
    assert len(np.unique(drawn.pixels())) == 8
    drawn.undo()
    np.testing.assert_array_equal(drawn.pixels(), plane)


def test_a_tool_ends_when_the_brush_is_taken(drawn, qtbot):
    qtbot.mouseClick(drawn.grid.buttons["toggle_seeding"], Qt.MouseButton.LeftButton)
    assert drawn.step._pointing["toggle_seeding"].active
    drawn.hand.key(Qt.Key.Key_P)
    assert drawn.layer.mode == "paint"
    assert not drawn.grid.buttons["toggle_seeding"].isChecked()
    assert not any(tool.active for tool in drawn.step._pointing.values())


def test_one_tool_at_a_time_has_the_mouse(drawn, plane):
    drawn.hand.key(Qt.Key.Key_S)
    drawn.hand.key(Qt.Key.Key_G)
    assert not drawn.grid.buttons["toggle_cutting"].isChecked()
    assert drawn.grid.buttons["toggle_merging"].isChecked()
    # one of another step's
    other = pointing.Stroking(drawn.step.marks, lambda line: None)
    other.start(drawn.layer)
    assert not drawn.grid.buttons["toggle_merging"].isChecked()
    drawn.hand.click(drawn.layer, 60, 100)
    assert drawn.layer.selected_label == 1
    other.stop()
    drawn.hand.click(drawn.layer, 60, 100)
    assert drawn.layer.selected_label == 3
    np.testing.assert_array_equal(drawn.pixels(), plane)


def test_tools_end_with_the_layer(drawn, plane):
    drawn.hand.key(Qt.Key.Key_G)
    callbacks = drawn.layer.mouse_drag_callbacks
    drawn.viewer.add_labels(plane.copy(), name="other")
    assert drawn.dock.correct_step.labels.name == "other"
    assert not drawn.grid.buttons["toggle_merging"].isChecked()
    assert not [c for c in callbacks if getattr(c, "__self__", None) in (drawn.step, *drawn.step._pointing.values())]
    assert not any(KeyBinding.from_str(tool.key) in drawn.layer.keymap for tool in TOOLS)


def test_the_brush_and_undo_keep_the_table(drawn, qtbot):
    drawn.hand.click(drawn.layer, 60, 80)
    drawn.hand.key(Qt.Key.Key_P)
    drawn.hand.drag(drawn.layer, (45, 72), (45, 86))
    qtbot.waitUntil(lambda: drawn.layer.features.set_index("index").loc[2, "origin"] == "edited", timeout=PATIENCE)
    assert drawn.layer.features.set_index("index").loc[2, "area"] == np.count_nonzero(drawn.pixels() == 2)
    assert "edited" in drawn.dock.correct.object_text.text()
    drawn.undo()
    qtbot.waitUntil(lambda: drawn.layer.features.set_index("index").loc[2, "origin"] == "draft", timeout=PATIENCE)


def test_thresholds_and_tools_share_one_index(drawn, plane):
    box = (slice(50, 80), slice(90, 110))
    before = drawn.pixels()[box]
    drawn.layer.data[box] = 0
    drawn.dock.session.redrawn.emit(drawn.layer, (Redrawn(box, before, np.zeros_like(before)),))
    assert drawn.step.ledger.index.numbers == [1, 2, 4, 5]
    drawn.layer.data[box] = 7
    drawn.dock.session.redrawn.emit(drawn.layer, (Redrawn(box, np.zeros_like(before), np.full_like(before, 7)),))
    drawn.layer.refresh()
    drawn.hand.click(drawn.layer, 60, 100)
    drawn.hand.key(Qt.Key.Key_D)
    np.testing.assert_array_equal(drawn.pixels(), np.where(plane == 3, 0, plane))


def test_the_dock_is_closed_while_a_tool_has_the_mouse(drawn, plane, qtbot):
    drawn.hand.key(Qt.Key.Key_S)
    drawn.viewer.window.remove_dock_widget(drawn.dock)
    layer = drawn.layer
    qtbot.waitUntil(lambda: layer.mouse_pan, timeout=PATIENCE)
    assert not any(KeyBinding.from_str(tool.key) in layer.keymap for tool in TOOLS)
    drawn.hand.drag(layer, (45, 80), (85, 80))
    drawn.hand.click(layer, 60, 100)
    np.testing.assert_array_equal(drawn.pixels(), plane)
    assert layer.selected_label == 1


def test_napari_itself_refuses_a_number_that_does_not_fit(drawn):
    with pytest.raises(ValueError, match="256 is out of bounds for dtype uint8"):
        drawn.layer.selected_label = 256


def test_copy_and_fill_between_in_a_stack(stacked, plane):
    stacked.hand.click(stacked.layer, 60, 100)
    stacked.hand.key(Qt.Key.Key_Right, SHIFT)
    assert stacked.viewer.dims.current_step[0] == 2
    np.testing.assert_array_equal(stacked.pixels()[2], np.where(plane == 3, 3, 0))
    stacked.undo()
    stacked.viewer.dims.set_current_step(0, 5)
    stacked.layer.selected_label = 3
    stacked.layer.paint((5, 64, 100), 3)
    stacked.hand.key(Qt.Key.Key_I)
    assert [bool((p == 3).any()) for p in stacked.pixels()] == [False, True, True, True, True, True]
    assert "filled in on 3 slices" in stacked.dock.status.text()
    stacked.undo()
    assert [bool((p == 3).any()) for p in stacked.pixels()] == [False, True, False, False, False, True]


def test_outlines_drawn_on_two_slices_are_filled_in_between(stacked):
    def outline(step, number):
        stacked.viewer.dims.set_current_step(0, step)
        stacked.hand.key(Qt.Key.Key_A)
        stacked.hand.drag(stacked.layer, (50, 20), (50, 34), (64, 34), (64, 20), (50, 20))
        stacked.hand.key(Qt.Key.Key_A)
        assert stacked.layer.selected_label == number

    outline(0, 6)
    outline(4, 7)
    before = stacked.pixels()
    # selected on one slice, and then on the other
    stacked.viewer.dims.set_current_step(0, 0)
    stacked.hand.click(stacked.layer, 57, 27)
    stacked.viewer.dims.set_current_step(0, 4)
    stacked.hand.click(stacked.layer, 57, 27, SHIFT)
    stacked.hand.key(Qt.Key.Key_I)
    areas = [np.count_nonzero(p == 6) for p in stacked.pixels()]
    # two strokes by the same hand are not the same to the pixel
    assert min(areas[:5]) > 150 and max(areas[:5]) - min(areas[:5]) < 8
    assert not areas[5] and (stacked.pixels() < 7).all()
    assert "filled in on 3 slices" in stacked.dock.status.text()
    stacked.undo()
    np.testing.assert_array_equal(stacked.pixels(), before)


def test_tools_act_on_the_slice_on_screen_or_on_all(stacked, plane):
    stacked.layer.data[3] = plane
    stacked.step.ledger._on_data()
    stacked.layer.data = stacked.layer.data.copy()
    stacked.hand.click(stacked.layer, 60, 100)
    stacked.hand.key(Qt.Key.Key_D)
    assert [bool((p == 3).any()) for p in stacked.pixels()] == [False, False, False, True, False, False]
    stacked.undo()
    stacked.grid.all_slices.click()
    stacked.hand.key(Qt.Key.Key_D)
    assert 3 not in stacked.pixels()
    stacked.undo()
    assert [bool((p == 3).any()) for p in stacked.pixels()] == [False, True, False, True, False, False]


def test_a_view_across_the_slices_is_refused(stacked, errors):
    stacked.layer.selected_label = 3
    stacked.viewer.dims.order = (1, 0, 2)
    before = stacked.pixels()
    stacked.hand.key(Qt.Key.Key_D)
    assert "slice by slice" in errors[0]
    np.testing.assert_array_equal(stacked.pixels(), before)


def test_what_is_for_stacks_is_hidden_in_a_plane(drawn, stacked):
    for name in ("copy_next", "copy_previous", "interpolate"):
        assert drawn.grid.buttons[name].isHidden()
        assert not stacked.grid.buttons[name].isHidden()
    assert drawn.grid.all_slices.isHidden()


def test_classes_of_objects(drawn, monkeypatch):
    image = drawn.dock.correct_step.origin.image
    drawn.dock.session.origins[drawn.layer] = Origin(image, "YX", classes=("round", "long"), model="two")
    drawn.dock.correct_step._use(drawn.layer)
    drawn.hand.click(drawn.layer, 60, 100)
    drawn.hand.key(Qt.Key.Key_C)
    assert drawn.table().loc[3, "class"] == "round"
    drawn.hand.key(Qt.Key.Key_C)
    row = drawn.table().loc[3]
    assert (row["class"], row["origin"]) == ("long", "edited")
    assert drawn.grid.classes.current() == "long"
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("bent", True))
    drawn.grid.classes.setCurrentIndex(drawn.grid.classes.count() - 1)
    drawn.grid.classes.activated.emit(drawn.grid.classes.count() - 1)
    assert drawn.table().loc[3, "class"] == "bent"
    assert drawn.dock.correct_step.origin.classes[-1] == "bent"
    drawn.undo()
    assert drawn.table().loc[3, "class"] == "long"


def test_on_class_labels_tools_for_objects_say_why_not(drawn, plane, errors):
    drawn.dock.correct.task.setCurrentIndex(1)
    drawn.dock.correct.task.activated.emit(1)
    for tool in TOOLS:
        button = drawn.grid.buttons.get(tool.name)
        if button is not None:
            assert button.isEnabled() == tool.classes
            assert (NOT_OBJECTS in button.toolTip()) != tool.classes
    assert drawn.grid.undo.isEnabled()
    drawn.layer.selected_label = 3
    for key in (Qt.Key.Key_D, Qt.Key.Key_G, Qt.Key.Key_C):
        drawn.hand.key(key)
    assert errors == [NOT_OBJECTS] * 3
    np.testing.assert_array_equal(drawn.pixels(), plane)


def test_new_objects_beyond_the_largest_number(drawn):
    drawn.layer.data[0, 0] = 255
    drawn.layer.data = drawn.layer.data.copy()
    drawn.hand.key(Qt.Key.Key_N)
    assert (drawn.layer.selected_label, drawn.layer.data.dtype) == (256, np.uint16)
    drawn.hand.drag(drawn.layer, (85, 40), (85, 60))
    assert (drawn.pixels() == 256).sum() > 20
    assert drawn.table().loc[256, "origin"] == "added"
    drawn.undo()
    assert 256 not in drawn.pixels()


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.uint64])
def test_labels_of_any_type_go_into_the_training_set(drawn, plane, qtbot, dtype, segloop_home):
    from segloop.corrections import TrainingSet

    labels = plane.astype(dtype)
    labels[labels == 5] = 120
    drawn.viewer.add_labels(labels, name="elsewhere")
    assert drawn.dock.correct_step.labels.name == "elsewhere"
    drawn.dock.correct.whole.click()
    qtbot.mouseClick(drawn.dock.correct.add, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: drawn.dock.review_step.job is None, timeout=PATIENCE)
    assert drawn.dock.correct.reason.text() == ""
    training_set = TrainingSet(drawn.dock.session.training_folder("instance"))
    np.testing.assert_array_equal(training_set.read(training_set.entries[0])[1], labels)


def taken_keys(viewer) -> set[str]:
    """All keys that napari itself has on Labels layers and in the viewer, its menus included."""
    taken = {
        str(KeyBinding.validate(shortcut)).upper()
        for name, shortcuts in action_manager._shortcuts.items()
        if name.startswith("napari:") and action_manager._actions[name].keymapprovider in (Labels, type(viewer))
        for shortcut in shortcuts
    }
    for keymap in (Labels.class_keymap, type(viewer).class_keymap, viewer.keymap):
        taken |= {str(binding).upper() for binding in keymap}
    for action in viewer.window._qt_window.findChildren(type(viewer.window.file_menu.menuAction())):
        for sequence in action.shortcuts():
            text = sequence.toString().upper()
            taken.add(text)
    return taken


def test_no_key_is_napari_s_own(drawn):
    taken = taken_keys(drawn.viewer)
    assert {"P", "M", "CTRL+Z"} <= taken | {key.replace("META", "CTRL") for key in taken}
    keys = [*(tool.key for tool in TOOLS), *adding.KEYS, *tour.KEYS]
    mine = {str(KeyBinding.from_str(key)).upper() for key in keys}
    assert len(mine) == len(keys)
    assert not mine & taken
    for key in keys:
        assert KeyBinding.from_str(key) in drawn.layer.keymap


def test_the_table_of_keys_holds_all_that_are_bound(drawn, qtbot):
    qtbot.mouseClick(drawn.grid.keys, Qt.MouseButton.LeftButton)
    (dialog,) = [d for d in drawn.grid.children() if type(d).__name__ == "KeyTable"]
    assert dialog.isVisible()
    shown = {dialog.table.item(row, 0).text() for row in range(dialog.table.rowCount())}
    bound = {show_key(str(binding).replace("Shift+", "Shift-")) for binding in drawn.layer.keymap}
    assert bound <= shown
    dialog.close()


def test_the_documentation_lists_the_same_keys():
    text = (DOCS / "correcting.md").read_text(encoding="utf-8")
    for tool in TOOLS:
        title = tool.title.strip("◂▸ ")
        assert f"| `{show_key(tool.key)}` | {title} | {tool.help} |" in text, tool.name


def outlined(window, qtbot) -> set[tuple[float, float]]:
    """Corners of the outline of what is selected, row and column, in pixels of the layer."""
    qtbot.waitUntil(lambda: not window.step._outlining.isActive(), timeout=PATIENCE)
    edges = window.step._outlines._edges
    return set() if edges is None else {(float(y) - 0.5, float(x) - 0.5) for x, y in edges.pos[:, :2]}


def test_what_is_selected_is_outlined(drawn, qtbot):
    drawn.hand.click(drawn.layer, 60, 100)
    corners = outlined(drawn, qtbot)
    assert {(49.5, 89.5), (49.5, 109.5), (79.5, 89.5), (79.5, 109.5)} <= corners
    drawn.hand.click(drawn.layer, 60, 80, SHIFT)
    assert (49.5, 69.5) in outlined(drawn, qtbot)
    drawn.hand.key(Qt.Key.Key_D)
    qtbot.waitUntil(lambda: not outlined(drawn, qtbot), timeout=PATIENCE)
    drawn.undo()
    qtbot.waitUntil(lambda: bool(outlined(drawn, qtbot)), timeout=PATIENCE)
    drawn.layer.selected_label = 77
    assert not outlined(drawn, qtbot)


def test_what_is_selected_is_outlined_on_its_slices_only(stacked, qtbot):
    stacked.hand.click(stacked.layer, 60, 100)
    assert outlined(stacked, qtbot)
    stacked.viewer.dims.set_current_step(0, 2)
    assert not outlined(stacked, qtbot)
    stacked.viewer.dims.set_current_step(0, 1)
    assert outlined(stacked, qtbot)
    stacked.viewer.dims.ndisplay = 3
    assert not outlined(stacked, qtbot)


def test_filling_between_slices_joins_objects_but_not_classes(open_dock, plane, errors):
    stack = np.zeros((6, *plane.shape), np.uint8)
    stack[1], stack[4, 50:80, 70:90] = plane, 3
    stacked = open_window(open_dock, stack)
    for task, others in ((1, [3]), (0, [2, 3])):
        stacked.dock.correct.task.setCurrentIndex(task)
        stacked.dock.correct.task.activated.emit(task)
        stacked.layer.selected_label = 3
        stacked.step._more = {2: (1, 60, 80)}
        stacked.step.interpolate()
        assert (stacked.pixels()[2] == 3).any()
        assert (2 in stacked.pixels()) == (others == [3])
        assert ("Objects 3, 2 are one now" in stacked.dock.status.text()) == (others == [2, 3])
        stacked.layer.undo()
    assert errors == []


def test_buttons_stay_where_they_are(drawn, qtbot):
    correct = drawn.dock.correct
    qtbot.wait(50)
    places = []
    for text in ("Selected: 1", "Selected: 82 · nucleus · score 0.42 · 297 pixels · model"):
        correct.object_text.show_text(text)
        for busy in (False, True):
            tools = drawn.dock.candidate_tools
            tools.begin("Loading …") if busy else tools.finish()
            qtbot.wait(50)
            assert tools.progress.isVisible() == busy != tools.prompt.isVisible()
            places.append([b.mapTo(correct, b.rect().topLeft()).y() for b in (correct.tour.next, correct.tools.undo)])
    assert all(place == places[0] for place in places), places
