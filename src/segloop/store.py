"""The store: models on disk, bundled and the user's own, in versions.

A model is a folder with ``model.json`` (the :class:`ModelSpec`, the weights' file name and sha256) and
``weights.safetensors``. The user's own models are ``<home>/models/<name>/<version>/``. Nothing that unpickles is read.

A name alone means the version in use: the newest, unless an older one was put back, which ``versions.json`` then says.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from segloop.errors import FileError, ModelError
from segloop.version_numbers import mark_saved, next_version, version_in_use, versions_in

# torch and the protocol are imported when a model is loaded: listing models is to cost milliseconds
from typing import TYPE_CHECKING  # isort: skip

if TYPE_CHECKING:
    from segloop.models.device import Device
    from segloop.models.protocol import ModelSpec, Trainable

BUNDLED = Path(__file__).parent / "weights"
FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the list of models shows; read without loading weights.

    ``task`` is "semantic" or "instance"; ``versions`` are all that are kept, newest last; ``version`` and ``path`` are
    those in use. ``damage`` says why the version in use cannot be read, and is "" if it can; of a damaged one the rest
    is what the newest intact version says, or empty if there is none. ``score`` is the least score of an object where
    nobody says another; of a semantic model it means nothing.
    """

    name: str
    family: str
    task: str
    classes: tuple[str, ...]
    channels: int
    ndim: int
    version: int
    versions: tuple[int, ...]
    parent: str
    description: str
    bundled: bool
    path: Path
    damage: str = ""
    score: float = 0.5

    @property
    def parts_objects(self) -> bool:
        """Whether single objects can be parted from its classes: see ``ModelSpec.border_class``."""
        return self.task == "semantic" and len(self.classes) == 3 and self.classes[2] == "border"


def home() -> Path:
    """The user's SegLoop folder: $SEGLOOP_HOME, else platformdirs' user data folder."""
    given = os.environ.get("SEGLOOP_HOME")
    return Path(given) if given else Path(platformdirs.user_data_path("segloop", appauthor=False))


def list_models() -> list[ModelInfo]:
    """List the bundled models, then the user's own, by name.

    Damaged ones are listed and say so (``ModelInfo.damage``); folders without versions are no models.
    """
    found = []
    for folder, bundled in [(BUNDLED, True), (home() / "models", False)]:
        if not folder.is_dir():
            continue
        for path in sorted(p for p in folder.iterdir() if p.is_dir()):
            if bundled and (path / "model.json").is_file():
                found.append(_bundled_info(path))
            elif not bundled and _NAME.fullmatch(path.name) and versions_in(path):
                found.append(_own_info(path))
    return found


