"""How much work it is to put a model's labels right: with napari's tools alone, and with SegLoop's beside them.

    python benchmarks/annotator.py --data DATA --set nuclei:nuclei-maskrcnn --set worms_bbbc010:MODEL

A scripted annotator, who knows the reference, corrects what a model made of images that it was not trained on, until
each object of the reference has a label of IoU 0.8 (``--iou``) and there is no other label. For each object that is
not right yet it tries all ways it knows (``annotating.py``) with the real functions of SegLoop's core on the real
candidates and features, and takes the one with the fewest actions (of those, the quickest; with ``--spare seconds``
the quickest). It may use napari's tools in both cases. What it will draw anew is deleted first; objects that the same
tool puts right are done one after another.

An action is a key, a click, or a stroke with the button held (a polygon: one for each corner, one to end). Changing
the tool is a key. Seconds are those of the keystroke-level model (``keystrokes.py``). Looking for what is wrong
takes as long in both cases and is not counted. The hand is perfect, which is in favour of napari's tools: a contour
is one stroke, however winding; only boxes are drawn with an error.

With SegLoop's tools the sliders are moved first, each to where fewest objects are wrong, if that spares more than the
one stroke that it takes.

Objects of the reference of less than ``SMALLEST`` pixels are left out, of both sides. A set is FOLDER:MODEL, see
``review_order.py``.

Columns: objects of the reference; not right, those without a label of the IoU asked for; extra, labels without an
object; actions and seconds per object that is not right; movements, actions in which a stroke counts once for each
straight centimetre; share, of what napari's tools alone take; left, objects and labels that are wrong still.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np
from annotating import (
    WINDOW,
    Assistance,
    Task,
    Tool,
    Trial,
    centimeters_per_pixel,
    napari_trials,
    segloop_trials,
)
from keystrokes import CLICK, KEY, Gesture, drag, key
from reviewing import Corrected, read_set, segment_set
from scipy import ndimage

import segloop
from segloop.candidates import Candidates
from segloop.live_labels import LiveLabels, Thresholds
from segloop.matching import Overlaps
from segloop.object_size import smallest_area
from segloop.prompting import Prompter
from segloop.settings import AUTO

SMALLEST = 20
"""Pixels."""

ROUNDS = 3
"""How often all objects are gone through: putting one right may spoil its neighbour."""

SLIDERS: dict[str, tuple[float, ...]] = {
    "score": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "min_area": (8, 16, 32, 64, 128, 256, 512),
    "overlap": (0.2, 0.3, 0.4, 0.5, 0.6),
    "outline": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
}
"""Where the annotator tries them."""


class Goal(Enum):
    """What the annotator spares first."""

    ACTIONS = "actions"
    SECONDS = "seconds"


Ways = Callable[[Task, Trial], Iterator[Trial]]


@dataclass
class Work:
    """What was done for one image."""

    objects: int = 0
    missed: int = 0
    extra: int = 0
    left: int = 0
    gestures: list[Gesture] = field(default_factory=list)

    @property
    def actions(self) -> int:
        return sum(gesture.actions for gesture in self.gestures)

    @property
    def movements(self) -> int:
        return sum(gesture.movements for gesture in self.gestures)

    @property
    def seconds(self) -> float:
        return sum(gesture.seconds for gesture in self.gestures)


def wrong_ones(reference: np.ndarray, labels: np.ndarray, enough: float) -> tuple[list[int], list[int]]:
    """Objects of the reference that are not right, and labels that are no object."""
    matching = Overlaps.of(reference, labels).match(enough)
    return matching.missed.astype(int).tolist(), matching.extra.astype(int).tolist()


def correct(
    reference: np.ndarray,
    labels: np.ndarray,
    enough: float,
    ways: Ways,
    deleting: tuple[Tool, Sequence[Gesture]],
    goal: Goal = Goal.ACTIONS,
) -> Work:
    """Put everything right.

    Parameters
    ----------
    reference, labels : int64 (Y, X)
        ``labels`` are changed.
    enough : float
        IoU from which on an object is right.
    ways : callable
        Gives the trials for a task.
    deleting : (Tool, gestures)
        The tool that deletes an object by a click, and what is to be done once before.
    goal : Goal
    """
    missed, extra = wrong_ones(reference, labels, enough)
    work = Work(int(len(np.unique(reference)) - 1), len(missed), len(extra))
    tool, scale = Tool.CAMERA, centimeters_per_pixel(reference)
    boxes = ndimage.find_objects(reference)
    for _ in range(ROUNDS):
        tool = delete(labels, nowhere(reference, labels, extra), tool, deleting, work)
        planned = {
            number: best_way(reference, labels, number, boxes, scale, enough, ways, None, goal) for number in missed
        }
        # what is to be drawn anew is deleted first, all with one tool
        doomed = {label for _, trial in planned.values() if trial is not None for label in trial.deleted}
        tool = delete(labels, sorted(doomed), tool, deleting, work)
        order = {number: trial.tools[-1].value for number, (_, trial) in planned.items() if trial is not None}
        for number in sorted(order, key=lambda number: (order[number], number)):
            window, best = best_way(reference, labels, number, boxes, scale, enough, ways, tool, goal)
            if best is not None:
                labels[window], tool = best.labels, best.tool
                work.gestures += best.gestures
        missed, extra = wrong_ones(reference, labels, enough)
        tool = delete(labels, extra, tool, deleting, work)
        if not missed:
            break
    missed, extra = wrong_ones(reference, labels, enough)
    work.left = len(missed) + len(extra)
    return work


def best_way(
    reference: np.ndarray,
    labels: np.ndarray,
    number: int,
    boxes: Sequence[tuple[slice, slice]],
    scale: float,
    enough: float,
    ways: Ways,
    tool: Tool | None,
    goal: Goal,
) -> tuple[tuple[slice, slice], Trial | None]:
    """The best way to put an object right, and its window; None if it is right, or nothing helps.

    With ``tool`` None, each way has its first tool in hand already.
    """
    window, task = task_of(reference, labels, number, boxes[number - 1], scale, enough)
    start = Trial(labels[window].copy(), Tool.CAMERA if tool is None else tool)
    if task.done(start.labels):
        return window, None
    fitting = [trial for trial in ways(task, start) if task.done(trial.labels) and spares(task, start, trial)]

    def cost(trial: Trial) -> tuple[float, float]:
        given = tool is None and trial.tools[0] is not Tool.CAMERA
        both = (trial.actions - given, trial.seconds - given * KEY)
        return both if goal is Goal.ACTIONS else both[::-1]

    return window, min(fitting, key=cost, default=None)


def nowhere(reference: np.ndarray, labels: np.ndarray, extra: list[int]) -> list[int]:
    """Labels of which next to nothing lies in an object of the reference: they only get in the way."""
    inside = np.bincount(labels[reference > 0], minlength=int(labels.max()) + 1)
    areas = np.bincount(labels.ravel(), minlength=len(inside))
    return [number for number in extra if inside[number] < 0.2 * areas[number]]


def delete(
    labels: np.ndarray, numbers: list[int], tool: Tool, deleting: tuple[Tool, Sequence[Gesture]], work: Work
) -> Tool:
    """Delete labels, one after another; returns the tool in the hand afterwards."""
    if not numbers:
        return tool
    own, before = deleting
    if tool is not own:
        work.gestures += [key(own.name.lower()), *before]
    for number in numbers:
        work.gestures.append(CLICK)
        labels[labels == number] = 0
    return own


def spares(task: Task, before: Trial, after: Trial) -> bool:
    """Whether no other object that was right is wrong now."""
    for other in np.unique(task.others[before.labels != after.labels]).tolist():
        mask = task.others == other
        if not other or (mask & task.inside).any():
            continue
        if _is_right(mask, before.labels, task.enough) and not _is_right(mask, after.labels, task.enough):
            return False
    return True


def _is_right(mask: np.ndarray, labels: np.ndarray, enough: float) -> bool:
    best = int(np.bincount(labels[mask]).argmax())
    own = labels == best
    return best > 0 and np.count_nonzero(own & mask) >= enough * np.count_nonzero(own | mask)


def task_of(
    reference: np.ndarray, labels: np.ndarray, number: int, box: tuple[slice, slice], scale: float, enough: float
) -> tuple[tuple[slice, slice], Task]:
    """What there is to do for one object, and the window in which it is done."""
    near = np.unique(labels[box][reference[box] == number])
    near = near[near > 0]
    low = np.array([side.start for side in box])
    high = np.array([side.stop for side in box])
    for label in near.tolist():
        places = np.argwhere(labels == label)
        low, high = np.minimum(low, places.min(axis=0)), np.maximum(high, places.max(axis=0) + 1)
    low, high = np.maximum(low - WINDOW, 0), np.minimum(high + WINDOW, labels.shape)
    window = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
    others, shown = reference[window], labels[window]
    inside = others == number
    own, covering, pieces = 0, 0, []
    shares = {int(label): int(np.count_nonzero(inside & (shown == label))) for label in near}
    for label in sorted(shares, key=lambda label: -shares[label]):
        under = np.bincount(others[(shown == label) & (others > 0)])
        if under.argmax() == number:
            if not own:
                own = label
            elif shares[label] > np.count_nonzero(shown == label) / 2:
                pieces.append(label)
        elif not covering and shares[label] > np.count_nonzero(inside) / 2:
            covering = label
    task = Task(
        inside, others, own, tuple(pieces), covering, int(labels.max()) + 1, (int(low[0]), int(low[1])), scale, enough
    )
    return window, task


def by_napari(item: Corrected, enough: float, goal: Goal) -> Work:
    """Correct an image with napari's tools alone."""
    return correct(item.reference, item.labels.copy(), enough, napari_trials, (Tool.BUCKET, [key("background")]), goal)


