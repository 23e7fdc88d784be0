"""How soon a class image too large for memory follows its threshold in the window: what is on screen, and the rest.

    xvfb-run -a python benchmarks/large_classes.py --data DATA/nuclei_dsb2018 --times 7

The field of ``field.py`` is segmented by the bundled U-Net; its image, classes and scores are repeated ``times`` times
in rows and in columns, as a run would leave them. In a shown window, first zoomed in, then with all of it in view, the
slider is moved; between two moves the window answers three times. Milliseconds of the slot, by the clock and of the
processor; then how long the rest of the image takes, and the longest time in which the window did not answer
meanwhile, its drawing included.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from field import build_field

PLACES = (45, 40, 35, 30, 20, 10, 5, 2)


def repeated(data: Path, times: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Image, classes uint16 (Y, X), and scores uint8 (1, K, Y, X), in a file if they are large."""
    import segloop
    from segloop.canvas import new_canvas

    field = build_field(data).image
    found = segloop.segment(segloop.load_model("nuclei-unet"), segloop.Image(field, "YX")).candidates.scores[0]
    classes, side = found.argmax(axis=0).astype(np.uint16), len(field)
    scores = new_canvas((1, len(found), times * side, times * side), np.dtype(np.uint8))
    for row, column in np.ndindex(times, times):
        at = tuple(slice(n * side, (n + 1) * side) for n in (row, column))
        scores[(0, slice(None), *at)] = found
    return np.tile(field, (times, times)), np.tile(classes, (times, times)), scores


def measure(data: Path, times: int) -> dict[str, Any]:
    """Drive the window and return the times."""
    import napari
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from segloop._napari import features
    from segloop._napari.layers import Placement
    from segloop._napari.plugin import SegloopDock
    from segloop._napari.results import Run, deliver
    from segloop._napari.work import Segmented
    from segloop.candidates import ClassScores
    from segloop.live_strips import LiveStrips
    from segloop.segmentation import SegmentSettings

    pixels, classes, loose = repeated(data, times)
    scores = ClassScores(loose)
    live = LiveStrips(scores)
    live.warm_up()
    viewer = napari.Viewer()
    viewer.window.resize(1500, 1000)
    dock = SegloopDock(viewer)
    viewer.window.add_dock_widget(dock, name="SegLoop")
    while dock.segment.form is None:
        QTest.qWait(20)
    image = viewer.add_image(pixels, name="large")
    model = dock.session.find_model("nuclei-unet")
    table, untouched = features.class_features(classes, model.classes), features.checksum(classes)
    segmented = Segmented(classes, model.classes, table, untouched, (), 0.0, True, {}, scores=scores, live_strips=live)
    run = Run(weakref.ref(image), image.name, "YX", -1, Placement.of(image, "YX"), model, SegmentSettings())
    layer, _ = deliver(viewer, dock.session, run, segmented)
    dock._watch.layers_changed.emit()
    viewer.layers.selection.active = layer
    step, slider, first = dock.class_threshold_step, dock.class_threshold.threshold, layer.data.copy()
    report: dict[str, Any] = {"pixels": layer.data.size, "scores_in_memory": scores.in_memory}
    for name, zoom in (("zoomed in", 0.4), ("all in view", 0.0)):
        viewer.reset_view()
        viewer.scene.camera.zoom = zoom or viewer.scene.camera.zoom
        QTest.qWait(1000)
        moves = []
        for place in PLACES:
            start, used = time.perf_counter(), time.thread_time()
            slider.setValue(place)
            moves.append([round(1e3 * (time.perf_counter() - start)), round(1e3 * (time.thread_time() - used))])
            for _ in range(3):
                QApplication.processEvents()
        start, used, longest = time.perf_counter(), time.process_time(), 0.0
        while step._rest_of_it is not None:
            beat = time.perf_counter()
            QApplication.processEvents()
            longest = max(longest, time.perf_counter() - beat)
        rest = [round(time.perf_counter() - start, 2), round(time.process_time() - used, 2)]
        dock.class_threshold.reset.click()
        while step._rest_of_it is not None:
            QApplication.processEvents()
        report[name] = {
            "moves_ms_clock_cpu": moves,
            "rest_s_clock_cpu": rest,
            "longest_without_answer_ms": round(1e3 * longest),
            "restored": bool(np.array_equal(layer.data, first)),
        }
    viewer.close()
    return report


def main() -> None:
    """Print the times as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SEGLOOP_HOME"] = home
        print(json.dumps(measure(options.data, options.times), indent=2))


if __name__ == "__main__":
    main()
