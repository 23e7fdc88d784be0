"""Events as lines of JSON, so that they can cross from one process to another; pictures go into files beside them."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segloop.events import (
    CrossValidating,
    EpochDone,
    Event,
    FoundRegion,
    HeldOutFound,
    Notice,
    Scored,
    StillTraining,
    TrainingStarted,
)

PLAIN = {kind.__name__: kind for kind in (CrossValidating, EpochDone, Notice, Scored, TrainingStarted)}
_FIELDS = ("image", "reference", "found", "scored")


def to_line(event: Event, folder: Path) -> str:
    """Return an event as one line of JSON.

    The pictures of a ``HeldOutFound`` are written into a file in ``folder``, which replaces the one before: only
    the newest can be read back.
    """
    if isinstance(event, HeldOutFound):
        name = f"found-{secrets.token_hex(4)}.npz"
        regions = {f"{field}-{i}": getattr(r, field) for i, r in enumerate(event.regions) for field in _FIELDS}
        draft = folder / f".{name}.part"
        with draft.open("wb") as file:
            np.savez(file, **regions)
        older = list(folder.glob("found-*.npz"))
        draft.replace(folder / name)
        for path in older:
            path.unlink(missing_ok=True)
        return json.dumps({"event": "HeldOutFound", "epoch": event.epoch, "file": name, "regions": len(event.regions)})
    return json.dumps({"event": type(event).__name__, **asdict(event)})


def from_message(message: dict[str, Any], folder: Path) -> Event:
    """Return the event of a decoded line; pictures that newer ones have replaced give a ``StillTraining``."""
    message = dict(message)
    kind = message.pop("event")
    if kind != "HeldOutFound":
        return PLAIN[kind](**message)
    try:
        with np.load(folder / message["file"], allow_pickle=False) as arrays:
            regions = [FoundRegion(*(arrays[f"{field}-{i}"] for field in _FIELDS)) for i in range(message["regions"])]
    except OSError:
        return StillTraining()
    return HeldOutFound(message["epoch"], tuple(regions))
