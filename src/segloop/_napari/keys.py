"""Keys of the correction tools, bound on the Labels layer being corrected.

napari does not wire up key bindings of manifests. These keys are free on Labels layers and in the viewer, and are bound
on that layer only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from napari.layers import Labels

from segloop._napari.tools import TOOLS

KEYS = {tool.key: tool.name for tool in TOOLS}


class KeyRing:
    """Binds keys to one layer at a time.

    Parameters
    ----------
    owner : object
        Has a method for each key; not kept alive.
    keys : mapping
        Name of the method for each key.
    """

    def __init__(self, owner: Any, keys: Mapping[str, str] = KEYS) -> None:
        self._owner = weakref.ref(owner)
        self._keys = dict(keys)
        self._layer: weakref.ref[Labels] | None = None

    def bind(self, layer: Labels | None) -> None:
        """Bind the keys to ``layer``, and to no other."""
        before = self._layer() if self._layer is not None else None
        if before is layer:
            return
        if before is not None:
            for key in self._keys:
                before.bind_key(key, None)
        self._layer = weakref.ref(layer) if layer is not None else None
        if layer is not None:
            for key, method in self._keys.items():
                layer.bind_key(key, self._caller(method), overwrite=True)

    def _caller(self, method: str) -> Callable[[Labels], None]:
        reference = self._owner

        def call(_: Labels) -> None:
            owner = reference()
            if owner is not None:
                getattr(owner, method)()

        return call
