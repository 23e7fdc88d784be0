"""Watches the viewer's layer list for the dock, and lets go of it when the dock is gone."""

from __future__ import annotations

from typing import Any

import napari
from napari.layers import Layer
from psygnal import Signal

from segloop._napari.opengl import make_current


class LayerWatch:
    """Tells when layers come, go or are renamed, and which one is active.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    layers_changed = Signal()
    active_changed = Signal(object)

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._layers = viewer.layers
        self._layers.events.inserted.connect(self._on_inserted)
        self._layers.events.removing.connect(self._on_removing)
        self._layers.events.removed.connect(self._on_removed)
        self._layers.selection.events.active.connect(self._on_active)
        for layer in self._layers:
            layer.events.name.connect(self._on_changed)

    def of_type(self, kind: type) -> list[Any]:
        """Return the viewer's layers of one type, the topmost first."""
        return [layer for layer in reversed(self._layers) if isinstance(layer, kind)]

    @property
    def active(self) -> Layer | None:
        """The layer selected in the layer list, if it is one."""
        return self._layers.selection.active

    def __contains__(self, layer: object) -> bool:
        return layer in self._layers

    def close(self) -> None:
        """Watch no longer."""
        self._layers.events.inserted.disconnect(self._on_inserted)
        self._layers.events.removing.disconnect(self._on_removing)
        self._layers.events.removed.disconnect(self._on_removed)
        self._layers.selection.events.active.disconnect(self._on_active)
        for layer in self._layers:
            layer.events.name.disconnect(self._on_changed)
        self.layers_changed.disconnect()
        self.active_changed.disconnect()

    def _on_inserted(self, event: Any) -> None:
        event.value.events.name.connect(self._on_changed)
        self.layers_changed.emit()

    def _on_removing(self, event: Any) -> None:
        make_current(self._viewer)

    def _on_removed(self, event: Any) -> None:
        event.value.events.name.disconnect(self._on_changed)
        self.layers_changed.emit()

    def _on_changed(self, event: Any = None) -> None:
        self.layers_changed.emit()

    def _on_active(self, event: Any) -> None:
        self.active_changed.emit(event.value)
