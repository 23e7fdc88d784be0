"""How good a prediction from scribbles is after each stroke, and how soon it is on the screen.

    python benchmarks/scribbles.py --data DATA [--side 512] [--without-peer]
    python benchmarks/scribbles.py --data DATA --window [--strokes 12]

The first command draws strokes by a rule: classes in turn; where the prediction before has the largest piece of this
class wrong, a stroke of 60 pixels and three wide that follows the class, and paints nothing of another. Each method is
given strokes by its own mistakes. Score: Dice, mean over all classes (with one class painted, all pixels have it).
Images are cut to their upper left ``side`` × ``side`` pixels.

Methods: SegLoop's head on what ``nuclei-unet`` sees; the same head on filters of the intensities alone; a random forest
(scikit-learn, 100 trees of depth 10) on scikit-image's ``multiscale_basic_features`` (intensity, edges, texture, σ 1 to
16), as pixel classifiers of the ilastik kind do; left out where scikit-learn is not installed. Seconds are of the
processor, on one thread: fitting and predicting after the last stroke, and, once for the place, describing it.

The second command opens napari with 2048 × 2048 pixels of the first image, about 1000 × 800 of them on the screen, and
draws strokes by its mouse: seconds from the button's release to the prediction on the canvas, and for how long the
window did not answer meanwhile. Without a screen, put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` before it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from report import machine, machine_line, table
from reviewing import read_image
from scipy import ndimage

from segloop import Image, load_model
from segloop.events import LabelsDone, drain
from segloop.metrics import class_scores
from segloop.scribbling import LivePrediction, Points, View
from segloop.scribbling.description import Description

MARKS = (1, 2, 4, 8, 16)
LENGTH, STEP = 60, 4
MODEL = "nuclei-unet"


@dataclass(frozen=True)
class Field:
    """A kind of image, which images of it, and the class that each number of the reference belongs to."""

    folder: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    classed: Callable[[np.ndarray], np.ndarray]


FIELDS = (
    Field(
        "em_drosophila_vnc",
        ("03", "07", "11"),
        ("inside", "membrane", "mitochondria"),
        # glia and synapses, which take a twentieth of the image together, count as inside
        lambda reference: np.array([0, 1, 0, 2, 0])[reference],
    ),
    Field(
        "phase_usiigaci",
        ("set19", "set28", "set35"),
        ("background", "cell"),
        lambda reference: (reference > 0).astype(int),
    ),
)

Predict = Callable[[np.ndarray], np.ndarray]
"""From scribbles (Y, X), class + 1, to classes (Y, X)."""


@dataclass
class Spent:
    """Processor seconds: once for the place, and after each stroke."""

    once: float
    strokes: list[float]


def add_stroke(scribbles: np.ndarray, wanted: np.ndarray, found: np.ndarray, name: int) -> None:
    """Paint a stroke of a class through the largest piece of it that is not found; nothing where all is found."""
    pieces, count = ndimage.label((wanted == name) & (found != name) & (scribbles == 0))
    if not count:
        return
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    depth = ndimage.distance_transform_edt(np.pad(pieces == largest, 1))[1:-1, 1:-1]
    place = np.array(np.unravel_index(depth.argmax(), depth.shape))
    room = np.minimum(ndimage.distance_transform_edt(np.pad(wanted == name, 1))[1:-1, 1:-1], 8)
    steps = [(y, x) for y in (-STEP, 0, STEP) for x in (-STEP, 0, STEP) if y or x]
    line, been = np.zeros(wanted.shape, bool), np.zeros(wanted.shape, bool)
    for _ in range(LENGTH // STEP):
        y, x = place
        been[max(0, y - STEP + 1) : y + STEP, max(0, x - STEP + 1) : x + STEP] = True
        near = [place + step for step in steps]
        near = [p for p in near if (p >= 0).all() and (p < wanted.shape).all() and not been[tuple(p)]]
        best = max(near, key=lambda p: room[tuple(p)], default=None)
        if best is None or room[tuple(best)] < 1:
            break
        for share in np.linspace(0, 1, 2 * STEP):
            line[tuple(np.round(place * (1 - share) + best * share).astype(int))] = True
        place = best
    line[tuple(place)] = True
    line = ndimage.binary_dilation(line) & (wanted == name)
    scribbles[line] = name + 1


def scribble(wanted: np.ndarray, classes: int, predict: Predict) -> dict[int, float]:
    """Draw strokes and score what is predicted after some of them."""
    scribbles, found, scores = np.zeros(wanted.shape, np.uint8), np.full(wanted.shape, -1), {}
    for number in range(1, max(MARKS) + 1):
        add_stroke(scribbles, wanted, found, (number - 1) % classes)
        painted = np.unique(scribbles[scribbles > 0])
        found = predict(scribbles) if len(painted) > 1 else np.full(wanted.shape, int(painted[0]) - 1)
        if number in MARKS:
            scores[number] = float(np.mean(class_scores(wanted.astype(np.uint8), found.astype(np.uint8), classes).dice))
    return scores


def live_predictor(image: Image, with_network: bool) -> tuple[Predict, Spent]:
    """SegLoop's own; without the network it knows the filters only."""
    live = LivePrediction(load_model(MODEL), image)
    rows, columns = image.spatial_shape()
    view = View(0, slice(0, rows), slice(0, columns), (rows / 2, columns / 2))
    start = time.process_time()
    drain(live.refresh_events(Points.none(), view))
    spent = Spent(time.process_time() - start, [])
    if not with_network:
        width = load_model(MODEL).spec.architecture["base_channels"]
        live._weights = torch.ones(len(next(iter(live.shelf._kept.values())).fine) - width)
        for key in list(live.shelf._kept):
            known = live.shelf.get(key)
            live.shelf.put(key, Description(known.fine[width:], known.coarse[:0], known.window, known.filters))

    def predict(scribbles: np.ndarray) -> np.ndarray:
        found = np.zeros(scribbles.shape, int)

        def draw(event: object) -> None:
            if isinstance(event, LabelsDone):
                found[event.rows, event.columns] = event.labels.astype(int) - 1

        start = time.process_time()
        drain(live.refresh_events(Points.of(scribbles), view), draw)
        spent.strokes.append(time.process_time() - start)
        return found

    return predict, spent


