"""The history of a model: put back, compared, deleted, and damage is seen."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segloop.errors import FileError, ModelError
from segloop.events import FoundRegion
from segloop.models.protocol import ModelSpec, Task
from segloop.models.unet import FAMILY, UNetModel
from segloop.pictures import pack_pictures, read_pictures
from segloop.store import list_models, load_model, save_model
from segloop.train.finetune import FinetuneResult
from segloop.versions import (
    delete_version,
    differing_settings,
    list_versions,
    save_result,
    scored_alike,
    training_records,
    use_version,
)

TRAINING = {
    "before": 0.5,
    "after": 0.75,
    "before_error": 0.02,
    "after_error": None,
    "metric": "mean Dice of the classes",
    "learned_from": {"regions": 4, "objects": 31},
    "settings": {"seed": 0, "validation": 0.25, "epochs": 20},
    "curve": [[1, 0.9, None], [2, 0.7, 0.75]],
    "entries": [{"id": "0001", "source": "a.tif", "image": "1", "labels": "2", "reviewed": "3"}],
}


def model(**fields: Any) -> UNetModel:
    spec = ModelSpec(
        "tiny", "unet", Task.SEMANTIC, ("background", "cell"), architecture={"levels": 1, "base_channels": 2}
    )
    return FAMILY.build(replace(spec, **fields))


def same(first: Any, second: Any) -> bool:
    ours, theirs = first.module.state_dict(), second.module.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def three(segloop_home: Path) -> list[UNetModel]:
    """Three versions of "mine", each made from the one before."""
    models = [model(parent="nuclei-unet@1"), model(parent="mine@1"), model(parent="mine@2", training=TRAINING)]
    for one in models:
        save_model(one, "mine")
    return models


def listed(name: str = "mine") -> Any:
    return next(info for info in list_models() if info.name == name)


def test_the_newest_is_in_use_until_another_one_is_put_back(three: list[UNetModel]) -> None:
    assert [(v.version, v.in_use, v.parent) for v in list_versions("mine")] == [
        (3, True, "mine@2"),
        (2, False, "mine@1"),
        (1, False, "nuclei-unet@1"),
    ]
    folder = use_version("mine", 1)
    assert listed().version == 1 and listed().path == folder and listed().versions == (1, 2, 3)
    assert same(load_model("mine"), three[0]) and load_model("mine").spec.version == 1
    assert same(load_model(folder.parent), three[0])
    assert same(load_model("mine@3"), three[2])
    # what is trained next is used again, and has a number of its own
    save_model(model(parent="mine@1"), "mine")
    assert listed().version == 4 and [v.in_use for v in list_versions("mine")] == [True, False, False, False]


def test_deleting(three: list[UNetModel], segloop_home: Path) -> None:
    with pytest.raises(ModelError, match="version 3 of 'mine' is in use; put another one into use first"):
        delete_version("mine", 3)
    delete_version("mine", 2)
    # its child works as before, and still says what it was made from
    assert same(load_model("mine"), three[2]) and list_versions("mine")[0].parent == "mine@2"
    use_version("mine", 1)
    delete_version("mine", 3)
    assert [v.version for v in list_versions("mine")] == [1] and listed().version == 1
    # a number is never given twice: what was made from version 3 is not made from this one
    assert save_model(model(), "mine").name == "4" and listed().version == 4
    delete_version("mine", 1)
    delete_version("mine", 4)
    assert not (segloop_home / "models" / "mine").exists() and list_versions("mine") == ()


@pytest.mark.parametrize("name, version", [("mine", 9), ("mine", 0), ("yours", 1), ("nuclei-unet", 1)])
def test_what_is_not_there_can_neither_be_used_nor_deleted(name: str, version: int, three: object) -> None:
    for act in (use_version, delete_version):
        with pytest.raises(ModelError, match=f"no version {version} of an own model '{name}'"):
            act(name, version)


def test_names_cannot_lead_out_of_the_folder() -> None:
    for act in (use_version, delete_version):
        with pytest.raises(ModelError, match="cannot name a model"):
            act("../models/mine", 1)
    with pytest.raises(ModelError, match="cannot name a model"):
        list_versions("..")


DAMAGE = {
    "no model.json": (lambda f: (f / "model.json").unlink(), "is damaged or no SegLoop model"),
    "cut model.json": (lambda f: (f / "model.json").write_text('{"format": 1'), "is damaged or no SegLoop model"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors are missing"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_newest_version_is_seen(how: str, three: list[UNetModel], segloop_home: Path) -> None:
    change, message = DAMAGE[how]
    change(segloop_home / "models" / "mine" / "3")
    info = listed()
    assert message in info.damage and info.version == 3 and info.versions == (1, 2, 3)
    # what is known of it otherwise comes from the newest that can be read
    assert (info.task, info.classes) == ("semantic", ("background", "cell"))
    assert [bool(v.damage) for v in list_versions("mine")] == [True, False, False]
    # it is not replaced by another one without a word
    with pytest.raises(ModelError, match="other versions: mine@1, mine@2"):
        load_model("mine")
    with pytest.raises(ModelError, match="version 3 of 'mine' cannot be put into use"):
        use_version("mine", 3)
    use_version("mine", 2)
    assert not listed().damage and same(load_model("mine"), three[1])
    delete_version("mine", 3)
    assert listed().versions == (1, 2)


def test_changed_weights_are_found_by_a_thorough_look(three: object, segloop_home: Path) -> None:
    file = segloop_home / "models" / "mine" / "3" / "weights.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert not list_versions("mine")[0].damage
    assert "sha256 differs" in list_versions("mine", thorough=True)[0].damage


def test_marks_that_cannot_be_read_are_ignored(three: object, segloop_home: Path) -> None:
    marks = segloop_home / "models" / "mine" / "versions.json"
    for text in ("", "[]", '{"in_use": "x"}', '{"in_use": 77}'):
        marks.write_text(text)
        assert listed().version == 3


def test_drafts_of_marks_do_not_stay(three: object, segloop_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = segloop_home / "models" / "mine"
    killed, writing = (folder / f".versions.json-{name}.part" for name in ("killed", "writing"))
    for draft in (killed, writing):
        draft.touch()
    os.utime(killed, (0, 0))
    use_version("mine", 1)
    assert sorted(folder.glob("*.part")) == [writing] and listed().version == 1

    def full(draft: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        use_version("mine", 2)
    assert sorted(folder.glob("*.part")) == [writing] and listed().version == 1


def test_what_a_version_records(three: object) -> None:
    newest, older = list_versions("mine")[:2]
    assert (newest.before, newest.after, newest.gain) == (0.5, 0.75, 0.25)
    assert newest.number("before_error") == 0.02 and math.isnan(newest.number("after_error"))
    assert (newest.regions, newest.objects, newest.metric) == (4, 31, "mean Dice of the classes")
    assert newest.curve[1] == (2, 0.7, 0.75) and math.isnan(newest.curve[0][2])
    assert newest.saved is not None and datetime.now(UTC) - newest.saved < timedelta(minutes=5)
    assert math.isnan(older.after) and older.curve == () and older.settings == {} and older.regions == 0
    assert set(training_records("mine")) == {3}


def test_a_bundled_model_has_one_version() -> None:
    (version,) = list_versions("nuclei-unet")
    assert version.bundled and version.in_use and version.label == "nuclei-unet@1" and not version.damage
    assert list_versions("no-such-model") == ()


def test_comparing(segloop_home: Path) -> None:
    longer = TRAINING | {"settings": {"seed": 0, "validation": 0.25, "epochs": 40}}
    moved = longer | {"entries": [{**TRAINING["entries"][0], "source": "elsewhere/a.tif"}]}
    more = longer | {"entries": [*TRAINING["entries"], {"id": "0002"}]}
    for training in (TRAINING, moved, more, {}):
        save_model(model(training=training), "mine")
    empty, third, second, first = list_versions("mine")
    assert differing_settings(first, second) == {"epochs": (20, 40)}
    assert scored_alike(first, second) and not scored_alike(first, third) and not scored_alike(empty, empty)


def test_scores_on_other_regions_of_the_same_data_are_not_compared(segloop_home: Path) -> None:
    for digest in ("a", "a", "b"):
        save_model(model(training=TRAINING | {"held_out_sha256": digest}), "mine")
    third, second, first = list_versions("mine")
    assert scored_alike(first, second) and not scored_alike(first, third)


def region(seed: int) -> FoundRegion:
    rng = np.random.default_rng(seed)
    shape = (20, 30 + seed)
    return FoundRegion(
        rng.integers(0, 256, shape, np.uint8),
        rng.integers(0, 4, shape, np.uint16),
        rng.integers(0, 4, shape, np.uint16),
        rng.random(shape) < 0.5,
    )


def test_pictures_are_kept_with_the_version(segloop_home: Path) -> None:
    pictures = {"before": (region(0),), "after": tuple(region(seed) for seed in range(12))}
    result = FinetuneResult(model(), (), 0.5, 0.6, "Dice", pictures=pictures)
    folder = save_result(result, "mine")
    kept = list_versions("mine")[0].pictures()
    assert {group: len(regions) for group, regions in kept.items()} == {"before": 1, "after": 12}
    for group, regions in pictures.items():
        for ours, theirs in zip(regions, kept[group]):
            for name in ("image", "reference", "found", "scored"):
                assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    (folder / "held_out.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(FileError, match="cannot be read"):
        list_versions("mine")[0].pictures()
    # the model itself is whole
    assert load_model("mine").spec.version == 1
    save_result(FinetuneResult(model(), (), 0.5, 0.6, "Dice"), "mine")
    assert list_versions("mine")[0].pictures() == {}


def test_pictures_from_strangers_run_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"before-0-image": np.array([{}], object)})
    with pytest.raises(FileError):
        read_pictures(tmp_path / "x.npz")
    (tmp_path / "y.npz").write_bytes(pack_pictures({"before": (region(1),)})[:300])
    with pytest.raises(FileError):
        read_pictures(tmp_path / "y.npz")


def test_whatever_byte_is_damaged_is_no_more_than_a_file_error(tmp_path: Path) -> None:
    whole, refused = pack_pictures({"before": (region(1),)}), 0
    for place in range(0, len(whole), 5):
        raw = bytearray(whole)
        raw[place] ^= 0xFF
        (tmp_path / "x.npz").write_bytes(raw)
        try:
            read_pictures(tmp_path / "x.npz")
        except FileError:
            refused += 1
    assert refused > len(whole) / 10
    np.save(tmp_path / "x.npz.npy", np.zeros(3))
    with pytest.raises(FileError, match="cannot be read"):
        read_pictures(tmp_path / "x.npz.npy")


def test_the_record_of_versions_in_use_is_small(three: object, segloop_home: Path) -> None:
    use_version("mine", 2)
    document = json.loads((segloop_home / "models" / "mine" / "versions.json").read_text())
    assert document == {"in_use": 2, "newest": 3}
