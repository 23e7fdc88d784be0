"""Measure the correction tools: how long each takes in a real window, on a large layer in memory and in a file.

    python benchmarks/editing.py [--side 4096] [--repeat 9] [--json out.json]

A napari with the SegLoop dock, an image and a Labels layer of ``side`` × ``side`` pixels (16 bit; at the default side
4,225 objects of 2,100 pixels, 256 of them at the border). The layer is a NumPy array, then a zarr array on disk in
chunks of 512 × 512 pixels, compressed as zarr does by itself. For copying and filling between slices it has five
slices. Each tool is called as its key calls it, on another object each time.

action
    Until the call is back: pixels and undo history are written.
table
    Until the table of objects is true, after that.
window
    All of it, until nothing waits to be painted any more.
undo
    Of that step, until the window is painted; napari draws the whole layer anew for it.

"scan" is the one time that the layer is looked through when it is chosen, piece by piece between other things: the
longest piece, and all of it. ``numpy.unique`` is one look at all pixels, for comparison.

Without a screen, put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` before it; without a graphics card all painting is
done by the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CELL = 64
"""Side of the square that each object has for itself."""

RADIUS = 26
SLICES = 5
CHUNK = 512

Call = Callable[[Any, int], None]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGLOOP_HOME"] = folder
        for kind in ("numpy", "zarr"):
            for slices in (1, SLICES):
                measured.setdefault(kind, {}).update(measure(kind, slices, options.side, options.repeat, Path(folder)))
    print(table(measured))
    if options.json:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        options.json.write_text(json.dumps({**machine, "side": options.side, "measured": measured}, indent=1) + "\n")


def table(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """Milliseconds as Markdown: median, and the longest in brackets."""
    kinds = list(measured)
    parts = ("action", "table", "window", "undo")
    head = ["", *(f"{kind}: {part}" for kind in kinds for part in parts)]
    lines = [" | ".join(head), "|".join(["---"] * len(head))]
    for name in measured[kinds[0]]:
        cells = [name]
        for kind in kinds:
            row = measured[kind][name]
            cells += [f"{row[p]:.0f} ({row[p + ' longest']:.0f})" if p in row else "" for p in parts]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def draw(side: int) -> np.ndarray:
    """Discs in a grid with a hole in each; halves of them along the border."""
    count = side // CELL + 1
    y, x = np.mgrid[:CELL, :CELL] - CELL / 2
    distance = np.hypot(y, x)
    disc = (distance < RADIUS) & (distance > 3)
    numbers = np.arange(1, count * count + 1, dtype=np.uint16).reshape(count, count)
    half = CELL // 2
    return np.kron(numbers, disc.astype(np.uint16))[half : half + side, half : half + side].copy()


def actions(slices: int) -> dict[str, Call]:
    """Each tool, called as its key or stroke calls it, on the object of a number."""
    from segloop._napari.pointing import Click

    def click(step: Any, number: int, dy: int, dx: int) -> Click:
        y, x = place(step, number)
        return Click(number, (*(0,) * (step.layer.ndim - 2), y + dy, x + dx))

    def merge(step: Any, number: int) -> None:
        step._target = number
        step._on_merge_click(click(step, number + 1, 10, 0))

    def split(step: Any, number: int) -> None:
        step._split = None
        step._on_seed(click(step, number, 0, -12))
        step._on_seed(click(step, number, 0, 12))

    def cut(step: Any, number: int) -> None:
        y, x = place(step, number)
        leading = [0.0] * (step.layer.ndim - 2)
        step._on_cut(np.array([[*leading, y + d, x + 8.0] for d in range(-30, 31, 4)]))

    def brush(step: Any, number: int) -> None:
        y, x = place(step, number)
        with step.layer.block_history():
            for d in range(0, 40, 4):
                step.layer.paint((*(0,) * (step.layer.ndim - 2), y, x + d), number)

    if slices > 1:
        return {
            "copy to the next slice": lambda step, _: step.copy_next(),
            "fill between (3 slices)": lambda step, _: step.interpolate(),
        }
    return {
        "delete": lambda step, _: step.delete_object(),
        "delete at border (256 objects)": lambda step, _: step.delete_at_border(),
        "grow": lambda step, _: step.grow(),
        "shrink": lambda step, _: step.shrink(),
        "smooth": lambda step, _: step.smooth(),
        "fill holes": lambda step, _: step.fill_holes(),
        "merge": merge,
        "cut": cut,
        "split by two clicks": split,
        "new object": lambda step, _: step.new_object(),
        "change class": lambda step, _: step.set_class("object"),
        "napari's brush, a stroke of ten": brush,
    }


def place(step: Any, number: int) -> tuple[int, int]:
    """Centre of an object."""
    row, column = divmod(number - 1, step.layer.data.shape[-1] // CELL + 1)
    return row * CELL, column * CELL


def measure(kind: str, slices: int, side: int, repeat: int, folder: Path) -> dict[str, dict[str, float]]:
    """Open a window, measure, close it."""
    import napari
    from qtpy.QtWidgets import QApplication

    from segloop._napari.plugin import SegloopDock

    labels = draw(side)
    if slices > 1:
        labels = np.stack([labels, *[np.zeros_like(labels)] * (slices - 2), labels])
    data: Any = labels
    if kind == "zarr":
        import zarr

        chunks = (*(1,) * (labels.ndim - 2), CHUNK, CHUNK)
        data = zarr.create_array(folder / f"labels{slices}.zarr", shape=labels.shape, chunks=chunks, dtype=labels.dtype)
        data[:] = labels
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1400, 900)
    dock = SegloopDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegLoop")
    axes = {"axis_labels": ("z", "y", "x")[-labels.ndim :]}
    viewer.add_image(np.zeros(labels.shape, np.uint8), **axes)
    while dock.segment.form is None:
        QApplication.processEvents()
    layer = viewer.add_labels(data, name="labels", **axes)
    viewer.dims.set_current_step(0, 0)
    step = dock.correct_step.tools
    errors: list[str] = []
    for each in (step, dock.correct_step):
        each.said.connect(lambda text, role: errors.append(text) if role == "error" else None)
    found: dict[str, dict[str, float]] = {}
    if slices == 1:
        # drawn first, so that only the scan is left
        started, longest = time.perf_counter(), 0.0
        while not step.ledger.index.complete:
            before = time.perf_counter()
            step._on_scan()
            longest = max(longest, time.perf_counter() - before)
        found["scan, once"] = {
            "window": (time.perf_counter() - started) * 1000,
            "window longest": (time.perf_counter() - started) * 1000,
            "action": longest * 1000,
            "action longest": longest * 1000,
        }
        before = time.perf_counter()
        np.unique(np.asarray(data[:]))
        seconds = (time.perf_counter() - before) * 1000
        found["numpy.unique, for comparison"] = {"action": seconds, "action longest": seconds}
    settle(step)
    for name, act in actions(slices).items():
        rows: dict[str, list[float]] = {"action": [], "table": [], "window": [], "undo": []}
        for turn in range(repeat + 1):
            count = side // CELL + 1
            layer.selected_label = (turn + 2) * count + 2 * turn + 3
            viewer.dims.set_current_step(0, 0)
            layer.mode = "pan_zoom"
            settle(step)
            before = time.perf_counter()
            act(step, int(layer.selected_label))
            done = time.perf_counter()
            step.ledger.flush()
            true = time.perf_counter()
            settle(step)
            shown = time.perf_counter()
            changed = name != "new object"
            if changed:
                layer.undo()
                QApplication.processEvents()
            undone = time.perf_counter()
            settle(step)
            if turn:
                rows["action"].append(done - before)
                rows["table"].append(true - done)
                rows["window"].append(shown - before)
                if changed:
                    rows["undo"].append(undone - shown)
        if errors:
            raise SystemExit(f"{kind}, {name}: {errors[0]}")
        found[name] = {}
        for part, seconds_each in rows.items():
            if seconds_each:
                found[name][part] = statistics.median(seconds_each) * 1000
                found[name][part + " longest"] = max(seconds_each) * 1000
    if not np.array_equal(np.asarray(layer.data[:]), labels):
        raise SystemExit("what was undone is not what was there before")
    viewer.close()
    QApplication.processEvents()
    return found


def settle(step: Any) -> None:
    """Wait until the window is painted and the table is true, without waiting for the timer that bundles edits."""
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    if step._flush.isActive():
        step._flush.stop()
        step._on_flush()
    QApplication.processEvents()


if __name__ == "__main__":
    main()
