"""Models on disk: whole, in versions, and nothing that a stranger's file could do."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segloop import store
from segloop.errors import FileError, ModelError
from segloop.models.device import Device
from segloop.models.protocol import ModelSpec, Task
from segloop.models.unet import FAMILY, UNetModel
from segloop.store import (
    check_name,
    list_models,
    load_model,
    read_spec,
    save_model,
    weights_hash,
    write_model,
)


def model(**fields: Any) -> UNetModel:
    spec = ModelSpec(
        "tiny", "unet", Task.SEMANTIC, ("background", "cell"), architecture={"levels": 1, "base_channels": 2}
    )
    built = FAMILY.build(replace(spec, **fields))
    for buffer in built.module.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return built


def same(first: UNetModel, second: UNetModel) -> bool:
    ours, theirs = first.module.state_dict(), second.module.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours
    )


def test_a_model_comes_back_exactly(tmp_path: Path) -> None:
    saved = model(
        zoom=0.5,
        object_size=23.5,
        description="Zellen mit Umlauten: äöü",
        training={"scores": [0.5, None], "data": {"images": 3}},
    )
    write_model(saved, tmp_path / "own")
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["model.json", "weights.safetensors"]
    loaded = load_model(tmp_path / "own", Device.CPU)
    assert loaded.spec == saved.spec
    assert same(loaded, saved)
    tile = torch.rand(1, 1, 16, 16)
    assert np.array_equal(loaded.predict(tile)[0].scores, saved.predict(tile)[0].scores)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    write_model(model(), tmp_path / "own")
    document = json.loads((tmp_path / "own" / "model.json").read_text(encoding="utf-8"))
    raw = (tmp_path / "own" / "weights.safetensors").read_bytes()
    assert document["format"] == store.FORMAT and document["weights"] == "weights.safetensors"
    assert document["sha256"] == hashlib.sha256(raw).hexdigest() == weights_hash(tmp_path / "own")
    assert document["model"]["classes"] == ["background", "cell"]


def test_versions(segloop_home: Path) -> None:
    models = [model() for _ in range(3)]
    paths = [save_model(each, "mine") for each in models]
    assert paths == [segloop_home / "models" / "mine" / str(version) for version in (1, 2, 3)]
    assert [(each.spec.name, each.spec.version) for each in models] == [("mine", 1), ("mine", 2), ("mine", 3)]
    assert same(load_model("mine"), models[2])
    for version in (1, 2, 3):
        assert same(load_model(f"mine@{version}"), models[version - 1])
        assert load_model(f"mine@{version}").spec.version == version
    with pytest.raises(ModelError, match="model 'mine' has no version 7; there are 1, 2, 3"):
        load_model("mine@7")
    assert same(load_model(segloop_home / "models" / "mine"), models[2])


def test_two_programs_that_save_at_once_get_two_versions(segloop_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = model(description="first"), model(description="second")
    numbers = store.next_version

    def late(folder: Path) -> int:
        # the other program saves between the choice of the number and the writing
        monkeypatch.setattr(store, "next_version", numbers)
        number = numbers(folder)
        save_model(first, "mine")
        return number

    monkeypatch.setattr(store, "next_version", late)
    assert save_model(second, "mine").name == "2"
    assert [load_model(f"mine@{n}").spec.description for n in (1, 2)] == ["first", "second"]
    assert second.spec.version == 2


def test_long_records_take_few_lines(tmp_path: Path) -> None:
    training = {
        "learned": {"ab12": [[0, 128, 0, 128], [0, 128, 128, 256]]},
        "schedule": [n / 1000 for n in range(1000)],
        "entries": [{"id": "0001", "source": 'a [1, 2] "b"\n'}, {}],
        "curve": [],
    }
    write_model(model(training=training), tmp_path / "model")
    text = (tmp_path / "model" / "model.json").read_text(encoding="utf-8")
    assert json.loads(text)["model"]["training"] == training
    assert len(text.splitlines()) < 80
    assert any(line.strip() == '"ab12": [[0, 128, 0, 128], [0, 128, 128, 256]]' for line in text.splitlines())


def test_list_of_models(segloop_home: Path) -> None:
    save_model(model(description="first"), "mine")
    save_model(model(description="second", parent="nuclei-unet@1"), "mine")
    save_model(model(), "another")
    (segloop_home / "models" / "broken" / "1").mkdir(parents=True)
    (segloop_home / "models" / "broken" / "1" / "model.json").write_text("{")
    (segloop_home / "models" / "empty").mkdir()
    own = [info for info in list_models() if not info.bundled]
    assert [info.name for info in own] == ["another", "broken", "mine"]
    assert "is damaged or no SegLoop model" in own.pop(1).damage and not own[1].damage
    assert own[1].versions == (1, 2) and own[1].version == 2
    assert (own[1].description, own[1].parent) == ("second", "nuclei-unet@1")
    assert (own[1].family, own[1].task, own[1].classes) == ("unet", "semantic", ("background", "cell"))
    assert own[1].path == segloop_home / "models" / "mine" / "2"


def test_a_listed_model_knows_whether_it_can_part_objects() -> None:
    bundled = {info.name: info for info in list_models() if info.bundled}
    assert bundled["nuclei-unet"].parts_objects and not bundled["nuclei-maskrcnn"].parts_objects
    for info in bundled.values():
        assert info.parts_objects == (read_spec(info.path).border_class is not None)


def test_bundled_models_and_own_ones_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUNDLED", tmp_path / "weights")
    bundled = model(name="nuclei")
    write_model(bundled, tmp_path / "weights" / "nuclei")
    assert same(load_model("nuclei"), bundled)
    # what provenance calls it
    assert same(load_model("nuclei@1"), bundled)
    with pytest.raises(ModelError, match="unknown model 'nuclei@2'"):
        load_model("nuclei@2")
    assert [(info.name, info.bundled) for info in list_models()] == [("nuclei", True)]
    own = model()
    save_model(own, "nuclei")
    assert same(load_model("nuclei"), own)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "-x", ".x", "a b", "x" * 65, "ä", "a@1", "a\n"])
def test_names_that_are_no_names(name: str, segloop_home: Path) -> None:
    with pytest.raises(ModelError, match="cannot name a model; use letters, digits"):
        check_name(name)
    with pytest.raises(ModelError, match="cannot name a model"):
        save_model(model(), name)
    assert not list(segloop_home.rglob("*.safetensors"))


def test_names_that_are() -> None:
    for name in ("a", "Nuclei-2.1_b", "7", "x" * 64):
        assert check_name(name) == name


def test_unknown_names_list_the_known(tmp_path: Path) -> None:
    save_model(model(), "mine")
    with pytest.raises(ModelError, match=r"unknown model 'yours'; there are .*mine.* \(segloop models lists them\)"):
        load_model("yours")
    with pytest.raises(ModelError, match="unknown model"):
        load_model("../mine")
    with pytest.raises(ModelError, match=r"the folder .* has no model.json"):
        load_model(tmp_path)


# damaged and hostile files


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((folder / "model.json").read_text())
    result = change(document)
    (folder / "model.json").write_text(json.dumps(document if result is None else result))


def sign(folder: Path, raw: bytes) -> None:
    """Write other weights, with the sha256 to fit."""
    (folder / "weights.safetensors").write_bytes(raw)
    rewrite(folder, lambda document: document.update(sha256=hashlib.sha256(raw).hexdigest()))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "other weights": (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 5000), "sha256 differs"),
    "cut off": (
        lambda f: (f / "weights.safetensors").write_bytes((f / "weights.safetensors").read_bytes()[:-7]),
        "sha256 differs",
    ),
    "cut off and signed": (lambda f: sign(f, (f / "weights.safetensors").read_bytes()[:-7]), "do not fit the model"),
    "empty and signed": (lambda f: sign(f, b""), "do not fit the model"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "cannot be read"),
    "no json": (lambda f: (f / "model.json").unlink(), "has no model.json"),
    "not json": (lambda f: (f / "model.json").write_text("{'format': 1}"), "is damaged or no SegLoop model"),
    "not text": (lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"), "is damaged or no SegLoop model"),
    "endless": (lambda f: (f / "model.json").write_text("[" * 100_000), "is damaged or no SegLoop model"),
    "a list": (lambda f: rewrite(f, lambda d: [d]), "is damaged or no SegLoop model"),
    "newer": (lambda f: rewrite(f, lambda d: d.update(format=99)), "has format 99, this version reads 1; update"),
    "no sha256": (lambda f: rewrite(f, lambda d: d.pop("sha256") and None), "sha256 differs"),
    "no spec": (lambda f: rewrite(f, lambda d: d.update(model=None)), "is damaged or no SegLoop model"),
    "unknown field": (lambda f: rewrite(f, lambda d: d["model"].update(colour=1)), "is not understood"),
    "missing field": (lambda f: rewrite(f, lambda d: d["model"].pop("classes") and None), "is not understood"),
    "unknown family": (lambda f: rewrite(f, lambda d: d["model"].update(family="x")), "unknown model family 'x'"),
    "unknown task": (lambda f: rewrite(f, lambda d: d["model"].update(task="x")), "is not understood"),
    "one class": (lambda f: rewrite(f, lambda d: d["model"].update(classes=["a"])), "is not understood"),
    "words for numbers": (lambda f: rewrite(f, lambda d: d["model"].update(channels="1")), "is not understood"),
    "no tile": (lambda f: rewrite(f, lambda d: d["model"].update(tile=0)), "is not understood"),
    "no zoom": (lambda f: rewrite(f, lambda d: d["model"].update(zoom=0)), "is not understood"),
    "fractional channels": (
        lambda f: rewrite(f, lambda d: d["model"].update(channels=1.5)),
        "no model that can be built",
    ),
    "architecture": (
        lambda f: rewrite(f, lambda d: d["model"]["architecture"].update(base_channels=3)),
        "do not fit the model",
    ),
    "bad architecture": (
        lambda f: rewrite(f, lambda d: d["model"]["architecture"].update(levels=0)),
        "U-Net of 0 levels",
    ),
    "weights elsewhere": (
        lambda f: rewrite(f, lambda d: d.update(weights="../secret.safetensors")),
        "is damaged or no SegLoop model",
    ),
    "weights anywhere": (
        lambda f: rewrite(f, lambda d: d.update(weights="/etc/passwd")),
        "is damaged or no SegLoop model",
    ),
    "the folder above": (lambda f: rewrite(f, lambda d: d.update(weights="..")), "cannot be read"),
    "the folder itself": (lambda f: rewrite(f, lambda d: d.update(weights="")), "cannot be read"),
    "a number for a name": (lambda f: rewrite(f, lambda d: d.update(weights=3)), "is damaged or no SegLoop model"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_models_give_one_clear_error(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    write_model(model(), folder)
    write_model(model(), tmp_path / "other")
    (tmp_path / "other" / "weights.safetensors").rename(tmp_path / "secret.safetensors")
    change, message = DAMAGE[damage]
    change(folder)
    with pytest.raises(ModelError, match=message) as error:
        load_model(folder, Device.CPU)
    assert "\n" not in str(error.value)


class Harm:
    """What unpickling runs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_pickles_are_never_read(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "own"
    write_model(model(), folder)
    if how == "pickle":
        raw = pickle.dumps(Harm())
    else:
        torch.save({"harm": Harm()}, tmp_path / "weights.pt")
        raw = (tmp_path / "weights.pt").read_bytes()
    sign(folder, raw)
    with pytest.raises(ModelError, match="do not fit the model"):
        load_model(folder, Device.CPU)
    # nor under a pickle's usual name
    (folder / "weights.pt").write_bytes(raw)
    rewrite(folder, lambda document: document.update(weights="weights.pt"))
    with pytest.raises(ModelError, match="do not fit the model"):
        load_model(folder, Device.CPU)
    assert not (tmp_path / "harmed").exists()


# saving that fails


@pytest.mark.parametrize("step", ["write_bytes", "write_text", "rename"])
def test_a_full_disk_leaves_nothing_behind(step: str, segloop_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = model()
    save_model(kept, "mine")
    real = getattr(Path, step)

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        if ".writing-" not in str(self):
            return real(self, *arguments, **options)
        if step == "write_bytes":
            with self.open("wb") as file:
                file.write(arguments[0][: len(arguments[0]) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, step, full)
    failing = model()
    spec = failing.spec
    with pytest.raises(FileError, match=r"the model cannot be written to .*No space left on device"):
        save_model(failing, "mine")
    monkeypatch.undo()
    monkeypatch.setenv("SEGLOOP_HOME", str(segloop_home))
    assert failing.spec == spec
    assert sorted(path.name for path in (segloop_home / "models" / "mine").iterdir()) == ["1"]
    assert same(load_model("mine"), kept)
    assert save_model(failing, "mine").name == "2"


def test_a_folder_that_exists_is_not_written_over(tmp_path: Path) -> None:
    write_model(model(), tmp_path / "own")
    before = (tmp_path / "own" / "weights.safetensors").read_bytes()
    with pytest.raises(FileError, match="exists; choose another name"):
        write_model(model(), tmp_path / "own")
    assert (tmp_path / "own" / "weights.safetensors").read_bytes() == before


def test_home_is_the_users_folder_unless_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGLOOP_HOME", str(tmp_path))
    assert store.home() == tmp_path
    monkeypatch.delenv("SEGLOOP_HOME")
    assert store.home().name == "segloop"
