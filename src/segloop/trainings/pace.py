"""How fast earlier trainings were on this computer, to tell beforehand how long the next one takes."""

from __future__ import annotations

import json
import math
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segloop.store import home
from segloop.train.finetune import FinetuneSettings


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one training: ``step`` is seconds per optimiser step, scoring included; ``around`` those before and after."""

    step: float
    around: float

    def seconds(self, epochs: int, steps: int, minutes: float = math.inf) -> float:
        """How long a training of so many epochs of so many steps takes, if it is not ended earlier."""
        return self.around + min(60 * minutes, epochs * steps * self.step)


def known_pace(family: str, ndim: int, settings: FinetuneSettings) -> Pace | None:
    """Return the pace of the last training of this kind on this computer, or None if there was none."""
    try:
        values = json.loads(_file().read_text(encoding="utf-8"))[_kind(family, ndim, settings)]
        return Pace(float(values["step"]), float(values["around"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_pace(family: str, ndim: int, settings: FinetuneSettings, pace: Pace) -> None:
    """Remember the pace of a training; where that cannot be written it is not."""
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    known[_kind(family, ndim, settings)] = {"step": pace.step, "around": pace.around}
    draft = _file().with_name(f".pace-{secrets.token_hex(4)}.part")
    with suppress(OSError):
        draft.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        draft.replace(_file())


def _file() -> Path:
    return home() / "trainings" / "pace.json"


def _kind(family: str, ndim: int, settings: FinetuneSettings) -> str:
    return f"{family} {ndim}D {settings.device.value} batch {settings.batch} crop {settings.crop}"
