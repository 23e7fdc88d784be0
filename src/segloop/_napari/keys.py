"""Keys of the correction tools, bound on the Labels layer being corrected.

napari does not wire up key bindings of manifests. These keys are free on Labels layers, and only there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from napari.layers import Labels

KEYS = {"N": "new_object", "D": "delete_object", "G": "toggle_merging", "H": "fill_holes"}


class KeyRing:
    """Binds the keys to one layer at a time; ``owner`` has a method for each, and is not kept alive."""

    def __init__(self, owner: Any) -> None:
        self._owner = weakref.ref(owner)
        self._layer: weakref.ref[Labels] | None = None

    def bind(self, layer: Labels | None) -> None:
        """Bind the keys to ``layer``, and to no other."""
        before = self._layer() if self._layer is not None else None
        if before is layer:
            return
        if before is not None:
            for key in KEYS:
                before.bind_key(key, None)
        self._layer = weakref.ref(layer) if layer is not None else None
        if layer is not None:
            for key, method in KEYS.items():
                layer.bind_key(key, self._caller(method), overwrite=True)

    def _caller(self, method: str) -> Callable[[Labels], None]:
        reference = self._owner

        def call(_: Labels) -> None:
            owner = reference()
            if owner is not None:
                getattr(owner, method)()

        return call
