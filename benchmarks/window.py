"""How long a person waits: for the import, for the command line's help, for the dock, and in a run for the window.

    python benchmarks/window.py [import] [help] [dock] [run] [--repeat 5] [--json out.json]

Without a screen, put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` before it. Each number comes from a fresh process, and
the median of all is printed; one call before goes unmeasured, so that the files are in memory.

import, help
    Whole processes, Python's own start included.
dock
    From the call that adds the dock to a running napari with one image until it is painted; then torch is imported
    beside the window, and a timer that should fire every 10 ms tells for how long it could not.
run
    A bundled model on an image of 4096 × 4096 pixels, from the click on Run until the labels are painted: for how long
    that timer could not fire, and the most that the window's thread computed between two of its beats, in seconds of
    the processor, which does not depend on what else the computer is doing. Beside it, what napari alone takes in the
    same window for a Labels layer of that size: to add it, to be given other numbers, to be painted again when the view
    is zoomed. Without a graphics card all painting is done by the processor, which is at work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

COMMANDS = {
    "import": [sys.executable, "-c", "import segloop"],
    "help": [sys.executable, "-m", "segloop", "--help"],
}
BEAT = 10
"""Milliseconds between two beats of the main thread's heart."""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*COMMANDS, *MEASURES, []], metavar="WHAT", help="all by default")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", choices=list(MEASURES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(MEASURES[options.here]()))
        return
    rows: dict[str, dict[str, list[float]]] = {}
    for what in options.what or [*COMMANDS, *MEASURES]:
        runs = [_fresh(what) for _ in range(options.repeat + 1)][1:]
        rows[what] = {name: [run[name] for run in runs] for name in runs[0]}
        for name, values in rows[what].items():
            unit = "" if name.startswith("number") else " s"
            print(f"{what}: {name}: {statistics.median(values):.3f}{unit} ({min(values):.3f} to {max(values):.3f})")
    if options.json:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        options.json.write_text(json.dumps({**machine, "measured": rows}, indent=1))


def _fresh(what: str) -> dict[str, float]:
    """Measure in a new process."""
    if what in COMMANDS:
        started = time.perf_counter()
        subprocess.run(COMMANDS[what], check=True, stdout=subprocess.DEVNULL)
        return {"whole process": time.perf_counter() - started}
    command = [sys.executable, __file__, "--here", what]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


