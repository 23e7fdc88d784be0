"""What the box tool does in a worker's thread: load a model, and look at a part of an image."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from segloop._napari.layers import copied
from segloop.events import Event, Notice
from segloop.image import Image

if TYPE_CHECKING:
    from segloop.prompting import Prompter
    from segloop.segmentation import SegmentSettings

MOST_TILES = 64
"""Looked at at once; what lies farther from the middle waits until a box is drawn there."""

MIDDLE_ONLY = "The model looks at the middle of what is on screen, and elsewhere once you draw there …"


def look(
    prompter: Prompter | None,
    model: Path,
    image: Image,
    settings: SegmentSettings,
    plane: int,
    region: tuple[slice, slice],
) -> Generator[Event, None, Prompter]:
    """Look at a region of a plane; what was looked at before is kept.

    Parameters
    ----------
    prompter : Prompter or None
        Of the same model and image; None makes one. Nobody else may use it meanwhile.
    model : Path
    image : Image
        Its pixels are the layer's own; they are copied at once.
    settings : SegmentSettings
    plane : int
        Counted over all axes of the label image but Y and X.
    region : (slice, slice)
        Rows and columns.
    """
    from segloop.prompting import Prompter
    from segloop.store import load_model

    if prompter is None:
        image = copied(image)
        prompter = Prompter(load_model(model, settings.device), image, settings)
    if sum(scale == 0 for scale, _ in prompter.missing(plane, region)) > MOST_TILES:
        yield Notice(MIDDLE_ONLY)
    yield from prompter.prepare(plane, region, MOST_TILES)
    return prompter
