"""Results: from a segmentation to an editable Labels layer, without ever touching what a person did."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import napari.layers
import numpy as np

from segloop._napari import features
from segloop._napari.layers import Placement
from segloop._napari.session import Origin, Session
from segloop._napari.work import Segmented
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop.segmentation import SegmentSettings


@dataclass(frozen=True)
class Run:
    """What a run was asked to do, as the window remembers it while the work goes on."""

    image: weakref.ref[napari.layers.Image]
    name: str
    axes: str
    channel: int
    place: Placement
    model: ModelInfo
    settings: SegmentSettings


def deliver(
    viewer: napari.Viewer, session: Session, run: Run, segmented: Segmented
) -> tuple[napari.layers.Labels, str]:
    """Put a result into the viewer.

    The same model's earlier result for the same image is replaced, unless a person edited or reviewed it: then it is
    hidden, and the result gets a layer of its own.

    Returns
    -------
    layer : Labels
    kept : str
        Name of the earlier result that was kept; "" if there was none.
    """
    result = segmented.result
    labels = run.place.to_layer(_editable(result.labels.data))
    classes = result.labels.classes
    table = features.from_objects(result.objects)
    image = run.image()
    earlier = None if image is None else session.result_of(image, run.model.name, list(viewer.layers))
    kept = ""
    if earlier is not None:
        if _is_replaceable(earlier, session, labels.shape, classes):
            earlier.data = labels
            earlier.features = table
            earlier.visible = True
            _remember(earlier, session, run, segmented, labels)
            return earlier, ""
        earlier.visible = False
        kept = earlier.name
    # given at once: napari maps the whole image each time that a colormap is set
    colors = {"colormap": features.class_colors()} if classes else {}
    name = f"{run.name} – {run.model.name}"
    layer = napari.layers.Labels(labels, name=name, features=table, **colors, **run.place.keywords())
    # known before it is in the viewer: the Correct step looks it up when the layer comes
    _remember(layer, session, run, segmented, labels)
    viewer.add_layer(layer)
    return layer, kept


def _is_replaceable(
    layer: napari.layers.Labels, session: Session, shape: tuple[int, ...], classes: tuple[str, ...]
) -> bool:
    """Whether a layer is a model's result still, of the same kind, and nobody vouched for it."""
    origin, regions = session.origins[layer], session.region_layer(layer)
    reviewed = layer in session.wholly_reviewed or (regions is not None and len(regions.data) > 0)
    same_kind = layer.data.shape == shape and (origin.task == "semantic") == bool(classes)
    return same_kind and not reviewed and features.checksum(np.asarray(layer.data)) == origin.untouched


def _remember(
    layer: napari.layers.Labels, session: Session, run: Run, segmented: Segmented, labels: np.ndarray
) -> None:
    classes = segmented.result.labels.classes
    session.origins[layer] = Origin(
        image=run.image,
        axes=run.axes,
        channel=run.channel,
        task="semantic" if classes else "instance",
        classes=classes or (run.model.classes if run.model.task == "instance" else ()),
        model=run.model.name,
        untouched=features.checksum(labels),
        provenance=segmented.provenance,
    )
    layer.metadata["segloop"] = segmented.provenance


def _editable(labels: np.ndarray) -> np.ndarray:
    """Return the labels as numbers with room for more, in an array of the layer's own."""
    return np.array(labels, dtype=np.uint16 if labels.dtype.itemsize < 2 else labels.dtype)
