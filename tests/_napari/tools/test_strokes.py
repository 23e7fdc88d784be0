"""Tools that have the mouse: clicks and strokes on the canvas."""

from __future__ import annotations

import numpy as np
from app_model.types import KeyBinding
from qtpy.QtCore import Qt

from segloop._napari import pointing
from segloop._napari.tools import TOOLS

PATIENCE = 60_000


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


def test_a_line_through_the_gap_of_an_object_parts_its_pieces(show, plane, errors):
    plane[60:70, 30:44] = 5
    window = show(plane)
    hand = window.hand
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


def test_outlining_in_one_stroke(drawn, plane):
    center = drawn.viewer.scene.camera.center
    drawn.hand.key(Qt.Key.Key_A)
    assert drawn.grid.buttons["toggle_outlining"].isChecked()
    # the square on the left, with a bit of its neighbour: it keeps its number, and the neighbour makes way
    drawn.stroke_around(48, 68, 82, 95)
    after = drawn.pixels()
    assert (after[52:78, 70:94] == 2).all() and (after[52:78, 97:110] == 3).all()
    assert drawn.layer.selected_label == 2
    # where nothing is, a new one
    drawn.stroke_around(50, 20, 60, 50)
    assert (drawn.pixels()[52:58, 22:48] == 6).all()
    # a part of an object that is two in one: that part gets a number of its own
    drawn.stroke_around(8, 79, 32, 98)
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
    drawn.stroke_around(48, 68, 82, 95)
    np.testing.assert_array_equal(drawn.pixels() == 3, plane == 3)
    drawn.stroke_around(52, 95, 60, 105)
    assert errors == ["other objects that you vouched for are in the way; delete or merge them first"]


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