def load_model(name_or_path: str | os.PathLike[str], device: Device | None = None) -> Trainable:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or path
        The name of an own model ("mine", the version in use; "mine@2", version 2), of a bundled model, or a folder
        with a model.json. An own model of the same name goes before a bundled one.
    device : Device
        Where to put it; AUTO by default.

    Raises
    ------
    ModelError
        If there is no such model or it is damaged.
    """
    from segloop.models.device import Device

    folder = _find(name_or_path)
    try:
        model = _read_model(folder)
    except ModelError as error:
        raise ModelError(f"{error}{_others(folder)}") from error
    model.to((device or Device.AUTO).resolve())
    return model


def save_model(model: Trainable, name: str, files: Mapping[str, bytes] | None = None) -> Path:
    """Save ``model`` among the user's own under ``name``, as a new version if the name is taken; return its folder.

    The model's spec gets the name and version; the new version is the one in use. A version that was deleted keeps its
    number as long as there are others. ``files`` are put beside the weights, by name. The folder appears whole or not
    at all.

    Raises
    ------
    ModelError
        If the name cannot be a folder's name.
    FileError
        If the disk is full or the folder cannot be written.
    """
    check_name(name)
    folder = home() / "models" / name
    spec, written = model.spec, False
    while not written:
        version = next_version(folder)
        model.spec = replace(spec, name=name, version=version)
        try:
            write_model(model, folder / str(version), files)
            written = True
        except BaseException as error:
            model.spec = spec
            # another program may have saved a version of this number meanwhile
            if not isinstance(error, FileError) or not (folder / str(version)).is_dir():
                raise
    mark_saved(folder, version)
    return folder / str(version)


def write_model(model: Trainable, folder: Path, files: Mapping[str, bytes] | None = None) -> None:
    """Write model.json, weights.safetensors and ``files`` into a new ``folder``, which appears whole or not at all.

    Raises
    ------
    FileError
        If the folder exists or cannot be written.
    """
    from segloop.train.record import weights_bytes

    weights = weights_bytes(model)
    document = {
        "format": FORMAT,
        "weights": "weights.safetensors",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model.spec.to_json(),
    }
    beside_weights = dict(files or {})
    try:
        if folder.exists():
            raise FileError(f"{folder} exists; choose another name")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as beside:
            (Path(beside) / "weights.safetensors").write_bytes(weights)
            (Path(beside) / "model.json").write_text(_laid_out(document) + "\n", encoding="utf-8")
            for file, content in beside_weights.items():
                (Path(beside) / file).write_bytes(content)
            whole = Path(beside) / "model"
            whole.mkdir()
            for file in (*beside_weights, "weights.safetensors", "model.json"):
                (Path(beside) / file).rename(whole / file)
            whole.rename(folder)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"the model cannot be written to {folder}: {error.strerror or error}") from error


def _laid_out(value: Any, margin: str = "") -> str:
    """JSON with a line for each entry of an object or a list of objects; other lists are long and stay on one."""
    deeper = f"{margin}  "
    if isinstance(value, Mapping) and value:
        lines = [f"{json.dumps(str(key))}: {_laid_out(entry, deeper)}" for key, entry in value.items()]
        first, last = "{", "}"
    elif isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        lines = [_laid_out(entry, deeper) for entry in value]
        first, last = "[", "]"
    else:
        return json.dumps(value)
    return f"{first}\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{margin}{last}"


def read_spec(name_or_path: str | os.PathLike[str]) -> ModelSpec:
    """Return what model.json says of a model; its weights are not read.

    Raises
    ------
    ModelError
        If there is no such model or its model.json is damaged.
    """
    from segloop.models.protocol import ModelSpec

    folder = _find(name_or_path)
    try:
        return ModelSpec.from_json(read_document(folder)["model"])
    except ModelError as error:
        raise ModelError(f"{error}{_others(folder)}") from error


def weights_hash(name_or_path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a model's weights, as its model.json says; for provenance.

    Raises
    ------
    ModelError
        If there is no such model or it is damaged.
    """
    return str(read_document(_find(name_or_path)).get("sha256", ""))


def find_damage(folder: Path, thorough: bool = True) -> str:
    """Say why the model in ``folder`` cannot be loaded; "" if nothing is wrong with its files.

    ``thorough`` compares the weights with their hash, which takes some milliseconds; else it is only seen whether they
    are there. Whether a network can be built is not tried.
    """
    try:
        document = read_document(folder)
        _describe(document, folder)
        weights = folder / document["weights"]
        if thorough:
            _read_weights(weights, document)
        elif not weights.is_file():
            raise ModelError(f"the weights {weights} are missing")
    except ModelError as error:
        return str(error)
    return ""


