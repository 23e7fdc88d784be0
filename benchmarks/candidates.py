"""How long thresholds, pointing, clicking and boxes take in the window, on a field with many candidates.

    xvfb-run -a python benchmarks/candidates.py --data DATA/nuclei_dsb2018 --candidates 4000

The field is that of ``field.py``, 2048 × 2048 pixels, segmented by the bundled Mask R-CNN; what it found is repeated,
moved by some pixels and less sure, until there are so many candidates. Each slider is moved over its range in a shown
window; what is timed is the slot, from the slider's move to the layer having been told to draw itself, and, apart from
that, napari's drawing of the canvas.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from field import build_field

JUMPS = {
    "score": (5, 95, 30, 31, 32, 50),
    "overlap": (0, 100, 20, 21, 40),
    "min_area": (200, 0, 50, 51, 8),
    "outline": (10, 90, 40, 41, 50),
}
PART_JUMPS = {
    "foreground": (5, 95, 40, 41, 50),
    "seeds": (50, 100, 80, 81, 75),
    "min_area": (200, 0, 50, 51, 8),
}


PATIENCE = 600
"""Seconds that any one job may take."""


def tell(text: str) -> None:
    """Say how far it is."""
    print(f"{time.process_time():.0f} s of the processor: {text}", file=sys.stderr, flush=True)


def more_candidates(found: Any, count: int) -> Any:
    """Repeat candidates, moved and less sure, until there are ``count``."""
    rng = np.random.default_rng(0)
    missing = max(0, count - len(found))
    pick = rng.integers(0, len(found), missing)
    moved = np.tile(rng.normal(0, 8, (missing, 2)), (1, 2)).astype(np.float32)
    scores = found.scores[pick] * rng.uniform(0.05, 0.9, missing).astype(np.float32)
    return replace(
        found,
        boxes=np.concatenate([found.boxes, found.boxes[pick] + moved]),
        scores=np.concatenate([found.scores, scores]),
        classes=np.concatenate([found.classes, found.classes[pick]]),
        masks=np.concatenate([found.masks, found.masks[pick]]),
        objects=np.concatenate([found.objects, found.objects.max() + 1 + np.arange(missing)]),
        planes=np.concatenate([found.planes, found.planes[pick]]),
    )


class Watch:
    """Times of calls in milliseconds, by name: by the clock, and of the processor in this thread.

    The latter is what a call takes when nothing else runs on the machine.
    """

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = {}

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        """Call and note how long it took."""
        start, used = time.perf_counter(), time.thread_time()
        result = call()
        taken = (1e3 * (time.perf_counter() - start), 1e3 * (time.thread_time() - used))
        self.times.setdefault(name, []).append(taken)
        return result

    def summary(self) -> dict[str, dict[str, float]]:
        """Median and largest."""
        return {
            name: {
                "median_ms": round(float(np.median([wall for wall, _ in own])), 1),
                "largest_ms": round(max(wall for wall, _ in own), 1),
                "median_cpu_ms": round(float(np.median([cpu for _, cpu in own])), 1),
                "largest_cpu_ms": round(max(cpu for _, cpu in own), 1),
                "calls": len(own),
            }
            for name, own in self.times.items()
        }


def measure(data: Path, count: int) -> dict[str, Any]:
    """Drive the window and return the times."""
    import napari
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from segloop._napari.live_layer import LiveLayer
    from segloop._napari.plugin import SegloopDock
    from segloop.live_labels import LiveLabels

    viewer = napari.Viewer()
    viewer.window.resize(1500, 1000)
    dock = SegloopDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegLoop")

    def wait_until(done: Callable[[], bool]) -> None:
        start = time.monotonic()
        while not done():
            QTest.qWait(20)
            if time.monotonic() - start > PATIENCE:
                raise TimeoutError(f"nothing came of it in {PATIENCE} s: {dock.status.text()}")

    def drawn() -> None:
        QApplication.processEvents()

    field = build_field(data)
    wait_until(lambda: dock.segment.form is not None)
    viewer.add_image(field.image, name="field")
    dock.segment_step.run()
    wait_until(lambda: dock.segment_step.job is None)
    tell("segmented")
    layer = dock.correct_step.labels
    before = dock.session.live[layer]
    found = more_candidates(before.live.candidates, count)
    live = LiveLabels(found, before.live.thresholds, np.iinfo(layer.data.dtype).max)
    # the layer as a run with these candidates would have made it
    chosen = found.choose(live.thresholds.score, live.thresholds.overlap, live.thresholds.min_area)
    layer.data[:] = found.draw(chosen, 0, slice(None), slice(None))
    before.close()
    dock.session.live[layer] = LiveLayer(layer, live, before.place, before.model, before.settings)
    dock.session.update_origin(layer, untouched=0)
    dock.session.ledgers.pop(layer).close()
    dock.session.live[layer].settle()
    dock.threshold_step._on_layers()
    dock.correct_step.tools.use(None)
    dock.correct_step.tools.use(layer)
    QTest.qWait(500)
    first, watch = layer.data.copy(), Watch()
    dock.thresholds.score.setValue(49)  # everything compiled and loaded
    QTest.qWait(1500)

    tell("sliders")
    for name, places in JUMPS.items():
        slider = getattr(dock.thresholds, name)
        for place in places:
            watch.time(f"slider {name}", lambda slider=slider, place=place: slider.setValue(place))
            watch.time("napari draws", drawn)
        watch.time("settle", dock.threshold_step.finish)
    dock.thresholds.reset.click()
    restored = bool(np.array_equal(layer.data, first))
    dock.threshold_step.finish()
    QTest.qWait(500)

    tell("pointing")
    step = dock.adding_step
    dock.candidate_tools.pick.click()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 2048, (300, 2)):
        watch.time("hover", lambda place=place: step._on_hover(tuple(int(n) for n in place)))
    hidden = [n for n in rng.permutation(len(live)).tolist() if not live.is_shown(n)][:40]
    from segloop._napari.pointing import Click

    for number in hidden:
        mask = live.catalog.mask(number)
        rows, columns = np.nonzero(mask.inside & (live_read(dock, layer, mask) == 0))
        if not len(rows):
            continue
        spot = (int(rows[0] + mask.area.rows.start), int(columns[0] + mask.area.columns.start))
        watch.time("click adds", lambda spot=spot: step._on_click(Click(0, spot)))
        drawn()
    shown = [int(n) for n in layer.features["index"][layer.features["origin"] == "model"][:40]]
    for label in shown:
        number = live.object_of(label)
        mask = live.catalog.mask(number)
        rows, columns = np.nonzero(live_read(dock, layer, mask) == label)
        spot = (int(rows[0] + mask.area.rows.start), int(columns[0] + mask.area.columns.start))
        watch.time("click removes", lambda spot=spot, label=label: step._on_click(Click(label, spot)))
        drawn()
    QTest.qWait(500)
    dock.thresholds.score.setValue(20)
    dock.threshold_step.finish()
    for place in (30, 31, 60, 20, 50):
        watch.time("slider, 80 edits", lambda place=place: dock.thresholds.score.setValue(place))
        drawn()
    dock.threshold_step.finish()

    tell("boxes")
    dock.candidate_tools.prompt.click()
    start = time.perf_counter()
    wait_until(lambda: step.job is None)
    looked = time.perf_counter() - start
    layer.data[:] = 0
    layer.refresh()
    for number in np.argsort(-found.scores)[:40].tolist():
        x0, y0, x1, y1 = found.boxes[number]
        corners = np.array([[y0, x0], [y1, x1]], float) - 0.5
        start, used = time.perf_counter(), time.thread_time()
        watch.time("box", lambda corners=corners: step._on_box(corners))
        drawn()
        taken = (1e3 * (time.perf_counter() - start), 1e3 * (time.thread_time() - used))
        watch.times.setdefault("box, until painted", []).append(taken)
    dock.candidate_tools.prompt.click()
    parted = measure_parts(dock, watch, wait_until, drawn)
    image_bytes = field.image.nbytes
    report = {
        "candidates": len(found),
        "restored": restored,
        "kept_bytes": live.nbytes,
        "kept_share_of_image": round(live.nbytes / image_bytes, 2),
        "looking_at_the_field_s": round(looked, 2),
        **parted,
        "times": watch.summary(),
    }
    viewer.close()
    return report


def measure_parts(
    dock: Any, watch: Watch, wait_until: Callable[..., None], drawn: Callable[[], None]
) -> dict[str, Any]:
    """The same sliders for objects that are parted from a U-Net's classes."""
    tell("parted objects")
    dock.session.choose_model("nuclei-unet")
    dock.segment.form.fields["instances"].editor.setChecked(True)
    dock.segment_step.run()
    wait_until(lambda: dock.segment_step.job is None)
    layer = dock.correct_step.labels
    live, first = dock.session.live_parts[layer].live, layer.data.copy()
    for name, places in PART_JUMPS.items():
        slider = getattr(dock.part_thresholds, name)
        for place in places:
            watch.time(f"parted: {name}", lambda slider=slider, place=place: slider.setValue(place))
            drawn()
        watch.time("parted: settle", dock.part_threshold_step.finish)
    dock.part_thresholds.reset.click()
    restored = bool(np.array_equal(layer.data, first))
    dock.part_threshold_step.finish()
    return {"parted_objects": int(first.max()), "parted_restored": restored, "parted_kept_bytes": live.nbytes}


def live_read(dock: Any, layer: Any, mask: Any) -> np.ndarray:
    """The layer's pixels under a mask."""
    return dock.session.live[layer].read(mask.area)


def main() -> None:
    """Print the times as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SEGLOOP_HOME"] = home
        report = json.dumps(measure(arguments.data, arguments.candidates), indent=2)
    print(report)
    if arguments.json:
        arguments.json.write_text(report + "\n")


if __name__ == "__main__":
    main()
