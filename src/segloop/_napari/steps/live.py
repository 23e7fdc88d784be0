"""Live: sliders that act at once on the layer that is looked at, and what follows when they rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import napari.layers
import numpy as np

from segloop._napari import features
from segloop._napari.panels.sliders import SliderPanel
from segloop._napari.redrawn import Redrawn
from segloop._napari.reviewed import region_mask
from segloop._napari.steps.step import Step, guarded, timer

SETTLED = 150
"""Milliseconds after the last move of a slider, when the table of objects follows."""

RESTED = 5000
"""Milliseconds after that, when what moves need is packed away: unpacking it takes a good part of a move."""


class Joined(Protocol):
    """A layer, joined to what the model computed of it."""

    @property
    def layer(self) -> napari.layers.Labels:
        """The layer."""
        ...

    @property
    def fits(self) -> bool:
        """Whether the layer still has the shape that it was made with."""
        ...

    @property
    def is_edited(self) -> bool:
        """Whether a person edited the layer since thresholds began to move, and before they rest."""
        ...

    def keep_reviewed(self, mask: np.ndarray | None) -> None:
        """Let nothing change where a person looked everything through: bool, the shape of the layer's data."""
        ...

    def settle(self) -> tuple[Redrawn, ...]:
        """What was drawn since the last time; the layer's table is brought up to date."""
        ...

    def take_change(self) -> int:
        """What was drawn since this was last asked adds to the checksum of the layer, modulo 2**64."""
        ...

    def rest(self) -> None:
        """Let go of what only moves need."""
        ...


Kind = TypeVar("Kind", bound=Joined)


class LiveStep(Step, Generic[Kind]):
    """Follows the layer that sliders act on.

    Parameters
    ----------
    panel : SliderPanel
        The sliders; hidden where there is nothing for them to act on.
    joined : mapping
        The layers that they can act on, with what they act by.
    *args
        As for ``Step``.
    """

    def __init__(self, panel: SliderPanel, joined: Mapping[napari.layers.Labels, Kind], *args: Any) -> None:
        super().__init__(*args)
        self._panel, self._joined = panel, joined
        self._layer: napari.layers.Labels | None = None
        self._looked_at: napari.layers.Labels | None = None
        self._moving = False
        self._settled = timer(self, SETTLED, self._settle)
        self._rested = timer(self, RESTED, self._rest)
        self.session.followers.append(self.bring_up_to_date)
        self.watch.layers_changed.connect(self._on_layers)
        self.watch.active_changed.connect(self._on_active)

    def release(self) -> None:
        """Follow the layers no longer; called when the dock is gone."""
        self.session.followers.remove(self.bring_up_to_date)

    @property
    def live(self) -> Kind | None:
        """The layer that the sliders act on, with what they act by."""
        return None if self._layer is None else self._joined.get(self._layer)

    def show_live(self, live: Kind) -> None:
        """Show where the thresholds of a layer are."""
        raise NotImplementedError

    def chosen(self, live: Kind) -> dict[str, Any]:
        """The thresholds as exports name them."""
        raise NotImplementedError

    @guarded
    def _on_layers(self) -> None:
        # of all layers that have sliders of some kind, those of one are shown: the active one, or the last that was
        session, active = self.session, self.watch.active
        kinds: tuple[Any, ...] = (session.live, session.live_classes, session.live_parts)
        known = [layer for layer in self.finished_labels() if any(layer in kind for kind in kinds)]
        before = self._looked_at
        self._looked_at = active if active in known else before if before in known else next(iter(known), None)
        self._use(self._looked_at if self._looked_at in self._joined else None)

    @guarded
    def _on_active(self, layer: Any) -> None:
        if isinstance(layer, napari.layers.Labels) and layer in self.watch:
            self._on_layers()

    def _use(self, layer: napari.layers.Labels | None) -> None:
        if layer is not self._layer:
            self.finish()
            self._rest()
        self._layer = layer
        live = self.live
        self._panel.setVisible(live is not None)
        if layer is not None and live is not None:
            self._panel.show_layer(layer.name)
            self.show_live(live)

    def prepare(self, live: Kind) -> None:
        """Look once, before sliders move, at what a person did; what follows the pixels follows when they rest."""
        self._rested.stop()
        if self._moving and live.is_edited:
            # what she painted stays
            self.finish()
            self._rested.stop()
        if not self._moving:
            self._look(live)
        self._settled.start()

    def _look(self, live: Kind) -> None:
        layer = live.layer
        if ledger := self.session.ledgers.get(layer):
            ledger.flush()
        if not live.fits:
            raise ValueError(f"the layer {layer.name!r} has another shape than its result; segment the image again")
        regions = self.session.region_layer(layer)
        if layer in self.session.wholly_reviewed:
            live.keep_reviewed(np.ones(layer.data.shape, bool))
        else:
            live.keep_reviewed(region_mask(regions, layer.data.shape) if regions is not None else None)
        self._moving = True

    def finish(self) -> None:
        """Bring what follows the pixels up to date now; called before they are used."""
        if self._settled.isActive():
            self._settled.stop()
            self._settle()

    def bring_up_to_date(self, layer: napari.layers.Labels) -> None:
        """Have all drawn and told that thresholds are still to draw of a layer, if it is one of this step's.

        Raises
        ------
        Exception
            Whatever kept some of it from being drawn.
        """
        if layer is self._layer:
            self.finish()

    @guarded
    def _settle(self) -> None:
        live = self.live
        if live is None or not live.fits:
            self._moving = False
            return
        self.settle(live)

    def settle(self, live: Kind) -> None:
        """Have everything follow the pixels of a layer whose thresholds rest."""
        self._moving = False
        layer = live.layer
        drawn = live.settle()
        self._rested.start()
        origin = self.session.origins[layer]
        provenance = {**origin.provenance, "thresholds": self.chosen(live)}
        # what thresholds draw is the model's as much as what the run drew; what a person did still makes the difference
        untouched = (origin.untouched + live.take_change()) % features.CHECKSUMS
        self.session.update_origin(layer, provenance=provenance, untouched=untouched)
        layer.metadata["segloop"] = provenance
        if drawn:
            self.session.redrawn.emit(layer, drawn)

    @guarded
    def _rest(self) -> None:
        self._rested.stop()
        if self.live is not None:
            self.live.rest()