def check_name(name: str) -> str:
    """Return ``name``, or raise ModelError if it cannot name a model."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} cannot name a model; use letters, digits, '.', '_' and '-', at most 64")
    return name


def _others(folder: Path) -> str:
    """What can be done instead of loading a damaged version."""
    if folder.parent.parent != home() / "models":
        return ""
    others = [f"{folder.parent.name}@{n}" for n in versions_in(folder.parent) if str(n) != folder.name]
    return f"; other versions: {', '.join(others)}" if others else ""


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    name, _, wanted = text.partition("@")
    if _NAME.fullmatch(name) and (not wanted or wanted.isdigit()):
        own = home() / "models" / name
        versions = versions_in(own)
        if versions and (not wanted or int(wanted) in versions):
            return own / str(int(wanted) if wanted else version_in_use(own))
        bundled = BUNDLED / name
        if (bundled / "model.json").is_file() and (not wanted or int(wanted) == _info(bundled, True).version):
            return bundled
        if versions:
            raise ModelError(f"model {name!r} has no version {wanted}; there are {', '.join(map(str, versions))}")
    folder = Path(text).expanduser()
    if (folder / "model.json").is_file():
        return folder
    if versions_in(folder):
        return folder / str(version_in_use(folder))
    if folder.is_dir():
        raise ModelError(f"the folder {folder} has no model.json; expected a SegLoop model")
    names = ", ".join(info.name for info in list_models())
    raise ModelError(f"unknown model {text!r}; there are {names or 'none'} (segloop models lists them)")


def read_document(folder: Path) -> dict[str, Any]:
    """Return model.json of the model in ``folder``; ModelError if it is missing, damaged or of a newer format."""
    try:
        document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ModelError(
                f"{folder / 'model.json'} has format {document['format']}, this version reads {FORMAT}; update SegLoop"
            )
        if not isinstance(document["model"], dict) or Path(document["weights"]).name != document["weights"]:
            raise KeyError("model")
        return dict(document)
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder / 'model.json'} is damaged or no SegLoop model ({error})") from error


def _bundled_info(folder: Path) -> ModelInfo:
    try:
        return _info(folder, True)
    except ModelError as error:
        return replace(_nothing_known(folder), bundled=True, damage=str(error))


def _nothing_known(folder: Path) -> ModelInfo:
    return ModelInfo(folder.name, "", "", (), 0, 0, 0, (), "", "", False, folder)


def _own_info(folder: Path) -> ModelInfo:
    """What is known of an own model with at least one version, which may be damaged."""
    versions, in_use = versions_in(folder), version_in_use(folder)
    damage = find_damage(folder / str(in_use), thorough=False)
    if not damage:
        return replace(_info(folder / str(in_use), False), name=folder.name, versions=versions)
    found = _nothing_known(folder)
    for version in reversed(versions):
        with suppress(ModelError):
            found = _info(folder / str(version), False)
            break
    return replace(
        found,
        name=folder.name,
        version=in_use,
        versions=versions,
        parent="",
        path=folder / str(in_use),
        damage=damage,
    )


def _info(folder: Path, bundled: bool) -> ModelInfo:
    return _describe(read_document(folder), folder, bundled)


def _describe(document: dict[str, Any], folder: Path, bundled: bool = False) -> ModelInfo:
    model = document["model"]
    try:
        return ModelInfo(
            name=folder.name,
            family=str(model["family"]),
            task=str(model["task"]),
            classes=tuple(model["classes"]),
            channels=int(model["channels"]),
            ndim=int(model["ndim"]),
            version=int(model["version"]),
            versions=(int(model["version"]),),
            parent=str(model["parent"]),
            description=str(model["description"]),
            bundled=bundled,
            path=folder,
            score=float(model.get("score_threshold", 0.5)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'model.json'} lacks {error}") from error


def _read_weights(file: Path, document: dict[str, Any]) -> bytes:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelError(f"the weights {file} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(raw).hexdigest() != document.get("sha256"):
        raise ModelError(
            f"the weights {file} are not those that model.json names (sha256 differs); copy the model again"
        )
    return raw


def _read_model(folder: Path) -> Trainable:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from segloop.models.protocol import ModelSpec
    from segloop.models.registry import get_family

    document = read_document(folder)
    spec = ModelSpec.from_json(document["model"])
    file = folder / document["weights"]
    raw = _read_weights(file, document)
    family = get_family(spec.family)
    try:
        model = family.build(spec)
    except ModelError:
        raise
    except Exception as error:
        # a family meets numbers here that nobody checked: whatever it says, the file is to blame
        raise ModelError(f"{folder / 'model.json'} describes no model that can be built ({error})") from error
    try:
        model.module.load_state_dict(load(raw))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"the weights {file} do not fit the model: {str(error).splitlines()[0]}") from error
    return model
