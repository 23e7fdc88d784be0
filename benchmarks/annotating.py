"""A scripted annotator's sheet, and the ways in which it puts one object right: with napari's tools, or SegLoop's.

Its hand is perfect: a stroke of brush or eraser covers exactly the pixels that it should. Only boxes are drawn with an
error (``SLIP``), because what the model makes of a box depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from keystrokes import CLICK, OBJECT, drag, key, polygon, stroke
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.measure import approximate_polygon, find_contours
from trial import Tool, Trial

from segloop.catalog import Mask
from segloop.editing.outlining import claim, fill_outline
from segloop.editing.shapes import MARGIN, grow, shrink, smooth
from segloop.editing.splitting import split_by_line
from segloop.errors import PromptError
from segloop.live_labels import LiveLabels
from segloop.prompting import Prompter

SLIP = 0.04
"""Standard deviation of each side of a box drawn by hand, in sides of the box."""

PRESSES = 4
"""Most times that a key is pressed to grow or shrink an object."""

STROKES = 6
"""Most strokes for the outline of one object."""

SPECK = 4
"""Pixels: what a stroke leaves or takes too much of is ignored below."""


@dataclass(frozen=True, eq=False)
class Task:
    """One object of the reference that is to be put right.

    Parameters
    ----------
    inside : bool (rows, columns)
        Its pixels in the window.
    others : integers (rows, columns)
        The reference in the window.
    own : int
        Its label; 0 if there is none.
    pieces : tuple of int
        Further labels that lie mostly in it.
    covering : int
        The label of another object that covers most of it; 0 if there is none.
    free : int
        A number that is not in use.
    corner : (int, int)
        First row and column of the window.
    scale : float
        Centimetres per pixel.
    enough : float
        IoU with the reference from which on an object is right.
    """

    inside: np.ndarray
    others: np.ndarray
    own: int
    pieces: tuple[int, ...]
    covering: int
    free: int
    corner: tuple[int, int]
    scale: float
    enough: float

    def iou(self, labels: np.ndarray, number: int) -> float:
        mask = labels == number
        return float(np.count_nonzero(mask & self.inside) / max(1, np.count_nonzero(mask | self.inside)))

    def done(self, labels: np.ndarray) -> bool:
        """Whether some label is the object."""
        under, counts = np.unique(labels[self.inside], return_counts=True)
        best = under[counts.argmax()]
        return best != 0 and self.iou(labels, int(best)) >= self.enough

    @property
    def middle(self) -> tuple[int, int]:
        """The pixel deepest inside, in the window."""
        depth = ndimage.distance_transform_edt(np.pad(self.inside, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        return int(row), int(column)


# napari's own tools


def napari_trials(task: Task, start: Trial) -> Iterator[Trial]:
    """All ways to put an object right with brush, eraser, bucket and polygon that this annotator knows."""
    if task.own:
        picked = start.copy()
        picked.do(CLICK, Tool.PICKER)
        yield from retouched(task, start.copy(), task.own, picked=False)
        if task.pieces:
            joined = picked.copy()
            for piece in task.pieces:
                joined.do(CLICK, Tool.BUCKET)
                joined.labels[joined.labels == piece] = task.own
            yield from retouched(task, joined, task.own, picked=True)
        yield from drawn(task, picked, task.own)
    emptied = start.copy()
    doomed = [number for number in (task.own, *task.pieces) if number]
    if doomed:
        emptied.do(key("background"))
        for number in doomed:
            emptied.delete(number, Tool.BUCKET)
    emptied.do(key("next free number"))
    yield from drawn(task, emptied, task.free)
    if task.covering:
        yield from erased_apart(task, start.copy())


def retouched(task: Task, trial: Trial, number: int, picked: bool) -> Iterator[Trial]:
    """Strokes of brush and eraser, the largest gain first, until the outline will do."""
    for _ in range(STROKES + 1):
        if task.iou(trial.labels, number) >= task.enough:
            yield trial
            return
        mask = trial.labels == number
        lacking, excess = task.inside & ~mask, mask & ~task.inside
        (gain, lack), (loss, more) = largest(lacking), largest(excess)
        if max(gain, loss) < SPECK:
            return
        if gain >= loss:
            if not picked:
                trial.do(CLICK, Tool.PICKER)
                picked = True
            trial.do(stroke("brush", length(lack) * task.scale), Tool.BRUSH)
            trial.labels[lack] = number
        else:
            trial.do(stroke("eraser", length(more) * task.scale), Tool.ERASER)
            trial.labels[more] = 0


def drawn(task: Task, start: Trial, number: int) -> Iterator[Trial]:
    """The whole object anew: by a polygon, or by a stroke around it and the bucket; what sticks out is erased."""
    outline = outlines(task.inside)
    around = perimeter(outline) * task.scale
    # the coarsest polygon that will do by itself
    for tolerance in (6, 4, 3, 2, 1.5, 1, 0.5):
        corners = approximate_polygon(outline, tolerance)
        mask = polygon2mask(task.inside.shape, corners - 1)
        if np.count_nonzero(mask & task.inside) >= task.enough * np.count_nonzero(mask | task.inside):
            trial = start.copy()
            trial.do(polygon(len(corners) - 1, perimeter(corners) * task.scale), Tool.POLYGON)
            trial.labels[mask] = number
            yield from retouched(task, trial, number, picked=True)
            break
    trial = start.copy()
    trial.do(stroke("brush", around), Tool.BRUSH)
    trial.do(CLICK, Tool.BUCKET)
    trial.labels[task.inside] = number
    yield from retouched(task, trial, number, picked=True)


def erased_apart(task: Task, trial: Trial) -> Iterator[Trial]:
    """The eraser drawn between two objects in one, a new number, the bucket on one side."""
    mask = trial.labels == task.covering
    line = between(task, mask)
    if line is None:
        return
    parts = split_by_line(mask, line)
    if parts.max() < 2:
        return
    trial.do(stroke("eraser", float(np.hypot(*(line[1] - line[0]))) * task.scale), Tool.ERASER)
    trial.do(key("next free number"))
    trial.do(CLICK, Tool.BUCKET)
    trial.labels[parts == side_of(task, parts)] = task.free
    yield from retouched(task, trial, task.free, picked=True)


# SegLoop's tools


@dataclass(frozen=True, eq=False)
class Assistance:
    """What the model offers for one image: its hidden candidates, and boxes filled.

    ``outline`` is where its slider stands, and ``drawn``, integers (Y, X), what the sliders show.
    """

    live: LiveLabels
    prompter: Prompter
    rng: np.random.Generator
    outline: float
    drawn: np.ndarray


def segloop_trials(task: Task, start: Trial, help: Assistance) -> Iterator[Trial]:
    """All ways to put an object right with SegLoop's tools that this annotator knows."""
    doomed = [number for number in (task.own, *task.pieces) if number]
    yield from outlined(task, start, help)
    # objects of the model that lie mostly under what is added make way for it
    yield from offered(task, start, help)
    if doomed:
        cleared = start.copy()
        for number in doomed:
            cleared.delete(number, Tool.ACCEPT)
        yield from offered(task, cleared, help)
    if task.own:
        for change in (grow, shrink, smooth):
            yield from reshaped(task, start.copy(), change)
    if task.own and task.pieces:
        joined = start.copy()
        joined.do(CLICK, Tool.MERGE)
        for piece in task.pieces:
            joined.do(CLICK)
            joined.labels[joined.labels == piece] = task.own
        yield joined
        for change in (grow, shrink, smooth):
            yield from reshaped(task, joined.copy(), change, selected=True)
    if task.covering:
        yield from cut_apart(task, start.copy())
        freed = start.copy()
        for number in (*doomed, task.covering):
            freed.delete(number, Tool.ACCEPT)
        yield from offered(task, freed, help)


