"""Results: from a segmentation to an editable Labels layer, without ever touching what a person did."""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import napari.layers
import numpy as np

from segloop._napari import features
from segloop._napari.layers import Placement
from segloop._napari.live_class_layer import LiveClassLayer
from segloop._napari.live_layer import LiveLayer
from segloop._napari.live_part_layer import LivePartLayer
from segloop._napari.live_strip_layer import LiveStripLayer
from segloop._napari.session import Origin, Session, Stack
from segloop._napari.work import Segmented
from segloop.store import ModelInfo

if TYPE_CHECKING:
    from segloop.segmentation import SegmentSettings


PART = "part: "
"""Stands in front of the names of results of which a part only is done."""


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
    stack: Stack = ()

    @property
    def title(self) -> str:
        """Name of a layer with the result."""
        return f"{self.name} – {self.model.name}"


def deliver(
    viewer: napari.Viewer, session: Session, run: Run, segmented: Segmented, preview: napari.layers.Labels | None = None
) -> tuple[napari.layers.Labels, str]:
    """Put a result into the viewer.

    The same model's earlier result for the same image is replaced, unless a person edited or reviewed it, or the new
    one is only a part: then it is hidden, and the result gets a layer of its own.

    Parameters
    ----------
    viewer, session, run, segmented
    preview : Labels, optional
        The layer in which the result was shown as it came; it becomes the result's, or is removed.

    Returns
    -------
    layer : Labels
    kept : str
        Name of the earlier result that was kept; "" if there was none.
    """
    labels, image = run.place.to_layer(segmented.labels), run.image()
    earlier = None if image is None else session.result_of(image, run.model.name, list(viewer.layers))
    if (
        earlier is not None
        and segmented.complete
        and _is_replaceable(earlier, session, labels.shape, segmented.classes)
    ):
        if preview is not None:
            viewer.layers.remove(preview)
        _fill(earlier, labels, segmented)
        _remember(earlier, session, run, segmented)
        if earlier.name.endswith(PART + run.title):
            earlier.name = _free_name(viewer, run.title, earlier)
        earlier.visible = True
        return earlier, ""
    if earlier is not None:
        earlier.visible = False
    title = run.title if segmented.complete else PART + run.title
    if preview is not None:
        _fill(preview, labels, segmented)
        # known before its name says that it is done: the Correct step looks it up then
        _remember(preview, session, run, segmented)
        preview.name = _free_name(viewer, title, preview)
        layer = preview
    else:
        # given at once: napari maps the whole image each time that a colormap is set
        colors = {"colormap": features.class_colors()} if segmented.classes else {}
        layer = napari.layers.Labels(
            labels, name=_free_name(viewer, title), features=segmented.table, **colors, **run.place.keywords()
        )
        _remember(layer, session, run, segmented)
        viewer.add_layer(layer)
    return layer, "" if earlier is None else earlier.name


def _fill(layer: napari.layers.Labels, labels: np.ndarray, segmented: Segmented) -> None:
    """Give a layer other labels; it can be edited, and there is nothing to undo."""
    layer.editable = False
    layer.data = labels
    layer.features = segmented.table


def _free_name(viewer: napari.Viewer, title: str, own: napari.layers.Labels | None = None) -> str:
    """Return the title, with a number in front if it is taken: the layer list cuts off the ends of long names."""
    taken = {layer.name for layer in viewer.layers if layer is not own}
    names = (f"({number}) {title}" for number in itertools.count(2))
    return title if title not in taken else next(name for name in names if name not in taken)


def _is_replaceable(
    layer: napari.layers.Labels, session: Session, shape: tuple[int, ...], classes: tuple[str, ...]
) -> bool:
    """Whether a layer is a model's result still, of the same kind, and nobody vouched for it."""
    origin, regions = session.origins[layer], session.region_layer(layer)
    reviewed = layer in session.wholly_reviewed or (regions is not None and len(regions.data) > 0)
    same_kind = layer.data.shape == shape and (origin.task == "semantic") == bool(classes)
    return same_kind and not reviewed and features.checksum(np.asarray(layer.data)) == origin.untouched


def _remember(layer: napari.layers.Labels, session: Session, run: Run, segmented: Segmented) -> None:
    classes = segmented.classes
    # objects parted from classes are of the one that they were parted from
    of_objects = run.model.classes if run.model.task == "instance" else run.model.classes[1:2]
    session.origins[layer] = Origin(
        image=run.image,
        axes=run.axes,
        channel=run.channel,
        task="semantic" if classes else "instance",
        classes=classes or of_objects,
        model=run.model.name,
        untouched=segmented.untouched,
        provenance=segmented.provenance,
        stack=run.stack,
    )
    layer.metadata["segloop"] = segmented.provenance
    if not classes:
        # napari selects number 1: a key would delete, and a stroke would enlarge, an object that nobody chose
        free = int(segmented.table["label"].max()) + 1 if len(segmented.table) else 1
        layer.selected_label = min(free, int(np.iinfo(layer.data.dtype).max))
    if before := session.live.pop(layer, None):
        before.close()
    if segmented.live is not None:
        session.live[layer] = LiveLayer(layer, segmented.live, run.place, run.model, run.settings)
    if shown := session.live_classes.pop(layer, None):
        shown.close()
    if segmented.live_classes is not None:
        live = segmented.live_classes.reshaped(layer.data.shape)
        session.live_classes[layer] = LiveClassLayer(layer, live)
    elif segmented.live_strips is not None:
        session.live_classes[layer] = LiveStripLayer(layer, segmented.live_strips, run.place)
    if parted := session.live_parts.pop(layer, None):
        parted.close()
    if segmented.live_parts is not None:
        session.live_parts[layer] = LivePartLayer(layer, segmented.live_parts, run.model.classes[1])
    session.scores.pop(layer, None)
    if segmented.scores is not None and run.place.rows_first:
        session.scores[layer] = segmented.scores