class Heart:
    """A timer of the main thread; its beats tell when the window could not answer."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.beats: list[float] = []
        self._worked: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(BEAT)

    def _beat(self) -> None:
        self.beats.append(time.perf_counter())
        self._worked.append(time.thread_time())

    def stop(self) -> None:
        """Beat no more."""
        self._timer.stop()

    def gaps(self, since: float = 0.0, until: float = float("inf")) -> list[tuple[float, float]]:
        """Times between beats, the longest first, each with the moment at which it began."""
        beats = [beat for beat in self.beats if since <= beat <= until]
        return sorted(((after - before, before) for before, after in pairwise(beats)), reverse=True)

    def most_work(self, since: float) -> float:
        """Seconds of the processor that the thread computed between two beats at most."""
        both = pairwise(zip(self.beats, self._worked))
        return max(after - before for (at, before), (_, after) in both if at >= since)


def _pump(seconds: float = 0.0, until: Any = None, limit: float = 600.0) -> None:
    """Let the window live for some seconds, or until something holds."""
    from qtpy.QtWidgets import QApplication

    started = time.perf_counter()
    while time.perf_counter() - started < (seconds if until is None else limit):
        if until is not None and until():
            return
        QApplication.processEvents()
        time.sleep(0.001)


def _viewer(pixels: Any) -> Any:
    """A napari with an image, at rest."""
    import napari

    viewer = napari.Viewer()
    viewer.add_image(pixels, name="cells")
    _pump(2)
    return viewer


def measure_dock() -> dict[str, float]:
    """Open the dock."""
    import numpy as np
    from qtpy.QtCore import QEvent, QObject

    class Painted(QObject):
        at = 0.0

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Paint:
                self.at = self.at or time.perf_counter()
            return False

    viewer = _viewer(np.random.default_rng(0).random((512, 512)))
    heart, painted = Heart(), Painted()
    started = time.perf_counter()
    _, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    dock.installEventFilter(painted)
    _pump(until=lambda: painted.at)
    # what was asked for with the first painting is painted too
    _pump(0.001)
    shown = time.perf_counter()
    _pump(until=lambda: dock.segment.form is not None)
    ready = time.perf_counter()
    _pump(0.5)
    stall = heart.gaps(since=shown)[0][0]
    viewer.close()
    return {
        "until it is painted": shown - started,
        "until Run can be pressed": ready - started,
        "longest stall while torch is imported": stall,
    }


def measure_run(model: str = "nuclei-maskrcnn", side: int = 4096) -> dict[str, float]:
    """Segment a large image in the window."""
    import numpy as np

    from segloop.samples import load_sample

    pixels = np.asarray(load_sample("fluorescence").data)
    row = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    both = np.concatenate([row, row[::-1]], axis=0)
    repeats = [-(-side // n) for n in both.shape]
    viewer = _viewer(np.tile(both, repeats)[:side, :side].copy())
    _, dock = viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
    _pump(until=lambda: dock.segment.form is not None)
    dock.session.choose_model(model)
    _pump(1)
    heart = Heart()
    alone = _napari_alone(viewer, heart, side)

    step, shown = dock.segment_step, []
    # the layer is added before it is seen
    viewer.layers.events.inserted.connect(
        lambda event: event.value.events.visible.connect(lambda seen: shown.append(time.perf_counter()))
    )
    pressed = time.perf_counter()
    dock.segment.run.click()
    _pump(until=lambda: step.job is None)
    ended = time.perf_counter()
    _pump(1)
    heart.stop()
    gaps = heart.gaps(since=pressed - BEAT / 1000)
    for gap, began in gaps[:6]:
        print(f"  {gap:.3f} s at {began - pressed:.2f} s", file=sys.stderr)
    viewer.close()
    return {
        "from the click to the labels": ended - pressed,
        "from the click to the first labels on screen": shown[0] - pressed,
        "longest stall": gaps[0][0],
        "number of stalls above 100 ms": float(sum(gap > 0.1 for gap, _ in gaps)),
        "most work between two beats": heart.most_work(pressed - BEAT / 1000),
        **alone,
    }


def _napari_alone(viewer: Any, heart: Heart, side: int) -> dict[str, float]:
    """How long napari itself takes, by the same measure."""
    import numpy as np

    measured = {}

    def measure(what: str, act: Any) -> None:
        _pump(0.5)
        started = time.perf_counter()
        act()
        _pump(1)
        measured[f"napari alone: {what}"] = heart.gaps(since=started - BEAT / 1000)[0][0]
        measured[f"napari alone: {what}, most work"] = heart.most_work(started - BEAT / 1000)

    blocks = np.arange((side // 64) ** 2, dtype=np.uint16).reshape(side // 64, -1).repeat(64, 0).repeat(64, 1)
    other = blocks[::-1].copy()
    # once unmeasured: the first Labels layer of a process makes napari import and compile
    viewer.layers.remove(viewer.add_labels(np.zeros((64, 64), np.uint16)))
    measure("to add a Labels layer", lambda: viewer.add_labels(blocks))
    layer = viewer.layers[-1]
    measure("to give it other numbers", lambda: setattr(layer, "data", other))
    measure("to paint after zooming", lambda: setattr(viewer.scene.camera, "zoom", viewer.scene.camera.zoom * 2))
    viewer.layers.remove(layer)
    viewer.reset_view()
    _pump(1)
    return measured


MEASURES = {"dock": measure_dock, "run": measure_run}


if __name__ == "__main__":
    main()
