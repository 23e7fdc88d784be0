"""How a result came to be: model and its hash, settings, image, versions. Written beside every output."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segloop.image import Image
from segloop.models.protocol import ModelSpec
from segloop.segmentation import Segmentation, SegmentSettings
from segloop.settings import settings_to_json
from segloop.store import weights_hash

PACKAGES = ("napari-segloop", "torch", "torchvision", "numpy", "scikit-image")
_BLOCK = 1 << 20


def segmentation_provenance(
    segmentation: Segmentation,
    image: Image,
    spec: ModelSpec,
    settings: SegmentSettings,
    *,
    model: str,
    device: str,
    source: str | Path = "",
) -> dict[str, Any]:
    """Return all that is needed to segment the image again and to know it is the same.

    Parameters
    ----------
    segmentation : Segmentation
        The result.
    image : Image
        What was segmented.
    spec : ModelSpec
        Of the model.
    settings : SegmentSettings
        As asked for.
    model : str
        Name or folder that the model was loaded by.
    device : str
        Where it was computed.
    source : path
        The image's file, of which the hash is taken; "" if there is none.

    Returns
    -------
    dict of plain JSON values
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "image": {
            "name": image.name,
            "source": str(source),
            "sha256": file_hash(Path(source)) if source else "",
            "axes": image.axes,
            "shape": list(image.shape),
            "dtype": str(image.data.dtype),
            "pixel_size": dict(image.pixel_size),
            "unit": image.unit,
        },
        "model": {
            "name": spec.name,
            "version": spec.version,
            "family": spec.family,
            "parent": spec.parent,
            "sha256": weights_hash(model),
        },
        "settings": settings_to_json(settings),
        "device": device,
        "objects": len(segmentation.objects),
        "edited": [],
        "notices": list(segmentation.notices),
        "seconds": round(segmentation.seconds, 3),
        "versions": versions(),
    }


def file_hash(path: Path) -> str:
    """Return the sha256 of a file, or "" for a folder (Zarr), whose files have no order."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that decide on the result."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