def by_segloop(item: Corrected, enough: float, model: object, goal: Goal) -> Work:
    """Correct an image with all tools."""
    assert isinstance(item.found, Candidates)
    settings = segloop.SegmentSettings()
    score = model.spec.score_threshold if settings.score is AUTO else settings.score  # type: ignore[attr-defined]
    labels, slider = item.labels.copy(), []
    spec = model.spec  # type: ignore[attr-defined]
    least = smallest_area(spec.object_size, spec.zoom) if settings.min_area is AUTO else settings.min_area
    now = Thresholds(score, settings.overlap, least)
    fewest = sum(map(len, wrong_ones(item.reference, labels, enough)))
    for name, places in SLIDERS.items():
        tried = []
        for place in places:
            moved = replace(now, **{name: place})
            found = item.found.outlined(moved.outline)
            drawn = found.paste(moved.score, moved.overlap, moved.min_area)[0][0].astype(np.int64)
            tried.append((sum(map(len, wrong_ones(item.reference, drawn, enough))), place, moved, drawn))
        wrong, _, moved, drawn = min(tried, key=lambda trial: trial[:2])
        # moving it is an action itself
        if wrong < fewest - 1:
            fewest, now, labels = wrong, moved, drawn
            slider.append(drag(f"slider {name}"))
    live = LiveLabels(item.found.outlined(now.outline), replace(now, outline=0.5))
    prompter = Prompter(model, item.image, settings)  # type: ignore[arg-type]
    help = Assistance(live, prompter, np.random.default_rng(0), now.outline, labels.copy())

    def ways(task: Task, start: Trial) -> Iterator[Trial]:
        yield from segloop_trials(task, start, help)
        yield from napari_trials(task, start)

    work = correct(item.reference, labels, enough, ways, (Tool.ACCEPT, []), goal)
    # sliders are where the run was begun; the tools are in the next tab
    work.gestures = [*slider, *([CLICK] if slider or work.gestures else []), *work.gestures]
    return work


