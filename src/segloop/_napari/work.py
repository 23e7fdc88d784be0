"""What jobs do: generators of events that run in a worker's thread and see frozen copies only, no layer, no widget.

torch and all that needs it is imported here, inside the generators, so that opening the dock does not wait
for it.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop._napari import features
from segloop._napari.jobs import LONGEST_WAIT
from segloop._napari.layers import copied
from segloop._napari.loading import no_garbage_search, open_torch_libraries
from segloop.errors import LabelsError
from segloop.events import Event, LabelsDone
from segloop.image import Image
from segloop.settings import AUTO

if TYPE_CHECKING:
    import pandas as pd

    from segloop.candidates import ClassScores
    from segloop.corrections import Entry
    from segloop.io import HiddenPart
    from segloop.labels import Labels
    from segloop.live_classes import LiveClasses
    from segloop.live_labels import LiveLabels
    from segloop.live_parts import LiveParts
    from segloop.live_strips import LiveStrips
    from segloop.segmentation import Segmentation, SegmentSettings

Events = Generator[Event, None, Any]

LARGEST_TOUCHED = 1 << 26
"""Up to so many pixels, memory for the labels to come is taken at once, not later in the main thread."""

AT_ONCE = 1 << 23
"""So many pixels of classes follow a threshold at once; more do so strip by strip, what is on screen first."""


def load_torch() -> Generator[Event, None, None]:
    """Import all that takes long; the forms need the settings' definitions."""
    with no_garbage_search():
        open_torch_libraries()
        import segloop.segmentation
        import segloop.trainings  # noqa: F401
    return
    yield


def load_families(names: Iterable[str]) -> Generator[Event, None, None]:
    """Import what the families of models need, and the plots, so that neither the first run nor a training waits."""
    from segloop.models.registry import get_family

    with no_garbage_search():
        import pyqtgraph  # noqa: F401

        for name in names:
            get_family(name)
    return
    yield