def forest_predictor(image: Image, _: bool) -> tuple[Predict, Spent]:
    """A random forest on classic filters."""
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    start = time.process_time()
    pixels = np.asarray(image.data, np.float32) / 255
    known = multiscale_basic_features(pixels, sigma_min=1, sigma_max=16)
    spent = Spent(time.process_time() - start, [])

    def predict(scribbles: np.ndarray) -> np.ndarray:
        start = time.process_time()
        painted = scribbles > 0
        forest = RandomForestClassifier(100, max_depth=10, n_jobs=1, random_state=0)
        forest.fit(known[painted], scribbles[painted])
        found = forest.predict(known.reshape(-1, known.shape[-1])).reshape(scribbles.shape).astype(int) - 1
        spent.strokes.append(time.process_time() - start)
        return found

    return predict, spent


def score(data: Path, side: int, with_peer: bool) -> str:
    """Score all methods on all fields."""
    methods = [("SegLoop", live_predictor, True), ("SegLoop, filters only", live_predictor, False)]
    if with_peer:
        methods.append(("random forest", forest_predictor, True))
    rows = []
    for field in FIELDS:
        for title, make, with_network in methods:
            scores, once, strokes = [], [], []
            for name in field.names:
                item = read_image(data / field.folder, name)
                image = Image(np.ascontiguousarray(np.asarray(item.image.data)[:side, :side]), "YX")
                wanted = field.classed(np.asarray(item.reference)[:side, :side].astype(int))
                predict, spent = make(image, with_network)
                scores.append(scribble(wanted, len(field.classes), predict))
                once.append(spent.once)
                strokes.append(spent.strokes[-1])
                print(field.folder, name, title, scores[-1], file=sys.stderr)
            means = [f"{statistics.mean(one[mark] for one in scores):.2f}" for mark in MARKS]
            times = [f"{statistics.mean(once):.1f}", f"{statistics.mean(strokes):.2f}"]
            rows.append([field.folder, title, *means, *times])
    head = ["images", "method", *(f"{mark} stroke{'s' * (mark > 1)}" for mark in MARKS), "s, once", "s per stroke"]
    return table(head, rows)


def measure_window(data: Path, strokes: int) -> str:
    """Draw strokes by the mouse in a real window."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["SEGLOOP_HOME"] = home
        from scribbling_window import draw_strokes

        field = FIELDS[0]
        item = read_image(data / field.folder, field.names[0])
        pixels = np.pad(np.asarray(item.image.data), ((0, 1024), (0, 1024)), mode="symmetric")
        wanted = np.pad(field.classed(np.asarray(item.reference).astype(int)), ((0, 1024), (0, 1024)), mode="symmetric")
        measured = draw_strokes(pixels, wanted, field.classes, strokes)
    refreshed = [one.refreshed for one in measured.strokes]
    stalls = [one.stall for one in measured.strokes]
    used = [one.cpu for one in measured.strokes]
    rows = [
        ["looking at the place, once", f"{measured.opened:.2f}", ""],
        ["stroke to prediction", f"{statistics.median(refreshed):.2f}", f"{max(refreshed):.2f}"],
        ["first part of it", f"{statistics.median(one.first for one in measured.strokes):.2f}", ""],
        ["of the processor, from stroke to prediction", f"{statistics.median(used):.2f}", f"{max(used):.2f}"],
        ["moved to another place", f"{measured.moved:.2f}", ""],
        ["window does not answer", f"{statistics.median(stalls):.3f}", f"{max(stalls):.3f}"],
    ]
    shown = f"{measured.shown[0]} × {measured.shown[1]} pixels on the screen, {len(refreshed)} strokes.\n\n"
    return shown + table(["seconds", "median", "longest"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--window", action="store_true")
    parser.add_argument("--strokes", type=int, default=12)
    options = parser.parse_args(arguments)
    if options.window:
        print(machine_line(machine(torch.get_num_threads())))
        print(measure_window(options.data, options.strokes))
        return
    torch.set_num_threads(1)
    print(machine_line(machine(1)))
    with_peer = not options.without_peer
    if with_peer:
        try:
            import sklearn  # noqa: F401
        except ImportError:
            print("scikit-learn is not installed: no random forest.\n")
            with_peer = False
    print(score(options.data, options.side, with_peer))


if __name__ == "__main__":
    main()
