"""What the jobs of scribbling do, in a worker's thread, with frozen copies only."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segloop._napari.layers import copied
from segloop._napari.loading import no_garbage_search
from segloop.events import Event
from segloop.image import Image

if TYPE_CHECKING:
    from segloop.corrections import Entry
    from segloop.scribbling import LivePrediction


def open_live(model: Path, image: Image) -> Generator[Event, None, LivePrediction]:
    """Load a model and prepare to predict an image; its pixels are the layer's own, and are copied first."""
    image = copied(image)
    with no_garbage_search():
        from segloop.models.device import Precision
        from segloop.scribbling import LivePrediction
        from segloop.store import load_model

    loaded = load_model(model)
    loaded.to(loaded.device, Precision.AUTO.resolve(loaded.device))
    return LivePrediction(loaded, image)
    yield


@dataclass(frozen=True, eq=False)
class Scribbled:
    """Scribbles on their way into a training set.

    Parameters
    ----------
    image : Image
        As the model sees it: one channel if one was chosen.
    scribbles : unsigned integers, ``image.label_shape``
        0 where nothing is painted, class + 1 elsewhere.
    classes : tuple of str
    source, model : str
    """

    image: Image
    scribbles: np.ndarray
    classes: tuple[str, ...]
    source: str
    model: str


def save_scribbles(folder: Path, scribbled: Scribbled) -> Generator[Event, None, Entry]:
    """Write scribbles into a training set: painted pixels are reviewed, all others are not."""
    from segloop.corrections import TrainingSet

    painted = scribbled.scribbles > 0
    labels = np.where(painted, scribbled.scribbles - painted, 0).astype(np.uint8)
    pixels = np.ascontiguousarray(scribbled.image.data)
    digest = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(pixels.data)
    return TrainingSet(folder, task="semantic", classes=scribbled.classes).add(
        scribbled.image,
        labels,
        painted,
        source=scribbled.source,
        model=scribbled.model,
        # beside what was corrected of the same image, not in its place
        key=f"scribbles:{digest.hexdigest()}",
    )
    yield
