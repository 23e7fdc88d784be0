"""``segloop finetune --like``: the recorded settings and the same data give the same weights, or the reason why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tifffile
import torch

from segloop.corrections import TrainingSet
from segloop.image import Image
from segloop.labels import Task
from segloop.store import home, load_model, save_model

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(folders, unet, run, seeded):
    """Version 1 of "mine", made of the own model "base" and three files on one thread."""
    torch.set_num_threads(1)
    base = load_model(unet)
    save_model(base, "base")
    images, labels = folders
    ran = run(
        "finetune", "--model", "base", "--images", images, "--labels", labels, "--labels-are", "instances",
        "--name", "mine", "--epochs", 2, "--seed", 7, "--device", "cpu", "--keep-worse", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return home() / "models" / "mine" / "1"


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def files(folders):
    return ("--images", folders[0], "--labels", folders[1], "--labels-are", "instances")


def test_the_same_weights_to_the_bit(trained, folders, run):
    record = json.loads((trained / "model.json").read_text())["model"]["training"]
    assert record["threads"] == 1 and record["device"] == "cpu" and record["settings"]["seed"] == 7
    assert len(record["parent_sha256"]) == 64 and record["schedule"] == []
    assert {"torch", "torchvision", "numpy", "napari-segloop", "machine", "curve", "entries"} <= set(record)
    # with other threads set, the record's are taken
    torch.set_num_threads(2)
    ran = run("finetune", "--like", "mine@1", *files(folders), "--name", "again", "--keep-worse", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["same_weights"] is True and not [line for line in ran.err if "was made" in line]
    assert weights(home() / "models" / "again" / "1") == weights(trained)
    ran = run("finetune", "--like", "again@1", *files(folders), "--name", "again", "--keep-worse")
    assert "the weights are those of again@1, to the bit" in ran.out


@pytest.mark.parametrize("recorded", [None, 10**6])
def test_a_version_that_was_trained_in_another_way_is_told_beforehand(recorded, trained, folders, run):
    path = trained / "model.json"
    document = json.loads(path.read_text())
    training = document["model"]["training"]
    training.pop("recipe") if recorded is None else training.update(recipe=recorded)
    path.write_text(json.dumps(document))
    ran = run("finetune", "--like", "mine@1", *files(folders), "--name", "again", "--keep-worse")
    assert any("mine@1 was made by a SegLoop that trained in another way" in line for line in ran.err)


def test_a_training_that_the_time_ended_is_repeated_step_by_step(trained, folders, run):
    common = (*files(folders), "--keep-worse", "--json")
    ran = run("finetune", "--model", "base", "--minutes", 0.02, "--device", "cpu", "--name", "timed", *common)
    assert ran.code == 0, ran.err
    first = home() / "models" / "timed" / "1"
    record = json.loads((first / "model.json").read_text())["model"]["training"]
    assert len(record["schedule"]) == record["steps"] > 0
    ran = run("finetune", "--like", "timed@1", "--name", "timed", *common)
    assert ran.code == 0 and json.loads(ran.out)["same_weights"] is True
    assert weights(home() / "models" / "timed" / "2") == weights(first)


def test_another_seed_gives_other_weights(trained, folders, run):
    arguments = ("--model", "base", *files(folders), "--epochs", 2, "--seed", 8, "--keep-worse", "--name", "other")
    assert run("finetune", *arguments).code == 0
    assert weights(home() / "models" / "other" / "1") != weights(trained)


def refused(ran) -> str:
    assert (ran.code, ran.out) == (2, "")
    (error,) = [line for line in ran.err if line.startswith("error")]
    return error


def test_changed_data_are_named(trained, folders, run):
    labels = tifffile.imread(folders[1] / "b.tif")
    labels[labels == 2] = 0
    tifffile.imwrite(folders[1] / "b.tif", labels)
    error = refused(run("finetune", "--like", "mine@1", *files(folders), "--name", "again"))
    assert "the data are not those that mine@1 was made from: 0002" in error and "has another labels" in error
    assert "b.tif" in error and "0001" not in error and "0003" not in error
    for folder in folders:
        (folder / "c.tif").unlink()
    error = refused(run("finetune", "--like", "mine@1", *files(folders), "--name", "again"))
    assert "0003" in error and "is missing" in error
    assert not (home() / "models" / "again").exists()


def test_without_the_data_it_says_where_they_are_expected(trained, run):
    error = refused(run("finetune", "--like", "mine@1", "--name", "again"))
    assert "say where it is with --training-set, or name files with --images and --labels" in error


def test_a_training_set_is_found_again(trained, folders, tmp_path, run):
    """What the window does: the training set stays where it is; the model does not tell where that is."""
    kept = TrainingSet(home() / "training_sets" / "kept", Task.INSTANCE, ("object",))
    for path in sorted(folders[0].iterdir()):
        kept.add(Image(tifffile.imread(path), "YX"), tifffile.imread(folders[1] / path.name), source=path)
    common = ("--name", "window", "--keep-worse", "--json")
    ran = run("finetune", "--model", "base", "--training-set", kept.folder, "--epochs", 1, "--device", "cpu", *common)
    assert ran.code == 0, ran.err
    ran = run("finetune", "--like", "window@1", *common)
    assert ran.code == 0 and json.loads(ran.out)["same_weights"] is True
    first, second = (home() / "models" / "window" / n for n in ("1", "2"))
    assert weights(first) == weights(second)
    assert str(tmp_path) not in (first / "model.json").read_text()
    # pixels that somebody changed behind the set's back
    file = kept.folder / kept.entries[0].files[1]
    tifffile.imwrite(file, tifffile.imread(file) * 0)
    assert "its pixels have another hash" in refused(run("finetune", "--like", "window@1", "--name", "again"))


def test_another_base_is_named(trained, folders, run):
    folder = home() / "models" / "base"
    shutil.rmtree(folder)
    assert "unknown model 'base@1'" in refused(run("finetune", "--like", "mine@1", *files(folders), "--name", "again"))
    other = load_model("mine@1")
    save_model(other, "base")
    error = refused(run("finetune", "--like", "mine@1", *files(folders), "--name", "again"))
    assert "base@1, from which mine@1 was made, has other weights now" in error


def test_what_cannot_be_repeated(folders, run):
    common = (*files(folders), "--name", "again")
    assert "cannot be repeated" in refused(run("finetune", "--like", "nuclei-unet", *common))
    assert "not both" in refused(run("finetune", "--like", "a", "--model", "b", *common))
    assert "expected --model, or --like" in refused(run("finetune", *common))
    assert "leave out those given" in refused(run("finetune", "--like", "nuclei-unet", "--seed", 3, *common))
    both = ("--training-set", folders[0])
    assert "expected one of them" in refused(run("finetune", "--model", "nuclei-unet", *both, *common))
