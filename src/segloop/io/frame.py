"""Frame: how large the label image is that outlines belong to, and what a pixel of it measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segloop.image import Image
from segloop.io.planes import ORDER, file_axes, file_shape
from segloop.io.source import Source
from segloop.labels import Labels

KEY = "segloop"
"""The member of a JSON document that holds the frame; other programs pass it over."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Axes, extent and calibration of a label image.

    Parameters
    ----------
    axes : str
        Of T, Z, Y, X, in this order.
    shape : tuple of int
        One extent per axis.
    pixel_size : mapping of letter to float
    unit : str
        Of the pixel size along Z, Y and X.
    classes : tuple of str
        Names of the classes, background first; empty for instances.
    """

    axes: str
    shape: tuple[int, ...]
    pixel_size: Mapping[str, float]
    unit: str = "pixel"
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: Image | Labels) -> Frame:
        """The frame of an image, without its channels, or of labels."""
        if isinstance(content, Labels):
            axes, shape, classes = file_axes(content), file_shape(content), content.classes
        else:
            axes, classes = "".join(axis for axis in ORDER if axis in content.axes), ()
            shape = tuple(int(content.data.shape[content.axes.index(axis)]) for axis in axes)
        return cls(axes, shape, {axis: content.pixel_size[axis] for axis in axes}, content.unit, classes)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Frame:
        """The frame that ``to_json`` wrote."""
        return cls(
            str(document["axes"]),
            tuple(int(extent) for extent in document["shape"]),
            {str(axis): float(size) for axis, size in document.get("pixel_size", {}).items()},
            str(document.get("unit", "pixel")),
            tuple(str(name) for name in document.get("classes", ())),
        )

    def source(self, data: Any) -> Source:
        """What a reader found: ``data`` with this frame's axes, calibration and classes."""
        return Source(data, self.axes, self.pixel_size, "" if self.unit == "pixel" else self.unit, self.classes)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "axes": self.axes,
            "shape": list(self.shape),
            "pixel_size": dict(self.pixel_size),
            "unit": self.unit,
            "classes": list(self.classes),
        }
