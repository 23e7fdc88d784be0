"""What the Models dock says of versions: names, dates, and the rows of their comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from segloop.store import ModelInfo
from segloop.versions import Version, differing_settings, scored_alike

OWN_HELP = (
    "Score before and after on images of the kind that the bundled model was made for: how much of it was forgotten. "
    "None where the classes are new."
)


@dataclass(frozen=True)
class Row:
    """One line of the comparison: what it is, then a text for each version shown."""

    name: str
    texts: tuple[str, ...]
    help: str = ""


def name_of(version: Version) -> str:
    """Name a version in the list: its number, where it branched off, whether it is in use or damaged."""
    name, _, number = version.parent.partition("@")
    origin = "" if not version.parent else f" from {name}"
    if name == version.name:
        origin = "" if number == str(version.version - 1) else f" from {number}"
    state = " · damaged" if version.damage else " · in use" if version.in_use else ""
    return f"{version.version}{origin}{state}"


def summary_of(version: Version) -> tuple[str, str, str]:
    """Say in the list which version it is, its score, and when it was saved."""
    return name_of(version), with_error(version.after, math.nan), date_of(version)


def score_of(version: Version) -> str:
    """Write a version's held-out score."""
    return with_error(version.after, version.number("after_error"))


def date_of(version: Version) -> str:
    """Write when a version was saved, in local time, with the year if it is not this one; "" if that is not known."""
    if version.saved is None:
        return ""
    local = version.saved.astimezone()
    this_year = local.year == datetime.now().astimezone().year
    return f"{local:%d\N{NO-BREAK SPACE}%b %H:%M}" if this_year else f"{local:%d\N{NO-BREAK SPACE}%b %Y}"


def headline(info: ModelInfo) -> str:
    """Name a model in the list, with what it finds."""
    found = "" if info.damage else " · objects" if info.task == "instance" else " · classes"
    return f"{info.name}{found}{' · bundled' if info.bundled else ''}{' · damaged' * bool(info.damage)}"


def rows(versions: tuple[Version, ...], labels: frozenset[str]) -> list[Row]:
    """Lay one own version, or two to be compared, out in rows; rows that say nothing are left out.

    ``labels`` are all versions that are on the disk, "name@version".
    """
    table = [
        Row("Saved", tuple(date_of(v) for v in versions)),
        Row("From", tuple(_parent(v, labels) for v in versions), "The model that was fine-tuned."),
        Row(
            "Before",
            tuple(with_error(v.before, v.number("before_error")) for v in versions),
            "Held-out score of the model it was made from, with its standard error.",
        ),
        Row("After", tuple(score_of(v) for v in versions), "Held-out score of this version."),
        Row(
            "Gain",
            tuple(with_error(v.gain, v.number("gain_error"), signed=True) for v in versions),
            "After less before, both on the same regions, with the standard error of the difference.",
        ),
        Row("Own images", tuple(_own(v) for v in versions), OWN_HELP),
        Row("Blocks", tuple(_blocks(v) for v in versions), "Of what was reviewed: to learn from, and kept out."),
        Row("Objects", tuple(str(v.objects or "") for v in versions)),
        Row("Epochs", tuple(_count(v, "epochs") for v in versions)),
        Row("Device", tuple(str(v.training.get("device", "")) for v in versions)),
    ]
    if len(versions) == 2:
        differing = {name: pair for name, pair in differing_settings(*versions).items() if name != "epochs"}
        for name, pair in differing.items():
            texts = tuple(_setting(value) for value in pair)
            table.append(Row(name.replace("_", " ").capitalize(), texts, "A setting that differs."))
    return [row for row in table if any(row.texts)]


def scored_by(versions: tuple[Version, ...]) -> str:
    """Say what the scores are."""
    metrics = dict.fromkeys(v.metric for v in versions if v.metric)
    return f"Scores: {' / '.join(metrics)}, on regions kept out of training." if metrics else ""


def caution(versions: tuple[Version, ...]) -> str:
    """Say when the scores of two versions cannot be compared as they stand."""
    if len(versions) < 2 or scored_alike(*versions) or any(math.isnan(v.after) for v in versions):
        return ""
    return (
        "The two were scored on different regions, because the training set or the choice of regions changed in "
        "between: compare the gains rather than the scores."
    )


def with_error(value: float, error: float, signed: bool = False) -> str:
    """Write a score with its standard error; "" if it is not known."""
    if not math.isfinite(value):
        return ""
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    return f"{text}\N{NO-BREAK SPACE}± {error:.3f}" if math.isfinite(error) else text


def _parent(version: Version, labels: frozenset[str]) -> str:
    if not version.parent:
        return ""
    name, _, number = version.parent.partition("@")
    told = f"version {number}" if name == version.name else version.parent
    return told if version.parent in labels else f"{told} (deleted)"


def _own(version: Version) -> str:
    before, after = version.number("own_before"), version.number("own_after")
    return f"{before:.3f} → {after:.3f}" if math.isfinite(before) and math.isfinite(after) else ""


def _blocks(version: Version) -> str:
    train, held_out = (version.training.get(f"{kind}_regions") for kind in ("train", "held_out"))
    return f"{train} + {held_out} held out" if isinstance(train, int) and isinstance(held_out, int) else ""


def _count(version: Version, name: str) -> str:
    value = version.number(name)
    return "" if math.isnan(value) else f"{value:.0f}"


def _setting(value: object) -> str:
    return "no limit" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
