"""Writers: File ▸ Save Selected Layers, in the formats that biologists use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from segloop import io
from segloop._napari.calibration import noted_calibration
from segloop._napari.exports import make_labels
from segloop._napari.features import to_objects
from segloop._napari.session import up_to_date


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer in the format of the path's suffix, with its pixel size and table of objects.

    Raises
    ------
    FileError
        If the format cannot hold these labels, or the disk refuses.
    LabelsError
        If the layer cannot be exported.
    """
    meta = up_to_date(data, meta)
    ndim = data.ndim
    provenance = (meta.get("metadata") or {}).get("segloop")
    labels = make_labels(
        data,
        meta.get("axis_labels") or ("",) * ndim,
        meta.get("scale") or (1.0,) * ndim,
        meta.get("units") or ("pixel",) * ndim,
        said=noted_calibration(provenance),
    )
    table = meta.get("features")
    objects = to_objects(pd.DataFrame(table)) if table is not None else None
    written = io.save_labels(labels, Path(path), objects=objects)
    if provenance:
        io.write_provenance(written, provenance)
    return [str(written)]
