"""Channels: the choice of layers that a model sees together, in the Segment panel."""

from __future__ import annotations

from typing import Any

import napari.layers
from qtpy.QtCore import Signal

from segloop._napari.channels import COLOURS, channel_layers, layers_on_each_other, seen_layers, stack_of
from segloop._napari.panels.segment import SegmentPanel
from segloop._napari.steps.step import Step, guarded


class ChannelStep(Step):
    """Joins the row "Channels" of the Segment panel to the viewer; it is there where layers lie on each other."""

    chosen = Signal()

    def __init__(self, panel: SegmentPanel, *args: Any) -> None:
        super().__init__(*args)
        self.panel = panel
        panel.layers.chosen.connect(self._on_chosen)
        panel.image_chosen.connect(self.refresh)
        panel.axes_edited.connect(self.refresh)
        self.watch.layers_changed.connect(self.refresh)
        self.watch.active_changed.connect(self.refresh)
        self.session.models_changed.connect(self.refresh)
        self.session.model_changed.connect(self.refresh)
        self.refresh()

    @guarded
    def refresh(self, *_: Any) -> None:
        """Offer the layers that lie on the image chosen."""
        layer = self.panel.image.current()
        lying = () if layer is None else layers_on_each_other(layer, self.viewer.layers, self.session)
        offered = len(lying) > 1 and self._are_wanted(layer)
        self.panel.layers_field.setVisible(offered)
        if offered:
            seen = seen_layers(layer, self.viewer.layers, self.session, self._channels)
            self.panel.layers.show_layers(lying, layer, seen)

    @property
    def _channels(self) -> int:
        """How many channels the model takes."""
        info = self.session.find_model(self.session.model)
        return 1 if info is None else info.channels

    def _are_wanted(self, layer: napari.layers.Image) -> bool:
        """Whether the model takes more than a grey or colour image, or there are layers to be learned together."""
        many = self._channels not in (1, COLOURS)
        return many or len(channel_layers(layer, self.viewer.layers, self.session)) > 1 or layer in self.session.stacks

    @guarded
    def _on_chosen(self, layers: list[napari.layers.Image]) -> None:
        layer = self.panel.image.current()
        if layer is not None:
            self.session.stacks[layer] = stack_of(layers)
            self.panel.layers_field.show_reason("")
            self.chosen.emit()
