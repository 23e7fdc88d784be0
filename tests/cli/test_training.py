"""``segloop finetune`` and ``segloop train``: from folders to a saved model."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile

from segloop.cli.progress import ProgressBar
from segloop.cli.training_result import finish
from segloop.corrections import TrainingSet
from segloop.errors import SettingsError
from segloop.events import EpochDone, TrainingStarted
from segloop.models.registry import get_family
from segloop.store import list_models, load_model
from segloop.train.finetune import FinetuneResult
from segloop.train.own_domain import OwnScores


def answer(ran):
    """The one JSON document on stdout."""
    document, end = json.JSONDecoder().raw_decode(ran.out)
    assert ran.out[end:].strip() == ""
    return document


@pytest.mark.slow
def test_finetune_saves_a_new_model_in_versions(folders, unet, run):
    images, labels = folders
    common = ["finetune", "--model", unet, "--images", images, "--labels", labels, "--name", "mine", "--keep-worse"]
    ran = run(*common, "--epochs", 1, "--seed", 3)
    assert ran.code == 0
    assert ran.err[0] == "note: the labels look like single objects; --labels-are classes says otherwise"
    assert "held out: before" in ran.out and "saved as mine, version 1" in ran.out
    ran = run(*common, "--epochs", 1, "--json", "--labels-are", "instances")
    document = answer(ran)
    assert document["saved"] and document["version"] == 2
    assert document["labels"] == "instances"
    assert len(document["history"]) == 1
    assert {"before", "after", "improved", "metric", "path", "seconds"} <= set(document)
    assert load_model("mine").spec.classes == ("background", "inside", "border")
    assert [(info.name, info.versions) for info in list_models() if not info.bundled] == [("mine", (1, 2))]


@pytest.mark.slow
def test_one_image_and_its_labels_may_be_given_as_files(folders, unet, run, tmp_path):
    image, labels = folders[0] / "a.tif", tmp_path / "corrected.tif"
    (folders[1] / "a.tif").rename(labels)
    common = ["finetune", "--model", unet, "--name", "mine", "--keep-worse", "--epochs", 1, "--json"]
    ran = run(*common, "--images", image, "--labels", labels, "--labels-are", "instances")
    assert ran.code == 0, ran.err
    assert answer(ran)["saved"]


@dataclass(frozen=True)
class Worse:
    """Replaces the trained model's score by one that is not better."""

    model: object
    history: tuple = ()
    before: float = 0.8
    after: float = 0.7
    metric: str = "Dice"
    notices: tuple = ()
    seconds: float = 1.0
    folds: int = 0
    improved: bool = False
    within_error: bool = True
    before_error: float = 0.05
    after_error: float = math.nan
    gain_error: float = math.nan
    pictures: tuple = ()
    own: object = OwnScores()


@pytest.mark.parametrize("keep", [False, True])
def test_a_model_that_got_worse_is_saved_only_on_demand(keep, folders, unet, run, monkeypatch):
    images, labels = folders

    def got_worse(model, *others):
        return Worse(model)
        yield

    monkeypatch.setattr("segloop.cli.training.finetune_events", got_worse)
    arguments = ["finetune", "--model", unet, "--images", images, "--labels", labels, "--name", "mine"]
    ran = run(*arguments, *(["--keep-worse"] if keep else []))
    assert ran.code == 0
    assert "not better" in ran.out
    assert ("the difference lies within its error" in ran.out) is not keep
    assert bool([info for info in list_models() if info.name == "mine"]) is keep


def test_a_cross_validated_model_is_saved_and_its_score_is_called_so(folders, unet, run, monkeypatch):
    images, labels = folders

    def learned(model, *others):
        return Worse(model, folds=2, improved=True)
        yield

    monkeypatch.setattr("segloop.cli.training.finetune_events", learned)
    ran = run("finetune", "--model", unet, "--images", images, "--labels", labels, "--name", "mine")
    assert ran.code == 0 and "cross-validated on halves of the one region: before 0.800 ± 0.050, after 0.700" in ran.out
    assert "no better score shows what it learned" in ran.out and "saved as mine" in ran.out


@pytest.mark.parametrize("score, is_told", [(0.01, True), (0.2, False), (float("nan"), False)])
def test_a_model_that_finds_next_to_nothing_is_saved_with_a_warning(score, is_told, folders, run, monkeypatch):
    images, labels = folders

    def trained(spec, *others):
        return Worse(get_family(spec.family).build(spec), before=float("nan"), after=score, improved=True)
        yield

    monkeypatch.setattr("segloop.cli.training.train_events", trained)
    arguments = ["train", "--family", "unet", "--images", images, "--labels", labels, "--name", "mine"]
    ran = run(*arguments, "--json")
    warnings = [line for line in ran.err if "finds next to nothing" in line]
    assert ran.code == 0 and len(warnings) == len(answer(ran)["notices"]) == is_told
    assert not is_told or "kept out of training (score 0.010); train it for longer" in warnings[0]


