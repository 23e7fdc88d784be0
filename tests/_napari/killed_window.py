"""Kill a napari that somebody is at work in, again and again, and see what the next one offers.

    python tests/_napari/killed_window.py --kills 50 [--folder FOLDER] [--seed 0] [--json out.json]

Each round starts a real napari with an image and the SegLoop dock. If corrections are offered, a click on Restore
brings them back; then strokes of the mouse on the canvas, the brush, fills, polygons, single pixels, undo and redo
follow, a few dozen a second, until the process is killed with SIGKILL at a random moment: mostly at work, now and then
while it is still starting or restoring. After each edit the process wrote a hash of the labels into a file. What the
next round restores has to be one of these states, to the pixel, and no edit may be lost that was made more than two
seconds before the kill.

Without a screen, put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` before it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

LIMIT = 2.0
"""Seconds of work that a kill may cost."""

SIDE = 512
PATIENCE = 180.0
EARLY = 0.15
"""Share of the kills while napari is starting or restoring."""


# the process that is killed


def work(folder: Path, seed: int) -> None:
    """Open napari, restore what is offered, and edit until killed."""
    # see segloop._napari.llvm
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    import napari
    import numpy as np
    from qtpy.QtCore import QEvent, QPointF, Qt, QTimer
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, layer: Any = None) -> None:
        digest = "" if layer is None else hashlib.sha256(np.ascontiguousarray(layer.data).data).hexdigest()
        os.write(log, f"{time.monotonic()} {what} {digest}\n".encode())

    viewer = napari.Viewer()
    viewer.open(str(folder / "cells.tif"), plugin="napari")
    _, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    rng = np.random.default_rng(seed)
    wait = until(lambda: dock.journal_step._ready)
    assert wait, "the dock did not begin to journal"
    if dock.restore_step.offers:
        assert until(lambda: dock.restore_step.shown is not None and dock.notice.restore.isEnabled())
        QTest.mouseClick(dock.notice.restore, Qt.MouseButton.LeftButton)
        assert until(lambda: dock.correct_step.labels is not None), dock.status.text()
        layer = dock.correct_step.labels
        note("restored", layer)
    else:
        layer = viewer.add_labels(np.zeros((SIDE, SIDE), np.uint16), name="nuclei")
        note("new", layer)
    # what the window itself makes of a mouse that happens to be over it counts as well
    layer.events.labels_update.connect(lambda: note("drawn", layer))
    layer.events.set_data.connect(lambda: note("drawn", layer))
    viewer.layers.selection.active = layer
    canvas = viewer.window._qt_viewer.canvas.native
    stroke: list[int] = []

    def mouse(what: QEvent.Type) -> None:
        # QTest would move the real pointer, whose events come when they like
        point = QPointF(canvas.width() * rng.uniform(0.35, 0.65), canvas.height() * rng.uniform(0.3, 0.7))
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        button = none if what == QEvent.Type.MouseMove else left
        held = none if what == QEvent.Type.MouseButtonRelease else left
        where = canvas.mapToGlobal(point)
        QApplication.sendEvent(canvas, QMouseEvent(what, point, where, button, held, Qt.KeyboardModifier.NoModifier))

    def edit() -> None:
        number = int(rng.integers(1, 60_000))
        at = tuple(rng.integers(0, SIDE, 2))
        kind = "move" if stroke else str(rng.choice(KINDS))
        match kind:
            case "stroke":
                layer.mode, layer.selected_label = "paint", number
                layer.brush_size = int(rng.integers(3, 30))
                mouse(QEvent.Type.MouseButtonPress)
                stroke.extend(range(int(rng.integers(1, 12))))
            case "move":
                stroke.pop()
                mouse(QEvent.Type.MouseMove if stroke else QEvent.Type.MouseButtonRelease)
            case "paint":
                layer.brush_size = int(rng.integers(3, 60))
                layer.paint(at, number)
            case "erase":
                layer.brush_size = int(rng.integers(3, 60))
                layer.paint(at, 0)
            case "fill":
                layer.fill(at, number)
            case "polygon":
                layer.paint_polygon([tuple(corner) for corner in rng.integers(0, SIDE, (4, 2))], number)
            case "pixels":
                layer.data_setitem(tuple(rng.integers(0, SIDE, (2, 50))), number)
            case "undo":
                layer.undo()
            case "redo":
                layer.redo()
        note(kind, layer)

    timer = QTimer()
    timer.timeout.connect(edit)
    timer.start(30)
    note("ready")
    napari.run()


KINDS = ("stroke", "stroke", "paint", "paint", "erase", "fill", "polygon", "pixels", "undo", "redo")


def until(holds: Any) -> bool:
    """Let the window live until something holds; return whether it does."""
    from qtpy.QtWidgets import QApplication

    start = time.monotonic()
    while not holds() and time.monotonic() - start < PATIENCE:
        QApplication.processEvents()
        time.sleep(0.005)
    return bool(holds())


# the one that kills


def kill_often(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill so many times; return what was found. An AssertionError tells of anything that was lost."""
    import numpy as np
    import tifffile

    tifffile.imwrite(folder / "cells.tif", np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE), np.uint8))
    chance = random.Random(seed)
    environment = os.environ | {"SEGLOOP_HOME": str(folder / "home")}
    lags, edits, restored, early, nothing = [], 0, 0, 0, 0
    killed_at, states = 0.0, []
    for round_ in range(kills + 1):
        (folder / "log").unlink(missing_ok=True)
        command = [sys.executable, __file__, "--work", str(folder), "--seed", str(seed * 1000 + round_)]
        output = folder / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            is_early = 0 < round_ < kills and chance.random() < EARLY
            if is_early:
                time.sleep(chance.uniform(0.5, 6))
            else:
                wait_for(folder, "ready", process, output)
                time.sleep(0 if round_ == kills else chance.uniform(0.1, 5))
        finally:
            process.kill()
            now = time.monotonic()
            process.wait()
        entries = read_log(folder)
        begun = [entry for entry in entries if entry[1] in ("restored", "new")]
        early += is_early
        if not begun:
            assert is_early, f"round {round_}: {output.read_text()[-2000:]}"
            continue
        if states:
            lag, found = check(round_, begun[0], states, killed_at)
            lags.append(lag)
            restored += found
            nothing += not found
        states = [entry for entry in entries if entry[2]]
        done = sum(entry[1] != "drawn" for entry in states) - 1
        edits += done
        killed_at = now
        print(f"round {round_}: {begun[0][1]}, {done} edits", file=sys.stderr, flush=True)
    return {
        "kills": kills,
        "of them while starting or restoring": early,
        "edits": edits,
        "restored exactly": restored,
        "killed within two seconds of the first edit, nothing offered": nothing,
        "longest work lost, seconds": max(lags),
        "median work lost, seconds": sorted(lags)[len(lags) // 2],
    }


Entry = tuple[float, str, str]


def check(round_: int, begun: Entry, states: list[Entry], killed_at: float) -> tuple[float, bool]:
    """Compare what was restored with the states before the kill; return the seconds of work lost."""
    hashes = [digest for _, _, digest in states]
    if begun[1] == "new":
        assert states[0][1] == "new", f"round {round_}: nothing was offered, but there was a journal before"
        at = 0
    else:
        assert begun[2] in hashes, f"round {round_}: the labels restored never were in the window"
        at = len(hashes) - 1 - hashes[::-1].index(begun[2])
    lost = [entry for entry in states[at + 1 :] if entry[2] != states[at][2]]
    lag = max(0.0, killed_at - lost[0][0]) if lost else 0.0
    # where the machine itself stood still, nobody could have saved anything
    stall = max((after[0] - before[0] for before, after in pairwise(states[at:])), default=0.0)
    assert lag <= LIMIT + max(0.0, stall - 0.2), f"round {round_}: {lag:.2f} s of work are lost"
    return lag, begun[1] == "restored"


def wait_for(folder: Path, what: str, process: subprocess.Popen[bytes], output: Path) -> None:
    start = time.monotonic()
    while not any(entry[1] == what for entry in read_log(folder)):
        assert process.poll() is None and time.monotonic() - start < PATIENCE, output.read_text()[-3000:]
        time.sleep(0.05)


def read_log(folder: Path) -> list[Entry]:
    """Read what a process noted; a line that was cut off does not count."""
    path = folder / "log"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(float(at), what, digest) for at, what, digest in (line.split(" ") for line in lines)]


def main() -> None:
    """Kill, or be killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.seed)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found = kill_often(folder, options.kills, options.seed)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
