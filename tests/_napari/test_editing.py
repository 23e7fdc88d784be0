"""Tools: one undo step each, exactly the pixels they should."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from segloop._napari import editing
from segloop._napari.merging import MergeTool
from segloop.errors import LabelsError

RING = np.zeros((9, 9), np.uint16)
RING[1:8, 1:8] = 1
RING[3:6, 3:6] = 0
RING[4, 4] = 2
RING[8, 8] = 3


@pytest.fixture
def ring() -> Labels:
    return Labels(RING.copy())


def test_delete_and_undo(ring):
    editing.delete_object(ring, 1)
    assert set(np.unique(ring.data)) == {0, 2, 3}
    ring.undo()
    np.testing.assert_array_equal(ring.data, RING)
    ring.redo()
    assert 1 not in ring.data


def test_merge_and_undo(ring):
    editing.merge_objects(ring, 1, 3)
    assert ring.data[8, 8] == 1
    assert np.count_nonzero(ring.data == 1) == np.count_nonzero(RING == 1) + 1
    ring.undo()
    np.testing.assert_array_equal(ring.data, RING)


def test_holes_are_filled_around_other_objects(ring):
    assert editing.fill_holes(ring, 1) == 8
    assert ring.data[4, 4] == 2
    assert np.count_nonzero(ring.data == 1) == 48
    ring.undo()
    np.testing.assert_array_equal(ring.data, RING)
    assert editing.fill_holes(ring, 3) == 0


def test_holes_in_a_stack_are_filled_plane_by_plane():
    layer = Labels(np.stack([np.zeros_like(RING), RING, RING]))
    assert editing.fill_holes(layer, 1) == 16


@pytest.mark.parametrize("dtype, largest", [(np.uint8, 255), (np.uint16, 65535)])
def test_numbers_never_wrap(dtype, largest):
    layer = Labels(np.array([[0, largest - 1]], dtype))
    assert editing.next_free_label(layer) == largest
    layer.data[0, 0] = largest
    with pytest.raises(LabelsError, match=f"up to {largest}.*uint32"):
        editing.next_free_label(layer)


@pytest.mark.parametrize("tool", [editing.delete_object, editing.fill_holes])
@pytest.mark.parametrize("number, message", [(0, "no object is selected"), (77, "no object 77")])
def test_what_is_not_there_is_refused(ring, tool, number, message):
    with pytest.raises(LabelsError, match=message):
        tool(ring, number)
    np.testing.assert_array_equal(ring.data, RING)
    with pytest.raises(LabelsError, match="itself"):
        editing.merge_objects(ring, 1, 1)


def test_merging_by_clicks(ring):
    tool = MergeTool(editing.merge_objects)
    targets = []
    tool.target_changed.connect(targets.append)
    callbacks = list(ring.mouse_drag_callbacks)
    ring.mode = "paint"
    tool.start(ring)
    assert ring.mode == "pan_zoom"
    for number in (0, 1, 0, 3, 1):
        tool.click(number)
    assert targets == [1]
    assert ring.data[8, 8] == 1
    tool.stop()
    tool.click(2)
    assert ring.data[4, 4] == 2
    assert list(ring.mouse_drag_callbacks) != [] or callbacks == []
    assert not tool.active
