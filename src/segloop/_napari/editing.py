"""Edits of a Labels layer that napari lacks. Each is one step of the layer's own undo, and reads and writes no more
than the boxes of the objects concerned.

Each takes the layer's ledger, which knows where the objects are, and a part of the layer to stay within: one plane of a
stack, or all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from napari.layers import Labels

from segloop._napari.features import Row
from segloop._napari.ledger import Ledger
from segloop.editing import shapes
from segloop.editing.changes import Box
from segloop.errors import LabelsError

ROOM = 3
"""How many times the pixels of single boxes a common box may hold."""

EVERYWHERE = None
"""Stay within nothing: the whole object, on all slices."""


@dataclass(frozen=True, eq=False)
class Paint:
    """Pixels that get a number.

    Parameters
    ----------
    box : tuple of slice
    mask : bool, the box's shape
    number : int
        0 for background.
    """

    box: Box
    mask: np.ndarray
    number: int


def paint(ledger: Ledger, paints: Iterable[Paint], rows: dict[int, Row] | None = None) -> int:
    """Paint, as one step of the layer's undo. Return how many pixels changed.

    The layer's option to preserve labels is for the brush; it does not hold here.

    Parameters
    ----------
    ledger : Ledger
        Of the layer.
    paints : iterable of Paint
    rows : dict, optional
        What the ledger is to know of objects after it, such as the class and score of a new one.

    Raises
    ------
    LabelsError
        If the layer cannot be written to, or holds no numbers so large; then nothing is changed.
    """
    paints = [part for part in paints if part.mask.any()]
    layer = ledger.layer
    if not paints:
        return 0
    check_writable(layer)
    make_room(ledger, max(part.number for part in paints))
    ledger.sync()
    ledger.expect(rows or {})
    try:
        with _painting_over(layer), layer.block_history():
            for part in paints:
                layer._paint_region_with_mask(part.box, part.mask, part.number, list(range(layer.ndim)), refresh=False)
    except Exception:
        ledger.expect({})
        _take_back(layer)
        raise
    layer._partial_labels_refresh()
    return sum(int(np.count_nonzero(part.mask)) for part in paints)


def check_writable(layer: Labels) -> None:
    """Raise an error if the layer's array cannot be written to.

    Raises
    ------
    LabelsError
    """
    flags = getattr(layer.data, "flags", None)
    closed = getattr(layer.data, "read_only", False) or (flags is not None and not flags.writeable)
    if closed or not layer.editable:
        raise LabelsError(
            f"the layer {layer.name!r} can only be read; duplicate it in the layer list and edit the copy"
        )


def next_free_label(ledger: Ledger) -> int:
    """Return the number for a new object: one above all in use. A layer in memory gets a wider type if it must.

    Raises
    ------
    LabelsError
        If the layer's type of pixels cannot hold it, and it cannot be widened.
    """
    ledger.finish()
    number = max(ledger.index.largest, 0) + 1
    if number > np.iinfo(ledger.layer.data.dtype).max and not isinstance(ledger.layer.data, np.ndarray):
        # numbers of objects that are gone are taken again only where there are no others
        number = ledger.index.smallest_free()
    make_room(ledger, number)
    return number


def free_number(ledger: Ledger) -> int:
    """Return a number that no object has, without changing the layer; 0 if its type of pixels holds none."""
    ledger.finish()
    number = max(ledger.index.largest, 0) + 1
    return number if number <= np.iinfo(ledger.layer.data.dtype).max else 0


def make_room(ledger: Ledger, number: int) -> None:
    """See to it that the layer can hold a number: an array in memory is turned into one of a wider type.

    What can be undone can still be undone after that.

    Raises
    ------
    LabelsError
        If the layer is not in memory, or no type of integers is wide enough.
    """
    layer = ledger.layer
    kind = np.dtype(layer.data.dtype)
    if number <= np.iinfo(kind).max:
        return
    if not isinstance(layer.data, np.ndarray):
        raise LabelsError(
            f"the layer {layer.name!r} holds numbers up to {np.iinfo(kind).max} ({kind.name}), and {number} is needed; "
            "it lies in a file: export it, and open what was exported, or convert it to uint32 in the layer list"
        )
    wider = [
        np.dtype(name) for name in (("int16", "int32", "int64") if kind.kind == "i" else ("uint16", "uint32", "uint64"))
    ]
    fitting = next((other for other in wider if number <= np.iinfo(other).max), None)
    if fitting is None:
        raise LabelsError(f"no type of integers holds the number {number}; renumber the layer {layer.name!r}")
    data = layer.data.astype(fitting)
    ledger.index.rebase(data)
    # napari keeps the history, whose values fit into the wider type as well
    layer.data = data


def delete_objects(ledger: Ledger, numbers: Sequence[int], within: Box | None = EVERYWHERE) -> int:
    """Turn objects into background. Return how many pixels changed.

    Raises
    ------
    LabelsError
        If one of them is not there.
    """
    return paint(ledger, [_whole(ledger, number, 0, within) for number in selected(numbers)])


def merge_objects(ledger: Ledger, keep: int, absorb: Sequence[int], within: Box | None = EVERYWHERE) -> int:
    """Give the pixels of other objects to the object ``keep``. Return how many.

    Raises
    ------
    LabelsError
        If one of them is not there, or there is none but ``keep``.
    """
    others = [number for number in selected(absorb) if number != keep]
    if not others:
        raise LabelsError(f"object {keep} cannot be merged with itself; click another object")
    selected([keep])
    ledger.index.read(keep)
    return paint(ledger, [_whole(ledger, number, keep, within) for number in others])


def reshape(
    ledger: Ledger,
    numbers: Sequence[int],
    reshaped: Callable[[np.ndarray, int], shapes.Reshaped],
    within: Box | None = EVERYWHERE,
) -> int:
    """Give objects another outline, by one of the functions of ``segloop.editing.shapes``. Return the pixels changed.

    Raises
    ------
    LabelsError
        If one of them is not there, or nothing would be left of it.
    """
    paints = []
    for number in selected(numbers):
        box, block = ledger.index.read(number, shapes.MARGIN, within)
        result = reshaped(block, number)
        if not ((block == number) & ~result.leaves).any():
            raise LabelsError(f"nothing would be left of object {number}; delete it if that is meant")
        paints += [Paint(box, result.leaves, 0), Paint(box, result.joins, number)]
    return paint(ledger, paints)


def delete_at_border(ledger: Ledger, within: Box | None = EVERYWHERE) -> int:
    """Delete all objects that touch the border of their plane. Return how many objects."""
    ledger.finish()
    layer = ledger.layer
    around = list(within or (slice(0, n) for n in layer.data.shape))
    numbers: dict[int, None] = {}
    for axis in (-2, -1):
        for edge in (slice(0, 1), slice(layer.data.shape[axis] - 1, layer.data.shape[axis])):
            strip = [*around]
            strip[axis] = edge
            values, first = np.unique(np.asarray(layer.data[tuple(strip)]), return_index=True)
            numbers |= dict.fromkeys(values[np.argsort(first)].tolist())
    numbers.pop(0, None)
    paints = []
    known = {number: ledger.index.box(number) for number in numbers}
    for box, group in _together({number: _clipped(box, around) for number, box in known.items() if box is not None}):
        block = np.asarray(layer.data[box])
        paints.append(Paint(box, np.isin(block, group), 0))
    paint(ledger, paints)
    return len(numbers)


def _together(boxes: dict[int, Box]) -> list[tuple[Box, list[int]]]:
    """Put neighbours into common boxes, as long as these are not much larger: a file is read and written in chunks."""
    groups: list[tuple[Box, list[int]]] = []
    for number, box in boxes.items():
        if groups:
            last, numbers = groups[-1]
            union = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(last, box))
            if _size(union) <= ROOM * (_size(last) + _size(box)):
                groups[-1] = (union, [*numbers, number])
                continue
        groups.append((box, [number]))
    return groups


def _size(box: Box) -> int:
    return math.prod(side.stop - side.start for side in box)


def _clipped(box: Box, around: Sequence[slice]) -> Box:
    return tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, around))


def plane_box(plane: tuple[int, ...], shape: Sequence[int]) -> Box:
    """The box of one whole plane."""
    return (*(slice(n, n + 1) for n in plane), slice(0, int(shape[-2])), slice(0, int(shape[-1])))


def _whole(ledger: Ledger, number: int, into: int, within: Box | None) -> Paint:
    box, block = ledger.index.read(number, within=within)
    return Paint(box, block == number, into)


def selected(numbers: Sequence[int]) -> list[int]:
    """Return the numbers that are objects.

    Raises
    ------
    LabelsError
        If there are none.
    """
    objects = [int(number) for number in numbers if number]
    if not objects:
        raise LabelsError("no object is selected; click one")
    return objects


def _take_back(layer: Labels) -> None:
    """Take back the steps of an edit that failed halfway: napari would add them to the next one."""
    try:
        layer._abort_stroke()
    except Exception:
        # the file cannot be written to now; the step can be undone when it can
        layer._commit_stroke()


@contextmanager
def _painting_over(layer: Labels) -> Iterator[None]:
    before, layer._preserve_labels = layer._preserve_labels, False
    try:
        yield
    finally:
        layer._preserve_labels = before


def existing(ledger: Ledger, numbers: Sequence[int]) -> list[int]:
    """Return the numbers that are objects of the layer.

    Raises
    ------
    LabelsError
        If there are none, or one is not there.
    """
    objects = selected(numbers)
    for number in objects:
        if number not in ledger.index:
            ledger.finish()
        if number not in ledger.index:
            raise LabelsError(f"there is no object {number}; click the one that is meant")
    return objects
