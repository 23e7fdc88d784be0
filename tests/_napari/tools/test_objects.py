"""Tools that act on what is selected: by buttons and keys, with undo and table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from app_model.types import KeyBinding
from napari.layers import Labels
from napari.utils.action_manager import action_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog

from segloop._napari.redrawn import Redrawn
from segloop._napari.session import Origin
from segloop._napari.steps import adding, tour
from segloop._napari.tools import NOT_OBJECTS, TOOLS, Group, show_key

PATIENCE = 60_000
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


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


def test_a_score_is_of_what_the_model_drew_and_of_nothing_else(show, plane, tmp_path, qtbot):
    numbers = [1, 2, 3, 4, 5]
    table = {"index": numbers, "label": numbers, "class": "cell", "score": [0.9, 0.8, 0.7, 0.6, 0.5], "origin": "model"}
    window = show(plane)
    window.layer.features = pd.DataFrame({**table, "area": [int((plane == n).sum()) for n in numbers]})
    hand, text = window.hand, window.dock.correct.object_text.text
    hand.click(window.layer, 65, 5)
    hand.key(Qt.Key.Key_Y)
    hand.click(window.layer, 60, 80)
    assert "score 0.80" in text()
    hand.click(window.layer, 60, 100, SHIFT)
    hand.key(Qt.Key.Key_G)
    assert text() == "Selected: 2 · cell · 1200 pixels · edited"
    hand.click(window.layer, 20, 70)
    qtbot.mouseClick(window.grid.buttons["toggle_seeding"], Qt.MouseButton.LeftButton)
    hand.click(window.layer, 20, 66)
    hand.click(window.layer, 20, 90)
    scores = window.table()["score"]
    assert scores.dropna().to_dict() == {1: 0.9, 5: 0.5} and set(scores.index) == {1, 2, 4, 5, 6}
    # files say the same, at once
    origins = window.table()["origin"].to_dict()
    assert origins == {1: "model", 2: "edited", 4: "edited", 5: "confirmed", 6: "edited"}
    for suffix in ("csv", "json"):
        path = tmp_path / f"out.{suffix}"
        window.dock.export.path.setText(str(path))
        window.dock.export.path.textEdited.emit(str(path))
        window.dock.export_step.export()
        qtbot.waitUntil(lambda: window.dock.export_step.job is None, timeout=PATIENCE)
    written = pd.read_csv(tmp_path / "out.csv").set_index("label")
    assert written["score"].dropna().to_dict() == {1: 0.9, 5: 0.5} and written["origin"].to_dict() == origins
    notes = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert {note["label"]: note["score"] for note in notes if "score" in note} == {1: 0.9, 5: 0.5}
    # what was undone was never edited
    for _ in range(4):
        window.layer.undo()
    assert window.table()["score"].to_dict() == dict(zip(numbers, table["score"]))


def test_deleting_several_is_one_step(drawn, plane):
    drawn.hand.click(drawn.layer, 60, 80)
    drawn.hand.click(drawn.layer, 60, 100, SHIFT)
    drawn.hand.key(Qt.Key.Key_D)
    np.testing.assert_array_equal(drawn.pixels(), np.where(np.isin(plane, (2, 3)), 0, plane))
    drawn.undo()
    np.testing.assert_array_equal(drawn.pixels(), plane)


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


def test_napari_itself_refuses_a_number_that_does_not_fit(drawn):
    with pytest.raises(ValueError, match="256 is out of bounds for dtype uint8"):
        drawn.layer.selected_label = 256


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
    text = (Path(__file__).parents[3] / "docs" / "correcting.md").read_text(encoding="utf-8")
    for tool in TOOLS:
        title = tool.title.strip("◂▸ ")
        assert f"| `{show_key(tool.key)}` | {title} | {tool.help} |" in text, tool.name


def test_what_is_selected_is_outlined(drawn, qtbot):
    drawn.hand.click(drawn.layer, 60, 100)
    corners = drawn.outline(qtbot)
    assert {(49.5, 89.5), (49.5, 109.5), (79.5, 89.5), (79.5, 109.5)} <= corners
    drawn.hand.click(drawn.layer, 60, 80, SHIFT)
    assert (49.5, 69.5) in drawn.outline(qtbot)
    drawn.hand.key(Qt.Key.Key_D)
    qtbot.waitUntil(lambda: not drawn.outline(qtbot), timeout=PATIENCE)
    drawn.undo()
    qtbot.waitUntil(lambda: bool(drawn.outline(qtbot)), timeout=PATIENCE)
    drawn.layer.selected_label = 77
    assert not drawn.outline(qtbot)


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