def offered(task: Task, start: Trial, help: Assistance) -> Iterator[Trial]:
    """A hidden candidate accepted, a click filled, a box filled."""
    row, column = task.middle
    place = (row + task.corner[0], column + task.corner[1])
    hidden = help.live.hidden_at(0, *place)
    if hidden is not None and not start.labels[row, column]:
        trial = start.copy()
        trial.do(CLICK, Tool.ACCEPT)
        added(task, trial, help.live.catalog.mask(hidden), help)
        yield from retouched(task, trial, task.free, picked=True)
    trial = start.copy()
    trial.do(CLICK, Tool.BOX)
    added(task, trial, help.prompter.fill_at(0, *place, help.outline)[0], help)
    yield from retouched(task, trial, task.free, picked=True)
    rows, columns = np.flatnonzero(task.inside.any(axis=1)), np.flatnonzero(task.inside.any(axis=0))
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1] + 1, rows[-1] + 1])
    slip = help.rng.normal(0, SLIP, 4) * np.tile(high - low, 2)
    box = np.concatenate([low, high]) + slip + np.tile(task.corner[::-1], 2)
    trial = start.copy()
    trial.do(drag("box"), Tool.BOX)
    try:
        added(task, trial, help.prompter.fill(0, box, 1, help.outline), help)
    except PromptError:
        return
    for change in (grow, shrink):
        yield from reshaped(task, trial.copy(), change, selected=True, number=task.free)
    # what was added is selected
    yield from retouched(task, trial, task.free, picked=True)


