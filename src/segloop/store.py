"""The store: models on disk, bundled and the user's own, in versions.

A model is a folder with ``model.json`` (the :class:`ModelSpec`, the weights' file name and sha256) and
``weights.safetensors``. The user's own models are ``<home>/models/<name>/<version>/``. Nothing that unpickles is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from segloop.errors import FileError, ModelError

# torch and the protocol are imported when a model is loaded: listing models is to cost milliseconds
from typing import TYPE_CHECKING  # isort: skip

if TYPE_CHECKING:
    from segloop.models.device import Device
    from segloop.models.protocol import Trainable

BUNDLED = Path(__file__).parent / "weights"
FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the list of models shows; read without loading weights.

    ``task`` is "semantic" or "instance"; ``versions`` are all that are kept, newest last; ``path`` is the newest.
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


def home() -> Path:
    """The user's SegLoop folder: $SEGLOOP_HOME, else platformdirs' user data folder."""
    given = os.environ.get("SEGLOOP_HOME")
    return Path(given) if given else Path(platformdirs.user_data_path("segloop", appauthor=False))


def list_models() -> list[ModelInfo]:
    """List the bundled models, then the user's own, by name. Damaged folders are left out."""
    found = []
    for folder, bundled in [(BUNDLED, True), (home() / "models", False)]:
        if not folder.is_dir():
            continue
        for path in sorted(p for p in folder.iterdir() if p.is_dir()):
            try:
                found.append(_info(path, bundled))
            except (ModelError, FileError):
                continue
    return found


def load_model(name_or_path: str | os.PathLike[str], device: Device | None = None) -> Trainable:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or path
        The name of an own model ("mine", newest version; "mine@2", version 2), of a bundled model, or a folder with
        a model.json. An own model of the same name goes before a bundled one.
    device : Device
        Where to put it; AUTO by default.

    Raises
    ------
    ModelError
        If there is no such model or it is damaged.
    """
    from segloop.models.device import Device

    model = _read_model(_find(name_or_path))
    model.to((device or Device.AUTO).resolve())
    return model


def save_model(model: Trainable, name: str) -> Path:
    """Save ``model`` among the user's own under ``name``, as a new version if the name is taken; return its folder.

    The model's spec gets the name and version. The folder appears whole or not at all.

    Raises
    ------
    ModelError
        If the name cannot be a folder's name.
    FileError
        If the disk is full or the folder cannot be written.
    """
    check_name(name)
    folder = home() / "models" / name
    version = max(_versions(folder), default=0) + 1
    spec = model.spec
    model.spec = replace(spec, name=name, version=version)
    try:
        write_model(model, folder / str(version))
    except BaseException:
        model.spec = spec
        raise
    return folder / str(version)


def write_model(model: Trainable, folder: Path) -> None:
    """Write model.json and weights.safetensors into a new ``folder``, which appears whole or not at all.

    Raises
    ------
    FileError
        If the folder exists or cannot be written.
    """
    from safetensors.torch import save

    weights = save({key: tensor.detach().cpu().contiguous() for key, tensor in model.module.state_dict().items()})
    document = {
        "format": FORMAT,
        "weights": "weights.safetensors",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "model": model.spec.to_json(),
    }
    try:
        if folder.exists():
            raise FileError(f"{folder} exists; choose another name")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as beside:
            (Path(beside) / "weights.safetensors").write_bytes(weights)
            (Path(beside) / "model.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            whole = Path(beside) / "model"
            whole.mkdir()
            for file in ("weights.safetensors", "model.json"):
                (Path(beside) / file).rename(whole / file)
            whole.rename(folder)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"the model cannot be written to {folder}: {error.strerror or error}") from error


def weights_hash(name_or_path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a model's weights, as its model.json says; for provenance.

    Raises
    ------
    ModelError
        If there is no such model or it is damaged.
    """
    return str(_read_document(_find(name_or_path)).get("sha256", ""))


def training_records(name: str) -> dict[int, dict[str, Any]]:
    """Return what each version of an own model records of its training, by version; damaged ones are left out."""
    folder = home() / "models" / check_name(name)
    records = {}
    for version in _versions(folder):
        with suppress(ModelError, KeyError, TypeError):
            records[version] = dict(_read_document(folder / str(version))["model"]["training"])
    return records


def delete_version(name: str, version: int) -> None:
    """Delete one version of an own model, and the model with its last version.

    Raises
    ------
    ModelError
        If the user has no such model or version.
    """
    folder = home() / "models" / check_name(name)
    if version not in _versions(folder):
        raise ModelError(f"there is no version {version} of an own model {name!r}")
    shutil.rmtree(folder / str(version))
    if not _versions(folder):
        shutil.rmtree(folder)


def check_name(name: str) -> str:
    """Return ``name``, or raise ModelError if it cannot name a model."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} cannot name a model; use letters, digits, '.', '_' and '-', at most 64")
    return name


def _versions(folder: Path) -> tuple[int, ...]:
    if not folder.is_dir():
        return ()
    return tuple(sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit() and (p / "model.json").is_file()))


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    name, _, wanted = text.partition("@")
    if _NAME.fullmatch(name) and (not wanted or wanted.isdigit()):
        own = home() / "models" / name
        versions = _versions(own)
        if versions and (not wanted or int(wanted) in versions):
            return own / (str(int(wanted)) if wanted else str(versions[-1]))
        bundled = BUNDLED / name
        if (bundled / "model.json").is_file() and (not wanted or int(wanted) == _info(bundled, True).version):
            return bundled
        if versions:
            raise ModelError(f"model {name!r} has no version {wanted}; there are {', '.join(map(str, versions))}")
    folder = Path(text).expanduser()
    if (folder / "model.json").is_file():
        return folder
    if _versions(folder):
        return folder / str(_versions(folder)[-1])
    if folder.is_dir():
        raise ModelError(f"the folder {folder} has no model.json; expected a SegLoop model")
    names = ", ".join(info.name for info in list_models())
    raise ModelError(f"unknown model {text!r}; there are {names or 'none'} (segloop models lists them)")


def _read_document(folder: Path) -> dict[str, Any]:
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


def _info(folder: Path, bundled: bool) -> ModelInfo:
    versions = () if bundled else _versions(folder)
    newest = folder / str(versions[-1]) if versions else folder
    model = _read_document(newest)["model"]
    try:
        return ModelInfo(
            name=folder.name,
            family=str(model["family"]),
            task=str(model["task"]),
            classes=tuple(model["classes"]),
            channels=int(model["channels"]),
            ndim=int(model["ndim"]),
            version=int(model["version"]),
            versions=versions or (int(model["version"]),),
            parent=str(model["parent"]),
            description=str(model["description"]),
            bundled=bundled,
            path=newest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{newest / 'model.json'} lacks {error}") from error


def _read_model(folder: Path) -> Trainable:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from segloop.models.protocol import ModelSpec
    from segloop.models.registry import get_family

    document = _read_document(folder)
    spec = ModelSpec.from_json(document["model"])
    file = folder / document["weights"]
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelError(f"the weights {file} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(raw).hexdigest() != document.get("sha256"):
        raise ModelError(
            f"the weights {file} are not those that model.json names (sha256 differs); copy the model again"
        )
    try:
        model = get_family(spec.family).build(spec)
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
