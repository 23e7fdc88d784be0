"""``segloop segment``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from segloop.cli.inputs import expand_images
from segloop.cli.outcomes import complain_about, print_written
from segloop.cli.progress import ProgressBar
from segloop.cli.reports import complain, note
from segloop.errors import SettingsError
from segloop.events import drain
from segloop.io import check_writable
from segloop.labels import Task
from segloop.models.device import Device, Precision
from segloop.models.protocol import ModelSpec
from segloop.results import Order, segment_file
from segloop.segmentation import SegmentSettings
from segloop.settings import AUTO
from segloop.store import load_model, read_spec

USUAL = SegmentSettings()

Choice = TypeVar("Choice", bound=Enum)


def given_settings(device: str, precision: str, tile: str, object_size: str, **others: Any) -> SegmentSettings:
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
    return SegmentSettings(
        device=device_named(device), precision=_named(Precision, "--precision", precision), **numbers, **given
    )


def device_named(name: str) -> Device:
    """Return the device called ``name``.

    Raises
    ------
    SettingsError
    """
    return _named(Device, "--device", name)


def segment_files(given: Sequence[Path], order: Order, overwrite: bool, scheduler: str = "") -> int:
    """Segment files and folders; what is wrong with one image does not stop the others.

    Everything that can be known beforehand is checked before anything is computed.

    Parameters
    ----------
    given : sequence of path
    order : Order
    overwrite : bool
        Whether results that exist may be replaced.
    scheduler : str
        Address of a dask scheduler whose workers are to compute; "" to compute here.

    Returns
    -------
    int
        How many images failed; each was reported on stderr.

    Raises
    ------
    FileError
        If there is nothing to do, results exist and may not be replaced, or the output cannot be written.
    ModelError
        If there is no such model.
    ClusterError
        If the scheduler cannot be reached or its workers cannot do it.
    """
    images = expand_images(given)
    if not overwrite:
        for path in images:
            order.check_nothing_there(path)
    spec = read_spec(order.model)
    for option, reason in _without_effect(spec, order.settings):
        note(f"{option} has no effect: {spec.name} {reason}")
    if scheduler:
        from segloop.cli.distributing import segment_files_there

        failed = segment_files_there(scheduler, images, order)
    else:
        failed = _segment_files_here(images, order)
    if failed:
        complain(f"{failed} of {len(images)} images could not be segmented")
    return failed


def _segment_files_here(images: Sequence[Path], order: Order) -> int:
    model = load_model(order.model, order.settings.device)
    check_writable(order.output)
    failed = 0
    for path in images:
        try:
            with ProgressBar(path.name, of_image=True) as progress:
                written = drain(segment_file(path, model, order), progress)
            print_written(path, written)
        # One image may be damaged in a way nobody thought of; the others are done all the same.
        except Exception as error:
            if len(images) == 1:
                raise
            failed += 1
            complain_about(path, error)
    return failed


def _without_effect(spec: ModelSpec, settings: SegmentSettings) -> Iterator[tuple[str, str]]:
    """Options that were given although they mean nothing to a model, each with the reason."""
    if spec.task is Task.INSTANCE:
        if settings.instances:
            yield "--instances", "finds single objects by itself"
        return
    for option, name in (("--score", "score"), ("--overlap", "overlap")):
        if getattr(settings, name) != getattr(USUAL, name):
            yield option, "gives each pixel a class, and no objects with scores"
    if settings.min_area is not AUTO and not settings.instances:
        yield "--min-area", "gives each pixel a class; with --instances it finds objects"


def _named(kind: type[Choice], option: str, name: str) -> Choice:
    """Return the member of an enumeration whose value is ``name``."""
    try:
        return kind(name)
    except ValueError as error:
        names = ", ".join(str(member.value) for member in kind)
        raise SettingsError(f"{option} {name!r} is unknown; choose from {names}") from error


def _number_or_auto(option: str, text: str, kind: type[int] | type[float]) -> Any:
    if text == AUTO.value:
        return AUTO
    try:
        return kind(text)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{option} is {text!r}; expected {wanted} or auto") from error
