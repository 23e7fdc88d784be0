"""Measure the journal: for how long it keeps the window from answering, and how soon an edit is on the disk.

    python benchmarks/journal.py [--side 4096] [--planes 1] [--strokes 40] [--json out.json]

A real napari with an image and a Labels layer of ``side`` × ``side`` pixels (32 bit) full of objects, and the SegLoop
dock. Strokes of the brush, fills of all that is background, and undo follow, a second apart, first without the journal
and then with it. A timer of the main thread that should fire every 10 ms tells for how long it could not, after each
edit; the time of the edit itself is beside it. How long a stroke takes to the disk is measured by looking into the
journal's file, as the next start would.

The kills themselves are in ``tests/_napari/killed_window.py``.

Without a screen, put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` before it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

BEAT = 10
"""Milliseconds between two beats of the main thread's heart."""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--planes", type=int, default=1)
    parser.add_argument("--strokes", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SEGLOOP_HOME"] = home
        measured = measure(options.side, options.planes, options.strokes)
    for name, value in measured.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    if options.json:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        options.json.write_text(json.dumps({**machine, "measured": measured}, indent=1) + "\n")


class Heart:
    """A timer of the main thread; its beats tell when the window could not answer."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.beats: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self.beats.append(time.perf_counter()))
        self._timer.start(BEAT)

    def longest(self, since: float) -> float:
        """The longest time between two beats since a moment."""
        return max((after - before for before, after in pairwise(b for b in self.beats if b >= since)), default=0.0)


def pump(seconds: float = 0.0, until: Callable[[], bool] | None = None, limit: float = 300.0) -> None:
    """Let the window live for some seconds, or until something holds."""
    from qtpy.QtWidgets import QApplication

    started = time.perf_counter()
    while time.perf_counter() - started < (seconds if until is None else limit):
        if until is not None and until():
            return
        QApplication.processEvents()
        time.sleep(0.001)


def measure(side: int, planes: int, strokes: int) -> dict[str, Any]:
    """Make the edits without and with the journal."""
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    import napari
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (planes, side, side) if planes > 1 else (side, side)
    labels = np.arange(1, (side // 32) ** 2 + 1, dtype=np.uint32).reshape(side // 32, -1).repeat(32, 0).repeat(32, 1)
    labels[(np.indices((side, side)) % 32 < 6).any(axis=0)] = 0
    labels = np.broadcast_to(labels, shape).copy()
    viewer = napari.Viewer()
    viewer.add_image(rng.integers(0, 255, shape, np.uint8), name="cells")
    layer = viewer.add_labels(labels, name="nuclei")
    pump(3)
    heart = Heart()
    pump(1)
    # once unmeasured: napari compiles when it paints for the first time
    edits(layer, 2, rng, lambda edit, name: (edit(), pump(0.5)))

    def stall(gaps: dict[str, list[float]]) -> Callable[[Callable[[], Any], str], None]:
        def act(edit: Callable[[], Any], name: str) -> None:
            start = time.perf_counter()
            edit()
            done = time.perf_counter()
            pump(0.9)
            gaps.setdefault(f"{name}: stall after it", []).append(heart.longest(done))
            print(f"  {name}: {done - start:.3f} s, then at most {heart.longest(done):.3f} s", file=sys.stderr)
            gaps.setdefault(f"{name}: the edit itself", []).append(done - start)

        return act

    held, computed = hold_watch()
    _, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    step = dock.journal_step
    pump(until=lambda: step._ready and dock.segment.form is not None)
    pump(8)
    # the dock without the journal: what the other tools do after an edit is not the journal's doing
    step._timer.stop()
    for followed in step._followed.values():
        followed.touch.close()
    step._followed.clear()
    without: dict[str, list[float]] = {}
    edits(layer, strokes, rng, stall(without))
    step._on_layers()
    step._timer.start()
    pump(1)
    held.clear()
    started = time.perf_counter()
    layer.paint(tuple(n // 2 for n in shape), 7)
    done = time.perf_counter()
    pump(until=lambda: step.journal_of(layer) is not None and is_written(dock))
    first = time.perf_counter() - started
    pump(1)
    begin, begin_held = heart.longest(done), max(held)
    held.clear()
    beside: dict[str, list[float]] = {}
    edits(layer, strokes, rng, stall(beside))
    delays = [delay(dock, layer, rng) for _ in range(strokes)]
    size = sum(file.stat().st_size for file in dock.journal_step.journal_of(layer).iterdir())
    viewer.close()
    result: dict[str, Any] = {
        "longest stall while the layer is written for the first time, s": begin,
        "of it the journal's own, s": begin_held,
        "until the whole layer is on the disk for the first time, s": first,
        "until a stroke is on the disk, median, s": statistics.median(delays),
        "until a stroke is on the disk, longest, s": max(delays),
        "size of the journal, bytes": size,
    }
    for name in without:
        result[f"{name}, longest without the journal, s"] = max(without[name])
        result[f"{name}, longest with the journal, s"] = max(beside[name])
        result[f"{name}, median without the journal, s"] = statistics.median(without[name])
        result[f"{name}, median with the journal, s"] = statistics.median(beside[name])
    result["longest that the journal held the main thread, s"] = max(held)
    result["the same, of the processor, s"] = max(computed)
    return result


def hold_watch() -> tuple[list[float], list[float]]:
    """Return lists that take the seconds of each of the journal's visits to the main thread: by the clock, and of
    the processor, which is what the clock shows where nothing else runs.
    """
    from segloop._napari.journaling import JournalStep

    held: list[float] = []
    computed: list[float] = []
    beat = JournalStep._on_time

    def timed(self: Any) -> None:
        start, used = time.perf_counter(), time.thread_time()
        beat(self)
        held.append(time.perf_counter() - start)
        computed.append(time.thread_time() - used)

    JournalStep._on_time = timed
    return held, computed


def edits(layer: Any, strokes: int, rng: Any, act: Callable[[Callable[[], Any], str], Any]) -> None:
    """Make edits of some kinds."""
    side = layer.data.shape[-1]
    layer.brush_size = 30
    for number in range(strokes):
        at = (*(n // 2 for n in layer.data.shape[:-2]), *rng.integers(100, side - 100, 2).tolist())
        act(lambda at=at, number=number: layer.paint(at, 60_000 + number), "brush")
    for number in range(3):
        layer.contiguous = False
        at = (*(n // 2 for n in layer.data.shape[:-2]), 0, 0)
        # all of the background, in every block
        act(lambda at=at, number=number: layer.fill(at, 70_000 + number), "fill of everything")
        act(layer.undo, "undo of everything")


def is_written(dock: Any) -> bool:
    """Whether nothing waits, in the window or in the writer."""
    step = dock.journal_step
    waits = any(followed.touch.touched or followed.base for followed in step._followed.values())
    return not waits and step._writer is not None and step._writer.flush(0)


def delay(dock: Any, layer: Any, rng: Any) -> float:
    """Seconds from a stroke until the file holds it."""
    import numpy as np

    from segloop.corrections.journal import LOG, scan
    from segloop.corrections.journal_records import unpack_block

    pump(float(rng.uniform(0.1, 0.6)))
    at = (*(n // 2 for n in layer.data.shape[:-2]), *rng.integers(100, layer.data.shape[-1] - 100, 2).tolist())
    number = int(rng.integers(1 << 20, 1 << 30))
    path = dock.journal_step.journal_of(layer) / LOG
    seen, started = path.stat().st_size, time.perf_counter()
    layer.paint(at, number)

    def holds() -> bool:
        nonlocal seen
        if path.stat().st_size == seen:
            return False
        seen = path.stat().st_size
        with path.open("rb") as file:
            content = scan(file)
            (block,) = content.blocks.touching(tuple(slice(n, n + 1) for n in at))
            place, (start, length) = content.blocks.place(block), content.found[block]
            file.seek(start)
            pixels = unpack_block(
                file.read(length), content.blocks.dtype, tuple(side.stop - side.start for side in place)
            )
        return bool(np.any(pixels == number))

    pump(until=holds)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