def outlined(task: Task, start: Trial, help: Assistance) -> Iterator[Trial]:
    """The whole object anew, by a stroke around it."""
    trial = start.copy()
    line = outlines(task.inside)
    trial.do(stroke("outline", perimeter(line) * task.scale), Tool.OUTLINE)
    rows, columns, inside = fill_outline(line - 1, trial.labels.shape)
    block = trial.labels[rows, columns]
    under = np.unique(block[inside]).tolist()
    areas = {number: int(np.count_nonzero(trial.labels == number)) for number in under}
    drawn = help.drawn[task.corner[0] :, task.corner[1] :][: trial.labels.shape[0], : trial.labels.shape[1]]
    edited = [number for number in under if not np.array_equal(trial.labels == number, drawn == number)]
    found = claim(inside, block, areas, edited)
    trial.labels[np.isin(trial.labels, found.replaced)] = 0
    block[found.taken] = found.number or task.free
    yield from retouched(task, trial, found.number or task.free, picked=True)


def added(task: Task, trial: Trial, mask: Mask, help: Assistance) -> None:
    """Put what the model found into the window, as the window of SegLoop does.

    It takes the background, and the place of untouched objects of the model of which more than half lies in it.
    """
    top, left = mask.area.rows.start - task.corner[0], mask.area.columns.start - task.corner[1]
    rows, columns = np.nonzero(mask.inside)
    rows, columns = rows + top, columns + left
    height, width = trial.labels.shape
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    new = np.zeros(trial.labels.shape, bool)
    new[rows[within], columns[within]] = True
    drawn = help.drawn[task.corner[0] :, task.corner[1] :][:height, :width]
    for other in np.unique(trial.labels[new]).tolist():
        own = trial.labels == other
        untouched = np.array_equal(own, drawn == other)
        if untouched and np.count_nonzero(own & new) > np.count_nonzero(own) / 2:
            trial.labels[own] = 0
    trial.labels[new & (trial.labels == 0)] = task.free


def reshaped(task: Task, trial: Trial, change: object, selected: bool = False, number: int = 0) -> Iterator[Trial]:
    """The object selected, and a key pressed as often as it helps."""
    number = number or task.own
    if not selected:
        trial.do(CLICK, Tool.CAMERA)
    for _ in range(PRESSES):
        done = change(trial.labels, number)  # type: ignore[operator]
        trial.do(key(change.__name__))  # type: ignore[attr-defined]
        trial.labels[done.joins] = number
        trial.labels[done.leaves] = 0
        if task.done(trial.labels):
            yield trial
            return


def cut_apart(task: Task, trial: Trial) -> Iterator[Trial]:
    """A line drawn between two objects in one."""
    mask = trial.labels == task.covering
    line = between(task, mask)
    if line is None:
        return
    parts = split_by_line(mask, line)
    if parts.max() < 2:
        return
    trial.do(stroke("cut", float(np.hypot(*(line[1] - line[0]))) * task.scale), Tool.CUT)
    trial.labels[parts == side_of(task, parts)] = task.free
    yield trial


# shapes


def between(task: Task, mask: np.ndarray) -> np.ndarray | None:
    """A straight line across a mask, midway between this object's share of it and the rest: float (2, 2)."""
    ours, theirs = np.argwhere(mask & task.inside), np.argwhere(mask & (task.others > 0) & ~task.inside)
    if not len(ours) or not len(theirs):
        return None
    a, b = ours.mean(axis=0), theirs.mean(axis=0)
    apart = float(np.hypot(*(b - a)))
    if not apart:
        return None
    across = np.array([-(b - a)[1], (b - a)[0]]) / apart
    # where the two shares meet, seen along the line that joins their middles
    along = (b - a) / apart
    edge = (float(((ours - a) @ along).max()) + float(((theirs - a) @ along).min())) / 2
    middle = a + along * edge
    reach = np.abs((np.argwhere(mask) - middle) @ across).max() + 2
    return np.array([middle - across * reach, middle + across * reach])


def side_of(task: Task, parts: np.ndarray) -> int:
    """The part that holds most of the object."""
    return int(np.bincount(parts[task.inside & (parts > 0)]).argmax()) if (parts[task.inside] > 0).any() else 1


def largest(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """The largest piece of a mask, and its pixels."""
    pieces, count = ndimage.label(mask)
    if not count:
        return 0, mask
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    return int(areas.max()), pieces == areas.argmax()


def length(piece: np.ndarray) -> float:
    """How far a brush as wide as the piece is moved to cover it, in pixels."""
    width = 2 * ndimage.distance_transform_edt(np.pad(piece, 1)).max()
    return float(max(0.0, np.count_nonzero(piece) / width))


def outlines(mask: np.ndarray) -> np.ndarray:
    """The longest outline of a mask, float (N, 2), in pixels of the mask padded by one."""
    return max(find_contours(np.pad(mask, 1).astype(float), 0.5), key=len)


def perimeter(line: np.ndarray) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def centimeters_per_pixel(reference: np.ndarray) -> float:
    """So that a typical object of the reference is as large on the screen as is said."""
    areas = np.bincount(reference.ravel())[1:]
    return OBJECT / max(1.0, float(np.sqrt(np.median(areas[areas > 0]) * 4 / np.pi)))


WINDOW = MARGIN + 6
"""Pixels around the objects of a task that its window takes in."""