@dataclass(frozen=True, slots=True, eq=False)
class Canvas(Event):
    """An array for the labels that are to come, of ``image.label_shape``, all 0, and the classes if they are classes.

    It is made here because making it takes long enough to be felt.
    """

    labels: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Segmented:
    """A segmentation as the window takes it: nothing is left to be computed in the main thread.

    Parameters
    ----------
    labels : ndarray
        Of ``image.label_shape``, to be edited, with room for more numbers.
    classes : tuple of str
        Name of each number, background first; empty for objects.
    table : DataFrame
        As the layer shows it.
    untouched : int
        Checksum of ``labels``.
    complete : bool
        Whether all tiles were done.
    live : LiveLabels or None
        The candidates of objects, so that thresholds can be moved; None for classes.
    scores : ClassScores or None
        The scores of a semantic model, so that a review knows where it hesitated.
    live_classes : LiveClasses or None
        What a threshold needs of them, if ``labels`` are classes, and few enough to be moved at once.
    live_parts : LiveParts or None
        The same if ``labels`` are objects that were parted from classes, and all is in memory.
    live_strips : LiveStrips or None
        What a threshold needs of classes that are more, also if their scores are in a file.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    table: pd.DataFrame
    untouched: int
    notices: tuple[str, ...]
    seconds: float
    complete: bool
    provenance: dict[str, Any]
    live: LiveLabels | None = None
    scores: ClassScores | None = None
    live_classes: LiveClasses | None = None
    live_parts: LiveParts | None = None
    live_strips: LiveStrips | None = None


@dataclass(frozen=True)
class Seen:
    """What the person sees of the image, to be done first: see ``segloop.segmentation.segment_events``."""

    part: tuple[slice, slice] | None = None
    plane: int = 0


def segment_image(
    model: Path,
    image: Image,
    settings: SegmentSettings,
    source: str,
    seen: Seen,
    stop: Callable[[], bool],
    drawn: threading.Event,
) -> Generator[Event, None, Segmented]:
    """Load a model and segment an image with it.

    Parameters
    ----------
    model : Path
    image : Image
        Its pixels are the layer's own; they are copied at once.
    settings : SegmentSettings
    source : str
        The image's file, if it has one.
    seen : Seen
    stop : callable
        Asked between tiles; when it says so, what is done by then is the result.
    drawn : threading.Event
        Set when the first labels are shown, for which the work waits.
    """
    from segloop.candidates import Candidates
    from segloop.live_labels import LiveLabels
    from segloop.provenance import segmentation_provenance
    from segloop.segmentation import segment_events
    from segloop.store import load_model

    image = copied(image)
    loaded = load_model(model, settings.device)
    classes = loaded.spec.classes if loaded.spec.task == "semantic" and not settings.instances else ()
    canvas = np.zeros(image.label_shape, np.uint16)
    if canvas.size <= LARGEST_TOUCHED:
        canvas.fill(0)
    yield Canvas(canvas, classes)
    events = segment_events(loaded, image, settings, first=seen.part, first_plane=seen.plane, stop=stop, preview=True)
    result = yield from _waiting_for_the_first(events, drawn)
    provenance = segmentation_provenance(
        result, image, loaded.spec, settings, model=str(model), device=str(loaded.device), source=source
    )
    found = result.candidates if isinstance(result.candidates, Candidates) else None
    labels = _editable(np.asarray(result.labels.data), 0 if found is None else len(found))
    live = None
    if found is not None:
        live = LiveLabels(found, result.thresholds, np.iinfo(labels.dtype).max)
        live.warm_up(labels.dtype)
    strips = _live_strips(result, image, classes)
    return Segmented(
        labels,
        result.labels.classes,
        features.from_objects(result.objects),
        features.checksum(labels),
        result.notices,
        result.seconds,
        result.complete,
        provenance if result.complete else {**provenance, "complete": False},
        live,
        None if isinstance(result.candidates, Candidates) else result.candidates,
        None if strips is not None else _live_classes(result, image, classes),
        _live_parts(result, image, classes, labels),
        strips,
    )


def _live_strips(result: Segmentation, image: Image, classes: tuple[str, ...]) -> LiveStrips | None:
    from segloop.candidates import ClassScores
    from segloop.live_strips import LiveStrips

    found = result.candidates
    if not classes or not isinstance(found, ClassScores) or math.prod(image.label_shape) <= AT_ONCE:
        return None
    # planes are counted in the order of the layer's axes
    if len(found.shape) == 5 and image.outer_axes(3) + "Z" != image.outer_axes(2):
        return None
    live = LiveStrips(found)
    live.warm_up()
    return live


def _live_classes(result: Segmentation, image: Image, classes: tuple[str, ...]) -> LiveClasses | None:
    from segloop.candidates import ClassScores
    from segloop.live_classes import LiveClasses

    found = result.candidates
    if not classes or not isinstance(found, ClassScores) or not found.in_memory:
        return None
    inner = "ZYX" if len(found.shape) == 5 else "YX"
    axes = image.outer_axes(len(inner)) + inner
    sizes, order = [image.sizes[axis] for axis in axes], [axes.index(axis) for axis in image.label_axes]

    def read() -> np.ndarray:
        whole = np.moveaxis(found.scores, 1, 0).reshape(found.shape[1], *sizes)
        return whole.transpose(0, *(1 + axis for axis in order))

    # here, not at the first move of the slider
    found.pack()
    live = LiveClasses(read, image.label_shape)
    live.warm_up()
    return live


def _live_parts(result: Segmentation, image: Image, classes: tuple[str, ...], labels: np.ndarray) -> LiveParts | None:
    from segloop.candidates import ClassScores
    from segloop.live_parts import MOST_PIXELS, LiveParts, PartThresholds

    found = result.candidates
    if classes or not isinstance(found, ClassScores) or not found.in_memory:
        return None
    inner = "ZYX" if len(found.shape) == 5 else "YX"
    if image.outer_axes(len(inner)) + inner != image.label_axes or labels.size > MOST_PIXELS:
        return None
    thresholds = PartThresholds(min_area=result.thresholds.min_area)
    shape = (found.shape[0], *found.shape[2:])
    live = LiveParts(found, labels.reshape(shape), thresholds, np.iinfo(labels.dtype).max)
    live.warm_up(labels.dtype)
    return live


def _waiting_for_the_first(
    events: Generator[Event, None, Segmentation], drawn: threading.Event
) -> Generator[Event, None, Segmentation]:
    """Pass events on, and wait until the first labels are drawn, though not for ever."""
    with closing(events):
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            yield event
            if isinstance(event, LabelsDone) and not drawn.is_set():
                drawn.wait(LONGEST_WAIT)
                drawn.set()


def _editable(labels: np.ndarray, more: int = 0) -> np.ndarray:
    """Return the labels in an array that can be written to, as numbers with room for ``more``, and as many again.

    Of 16 bits if that is enough: napari sends those to the screen as they are, and converts others at each change.
    """
    few = int(labels.max(initial=0)) + more <= np.iinfo(np.uint16).max // 2
    array = np.ascontiguousarray(labels, np.uint16 if few else np.uint32)
    return array if array.flags.writeable else array.copy()


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

    def vouched_for(self) -> np.ndarray | None:
        """What is reviewed, with objects that lie mostly in it as a whole; None for the whole image."""
        from segloop.corrections.vouching import vouched_for
        from segloop.labels import Task

        if self.reviewed is None or self.task != Task.INSTANCE:
            return self.reviewed
        return vouched_for(self.labels, self.reviewed)


def add_correction(folder: Path, correction: Correction) -> Generator[Event, None, Entry]:
    """Write a correction into the training set in ``folder``; the same image corrected again replaces its entry."""
    from segloop.corrections import TrainingSet

    # labels from elsewhere name no classes: they take those that the set has
    training_set = TrainingSet(folder, task=correction.task, classes=correction.classes or AUTO)
    return training_set.add(
        correction.image,
        correction.labels,
        correction.vouched_for(),
        source=correction.source,
        model=correction.model,
        # by its pixels: two images that happen to have one name must not replace each other
        key=pixel_key(correction.image),
        object_classes=correction.object_classes,
    )
    yield


def add_corrections(corrections: Sequence[tuple[Path, Correction]]) -> Generator[Event, None, None]:
    """Write corrections into training sets, each into its own."""
    for folder, correction in corrections:
        yield from add_correction(folder, correction)


def export_labels(
    labels: Labels,
    path: Path,
    objects: pd.DataFrame | None,
    provenance: dict[str, Any],
    hidden: Sequence[HiddenPart] = (),
) -> Generator[Event, None, Path]:
    """Write labels in the format of the path's suffix, with a provenance file beside it; make the folder if need be."""
    from segloop import io

    if not labels.data.any():
        raise LabelsError("there is nothing to export: the layer has no labels")
    io.check_writable(path.parent)
    io.save_labels(labels, path, objects=objects, hidden=hidden)
    io.write_provenance(path, provenance)
    return path
    yield


def pixel_key(image: Image) -> str:
    """What a training set knows an image by: its pixels."""
    pixels = np.ascontiguousarray(image.data)
    digest = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(pixels.data)
    return f"sha256:{digest.hexdigest()}"
