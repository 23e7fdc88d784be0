"""Corrections: the training set, a plain folder of images, labels and masks of what a person reviewed.

``images/0001.tif``, ``labels/0001.tif`` and ``reviewed/0001.tif`` belong together; ``training_set.json`` says
what they are. A file belongs to the set only once the JSON names it, and no file that the JSON names is ever
written again: a corrected entry gets new files (``0001-2.tif``), then the JSON is replaced in one step, then
the old files go. So whenever the power fails, the folder holds the old state or the new one, whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.corrections.entries import Entry
    from segloop.corrections.training_set import TrainingSet

__all__ = ["Entry", "TrainingSet"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: the journal beside it is to cost nothing when the window opens."""
    if name == "Entry":
        from segloop.corrections.entries import Entry

        return Entry
    if name == "TrainingSet":
        from segloop.corrections.training_set import TrainingSet

        return TrainingSet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
