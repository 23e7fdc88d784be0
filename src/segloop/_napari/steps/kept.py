"""Kept: says why there are no sliders where a model's result has none."""

from __future__ import annotations

from typing import Any

import napari.layers

from segloop._napari.fields import TextLabel
from segloop._napari.steps.step import Step, guarded

NOT_KEPT = (
    "“{}” has no sliders: what the model found beyond it was not kept, as after a restart, or where objects were "
    "parted from the classes of an image too large for memory. Segment the image again to move thresholds; a large one "
    "with a model that finds objects."
)


class KeptStep(Step):
    """Looks after one line of text in the Segment panel.

    Parameters
    ----------
    text : TextLabel
    *args
        As for ``Step``.
    """

    def __init__(self, text: TextLabel, *args: Any) -> None:
        super().__init__(*args)
        self._text = text
        self.watch.layers_changed.connect(self._show)
        self.watch.active_changed.connect(self._show)
        self._show()

    @guarded
    def _show(self, _: Any = None) -> None:
        layer, session = self.watch.active, self.session
        if not isinstance(layer, napari.layers.Labels):
            self._text.show_text("")
            return
        origin = session.origins.get(layer)
        kinds: tuple[Any, ...] = (session.live, session.live_classes, session.live_parts)
        lost = (
            origin is not None
            and bool(origin.model)
            and layer not in session.unfinished
            and not any(layer in kind for kind in kinds)
        )
        self._text.show_text(NOT_KEPT.format(layer.name) if lost else "")
