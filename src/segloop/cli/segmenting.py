"""``segloop segment``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from segloop.cli.inputs import expand_images
from segloop.cli.printing import print_line
from segloop.cli.progress import ProgressBar
from segloop.cli.reports import complain, describe, note
from segloop.errors import FileError, SettingsError
from segloop.events import drain
from segloop.io import check_writable, open_image, save_labels, stem_of, write_provenance
from segloop.models.device import Device
from segloop.models.protocol import Trainable
from segloop.provenance import segmentation_provenance
from segloop.segmentation import SegmentSettings, segment_events
from segloop.settings import AUTO
from segloop.store import load_model

OBJECTS_ENDING = "_objects.csv"


class LabelFormat(Enum):
    """The formats of label images that ``segment`` writes; the value is the ending of the file."""

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


def given_settings(device: str, tile: str, object_size: str, **others: Any) -> SegmentSettings:
    """Return the settings of a run; what was not given keeps its default.

    Raises
    ------
    SettingsError
        If a value is no number or out of its range.
    """
    numbers = {
        "tile": _number_or_auto("--tile", tile, int),
        "object_size": _number_or_auto("--object-size", object_size, float),
    }
    given = {name: value for name, value in others.items() if value is not None}
    return SegmentSettings(device=device_named(device), **numbers, **given)


def device_named(name: str) -> Device:
    """Return the device called ``name``.

    Raises
    ------
    SettingsError
    """
    try:
        return Device(name)
    except ValueError as error:
        names = ", ".join(device.value for device in Device)
        raise SettingsError(f"--device {name!r} is unknown; choose from {names}") from error


def segment_files(
    given: Sequence[Path],
    model_name: str,
    output: Path,
    axes: str,
    settings: SegmentSettings,
    label_format: LabelFormat,
    overwrite: bool,
) -> int:
    """Segment files and folders into ``output``; what is wrong with one image does not stop the others.

    Everything that can be known beforehand is checked before anything is computed.

    Returns
    -------
    int
        How many images failed; each was reported on stderr.

    Raises
    ------
    FileError
        If there is nothing to do, results exist and may not be replaced, or ``output`` cannot be written.
    ModelError
        If there is no such model.
    """
    images = expand_images(given)
    if not overwrite:
        _check_nothing_there(images, output, label_format)
    model = load_model(model_name, settings.device)
    check_writable(output)
    failed = 0
    for path in images:
        try:
            _segment_file(path, model, model_name, output, axes, settings, label_format)
        # One image may be damaged in a way nobody thought of; the others are done all the same.
        except Exception as error:
            if len(images) == 1:
                raise
            failed += 1
            reason = describe(error)
            complain(reason if path.name in reason else f"{path}: {reason}")
    if failed:
        complain(f"{failed} of {len(images)} images could not be segmented")
    return failed


def _segment_file(
    path: Path,
    model: Trainable,
    model_name: str,
    output: Path,
    axes: str,
    settings: SegmentSettings,
    label_format: LabelFormat,
) -> None:
    opened = open_image(path, axes)
    image = opened.image
    if opened.axes_guessed:
        note(f"{path.name}: axes guessed as {image.axes}; use --axes to change")
    with ProgressBar(path.name) as progress:
        result = drain(segment_events(model, image, settings), progress)
    labels = save_labels(result.labels, output / f"{image.name}{label_format.value}", result.objects)
    table = save_labels(result.labels, output / f"{image.name}{OBJECTS_ENDING}", result.objects)
    document = segmentation_provenance(
        result, image, model.spec, settings, model=model_name, device=str(model.device), source=path
    )
    for written in (labels, table):
        write_provenance(written, document)
    what = f"{len(result.objects)} objects" if result.labels.is_instances else ", ".join(result.labels.classes)
    print_line(f"{path.name}: {what} -> {labels} ({result.seconds:.1f} s)")


def _check_nothing_there(images: Sequence[Path], output: Path, label_format: LabelFormat) -> None:
    for path in images:
        for ending in (label_format.value, OBJECTS_ENDING):
            target = output / f"{stem_of(path)}{ending}"
            if target.exists():
                raise FileError(f"{target} exists already; use --overwrite to replace it, or another --output")


def _number_or_auto(option: str, text: str, kind: type[int] | type[float]) -> Any:
    if text == AUTO.value:
        return AUTO
    try:
        return kind(text)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{option} is {text!r}; expected {wanted} or auto") from error
