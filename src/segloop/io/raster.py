"""PNG, JPEG and BMP: one 2D image, grey or colour, without calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segloop.errors import FileError
from segloop.io.files import reading, writing
from segloop.io.notes import Notes
from segloop.io.planes import in_file_order
from segloop.io.source import Source
from segloop.labels import Labels

_PALETTE = 3
_COLOUR_TYPE_AT = 25
"""Place of the colour type in a PNG file (https://www.w3.org/TR/png-3/#11IHDR)."""


def read(path: Path) -> Source:
    """Read an image as uint8 or uint16, (Y, X) or (Y, X, S).

    Raises
    ------
    FileError
    """
    import imagecodecs

    decoders = {".png": imagecodecs.png_decode, ".bmp": imagecodecs.bmp_decode}
    with reading(path, f"a {path.suffix[1:].upper()} image"):
        array = decoders.get(path.suffix.lower(), imagecodecs.jpeg_decode)(path.read_bytes())
        if array.ndim == 3 and array.shape[-1] == 2:
            # Grey with alpha: opaque alpha says nothing.
            if array[..., 1].min() != array[..., 1].max():
                raise FileError(f"{path} is grey with transparent pixels; flatten it onto a background")
            array = array[..., 0]
        return Source(array, "YXS" if array.ndim == 3 else "YX", rgb=array.ndim == 3)


def read_indices(path: Path) -> Source:
    """Read a label image: like ``read``, but from a PNG with a palette the indices rather than the colours.

    Raises
    ------
    FileError
    """
    with reading(path, "a PNG image"):
        with path.open("rb") as file:
            head = file.read(_COLOUR_TYPE_AT + 1)
        if path.suffix.lower() == ".png" and len(head) > _COLOUR_TYPE_AT and head[_COLOUR_TYPE_AT] == _PALETTE:
            import PIL.Image

            with PIL.Image.open(path) as image:
                return Source(np.asarray(image), "YX")
    return read(path)


def write(labels: Labels, path: Path, notes: Notes, overwrite: bool = True) -> None:
    """Write a 2D label image as PNG of 8 or 16 bits.

    Raises
    ------
    FileError
        If there is more than one plane, or labels above 65535.
    """
    import imagecodecs

    array, axes = in_file_order(labels)
    if array.ndim > 2:
        raise FileError(f"a PNG holds one plane, but the labels have axes {axes}; write .tif instead")
    if (largest := int(array.max())) > 65535:
        raise FileError(f"a PNG holds labels up to 65535, but the largest is {largest}; write .tif instead")
    encoded = imagecodecs.png_encode(np.ascontiguousarray(array, np.uint8 if largest <= 255 else np.uint16))
    with writing(path, overwrite) as draft:
        draft.write_bytes(encoded)
