"""Results: what segmenting an image file leaves in a folder. The same wherever it is computed."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from segloop.errors import FileError, SettingsError
from segloop.events import Event, Notice
from segloop.image import Image
from segloop.io import OpenedImage, open_image, save_labels, stem_of, write_provenance
from segloop.labels import look_like_instances, sample_plane
from segloop.models.protocol import ModelSpec, Segmenter
from segloop.provenance import segmentation_provenance
from segloop.segmentation import Segmentation, SegmentSettings, segment_events

OBJECTS_ENDING = "_objects.csv"


class LabelFormat(Enum):
    """The formats of label images that are written; the value is the ending of the file."""

    TIFF = "_labels.tif"
    OME_ZARR = "_labels.ome.zarr"

    @classmethod
    def named(cls, name: str) -> LabelFormat:
        """Return the format called "tiff" or "ome-zarr".

        Raises
        ------
        SettingsError
        """
        names = {"tiff": cls.TIFF, "ome-zarr": cls.OME_ZARR}
        if name not in names:
            raise SettingsError(f"--format {name!r} is unknown; choose from {', '.join(names)}")
        return names[name]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: the same for all images of a run.

    Parameters
    ----------
    model : str
        Name or folder that the model is loaded by.
    output : path
        Folder for the results.
    axes : str
        Of the images; "" takes those of the files.
    settings : SegmentSettings
    label_format : LabelFormat
    """

    model: str
    output: Path
    axes: str = ""
    settings: SegmentSettings = SegmentSettings()
    label_format: LabelFormat = LabelFormat.TIFF

    def targets(self, stem: str) -> tuple[Path, Path]:
        """Where the labels and the table of an image go."""
        return self.output / f"{stem}{self.label_format.value}", self.output / f"{stem}{OBJECTS_ENDING}"

    def check_nothing_there(self, path: Path) -> None:
        """Raise FileError if results of the image at ``path`` exist."""
        for target in self.targets(stem_of(path)):
            if target.exists():
                raise FileError(f"{target} exists already; use --overwrite to replace it, or another --output")


@dataclass(frozen=True, slots=True)
class Written:
    """What an image became: its files, the number of its objects or the names of its classes, the time it took."""

    labels: Path
    table: Path
    objects: int
    classes: tuple[str, ...]
    seconds: float

    def summary(self) -> str:
        """Say in a few words what was found."""
        return ", ".join(self.classes) if self.classes else f"{self.objects} object{'' if self.objects == 1 else 's'}"


def segment_file(
    path: Path, model: Segmenter, order: Order, settings: SegmentSettings | None = None, source: Path | None = None
) -> Generator[Event, None, Written]:
    """Segment an image file and write labels, table and provenance; an event per tile.

    Parameters
    ----------
    path : path
        Of the image.
    model : Segmenter
        Loaded from ``order.model``.
    order : Order
    settings : SegmentSettings
        To compute with; those of the order by default, whatever AUTO means on this machine.
    source : path
        What the provenance calls the image; ``path`` by default.

    Raises
    ------
    SegloopError
        As ``open_image``, ``segment`` and ``save_labels`` do.
    """
    opened = open_image(path, order.axes)
    yield from guessed_axes(path, opened)
    if _is_labels(opened.image):
        yield Notice(f"{path.name} looks like labels, not like an image; it is segmented all the same")
    result = yield from segment_events(model, opened.image, settings or order.settings)
    save_labels(result.labels, order.targets(opened.image.name)[0], result.objects)
    return complete(result, opened.image, model.spec, order, str(model.device), path, source)


def guessed_axes(path: Path, opened: OpenedImage) -> Generator[Event, None, None]:
    """Say so if the axes of an image were guessed."""
    if opened.axes_guessed:
        yield Notice(f"{path.name}: axes guessed as {opened.image.axes}; use --axes to change")


def _is_labels(image: Image) -> bool:
    """Whether an image can only be a label image: its numbers are in one piece each, with 0 between them."""
    if not image.axes.endswith("YX") or "C" in image.axes or image.data.dtype.kind not in "iu":
        return False
    plane = sample_plane(image.data)
    # nearly every photograph is told by this, which costs nothing
    smooth = plane.shape[1] > 1 and np.mean(plane[:, 1:] == plane[:, :-1]) > 0.7
    return bool(smooth and (plane == 0).any() and look_like_instances(plane))


def complete(
    result: Segmentation,
    image: Image,
    spec: ModelSpec,
    order: Order,
    device: str,
    path: Path,
    source: Path | None = None,
) -> Written:
    """Write the table of the objects, and how it and the label image, which is written already, came to be."""
    targets = order.targets(image.name)
    save_labels(result.labels, targets[1], result.objects)
    document = segmentation_provenance(
        result, image, spec, order.settings, model=order.model, device=device, source=path
    )
    document["image"]["source"] = str(source or path)
    for target in targets:
        write_provenance(target, document)
    return Written(*targets, len(result.objects), result.labels.classes, result.seconds)
