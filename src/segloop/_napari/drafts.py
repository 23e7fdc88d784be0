"""Drafts: several Labels layers that are reviewed for one image, of which a training set can hold one only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari.layers import Labels

from segloop._napari.session import Session


@dataclass(frozen=True, eq=False)
class PassedOver:
    """A reviewed layer that does not count, since another one of the same image does."""

    layer: Labels
    counted: Labels
    image: str

    @property
    def text(self) -> str:
        """Say so, and how to let it count."""
        return (
            f"“{self.counted.name}” and “{self.layer.name}” are both reviewed for the image {self.image}. "
            "Learned from is the first; for the other one, choose it in Correct and press Add to training set."
        )


def one_for_each_image(
    layers: Sequence[tuple[Labels, Path]], session: Session
) -> tuple[list[Labels], list[PassedOver]]:
    """Return those that count, and the others: of each image the one that was reviewed last, else the topmost one.

    Parameters
    ----------
    layers : sequence of Labels and Path
        The topmost first, each with the training set that it goes into; all have an origin whose image is there.
    session : Session
    """
    counted: dict[tuple[int, int, Path], Labels] = {}
    keys = []
    for layer, folder in layers:
        origin = session.origins[layer]
        image = origin.image()
        key = (id(image), origin.channel, folder)
        keys.append(key)
        last = session.reviewed_last.get(image) if image is not None else None
        if key not in counted or (last is not None and last() is layer):
            counted[key] = layer
    passed = []
    for (layer, _), key in zip(layers, keys):
        image = session.origins[layer].image()
        if counted[key] is not layer and image is not None:
            passed.append(PassedOver(layer, counted[key], image.name))
    return [layer for (layer, _), key in zip(layers, keys) if counted[key] is layer], passed
