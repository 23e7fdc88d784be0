"""``segloop models``, ``evaluate`` and ``convert``."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile

from segloop.errors import FileError
from segloop.io import outlines_lost, read_labels, save_labels, write_provenance
from segloop.models.registry import get_family
from segloop.store import load_model, save_model


def test_models(unet, run, segloop_home):
    ran = run("models", "--json")
    assert (ran.code, ran.err) == (0, [])
    before = json.loads(ran.out)
    save_model(load_model(unet), "mine")
    save_model(load_model(unet), "mine")
    after = json.loads(run("models", "--json").out)
    (mine,) = [model for model in after if model not in before]
    assert (mine["name"], mine["versions"], mine["bundled"], mine["family"]) == ("mine", [1, 2], False, "unet")
    text = run("models").out
    assert "mine" in text and "version 2 of 2" in text and str(segloop_home) in text


def test_a_table_of_models_stays_narrow(unet, run, segloop_home):
    family = get_family("unet")
    names = ("background", *(f"a long name of class number {number}" for number in range(9)))
    save_model(family.build(family.new_spec("mine", names, 1, 2, "small")), "mine")
    text = run("models").out
    assert "background, a long name of class number 0 and 8 more" in text
    assert max(len(line) for line in text.splitlines()[:-1]) < 140


class TestHistory:
    @pytest.fixture
    def mine(self, unet, segloop_home):
        for number, after in ((1, 0.5), (2, 0.6), (3, 0.4)):
            model = load_model(unet)
            training = {"before": 0.3, "after": after, "after_error": 0.02, "metric": "mean Dice", "learned_from": {}}
            parent = "small-unet@1" if number == 1 else f"mine@{number - 1}"
            model.spec = replace(model.spec, parent=parent, training=training)
            save_model(model, "mine")
        return segloop_home / "models" / "mine"

    def test_versions_with_parents_and_scores(self, mine, run):
        ran = run("models", "mine")
        assert ran.code == 0 and "3 (in use)" in ran.out and "mine@2" in ran.out and "small-unet@1" in ran.out
        assert "0.600 ± 0.020" in ran.out and "+0.300" in ran.out
        assert "0.400 ± 0.020" in run("models").out
        document = json.loads(run("models", "mine", "--json").out)
        assert [(v["version"], v["in_use"], v["training"]["after"]) for v in document] == [
            (3, True, 0.4), (2, False, 0.6), (1, False, 0.5),
        ]  # fmt: skip

    def test_an_earlier_version_is_put_into_use(self, mine, run):
        ran = run("models", "mine", "--use", 2)
        assert ran.code == 0 and "2 (in use)" in ran.out
        assert load_model("mine").spec.version == 2 and "version 2 of 3" in run("models").out

    def test_a_version_is_deleted(self, mine, run):
        assert run("models", "mine", "--delete", 3, "--yes").err == [
            "error: version 3 of 'mine' is in use; put another one into use first"
        ]
        assert run("models", "mine", "--delete", 3, "--use", 1, "--yes").code == 2
        ran = run("models", "mine", "--delete", 2, "--yes")
        assert (ran.code, ran.out.strip()) == (0, "deleted version 2 of mine") and not (mine / "2").exists()

    def test_the_last_version_is_deleted(self, unet, run, segloop_home):
        save_model(load_model(unet), "alone")
        ran = run("models", "alone", "--delete", 1, "--yes", "--json")
        assert (ran.code, json.loads(ran.out), ran.err) == (0, [], [])
        assert not (segloop_home / "models" / "alone").exists()

    @pytest.mark.parametrize(
        "arguments, line",
        [
            (
                ("nuclei-unet", "--delete", 1),
                "error: there is no version 1 of an own model 'nuclei-unet': it is a bundled",
            ),
            (("mine", "--delete", 9), "error: there is no version 9"),
            (("mine", "--delete", 1), "error: nobody can be asked whether to delete version 1 of mine; say --yes"),
        ],
    )
    def test_what_cannot_be_deleted_is_told_instead_of_asked(self, arguments, line, mine, run, monkeypatch):
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
        ran = run("models", *arguments)
        assert (ran.code, ran.out, len(ran.err)) == (2, "", 1) and ran.err[0].startswith(line)
        assert (mine / "1").exists()

    def test_damage_is_told(self, mine, run):
        (mine / "3" / "weights.safetensors").write_bytes(b"cut")
        ran = run("models", "mine")
        assert ran.code == 0 and "damaged" in ran.out and "sha256 differs" in ran.out
        (mine / "3" / "weights.safetensors").unlink()
        ran = run("models")
        assert "version 3 of 3, damaged" in ran.out and "are missing" in ran.out

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (("no-such",), "unknown model 'no-such'"),
            (("--use", 1), "need the name"),
            (("mine", "--use", 9), "no version"),
        ],
    )
    def test_what_cannot_be(self, arguments, message, run):
        ran = run("models", *arguments)
        assert ran.code == 2 and message in ran.err[0] and not ran.out


class TestEvaluate:
    @pytest.fixture
    def predicted(self, tmp_path, folders):
        out = tmp_path / "predicted"
        out.mkdir()
        for path in folders[1].iterdir():
            labels = tifffile.imread(path)
            labels[labels == 2] = 0
            save_labels(labels, out / f"{path.stem}_labels.tif")
        return out

    def test_instances(self, folders, predicted, run):
        ran = run("evaluate", "--reference", folders[1], "--prediction", predicted, "--json")
        assert (ran.code, ran.err) == (0, [])
        document = json.loads(ran.out)
        assert document["images"] == 3
        assert document["instances"]["ap"]["0.50"] == pytest.approx(0.75)
        ran = run("evaluate", "--reference", folders[1], "--prediction", predicted)
        assert "0.750" in ran.out

    def test_classes(self, folders, predicted, run):
        ran = run("evaluate", "--reference", folders[1], "--prediction", predicted, "--json", "--labels-are", "classes")
        assert json.loads(ran.out)["classes"][2]["dice"] == 0

    def test_outlines_are_as_good_as_label_images(self, folders, predicted, tmp_path, run):
        expected = json.loads(run("evaluate", "--reference", folders[1], "--prediction", predicted, "--json").out)
        rois = tmp_path / "rois"
        rois.mkdir()
        for path in folders[1].iterdir():
            assert run("convert", path, rois / f"{path.stem}.zip").code == 0
            # what is exported lies beside its labels
            assert run("convert", predicted / f"{path.stem}_labels.tif", predicted / f"{path.stem}.zip").code == 0
        ran = run("evaluate", "--reference", rois, "--prediction", predicted, "--json")
        assert (ran.code, ran.err) == (0, [])
        assert json.loads(ran.out)["instances"] == expected["instances"]

    def test_errors(self, folders, predicted, tmp_path, run):
        ran = run("evaluate", "--reference", folders[1], "--prediction", tmp_path / "no")
        assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
        (predicted / "b_labels.tif").unlink()
        ran = run("evaluate", "--reference", folders[1], "--prediction", predicted, "--json")
        assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)


class TestConvert:
    @pytest.fixture
    def labels(self, tmp_path):
        array = np.zeros((20, 30), np.uint16)
        array[2:5, 3:9], array[10:12, 10:20] = 1, 2
        return save_labels(array, tmp_path / "a_labels.tif")

    @pytest.mark.parametrize("suffix", [".zip", ".json", ".geojson", ".ome.zarr", ".png", ".npy", ".csv", ".tif"])
    def test_every_format(self, suffix, labels, tmp_path, run):
        out = tmp_path / f"out{suffix}"
        for more in ((), ("--overwrite",)):  # replaced, not appended to
            ran = run("convert", labels, out, *more)
            assert (ran.code, ran.err) == (0, [])
        assert ran.out.strip().endswith(f"2 labels -> {out}")
        assert suffix in run("convert", "--help").out
        document = json.loads((tmp_path / f"out{suffix}.provenance.json").read_text())
        assert document["converted"][0]["from"] == str(labels)

    def test_rois_become_labels_of_their_image(self, labels, tmp_path, run):
        image = tmp_path / "a.tif"
        tifffile.imwrite(image, np.zeros((20, 30), np.uint8), imagej=True, resolution=(4, 4), metadata={"unit": "um"})
        assert run("convert", labels, tmp_path / "a.zip").code == 0
        ran = run("convert", tmp_path / "a.zip", tmp_path / "again.tif", "--like", image)
        assert (ran.code, ran.err) == (0, [])
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), tifffile.imread(labels))
        assert read_labels(tmp_path / "again.tif").pixel_size == pytest.approx({"Y": 0.25, "X": 0.25})
        tifffile.imwrite(image, np.zeros((9, 9), np.uint8))
        ran = run("convert", tmp_path / "a.zip", tmp_path / "other.tif", "--like", image)
        assert ran.code == 2 and "object 2 lies outside the image, whose size is Y 9, X 9" in ran.err[0]

    def test_what_is_cut_or_left_out_is_said(self, labels, tmp_path, run):
        square = np.array([[2, 2], [12, 2], [12, 12], [2, 12]])
        path, image = tmp_path / "a.zip", tmp_path / "a.tif"
        points = [roifile.ImagejRoi.frompoints(square[:1] + move) for move in (0, 1)]
        for point in points:
            point.roitype = roifile.ROI_TYPE.POINT
        rois = [roifile.ImagejRoi.frompoints(square + move) for move in (0, 12, 15)]
        roifile.roiwrite(path, [*rois, *points], mode="w")
        tifffile.imwrite(image, np.zeros((20, 30), np.uint8))
        ran = run("convert", path, tmp_path / "out.tif", "--like", image)
        assert ran.code == 0 and ran.out.strip().endswith("3 labels -> " + str(tmp_path / "out.tif"))
        assert ran.err == [
            f"note: {path}: 2 are left out, being lines, points, texts or pictures: they outline no object",
            f"note: {path}: 2 objects stick out of the image, and the part outside is cut off",
        ]
        tifffile.imwrite(image, np.zeros((40, 40), np.uint8))
        roifile.roiwrite(path, rois, mode="w")
        assert run("convert", path, tmp_path / "whole.tif", "--like", image).err == []
        assert outlines_lost(path) == ()
        with pytest.raises(FileError, match="holds no outlines"):
            outlines_lost(labels)

    def test_label_images_know_their_size(self, labels, tmp_path, run):
        ran = run("convert", labels, tmp_path / "out.png", "--like", labels)
        assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
        assert "a_labels.tif is no file of outlines (.zip, .roi, .geojson) and knows it; leave --like out" in ran.err[0]
        assert not (tmp_path / "out.png").exists()

    def test_the_folder_is_made(self, labels, tmp_path, run):
        ran = run("convert", labels, tmp_path / "new" / "folder" / "a.png")
        assert (ran.code, ran.err) == (0, []) and (tmp_path / "new" / "folder" / "a.png").is_file()

    def test_classes_scores_and_provenance_go_along(self, labels, tmp_path, run):
        objects = pd.DataFrame({"label": [1, 2], "class": ["round", "long"], "score": [0.9, 0.8], "origin": "model"})
        objects.to_csv(tmp_path / "a_objects.csv", index=False)
        write_provenance(labels, {"model": {"name": "m"}})
        assert run("convert", labels, tmp_path / "out.json").code == 0
        document = json.loads((tmp_path / "out.json").read_text())
        assert [category["name"] for category in document["categories"]] == ["round", "long"]
        provenance = json.loads((tmp_path / "out.json.provenance.json").read_text())
        assert provenance["model"] == {"name": "m"}

    @pytest.mark.parametrize(
        "source, out, line",
        [
            ("no.tif", "out.png", "no such file"),
            ("a_labels.tif", "out.docx", "cannot be written as .docx; expected one of .tif"),
            ("a_labels.tif", "a_labels.tif", "is the file to be converted"),
            ("a_labels.tif", "bad.tif/out.png", "bad.tif is a file, not a folder; name another folder"),
            ("a_labels.tif", "colour.tif", "colour.tif exists already; use --overwrite to replace it"),
            ("bad.tif", "out.png", "bad.tif is damaged"),
            ("colour.tif", "out.png", "one number per pixel"),
            ("phase.tif", "out.zip", "phase.tif looks like an image, not like labels"),
        ],
    )
    def test_errors(self, source, out, line, labels, tmp_path, run):
        (tmp_path / "bad.tif").write_bytes(b"II*\0")
        tifffile.imwrite(tmp_path / "colour.tif", np.zeros((20, 20, 3), np.uint8), photometric="rgb")
        tifffile.imwrite(tmp_path / "phase.tif", np.random.default_rng(0).integers(80, 180, (99, 99), np.uint8))
        ran = run("convert", tmp_path / source, tmp_path / out)
        assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
        assert line in ran.err[0]
