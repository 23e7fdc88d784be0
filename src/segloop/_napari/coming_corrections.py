"""What is reviewed in open layers, taken up to be counted before it is put into a training set."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from psygnal import Signal

from segloop._napari.training_work import Coming

if TYPE_CHECKING:
    from segloop._napari.steps.review import ReviewStep


class ComingCorrections:
    """Keeps a copy of each layer until its objects or its regions change: copying takes long enough to be felt.

    Parameters
    ----------
    review : ReviewStep
        Knows what is reviewed in the open layers.
    """

    edited = Signal()

    def __init__(self, review: ReviewStep) -> None:
        self._review = review
        # with the table that a layer had: each edit gives it another one
        self._taken: weakref.WeakKeyDictionary[Labels, tuple[Any, Coming]] = weakref.WeakKeyDictionary()

    @property
    def is_current(self) -> bool:
        """Whether no layer was edited since it was taken up."""
        return all(layer.features is table for layer, (table, _) in self._taken.items())

    def take_up(self, layers: Sequence[Labels]) -> list[Coming]:
        """Take up layers, and no others; what is known and did not change is not copied again.

        Raises
        ------
        ImageError, LabelsError
            If one of them cannot be put into a training set.
        """
        for layer in [known for known in self._taken if known not in layers]:
            self._let_go(layer)
        return [self._one(layer) for layer in layers]

    def forget(self) -> None:
        """Let all of it go: regions changed, say, or nobody looks."""
        for layer in list(self._taken):
            self._let_go(layer)

    def _one(self, layer: Labels) -> Coming:
        table, coming = self._taken.get(layer, (None, None))
        if coming is None or table is not layer.features:
            self._let_go(layer)
            correct = self._review.upcoming(layer, self._review.session.origins[layer].image())
            coming = Coming(correct, self._review.extent(layer))
            self._taken[layer] = layer.features, coming
            layer.events.features.connect(self._on_edited)
        return coming

    def _let_go(self, layer: Labels) -> None:
        if self._taken.pop(layer, None) is not None:
            layer.events.features.disconnect(self._on_edited)

    def _on_edited(self, event: Any = None) -> None:
        self.edited.emit()
