"""What jobs do: generators of events that run in a worker's thread and see frozen copies only, no layer, no widget.

torch and all that needs it is imported here, inside the generators, so that opening the dock does not wait
for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop._napari.loading import no_garbage_search, open_torch_libraries
from segloop.errors import FileError, LabelsError
from segloop.events import Event
from segloop.image import Image
from segloop.settings import AUTO

if TYPE_CHECKING:
    import pandas as pd

    from segloop.corrections import Entry
    from segloop.labels import Labels
    from segloop.segmentation import Segmentation, SegmentSettings
    from segloop.train.finetune import FinetuneResult, FinetuneSettings

Events = Generator[Event, None, Any]


def load_torch() -> Generator[Event, None, None]:
    """Import all that takes long; the forms need the settings' definitions."""
    with no_garbage_search():
        open_torch_libraries()
        import segloop.segmentation
        import segloop.train.finetune  # noqa: F401
    return
    yield


@dataclass(frozen=True)
class Segmented:
    """A segmentation and how it came to be."""

    result: Segmentation
    provenance: dict[str, Any]


def segment_image(
    model: Path, image: Image, settings: SegmentSettings, source: str
) -> Generator[Event, None, Segmented]:
    """Load a model and segment an image with it; ``source`` is the image's file, if it has one."""
    from segloop.provenance import segmentation_provenance
    from segloop.segmentation import segment_events
    from segloop.store import load_model

    loaded = load_model(model, settings.device)
    result = yield from segment_events(loaded, image, settings)
    provenance = segmentation_provenance(
        result, image, loaded.spec, settings, model=str(model), device=str(loaded.device), source=source
    )
    return Segmented(result, provenance)


@dataclass(frozen=True)
class Correction:
    """One corrected image on its way into a training set.

    Parameters
    ----------
    image : Image
        As the model sees it: one channel if one was chosen.
    labels : ndarray
        Of ``image.label_shape``.
    reviewed : bool ndarray or None
        None for the whole image.
    object_classes : dict of int to int
        Class (1…K) of each object; semantic labels have none.
    """

    image: Image
    labels: np.ndarray
    reviewed: np.ndarray | None
    task: str
    classes: tuple[str, ...]
    object_classes: dict[int, int]
    source: str
    model: str


def add_correction(folder: Path, correction: Correction) -> Generator[Event, None, Entry]:
    """Write a correction into the training set in ``folder``; the same image corrected again replaces its entry."""
    from segloop.corrections import TrainingSet

    # labels from elsewhere name no classes: they take those that the set has
    training_set = TrainingSet(folder, task=correction.task, classes=correction.classes or AUTO)
    return training_set.add(
        correction.image,
        correction.labels,
        correction.reviewed,
        source=correction.source,
        model=correction.model,
        # by its pixels: two images that happen to have one name must not replace each other
        key=_pixel_key(correction.image),
        object_classes=correction.object_classes,
    )
    yield


@dataclass(frozen=True, slots=True)
class TrainingSetSummary:
    """What a training set holds, in the words of the Fine-tune panel."""

    images: int
    objects: int
    reviewed_pixels: int
    task: str
    classes: tuple[str, ...]


def summarize_training_set(folder: Path) -> Generator[Event, None, TrainingSetSummary]:
    """Count what fine-tuning would use."""
    from segloop.corrections import TrainingSet

    training_set = TrainingSet(folder)
    objects = pixels = 0
    for entry in training_set.entries:
        _, labels, reviewed = training_set.read(entry)
        numbers = np.unique(np.asarray(labels)[np.asarray(reviewed)])
        objects += int((numbers > 0).sum())
        pixels += int(np.count_nonzero(reviewed))
    return TrainingSetSummary(len(training_set), objects, pixels, training_set.task.value, training_set.classes)
    yield


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model and, if it was saved, where."""

    result: FinetuneResult
    name: str
    folder: Path | None


def finetune_model(
    base: Path, folder: Path, name: str, settings: FinetuneSettings, stop: Callable[[], bool]
) -> Generator[Event, None, Finetuned]:
    """Fine-tune the model in ``base`` on the training set in ``folder``; save it as ``name`` if it got better."""
    from segloop.corrections import TrainingSet
    from segloop.store import load_model, save_model
    from segloop.train.finetune import finetune_events

    model = load_model(base, settings.device)
    result = yield from finetune_events(model, TrainingSet(folder), settings, stop)
    return Finetuned(result, name, save_model(result.model, name) if result.improved else None)


def save_finetuned(finetuned: Finetuned) -> Generator[Event, None, Finetuned]:
    """Save a model that did not get better, because the user insists."""
    from segloop.store import save_model

    return Finetuned(finetuned.result, finetuned.name, save_model(finetuned.result.model, finetuned.name))
    yield


def export_labels(
    labels: Labels, path: Path, objects: pd.DataFrame | None, provenance: dict[str, Any]
) -> Generator[Event, None, Path]:
    """Write labels in the format of the path's suffix, with a provenance file beside it."""
    from segloop import io

    if not path.parent.is_dir():
        raise FileError(f"the folder {path.parent} does not exist; choose another one")
    if not labels.data.any():
        raise LabelsError("there is nothing to export: the layer has no labels")
    io.save_labels(labels, path, objects=objects)
    io.write_provenance(path, provenance)
    return path
    yield


def _pixel_key(image: Image) -> str:
    pixels = np.ascontiguousarray(image.data)
    digest = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(pixels.data)
    return f"sha256:{digest.hexdigest()}"
