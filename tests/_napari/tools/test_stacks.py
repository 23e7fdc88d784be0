"""Tools in stacks: on the slice on screen, on all, and between slices."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

SHIFT = Qt.KeyboardModifier.ShiftModifier


def test_outlining_on_a_slice(stacked):
    stacked.hand.key(Qt.Key.Key_A)
    stacked.stroke_around(48, 68, 82, 95)
    after = stacked.pixels()
    assert (after[1, 52:78, 70:94] == 2).all() and not after[[0, 2, 3, 4, 5]].any()


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


def test_what_is_selected_is_outlined_on_its_slices_only(stacked, qtbot):
    stacked.hand.click(stacked.layer, 60, 100)
    assert stacked.outline(qtbot)
    stacked.viewer.dims.set_current_step(0, 2)
    assert not stacked.outline(qtbot)
    stacked.viewer.dims.set_current_step(0, 1)
    assert stacked.outline(qtbot)
    stacked.viewer.dims.ndisplay = 3
    assert not stacked.outline(qtbot)


def test_filling_between_slices_joins_objects_but_not_classes(show, plane, errors):
    stack = np.zeros((6, *plane.shape), np.uint8)
    stack[1], stack[4, 50:80, 70:90] = plane, 3
    stacked = show(stack)
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
