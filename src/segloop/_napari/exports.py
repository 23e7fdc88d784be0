"""What a Labels layer means as a file: axes, pixel size, classes, and how it came to be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from segloop._napari.calibration import Calibration, calibration_of, is_calibrated, noted_calibration
from segloop._napari.session import Origin
from segloop.errors import LabelsError

if TYPE_CHECKING:
    from segloop.labels import Labels

_LETTERS = ("YX", "ZYX", "TZYX")


def make_labels(
    data: Any,
    axis_labels: Sequence[str],
    scale: Sequence[float],
    units: Sequence[Any],
    axes: str = "",
    classes: Any = (),
    said: Calibration | None = None,
) -> Labels:
    """Return the data of a Labels layer as labels.

    Parameters
    ----------
    data : integers
        With or without an axis of length 1 in the place of the channels.
    axis_labels, scale, units
        As napari's layers have them, one per dimension of ``data``.
    axes : str
        Letters of the dimensions where they are known; "" takes telling axis labels, else ZYX or TZYX.
    classes : sequence of str
        Class names, background first; empty for instances.
    said : Calibration, optional
        What is known of the image's pixels; taken if ``scale`` and ``units`` say nothing and it covers all axes.

    Raises
    ------
    LabelsError
        If the data cannot be exported: multiscale, or of too many dimensions.
    """
    from segloop.labels import Labels

    array = np.array(data)
    telling = "".join(label.strip().upper() for label in axis_labels)
    letters = axes if len(axes) == array.ndim else telling if _are_axes(telling, array.ndim) else ""
    if not letters and not 2 <= array.ndim <= 4:
        raise LabelsError(f"labels of {array.ndim} dimensions; expected 2 (YX), 3 (ZYX) or 4 (TZYX)")
    letters = letters or _LETTERS[array.ndim - 2]
    sizes = {axis: abs(float(size)) for axis, size in zip(letters, scale)}
    keep = [number for number, axis in enumerate(letters) if axis != "C"]
    array = array.reshape([array.shape[number] for number in keep])
    unit = str(units[letters.index("X")])
    if said is not None and not is_calibrated(scale, units) and said.covers(sizes):
        sizes, unit = {axis: said.sizes.get(axis, size) for axis, size in sizes.items()}, said.unit
    return Labels(array, letters.replace("C", ""), sizes, unit, tuple(classes))


def layer_to_labels(layer: Any, origin: Origin | None) -> Labels:
    """Return a copy of a Labels layer as labels.

    Raises
    ------
    LabelsError
        If it is multiscale or of too many dimensions.
    """
    if layer.multiscale:
        raise LabelsError(f"the layer {layer.name!r} is multiscale; export its finest level as a layer of its own")
    axes = ""
    if origin is not None and origin.axes:
        without_samples = origin.axes.replace("S", "")
        leading = without_samples.removeprefix("C")
        axes = next((a for a in (leading, leading.replace("C", "")) if len(a) == layer.ndim), "")
    classes = origin.classes if origin is not None and origin.task == "semantic" else ()
    # the image may be gone by now, its file moved or its pixels replaced
    said = noted_calibration(origin.provenance if origin is not None else layer.metadata.get("segloop"))
    if said is None and origin is not None:
        said = calibration_of(origin.image())
    return make_labels(layer.data, layer.axis_labels, layer.scale, layer.units, axes, classes, said)


def layer_provenance(layer: Any, origin: Origin | None) -> dict[str, Any]:
    """Return how a Labels layer came to be: model, settings, image, and which objects a person touched."""
    table = layer.features
    document: dict[str, Any] = {
        "program": f"SegLoop {version('napari-segloop')}",
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "layer": layer.name,
        **(origin.provenance if origin is not None else {}),
    }
    if "origin" in table and "label" in table:
        document["objects"] = len(table)
        # "edited": whatever a person changed, drawn objects included; "confirmed": what she only looked at
        for name, origins in (("edited", ["edited", "added"]), ("added", ["added"]), ("confirmed", ["confirmed"])):
            document[name] = [int(n) for n in table.loc[table["origin"].isin(origins), "label"]]
        if "reviewed" in table:
            document["reviewed"] = [int(n) for n in table.loc[table["reviewed"].astype(bool), "label"]]
    return document


def _are_axes(letters: str, ndim: int) -> bool:
    return (
        len(letters) == ndim
        and len(set(letters)) == ndim
        and set(letters) <= set("TCZYX")
        and {"Y", "X"} <= set(letters)
    )
