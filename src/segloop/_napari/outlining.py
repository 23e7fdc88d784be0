"""Drawing an object of a Labels layer by its outline, in one stroke."""

from __future__ import annotations

import numpy as np

from segloop._napari import editing
from segloop._napari.features import ObjectOrigin
from segloop._napari.ledger import Ledger
from segloop.editing.outlining import claim, fill_outline
from segloop.errors import LabelsError

VOUCHED = (ObjectOrigin.EDITED.value, ObjectOrigin.ADDED.value, ObjectOrigin.CONFIRMED.value)


def outline_object(ledger: Ledger, line: np.ndarray, plane: tuple[int, ...]) -> int:
    """Draw the object inside a closed line, as one step of undo. Return its number.

    An object that lies mostly inside keeps its number, and gets the outline. Objects that nobody vouched for make way.

    Parameters
    ----------
    line : float (N, 2)
        Y and X of its corners, in pixels.
    plane : tuple of int
        Index of the plane on which it was drawn.

    Raises
    ------
    LabelsError
        If it encloses nothing, or nothing that is free.
    """
    layer = ledger.layer
    within = editing.plane_box(plane, layer.data.shape)
    rows, columns, inside = fill_outline(line, layer.data.shape[-2:])
    if not inside.any():
        raise LabelsError("the line encloses nothing; draw it around an object")
    box = (*within[:-2], rows, columns)
    block = np.asarray(layer.data[box]).reshape(inside.shape)
    places = np.argwhere(inside) + np.array([rows.start, columns.start])
    wholes = {}
    for number in np.unique(block[inside]).tolist():
        if number:
            at = places[int(np.flatnonzero(block[inside] == number)[0])]
            ledger.notice(number, (*plane, *at.tolist()))
            own, whole = ledger.index.read(number, within=within)
            wholes[number] = own, whole == number
    areas = {number: int(np.count_nonzero(mask)) for number, (_, mask) in wholes.items()}
    vouched = [number for number in wholes if (ledger.row(number) or {}).get("origin") in VOUCHED]
    found = claim(inside, block, areas, vouched)
    if not found.taken.any():
        raise LabelsError("other objects that you vouched for are in the way; delete or merge them first")
    number = found.number or editing.next_free_label(ledger)
    paints = [editing.Paint(*wholes[other], 0) for other in found.replaced]
    paints.append(editing.Paint(box, found.taken.reshape([side.stop - side.start for side in box]), number))
    rows_after = {} if found.number else {number: {"origin": ObjectOrigin.ADDED.value}}
    editing.paint(ledger, paints, rows_after)
    return number