def without_specks(reference: np.ndarray) -> np.ndarray:
    """The reference without objects that are too small, numbered anew."""
    areas = np.bincount(reference.ravel())
    kept = areas >= SMALLEST
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return numbers[reference]


def main() -> None:
    """Annotate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", action="append", required=True, metavar="FOLDER:MODEL", dest="sets")
    parser.add_argument("--skip", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only")
    parser.add_argument("--iou", type=float, default=0.8)
    parser.add_argument("--spare", choices=[goal.value for goal in Goal], default=Goal.ACTIONS.value)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    goal = Goal(options.spare)
    rows = []
    for folder, name in (pair.split(":") for pair in options.sets):
        model = segloop.load_model(name)
        images = read_set(options.data, folder, options.skip)[:: options.every]
        works: dict[str, list[Work]] = {"napari": [], "SegLoop": []}
        begun = time.perf_counter()
        for item in segment_set(images, name):
            item = Corrected(item.name, item.image, without_specks(item.reference), item.labels, item.found)
            works["napari"].append(by_napari(item, options.iou, goal))
            works["SegLoop"].append(by_segloop(item, options.iou, model, goal))
            print(f"{folder} {item.name}", *(w[-1].actions for w in works.values()), file=sys.stderr)
        print(f"{folder}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        missed = sum(work.missed for work in works["napari"])
        actions = {tools: sum(work.actions for work in done) for tools, done in works.items()}
        movements = {tools: sum(work.movements for work in done) for tools, done in works.items()}
        seconds = {tools: sum(work.seconds for work in done) for tools, done in works.items()}
        for tools, done in works.items():
            kinds = Counter(gesture.name for work in done for gesture in work.gestures if gesture.actions)
            rows.append(
                {
                    "images of": folder,
                    "model": name,
                    "images": len(images),
                    "objects": sum(work.objects for work in done),
                    "not right": missed,
                    "extra": sum(work.extra for work in works["napari"]),
                    "tools": tools,
                    "actions": actions[tools],
                    "per object": actions[tools] / max(1, missed),
                    "s per object": seconds[tools] / max(1, missed),
                    "movements": movements[tools],
                    "actions, share": actions[tools] / max(1, actions["napari"]),
                    "movements, share": movements[tools] / max(1, movements["napari"]),
                    "time, share": seconds[tools] / max(1e-9, seconds["napari"]),
                    "left": sum(work.left for work in done),
                    "gestures": dict(kinds.most_common()),
                }
            )
    names = [name for name in rows[0] if name != "gestures"]
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        values = [row[name] for name in names]
        print("| " + " | ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in values) + " |")
    if options.json:
        options.json.write_text(json.dumps({"iou": options.iou, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
