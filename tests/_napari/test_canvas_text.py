"""Text on the canvas lies inside of its box."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components._viewer_constants import CanvasPosition

from segloop._napari import canvas_text

TEXTS = (
    "Object 12: score 0.35 only",
    "Object 25: 49.0 times smaller than usual; blurred outline (35% uncertain)\nand 3 more to look at",
    "iiiiiiiiiiiiiiiiiiiiiiiii",
    "WWWWWWWWWWWWWWWWWW",
    "Object 7: dented (12% more than usual): two in one?; " + "changes with the threshold (by 40%) " * 3,
)


@pytest.mark.gui
@pytest.mark.parametrize("text", TEXTS)
def test_the_box_holds_all_letters_and_not_much_more(make_napari_viewer, qtbot, monkeypatch, text):
    monkeypatch.setattr(canvas_text, "BACK", (0.0, 0.0, 0.8, 1.0))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1250, 900)
    overlay = viewer.canvas.overlays.text
    overlay.position, overlay.color = CanvasPosition.TOP_LEFT, "white"
    assert canvas_text.write(overlay, text).split() == text.split()
    qtbot.wait(100)
    picture = viewer.screenshot(flash=False)[:120].astype(int)
    box = np.flatnonzero(((picture[..., 2] > 150) & (picture[..., 0] < 100)).any(axis=0))
    letters = np.flatnonzero((picture[..., :3].min(axis=-1) > 100).any(axis=0))
    left, right = letters[0] - box[0], box[-1] - letters[-1]
    assert 2 <= left <= 10 and 2 <= right <= 14
    canvas_text.write(overlay, "")
    assert not overlay.visible and not overlay.box
