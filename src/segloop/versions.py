"""The history of a model: its versions, what each records of its training, which one is in use."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.errors import FileError, ModelError
from segloop.events import FoundRegion
from segloop.pictures import pack_pictures, read_pictures
from segloop.store import BUNDLED, check_name, find_damage, home, read_document, save_model
from segloop.version_numbers import mark_deleted, mark_in_use, version_in_use, versions_in

if TYPE_CHECKING:
    from segloop.train.finetune import FinetuneResult

PICTURES = "held_out.npz"
"""In a version's folder: held-out regions, "before" and "after" training."""


@dataclass(frozen=True)
class Version:
    """One version of a model, as its model.json tells; what it does not tell is NaN, 0 or empty.

    Parameters
    ----------
    name : str
    version : int
    path : Path
        Its folder.
    bundled, in_use : bool
    damage : str
        Why it cannot be read; "" if it can.
    saved : datetime or None
        When, in UTC.
    parent : str
        What it was made from, "name@version"; that may have been deleted since.
    training : mapping
        What it records of its training.
    """

    name: str
    version: int
    path: Path
    bundled: bool = False
    in_use: bool = True
    damage: str = ""
    saved: datetime | None = None
    parent: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What ``load_model`` takes: "name@version"."""
        return f"{self.name}@{self.version}"

    def number(self, name: str) -> float:
        """Return a number that the training record holds, NaN if it holds none of this name."""
        value = self.training.get(name)
        return float(value) if isinstance(value, int | float) else math.nan

    @property
    def before(self) -> float:
        """Held-out score of what it was made from, in [0, 1]."""
        return self.number("before")

    @property
    def after(self) -> float:
        """Its held-out score, in [0, 1]."""
        return self.number("after")

    @property
    def gain(self) -> float:
        """Held-out score after less before."""
        return self.after - self.before

    @property
    def metric(self) -> str:
        """What the scores are, in words."""
        return str(self.training.get("metric", ""))

    @property
    def regions(self) -> int:
        """Reviewed regions that it learned from or was scored with."""
        return self._learned("regions")

    @property
    def objects(self) -> int:
        """Objects in them; 0 if it learned classes."""
        return self._learned("objects")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of its training, as ``settings_to_json`` gives them."""
        settings = self.training.get("settings")
        return settings if isinstance(settings, dict) else {}

    @property
    def curve(self) -> tuple[tuple[int, float, float], ...]:
        """Epoch, loss and held-out score (NaN where it was not scored) of each epoch."""
        with suppress(TypeError, ValueError):
            rows = self.training.get("curve", ())
            return tuple((int(e), _number(loss), _number(score)) for e, loss, score in rows)
        return ()

    def pictures(self) -> dict[str, tuple[FoundRegion, ...]]:
        """Read the held-out regions as they were found, "before" and "after" training; {} if none are kept.

        Raises
        ------
        FileError
            If they are damaged.
        """
        return read_pictures(self.path / PICTURES) if (self.path / PICTURES).is_file() else {}

    def _learned(self, what: str) -> int:
        learned = self.training.get("learned_from")
        value = learned.get(what, 0) if isinstance(learned, dict) else 0
        return value if isinstance(value, int) else 0


def list_versions(name: str, thorough: bool = False) -> tuple[Version, ...]:
    """List the versions of a model, the newest first, damaged ones too; () if there is no such model.

    An own model goes before a bundled one of the same name, which has one version. ``thorough`` compares all weights
    with their hashes.
    """
    folder = home() / "models" / check_name(name)
    if versions := versions_in(folder):
        in_use = version_in_use(folder)
        return tuple(_read(folder / str(n), name, n, n == in_use, False, thorough) for n in reversed(versions))
    bundled = BUNDLED / name
    return (_read(bundled, name, 0, True, True, thorough),) if bundled.is_dir() else ()


def training_records(name: str) -> dict[int, Mapping[str, Any]]:
    """Return what each version of an own model records of its training, by version; those without it are left out."""
    return {v.version: v.training for v in list_versions(name) if v.training and not v.bundled}


