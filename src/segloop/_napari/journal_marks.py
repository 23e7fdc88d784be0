"""By what image layers are known to journals; pixels are compared beside the window."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from functools import partial
from typing import Any

import napari.layers
import numpy as np
from qtpy.QtCore import QObject, Signal

from segloop._napari.jobs import Job
from segloop._napari.layers import level_shapes
from segloop.corrections.journal_images import ImageMark, fingerprint, samples
from segloop.events import Event


class ImageMarks(QObject):
    """Finds out the marks of image layers, once for each.

    Parameters
    ----------
    parent : QObject
        Owns the jobs.
    """

    known = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._hashes: weakref.WeakKeyDictionary[napari.layers.Image, tuple[int, str]] = weakref.WeakKeyDictionary()

    def of(self, layer: napari.layers.Image) -> ImageMark:
        """Return what is known of an image; its fingerprint is "" at first, and ``known`` tells of it later."""
        data, (shape, dtype) = _finest(layer), outline(layer)
        hashed = self._hashes.get(layer)
        if hashed is None or hashed[0] != id(data):
            self._hashes[layer] = hashed = (id(data), "")
            self._find_out(layer, data, shape, dtype)
        return ImageMark(shape, dtype, source_of(layer), layer.name, hashed[1])

    def _find_out(self, layer: napari.layers.Image, data: Any, shape: tuple[int, ...], dtype: str) -> None:
        in_memory = isinstance(data, np.ndarray) and not isinstance(data, np.memmap)
        pixels = samples(data) if in_memory else None
        job = Job("SegLoop", partial(_hash, None if in_memory else data, pixels, shape, dtype), self)
        job.done.connect(partial(self._on_hashed, weakref.ref(layer), id(data)))
        job.start()

    def _on_hashed(self, reference: weakref.ref[napari.layers.Image], number: int, found: str) -> None:
        layer = reference()
        if layer is not None and id(_finest(layer)) == number:
            self._hashes[layer] = (number, found)
            self.known.emit()


def outline(layer: napari.layers.Image) -> tuple[tuple[int, ...], str]:
    """Shape and type of an image's finest level."""
    return level_shapes(layer)[0], np.dtype(_finest(layer).dtype).str


def source_of(layer: napari.layers.Image) -> str:
    """Path or address of an image; "" if it has none."""
    return str(layer.source.path or "")


def _finest(layer: napari.layers.Image) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _hash(
    data: Any, pixels: list[np.ndarray] | None, shape: tuple[int, ...], dtype: str
) -> Generator[Event, None, str]:
    return fingerprint(shape, dtype, samples(data) if pixels is None else pixels)
    yield
