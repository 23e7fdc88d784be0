"""SegLoop: segment, correct by hand, fine-tune on the corrections, segment again.

The names below are the public API. They are imported when first used, so that ``import segloop`` costs milliseconds
and torch is loaded only when a network is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.corrections import TrainingSet
    from segloop.errors import SegloopError
    from segloop.evaluation import Report, evaluate
    from segloop.image import Image
    from segloop.io import read_image, read_labels, save_labels
    from segloop.labels import Labels
    from segloop.segmentation import Segmentation, SegmentSettings, segment
    from segloop.store import list_models, load_model, save_model
    from segloop.train.finetune import FinetuneResult, FinetuneSettings, finetune

    __version__: str

_HOMES = {
    "FinetuneResult": "segloop.train.finetune",
    "FinetuneSettings": "segloop.train.finetune",
    "Image": "segloop.image",
    "Labels": "segloop.labels",
    "Report": "segloop.evaluation",
    "SegloopError": "segloop.errors",
    "SegmentSettings": "segloop.segmentation",
    "Segmentation": "segloop.segmentation",
    "TrainingSet": "segloop.corrections",
    "evaluate": "segloop.evaluation",
    "finetune": "segloop.train.finetune",
    "list_models": "segloop.store",
    "load_model": "segloop.store",
    "read_image": "segloop.io",
    "read_labels": "segloop.io",
    "save_labels": "segloop.io",
    "save_model": "segloop.store",
    "segment": "segloop.segmentation",
}

__all__ = [
    "FinetuneResult",
    "FinetuneSettings",
    "Image",
    "Labels",
    "Report",
    "SegloopError",
    "SegmentSettings",
    "Segmentation",
    "TrainingSet",
    "evaluate",
    "finetune",
    "list_models",
    "load_model",
    "read_image",
    "read_labels",
    "save_labels",
    "save_model",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'segloop' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "__version__"])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-segloop")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"