def use_version(name: str, version: int) -> Path:
    """Put a version of an own model into use, so that its name alone means that version; return its folder.

    The next version that is saved will be in use again.

    Raises
    ------
    ModelError
        If there is no such version, or it is damaged.
    FileError
        If it cannot be written down.
    """
    folder = _existing(name, version)
    if damage := find_damage(folder):
        raise ModelError(f"version {version} of {name!r} cannot be put into use: {damage}")
    mark_in_use(folder.parent, version)
    return folder


def check_deletable(name: str, version: int) -> None:
    """Raise ModelError if :func:`delete_version` would refuse to delete this version."""
    if (BUNDLED / check_name(name)).is_dir() and not versions_in(home() / "models" / name):
        raise ModelError(
            f"there is no version {version} of an own model {name!r}: it is a bundled model, which cannot be deleted"
        )
    folder = _existing(name, version)
    if len(versions_in(folder.parent)) > 1 and version == version_in_use(folder.parent):
        raise ModelError(f"version {version} of {name!r} is in use; put another one into use first")


def delete_version(name: str, version: int) -> None:
    """Delete one version of an own model, and the model with its last version.

    What was made from it stays as it is, and its number is not given again as long as there are other versions.

    Raises
    ------
    ModelError
        If the user has no such model or version, or it is the one in use and there are others.
    FileError
        If it cannot be deleted.
    """
    check_deletable(name, version)
    folder = _existing(name, version)
    last = len(versions_in(folder.parent)) == 1
    mark_deleted(folder.parent, version)
    try:
        shutil.rmtree(folder.parent if last else folder)
    except OSError as error:
        raise FileError(f"{folder} cannot be deleted: {error.strerror or error}") from error


def save_result(result: FinetuneResult, name: str) -> Path:
    """Save a fine-tuned model as ``segloop.save_model`` does, with the pictures of its held-out regions.

    Raises
    ------
    ModelError, FileError
        As ``segloop.save_model``.
    """
    return save_model(result.model, name, packed_pictures(result))


def packed_pictures(result: FinetuneResult) -> dict[str, bytes]:
    """Return the file that keeps the pictures of a result, by its name; {} if there are none."""
    return {PICTURES: pack_pictures(result.pictures)} if result.pictures else {}


def differing_settings(first: Version, second: Version) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two trainings differ, by name."""
    names = [*first.settings, *(name for name in second.settings if name not in first.settings)]
    pairs = {name: (first.settings.get(name), second.settings.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def scored_alike(first: Version, second: Version) -> bool:
    """Whether two versions were scored on the same held-out regions, so that their scores can be compared."""
    entries = [version.training.get("entries") for version in (first, second)]
    # which regions are held out follows from these, and from what the model had learned before
    chosen = [(v.settings.get("seed"), v.settings.get("validation")) for v in (first, second)]
    held_out = [version.training.get("held_out_sha256") for version in (first, second)]
    alike = chosen[0] == chosen[1] and held_out[0] == held_out[1]
    return bool(entries[0]) and _hashes(entries[0]) == _hashes(entries[1]) and alike


def _hashes(entries: Any) -> list[Any]:
    ignored = {"source"}
    return [{k: v for k, v in entry.items() if k not in ignored} for entry in entries] if entries else []


def _existing(name: str, version: int) -> Path:
    folder = home() / "models" / check_name(name)
    if version not in versions_in(folder):
        raise ModelError(f"there is no version {version} of an own model {name!r}")
    return folder / str(version)


def _read(path: Path, name: str, number: int, in_use: bool, bundled: bool, thorough: bool) -> Version:
    damage = find_damage(path, thorough)
    try:
        document = read_document(path)
    except ModelError:
        return Version(name, number, path, bundled, in_use, damage)
    # with the weights gone, what it records is still to be seen
    model = document["model"]
    training = model.get("training")
    return Version(
        name,
        number or int(model["version"]),
        path,
        bundled,
        in_use,
        damage,
        None if bundled else _saved(path, document),
        str(model.get("parent", "")),
        training if isinstance(training, dict) else {},
    )


def _saved(path: Path, document: Mapping[str, Any]) -> datetime | None:
    with suppress(KeyError, TypeError, ValueError):
        return datetime.fromisoformat(document["saved"]).astimezone(UTC)
    # models from before the time was written down
    with suppress(OSError):
        return datetime.fromtimestamp((path / "model.json").stat().st_mtime, UTC)
    return None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