def test_where_nothing_was_kept_out_that_is_not_said(tmp_path, segloop_home, capsys):
    model = get_family("unet").build(get_family("unet").new_spec("new", ("background", "cell"), 1, 2, "small"))
    finish(FinetuneResult(model, (), 0.0, 0.01, "AP", folds=2), TrainingSet(tmp_path), "mine", True, False)
    told = capsys.readouterr().err
    assert "one half of the region finds next to nothing in the other half (score 0.010)" in told
    assert "kept out" not in told


@pytest.mark.slow
def test_train_semantic_from_class_labels(folders, run):
    images, labels = folders
    for path in labels.iterdir():
        tifffile.imwrite(path, (tifffile.imread(path) % 3).astype(np.uint8))
    (labels / "classes.txt").write_text("0 background\n1 odd ones\n2 even ones\n")
    ran = run(
        "train", "--family", "unet", "--images", images, "--labels", labels, "--name", "new", "--epochs", 1, "--json"
    )
    assert ran.code == 0, ran.err
    document = answer(ran)
    assert (document["labels"], document["before"]) == ("classes", None)
    spec = load_model("new").spec
    assert (spec.classes, spec.channels) == (("background", "odd ones", "even ones"), 1)


@pytest.mark.slow
def test_train_objects_on_reviewed_parts(folders, tmp_path, run):
    images, labels = folders
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in labels.iterdir():
        mask = np.zeros((64, 64), np.uint8)
        mask[:, :48] = 1
        tifffile.imwrite(masks / f"{path.stem}_reviewed.tif", mask)
    ran = run(
        "train", "--family", "maskrcnn", "--classes", "square", "--images", images, "--labels", labels,
        "--reviewed", masks, "--name", "new", "--minutes", 0.05, "--labels-are", "instances",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert load_model("new").spec.classes == ("square",)


class TestWhatCannotBeTrained:
    @pytest.fixture
    def finetune(self, folders, unet, run):
        images, labels = folders

        def finetune(*more, images=images, labels=labels, model=unet):
            ran = run("finetune", "--model", model, "--images", images, "--labels", labels, "--name", "mine", *more)
            assert (ran.code, ran.out) == (2, "")
            errors = [line for line in ran.err if not line.startswith("note: ")]
            assert len(errors) == 1, ran.err
            return errors[0]

        return finetune

    def test_unpaired_labels(self, finetune, folders):
        (folders[0] / "b.tif").unlink()
        assert "no image in" in finetune() and "for the labels b" in finetune()

    def test_nothing_pairs(self, finetune, folders):
        for path in folders[0].iterdir():
            path.rename(path.with_name(f"x{path.name}"))
        assert "give both the same name" in finetune()

    def test_labels_in_the_folder_of_the_images(self, finetune, folders):
        error = finetune(images=folders[0], labels=folders[0])
        assert "labels are called _labels after them, such as a_labels.tif; the other files are taken" in error

    def test_folders_that_are_not_there(self, finetune, tmp_path):
        assert "no such folder" in finetune(images=tmp_path / "no")
        assert "no such folder" in finetune(labels=tmp_path / "no")

    def test_files_and_folders_are_not_mixed(self, finetune, folders):
        error = finetune(images=folders[0] / "a.tif")
        assert "--images is a file, but --labels is a folder; expected files only, or folders only" in error
        assert "no such file" in finetune(images=folders[0] / "a.tif", labels=folders[1] / "x.tif")

    def test_empty_folder(self, finetune, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "no images in" in finetune(images=tmp_path / "empty")

    def test_labels_of_another_shape(self, finetune, folders):
        tifffile.imwrite(folders[1] / "b.tif", np.zeros((10, 10), np.uint8))
        assert "b" in finetune() and "(10, 10)" in finetune()

    def test_damaged_labels(self, finetune, folders):
        (folders[1] / "b.tif").write_bytes(b"II*")
        assert "b.tif is damaged" in finetune()

    def test_too_few_class_names(self, finetune):
        assert "go up to 4, but 2 classes are named" in finetune("--labels-are", "classes", "--classes", "a,b")

    def test_settings(self, finetune):
        assert "--epochs and --minutes are both given" in finetune("--epochs", 1, "--minutes", 1)
        assert "--epochs is 0; expected 1 to" in finetune("--epochs", 0)
        assert "--labels-are 'x' is unknown" in finetune("--labels-are", "x")
        assert "unknown model" in finetune(model="no-such-model")

    def test_name_that_cannot_be_a_folder(self, folders, unet, run):
        images, labels = folders
        ran = run("finetune", "--model", unet, "--images", images, "--labels", labels, "--name", "../mine")
        assert ran.code == 2
        assert "cannot name a model" in ran.err[0]

    def test_masks_of_0_and_255_are_no_256_classes(self, finetune, folders):
        for path in folders[1].iterdir():
            tifffile.imwrite(path, ((tifffile.imread(path) > 0) * 255).astype(np.uint8))
        assert "is 255; a class is its number: save such masks as 0 and 1" in finetune()

    def test_unknown_family(self, folders, run):
        images, labels = folders
        ran = run("train", "--family", "bogus", "--images", images, "--labels", labels, "--name", "mine")
        assert ran.code == 2
        assert ran.err == ["error: unknown model family 'bogus'; installed are maskrcnn, unet"]

    def test_one_class_is_no_inside_and_border(self, finetune, folders):
        for path in folders[1].iterdir():
            tifffile.imwrite(path, (tifffile.imread(path) > 0).astype(np.uint8))
        assert "would forget the border; give each object a number of its own" in finetune()


@pytest.mark.parametrize("count, told", [(3, False), (16, True)])
def test_objects_that_are_called_classes_are_asked_about(count, told, folders, unet, run, monkeypatch):
    images, labels = folders
    for path in labels.iterdir():
        tifffile.imwrite(path, np.kron(np.arange(16).reshape(4, 4) % count, np.ones((16, 16), int)).astype(np.uint8))
    monkeypatch.setattr("segloop.cli.training.finetune_events", lambda model, *others: got_worse(model))
    ran = run(
        "finetune", "--model", unet, "--images", images, "--labels", labels, "--name", "m", "--labels-are", "classes"
    )
    asked = [line for line in ran.err if "are these single objects? Then use --labels-are instances" in line]
    assert ran.code == 0 and len(asked) == told
    assert not told or asked[0].startswith("note: 16 classes are learned")
    assert "0 epochs on 3 images in 1 s" in ran.out


def got_worse(model):
    return Worse(model)
    yield


def test_a_training_that_nobody_watches_tells_now_and_then_how_far_it_is(capfd, monkeypatch):
    clock = iter(range(0, 60, 4))
    monkeypatch.setattr("segloop.cli.progress.time.monotonic", lambda: next(clock))
    for quiet in (True, False):
        with ProgressBar("mine", quiet) as progress:
            progress(TrainingStarted(9, 3, 1, "cpu"))
            for epoch in range(1, 9):
                progress(EpochDone(epoch, 9, 1 / epoch, 0.5 if epoch == 3 else float("nan"), 1.0))
        lines = capfd.readouterr().err.splitlines()
        assert not quiet or lines == []
    assert lines[0] == "mine: training" and 3 <= len(lines) < 9
    assert lines[1].startswith("mine: epoch ") and ", loss 0." in lines[1]


def test_images_without_labels_are_named(folders, unet, run):
    images, labels = folders
    (labels / "b.tif").unlink()
    ran = run(
        "finetune", "--model", unet, "--images", images, "--labels", labels, "--name", "m",
        "--labels-are", "classes", "--classes", "a,b",
    )  # fmt: skip
    assert ran.err[0] == "note: images without labels are left out: b"


def test_a_class_that_only_the_last_of_many_files_has(folders, run, monkeypatch):
    images, labels = folders
    for number in range(9):
        tifffile.imwrite(images / f"d{number}.tif", np.zeros((64, 64), np.uint8))
        tifffile.imwrite(labels / f"d{number}.tif", np.full((64, 64), 1 + (number == 8), np.uint8))
    for stem in "abc":
        tifffile.imwrite(labels / f"{stem}.tif", np.eye(64, dtype=np.uint8))
    seen = []

    def train(spec, training_set, *others):
        seen.append(training_set.classes)
        raise SettingsError("enough")
        yield

    monkeypatch.setattr("segloop.cli.training.train_events", train)
    ran = run(
        "train", "--family", "unet", "--images", images, "--labels", labels, "--name", "m", "--labels-are", "classes"
    )
    assert (ran.code, ran.err) == (2, ["error: enough"])
    assert seen == [("background", "class 1", "class 2")]


def test_bundled_models_cannot_be_hidden(folders, unet, run, tmp_path, monkeypatch):
    images, labels = folders
    (tmp_path / "weights" / "nuclei-unet").mkdir(parents=True)
    monkeypatch.setattr("segloop.cli.training.BUNDLED", tmp_path / "weights")
    for start in (["finetune", "--model", unet], ["train", "--family", "unet"]):
        ran = run(*start, "--images", images, "--labels", labels, "--name", "nuclei-unet")
        assert ran.code == 2
        assert "is a bundled model" in ran.err[0] and len(ran.err) == 1


def test_outlines_are_read_in_the_size_of_their_image(folders, unet, run):
    images, labels = folders
    (labels / "a.tif").unlink()
    square = {"type": "Polygon", "coordinates": [[[-9, -9], [-5, -9], [-5, -5], [-9, -5]]]}
    document = {"type": "Feature", "geometry": square, "properties": {}}
    (labels / "a.geojson").write_text(json.dumps(document))
    ran = run("finetune", "--model", unet, "--images", images, "--labels", labels, "--name", "m")
    assert ran.code == 2
    assert "a.geojson: object 1 lies outside the image, whose size is Y 64, X 64" in ran.err[-1]
