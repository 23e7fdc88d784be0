"""Journals through the window: every kind of edit is on the disk within moments, and comes back exactly."""

from __future__ import annotations

import json
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Labels, Shapes
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from segloop import store
from segloop._napari.journal_layers import describe_table, make_table
from segloop._napari.journaling import TICK
from segloop._napari.session import Origin
from segloop.corrections.journal import LOG, scan
from segloop.corrections.journal_folders import TRASH
from segloop.corrections.journal_orphans import find_orphans
from segloop.corrections.journal_records import unpack_block

PATIENCE = 60_000
LIMIT = 2.0
"""Seconds after which an edit is to be on the disk."""


def journals() -> Path:
    return store.home() / "journals"


def folders() -> list[Path]:
    found = sorted(journals().iterdir()) if journals().is_dir() else []
    return [folder for folder in found if folder.name != TRASH]


def on_disk(folder: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a journal as it lies there, whoever writes it."""
    with (folder / LOG).open("rb") as file:
        content = scan(file)
        labels = np.zeros(content.blocks.shape, content.blocks.dtype)
        for number, (at, length) in content.found.items():
            place = content.blocks.place(number)
            file.seek(at)
            shape = tuple(side.stop - side.start for side in place)
            labels[place] = unpack_block(file.read(length), content.blocks.dtype, shape)
    assert content.complete
    return labels, content.documents


def is_saved(layer: Labels) -> bool:
    try:
        return any(np.array_equal(on_disk(folder)[0], layer.data) for folder in folders())
    except (AssertionError, FileNotFoundError):
        return False


def wait_saved(qtbot, layer: Labels) -> float:
    """Wait until the disk has what the layer has; return the seconds it took."""
    start = time.monotonic()
    qtbot.waitUntil(lambda: is_saved(layer), timeout=PATIENCE)
    return time.monotonic() - start


def restored_layer(dock) -> Labels:
    return dock._viewer.layers.selection.active


def wait_offer(qtbot, dock) -> None:
    qtbot.waitUntil(lambda: dock.restore_step.shown is not None and dock.restore_step.job is None, timeout=PATIENCE)


def press(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def crash(dock) -> None:
    """Leave the journals as a killed program does: written so far, and with their locks given back by the system."""
    step = dock.journal_step
    assert step.flush(60)
    step._timer.stop()
    step._released = True
    for followed in step._followed.values():
        if followed.lane is not None and followed.lane._journal is not None:
            followed.lane._journal.close()


@pytest.fixture
def cells(tmp_path: Path, blobs: np.ndarray) -> Path:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, blobs)
    return path


@pytest.fixture
def draft(blobs: np.ndarray) -> np.ndarray:
    labels = np.zeros(blobs.shape, np.uint16)
    labels[20:40, 20:40] = 1
    labels[50:80, 70:110] = 2
    return labels


@pytest.fixture
def opened(qtbot, dock, cells, draft):
    """The dock with an image from a file and labels."""
    dock._viewer.open(str(cells), plugin="napari")
    layer = dock._viewer.add_labels(draft.copy(), name="draft", scale=(0.5, 0.25), translate=(3, 4), units=("um", "um"))
    qtbot.waitUntil(lambda: dock.journal_step._ready, timeout=PATIENCE)
    dock.session.origins[layer] = Origin(
        dock.session.origins[layer].image, "YX", classes=("cell",), model="two", provenance={"seed": 3}
    )
    qtbot.wait(TICK + 100)
    return dock


def brush(layer: Labels) -> None:
    layer.selected_label = 5
    layer.paint((10, 10), 5)


def erase(layer: Labels) -> None:
    layer.paint((30, 30), 0)


def fill(layer: Labels) -> None:
    layer.fill((30, 30), 7)


def polygon(layer: Labels) -> None:
    layer.paint_polygon([(5, 60), (40, 60), (40, 100)], 8)


def set_items(layer: Labels) -> None:
    layer.data_setitem((np.array([0, 95]), np.array([0, 127])), 9)


def many_items(layer: Labels) -> None:
    # more than the undo history holds, between two looks
    for number in range(150):
        layer.data_setitem((np.array([number % 96]), np.array([number % 128])), 3)


def undo(layer: Labels) -> None:
    layer.paint((10, 10), 5)
    layer.undo()
    layer.paint((60, 10), 4)


def redo(layer: Labels) -> None:
    layer.paint((10, 10), 5)
    layer.paint((60, 10), 4)
    layer.undo()
    layer.undo()
    layer.redo()


def hidden(layer: Labels) -> None:
    # napari tells nobody of what is undone in a layer that is not shown
    layer.paint((10, 10), 5)
    layer.visible = False
    layer.undo()
    layer.paint((60, 10), 4)


def new_data(layer: Labels) -> None:
    layer.data = np.roll(layer.data, 7, axis=0)


def wider_data(layer: Labels) -> None:
    layer.paint((10, 10), 5)
    layer.data = layer.data.astype(np.uint32) + 70_000


def past_the_history(layer: Labels) -> None:
    layer.paint((10, 10), 5)
    layer.data[70:90, 5:20] = 6
    layer.refresh()


EDITS = [brush, erase, fill, polygon, set_items, many_items, undo, redo, hidden, new_data, wider_data, past_the_history]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_edit_is_on_the_disk_soon(qtbot, opened, draft, edit):
    layer = opened.correct_step.labels
    edit(layer)
    first = wait_saved(qtbot, layer)
    assert not np.array_equal(layer.data, draft)
    # and again, when the journal is there already
    layer.data_setitem((np.array([2]), np.array([2])), 11)
    edit(layer)
    again = wait_saved(qtbot, layer)
    assert len(folders()) == 1
    # a busy machine is no reason to fail; benchmarks/journal.py measures what it takes
    assert max(first, again) < LIMIT + 8


def test_what_was_not_edited_has_no_journal(qtbot, opened):
    layer = opened.correct_step.labels
    layer.selected_label = 2
    layer.contour = 1
    qtbot.wait(1200)
    assert folders() == []


def mouse(canvas: Any, what: QEvent.Type, shift: float) -> None:
    """Send a mouse event to the middle of the canvas, or so many pixels right of it."""
    point = QPointF(canvas.width() / 2 + shift, canvas.height() / 2)
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    button = none if what == QEvent.Type.MouseMove else left
    held = none if what == QEvent.Type.MouseButtonRelease else left
    event = QMouseEvent(what, point, canvas.mapToGlobal(point), button, held, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(canvas, event)


def test_a_stroke_is_saved_before_it_ends(qtbot, opened):
    layer, viewer = opened.correct_step.labels, opened._viewer
    viewer.window._qt_window.show()
    layer.scale, layer.translate = (1, 1), (0, 0)
    viewer.layers.selection.active = layer
    layer.mode, layer.selected_label, layer.brush_size = "paint", 12, 6
    qtbot.wait(300)
    canvas = viewer.window._qt_viewer.canvas.native
    mouse(canvas, QEvent.Type.MouseButtonPress, 0)
    for step in range(8):
        mouse(canvas, QEvent.Type.MouseMove, 4 * step)
    assert 12 in layer.data and layer._staged_history
    wait_saved(qtbot, layer)
    mouse(canvas, QEvent.Type.MouseButtonRelease, 28)
    assert not layer._staged_history
    layer.undo()
    assert 12 not in layer.data
    wait_saved(qtbot, layer)


def test_edits_that_cannot_be_saved_are_told_of(qtbot, dock, draft):
    dask = pytest.importorskip("dask.array")
    qtbot.waitUntil(lambda: dock.journal_step._ready, timeout=PATIENCE)
    dock._viewer.add_labels(draft.copy(), name="in memory")
    assert "not saved" not in dock.status.text()
    layer = dock._viewer.add_labels(dask.from_array(draft, chunks=32), name="lazy")
    assert dock.status.text().startswith("“lazy” is a dask array") and "not saved as you go" in dock.status.text()
    assert dock.journal_step.journal_of(layer) is None


def test_everything_comes_back(qtbot, opened, open_dock, cells):
    layer = opened.correct_step.labels
    opened.session.update_origin(layer, model="nuclei-maskrcnn")
    layer.features = pd.DataFrame(
        {"index": [1, 2], "label": [1, 2], "class": ["cell", "cell"], "score": [0.25, np.nan], "origin": "model"}
    )
    layer.paint((10, 10), 5)
    opened.review_step.add_region()
    regions = opened.session.region_layer(layer)
    regions.add_rectangles(np.array([[-0.5, -0.5], [-0.5, 63.5], [47.5, 63.5], [47.5, -0.5]]))
    layer.new_colormap(seed=7)
    layer.opacity = 0.4
    # until the table has followed the brush, and the region
    qtbot.waitUntil(lambda: 5 in set(layer.features["label"]), timeout=PATIENCE)
    qtbot.waitUntil(lambda: layer.features["reviewed"].any(), timeout=PATIENCE)
    wait_saved(qtbot, layer)
    expected, table, origin = layer.data.copy(), layer.features.copy(), opened.session.origins[layer]
    crash(opened)

    again = open_dock()
    wait_offer(qtbot, again)
    assert again.notice.isVisibleTo(again)
    assert "cells" in again.notice.title.text()
    assert "napari ended unexpectedly" in again.notice.text.text()
    assert again.notice.restore.text() == "Open image and restore"
    press(qtbot, again.notice.restore)
    qtbot.waitUntil(lambda: again.correct_step.labels is not None, timeout=PATIENCE)
    came = restored_layer(again)
    assert came.name == "draft"
    assert came.data.dtype == expected.dtype
    np.testing.assert_array_equal(came.data, expected)
    pd.testing.assert_frame_equal(came.features, table)
    np.testing.assert_array_equal(came.scale, (0.5, 0.25))
    np.testing.assert_array_equal(came.translate, (3, 4))
    assert [str(unit) for unit in came.units] == ["micrometer", "micrometer"]
    assert came.opacity == 0.4
    np.testing.assert_array_equal(came.get_color(5), layer.get_color(5))
    now = again.session.origins[came]
    assert (now.axes, now.task, now.classes, now.model, now.provenance) == (
        origin.axes, origin.task, origin.classes, origin.model, origin.provenance
    )  # fmt: skip
    assert Path(now.image().source.path) == cells
    assert f"“{came.name}” has no sliders" in again.without_thresholds.text()
    (shapes,) = [shapes for shapes in again._viewer.layers if isinstance(shapes, Shapes)]
    np.testing.assert_array_equal(shapes.data[0], regions.data[0])
    assert again.correct.share.value() == 250
    assert again.tabs.currentIndex() == 1
    assert not again.notice.isVisibleTo(again)

    # edits go on in the same journal
    came.paint((70, 20), 6)
    wait_saved(qtbot, came)
    assert len(folders()) == 1


def test_scribbles_come_back_with_their_image_and_the_names_of_their_classes(qtbot, opened, open_dock, cells):
    image = opened._viewer.layers["cells"]
    scribbles = Labels(np.zeros(image.data.shape, np.uint8), name="cells – scribbles")
    opened.session.scribbles[scribbles] = Origin(
        weakref.ref(image), "YX", task="semantic", classes=("cytoplasm", "mitochondria")
    )
    opened._viewer.add_layer(scribbles)
    scribbles.paint((10, 10), 2)
    wait_saved(qtbot, scribbles)
    crash(opened)

    again = open_dock()
    wait_offer(qtbot, again)
    while "scribbles" not in again.restore_step.shown.name:
        press(qtbot, again.notice.later)
    assert again.notice.restore.text() == "Open image and restore"
    press(qtbot, again.notice.restore)
    qtbot.waitUntil(lambda: len(again.session.scribbles) == 1, timeout=PATIENCE)
    came = restored_layer(again)
    assert again.tabs.currentIndex() == 2 and again.correct_step.labels is None
    # an image that is added, or moved, above would hide the prediction
    image = again._viewer.layers["cells"]
    again._viewer.layers.move(again._viewer.layers.index(image), len(again._viewer.layers))
    qtbot.waitUntil(again.scribble.start.isEnabled, timeout=PATIENCE)
    press(qtbot, again.scribble.start)
    assert again.scribble_step.layer is came
    assert again.scribble_step.classes == ("cytoplasm", "mitochondria")
    assert list(again._viewer.layers) == [image, again.scribble_step.prediction.layer, came]
    # the big button would train on another set
    assert not again.finetune.start.isVisibleTo(again.finetune)
    press(qtbot, again.scribble.stop)
    assert again.finetune.start.isVisibleTo(again.finetune)


def test_an_image_is_known_by_its_pixels(qtbot, opened, open_dock, blobs):
    layer = opened.correct_step.labels
    layer.paint((10, 10), 5)
    wait_saved(qtbot, layer)
    image = opened.session.origins[layer].image()
    qtbot.waitUntil(lambda: opened.marks.of(image).fingerprint != "", timeout=PATIENCE)
    qtbot.waitUntil(lambda: on_disk(folders()[0])[1]["image"]["fingerprint"] != "", timeout=PATIENCE)
    expected = layer.data.copy()
    Path(image.source.path).unlink()
    crash(opened)

    again = open_dock()
    wait_offer(qtbot, again)
    assert not again.notice.restore.isEnabled()
    assert "Open its image" in again.notice.text.text()
    other = again._viewer.add_image(blobs + 1, name="cells")
    qtbot.waitUntil(lambda: again.marks.of(other).fingerprint != "", timeout=PATIENCE)
    qtbot.wait(100)
    assert not again.notice.restore.isEnabled()
    again._viewer.add_image(blobs.copy(), name="another name")
    qtbot.waitUntil(lambda: again.notice.restore.isEnabled(), timeout=PATIENCE)
    press(qtbot, again.notice.restore)
    qtbot.waitUntil(lambda: again.correct_step.labels is not None, timeout=PATIENCE)
    np.testing.assert_array_equal(restored_layer(again).data, expected)
    assert again.correct_step.origin.image().name == "another name"


def test_discarding_and_later(qtbot, opened, open_dock):
    layer = opened.correct_step.labels
    layer.paint((10, 10), 5)
    wait_saved(qtbot, layer)
    crash(opened)
    second = open_dock()
    wait_offer(qtbot, second)
    press(qtbot, second.notice.later)
    assert not second.notice.isVisibleTo(second)
    third = open_dock()
    wait_offer(qtbot, third)
    press(qtbot, third.notice.discard)
    qtbot.waitUntil(lambda: not third.notice.isVisibleTo(third), timeout=PATIENCE)
    assert folders() == []
    assert len(list((journals() / TRASH).iterdir())) == 1


def test_closing_keeps_what_is_in_no_file(qtbot, opened, open_dock, cells):
    layer = opened.correct_step.labels
    layer.paint((10, 10), 5)
    opened.journal_step.release()
    (orphan,) = find_orphans(journals())
    assert orphan.documents["state"]["closed"]
    again = open_dock()
    qtbot.waitUntil(lambda: again.restore_step.offers != (), timeout=PATIENCE)
    assert again.restore_step.shown is None
    again._viewer.open(str(cells), plugin="napari")
    wait_offer(qtbot, again)
    assert "not exported before napari was closed" in again.notice.text.text()


def test_closing_after_an_export_leaves_nothing(qtbot, opened, tmp_path):
    layer = opened.correct_step.labels
    layer.paint((10, 10), 5)
    wait_saved(qtbot, layer)
    opened.export.path.setText(str(tmp_path / "out.tif"))
    opened.export.path.textEdited.emit(str(tmp_path / "out.tif"))
    press(qtbot, opened.export.export)
    qtbot.waitUntil(lambda: opened.export_step.job is None, timeout=PATIENCE)
    assert len(folders()) == 1
    opened.journal_step.release()
    assert folders() == []


def test_a_layer_that_is_removed_is_not_offered(qtbot, opened):
    layer = opened.correct_step.labels
    layer.paint((10, 10), 5)
    wait_saved(qtbot, layer)
    opened._viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: folders() == [], timeout=PATIENCE)
    assert len(list((journals() / TRASH).iterdir())) == 1


def test_two_windows_do_not_offer_each_others_journals(qtbot, opened, open_dock):
    layer = opened.correct_step.labels
    layer.paint((10, 10), 5)
    wait_saved(qtbot, layer)
    other = open_dock()
    qtbot.waitUntil(lambda: other.journal_step._ready, timeout=PATIENCE)
    assert other.restore_step.offers == ()


def test_a_dock_closed_and_opened_again_goes_on(qtbot, opened, open_dock):
    viewer, layer = opened._viewer, opened.correct_step.labels
    layer.paint((10, 10), 5)
    wait_saved(qtbot, layer)
    opened.journal_step.release()
    layer.paint((60, 10), 4)
    from segloop._napari.plugin import SegloopDock

    dock = SegloopDock(viewer)
    viewer.window.add_dock_widget(dock, name="again")
    qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=PATIENCE)
    wait_saved(qtbot, layer)
    qtbot.waitUntil(lambda: len(folders()) == 1, timeout=PATIENCE)
    assert dock.restore_step.offers == ()


def test_a_full_disk_is_told_and_nothing_is_lost(qtbot, opened, monkeypatch):
    from segloop.corrections import journal

    layer = opened.correct_step.labels
    layer.paint((10, 10), 5)
    wait_saved(qtbot, layer)
    saved = layer.data.copy()
    opened.journal_step._writer._retry = 0.1

    def full(file: Any, content: bytes) -> None:
        file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write_all", full)
        layer.paint((60, 10), 4)
        qtbot.waitUntil(lambda: "No space left on device" in opened.notice.trouble.text(), timeout=PATIENCE)
        assert "Make room on the disk" in opened.notice.trouble.text()
        assert opened.notice.isVisibleTo(opened)
        layer.paint((70, 60), 3)
        qtbot.wait(700)
        np.testing.assert_array_equal(on_disk(folders()[0])[0], saved)
    wait_saved(qtbot, layer)
    qtbot.waitUntil(lambda: opened.notice.trouble.text() == "", timeout=PATIENCE)
    assert "saved again" in opened.status.text()


def test_tables_come_back_exactly():
    table = pd.DataFrame(
        {
            "index": np.array([3, 1], np.int64),
            "area": np.array([7, 2**40], np.uint64),
            "score": np.array([0.1, np.nan], np.float32),
            "reviewed": [True, False],
            "class": ["cell", None],
            "note": ["", "ü"],
            "kind": pd.Categorical(["a", "b"]),
        }
    )
    pd.testing.assert_frame_equal(make_table(json.loads(json.dumps(describe_table(table)))), table)
    assert make_table({}) is None


def test_stacks_and_classes(qtbot, dock, blobs, draft):
    viewer = dock._viewer
    viewer.add_image(np.stack([blobs] * 3))
    layer = viewer.add_labels(np.stack([draft] * 3))
    qtbot.waitUntil(lambda: dock.journal_step._ready, timeout=PATIENCE)
    viewer.dims.set_current_step(0, 1)
    layer.n_edit_dimensions = 3
    layer.brush_size = 12
    layer.paint((1, 60, 60), 9)
    assert (layer.data == 9).any(axis=(1, 2)).all()
    wait_saved(qtbot, layer)
    viewer.dims.order = (1, 0, 2)
    layer.n_edit_dimensions = 2
    layer.paint((2, 30, 60), 10)
    wait_saved(qtbot, layer)
