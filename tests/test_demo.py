"""The demo goes through the whole loop and leaves what it says."""

import json
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import torch

from segloop import demo
from segloop.corrections import TrainingSet
from segloop.errors import FileError
from segloop.io import read_labels
from segloop.models.registry import get_family
from segloop.samples import load_reference
from segloop.store import BUNDLED, load_model, save_model


@pytest.fixture
def untrained():
    """Models that stand in for the bundled ones: an own model of the same name goes before."""
    torch.manual_seed(0)
    for name, family, classes in (
        ("nuclei-unet", "unet", ("background", "inside", "border")),
        ("nuclei-maskrcnn", "maskrcnn", ("nucleus",)),
    ):
        spec = get_family(family).new_spec(name, classes, 3, 2, "small")
        smaller = {"levels": 2, "base_channels": 4} if family == "unet" else {}
        spec = replace(spec, repeat_grey=True, architecture={**spec.architecture, **smaller})
        save_model(get_family(family).build(spec), name)


def check(result, output):
    assert [scores.model for scores in result.scores] == list(demo.MODELS)
    for scores in result.scores:
        assert 0 <= scores.before <= 1 and 0 <= scores.after <= 1
    assert all(path.exists() for path in result.files)
    for suffix in demo.EXPORTS:
        assert (output / f"export{suffix}").exists()
        provenance = json.loads((output / f"export{suffix}.provenance.json").read_text())
        assert provenance["model"]["sha256"] and len(provenance["image"]["sha256"]) == 64
    shape = load_reference(demo.SAMPLE).shape
    for name in demo.MODELS:
        assert len(TrainingSet(output / "training_set").entries) == 1
        load_model(output / f"{name}-tuned")
        kept = next(scores.kept for scores in result.scores if scores.model == name)
        stages = ("before", "after" if kept else f"after{demo.REFUSED}")
        assert {path.name for path in output.glob(f"{name}_*.png")} == {f"{name}_{stage}.png" for stage in stages}
        for stage in stages:
            assert read_labels(output / f"{name}_{stage}_labels.tif").shape == shape
            picture = imagecodecs.png_decode((output / f"{name}_{stage}.png").read_bytes())
            assert picture.shape == (3 * shape[0], 3 * shape[1], 3)
            # the reference is outlined in green
            assert np.all(picture == [26, 255, 51], axis=-1).any()
    document = json.loads((output / "scores.json").read_text())
    assert [entry["after"] for entry in document["models"]] == [scores.after for scores in result.scores]


@pytest.mark.slow
def test_the_loop_runs_and_replaces_an_earlier_one(untrained, tmp_path):
    for folder in ("training_set", "nuclei-unet-tuned", "export.ome.zarr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "old").write_text("")
    for stage in ("after", f"after{demo.REFUSED}"):
        (tmp_path / f"nuclei-unet_{stage}.png").write_text("old")
    (tmp_path / demo.MARK).write_text("")
    lines = []
    check(demo.run_demo(tmp_path, lines.append, minutes=0.01), tmp_path)
    assert not list(tmp_path.rglob("old"))
    assert any("nuclei drawn by people" in line for line in lines)
    assert any(line.startswith("nuclei-unet") and "Dice" in line for line in lines)
    assert sum("guard: mean" in line and "±" in line for line in lines) == len(demo.MODELS)


@pytest.mark.slow
@pytest.mark.skipif(not (BUNDLED / "nuclei-unet").exists(), reason="the bundled models are not trained yet")
def test_the_demo_shows_good_models(tmp_path):
    result = demo.run_demo(tmp_path)
    check(result, tmp_path)
    for scores in result.scores:
        assert max(scores.before, scores.after if scores.kept else 0) > 0.5, scores
        assert np.isfinite(scores.guard_error)


@pytest.mark.parametrize(("kept", "rest", "says"), [(True, 0.9, False), (False, 0.9, True), (True, 0.4, True)])
def test_the_story_says_which_score_is_which(kept, rest, says):
    scores = demo.ModelScores("a", "Dice", 0.5, rest, kept, "mean Dice of the classes", 0.6, 0.7, 0.02)
    head, row, *more = demo._table([scores], "40%")
    assert head.startswith("on the 40% that nobody reviewed") and head.endswith("kept by the guard")
    assert row.endswith(f"0.500   {rest:.3f}  {'new' if kept else 'old'}")
    assert [("disagree" in line) for line in more] == [True] * says


@pytest.mark.parametrize("name", ["training_set", "nuclei-unet-tuned", "export.tif", "scores.json", "my image.png"])
def test_what_is_not_of_a_demo_is_not_replaced(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileError, match=f"{name} is not of an earlier demo"):
        demo.run_demo(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_output_that_cannot_be_written(tmp_path, capsys):
    from segloop.cli import main

    (tmp_path / "file").write_text("")
    assert main(["demo", "--output", str(tmp_path / "file" / "x")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: nothing can be written to") and captured.err.count("\n") == 1
