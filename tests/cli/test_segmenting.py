"""``segloop segment``: what it writes, what it refuses, what it survives."""

import json

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from segloop.cli.progress import ProgressBar
from segloop.events import SegmentStarted, TileDone
from segloop.io import read_image, read_labels
from segloop.models.device import Device
from segloop.segmentation import SegmentSettings, segment
from segloop.store import load_model, weights_hash


@pytest.fixture
def out(tmp_path):
    return tmp_path / "new" / "out"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_results_are_those_of_python(folders, unet, out, run):
    images, _ = folders
    ran = run("segment", images / "a.tif", images / "b.tif", "--model", unet, "--output", out, "--device", "cpu")
    assert (ran.code, ran.err) == (0, [])
    assert len(ran.out.splitlines()) == 2
    stems = [f"{stem}_{kind}" for stem in "ab" for kind in ("labels.tif", "objects.csv")]
    assert names(out) == sorted(stems + [f"{stem}.provenance.json" for stem in stems])
    model = load_model(unet, Device.CPU)
    expected = segment(model, read_image(images / "a.tif"), SegmentSettings(device=Device.CPU))
    written = read_labels(out / "a_labels.tif")
    np.testing.assert_array_equal(written.data, expected.labels.data)
    assert written.classes == ("background", "inside", "border")
    table = pd.read_csv(out / "a_objects.csv")
    assert table["label"].tolist() == expected.objects["label"].tolist()


def test_provenance_says_how(folders, unet, out, run):
    images, _ = folders
    run("segment", images / "a.tif", "--model", unet, "--output", out, "--tile", 64, "--min-area", 3, "--instances")
    document = json.loads((out / "a_labels.tif.provenance.json").read_text())
    assert document["model"]["sha256"] == weights_hash(unet)
    assert document["settings"]["tile"] == 64
    assert document["settings"]["min_area"] == 3
    assert document["settings"]["instances"] is True
    assert document["image"]["axes"] == "YX"
    assert len(document["image"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("family", "arguments", "told"),
    [
        ("unet", ["--score", 0.5, "--overlap", 0.1], ["--score", "--overlap"]),
        ("unet", ["--min-area", 3], ["--min-area"]),
        ("unet", ["--min-area", 3, "--instances"], []),
        ("maskrcnn", ["--instances"], ["--instances"]),
        ("maskrcnn", ["--score", 0.5, "--overlap", 0.1, "--min-area", 3], []),
    ],
)
def test_options_that_mean_nothing_to_the_model_are_named(family, arguments, told, folders, unet, out, run):
    images, _ = folders
    model = unet if family == "unet" else "nuclei-maskrcnn"
    ran = run("segment", images / "a.tif", "--model", model, "--output", out, "--device", "cpu", *arguments)
    notes = [line for line in ran.err if "has no effect" in line]
    assert ran.code == 0 and len(notes) == len(told)
    for line, option in zip(notes, told):
        assert line.startswith(f"note: {option} has no effect: {'small-unet' if family == 'unet' else model} ")


def test_folder_of_images_leaves_results_out(folders, unet, run):
    images, _ = folders
    first = run("segment", images, "--model", unet, "--output", images)
    assert (first.code, first.err) == (0, [])
    second = run("segment", images, "--model", unet, "--output", images, "--overwrite")
    assert (second.code, len(second.out.splitlines())) == (0, 3)


def test_calibration_is_kept(unet, out, tmp_path, run):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((2, 32, 40), np.uint16), imagej=True, resolution=(4, 4),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 2.0},
    )  # fmt: skip
    ran = run("segment", path, "--model", unet, "--output", out)
    assert ran.code == 0
    labels = read_labels(out / "a_labels.tif")
    assert (labels.axes, labels.unit) == ("ZYX", "micrometer")
    assert labels.pixel_size == pytest.approx({"Z": 2.0, "Y": 0.25, "X": 0.25})


def test_ome_zarr(folders, unet, out, run):
    images, _ = folders
    ran = run("segment", images / "a.tif", "--model", unet, "--output", out, "--format", "ome-zarr")
    assert ran.code == 0
    assert "ome" in zarr.open_group(out / "a_labels.ome.zarr", mode="r").attrs
    again = run("segment", images / "a.tif", "--model", unet, "--output", out, "--format", "ome-zarr")
    assert (again.code, again.out) == (2, "")


def test_guessed_axes_are_shown_and_can_be_said(unet, out, tmp_path, run):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 32, 40), np.uint8), photometric="minisblack")
    ran = run("segment", path, "--model", unet, "--output", out)
    assert ran.code == 0
    assert ran.err == [
        "note: a.tif: axes guessed as ZYX; use --axes to change",
        "note: a.tif: the image has one intensity only; nothing can be found in it",
    ]
    ran = run("segment", path, "--model", unet, "--output", out, "--axes", "TYX", "--overwrite")
    assert ran.code == 0
    assert not any("guessed" in line for line in ran.err)
    assert read_labels(out / "a_labels.tif").axes == "TYX"


@pytest.mark.parametrize("what, told", [(0, []), (1, ["note: x.tif looks like labels, not like an image; it is"])])
def test_labels_that_are_segmented_are_noticed(what, told, blobs, unet, out, tmp_path, run):
    tifffile.imwrite(tmp_path / "x.tif", blobs(0)[what])
    ran = run("segment", tmp_path / "x.tif", "--model", unet, "--output", out)
    assert ran.code == 0 and len(ran.err) == len(told)
    assert all(line.startswith(start) for line, start in zip(ran.err, told))


def test_output_that_is_a_file(folders, unet, tmp_path, run):
    (tmp_path / "text.tif").write_text("")
    ran = run("segment", folders[0], "--model", unet, "--output", tmp_path / "text.tif")
    assert ran.code == 2 and "text.tif is a file, not a folder; name another folder" in ran.err[0]


def test_one_bad_image_does_not_stop_the_others(folders, unet, out, run):
    images, _ = folders
    (images / "b.tif").write_bytes((images / "b.tif").read_bytes()[:300])
    ran = run("segment", images, "--model", unet, "--output", out)
    assert ran.code == 2
    assert len(ran.out.splitlines()) == 2
    assert [name for name in names(out) if name.endswith(".tif")] == ["a_labels.tif", "c_labels.tif"]
    bad, summary = ran.err
    assert "b.tif is damaged" in bad
    assert summary == "error: 1 of 3 images could not be segmented"


def test_existing_results_are_kept_and_nothing_is_computed(folders, unet, out, run):
    images, _ = folders
    out.mkdir(parents=True)
    (out / "c_labels.tif").write_text("mine")
    ran = run("segment", images, "--model", unet, "--output", out)
    assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
    assert "c_labels.tif exists already; use --overwrite" in ran.err[0]
    assert names(out) == ["c_labels.tif"]
    assert (out / "c_labels.tif").read_text() == "mine"
    assert run("segment", images, "--model", unet, "--output", out, "--overwrite").code == 0


def write(path, array):
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        path.write_bytes(imagecodecs.png_encode(array))
    return path


def transparent() -> np.ndarray:
    array = np.full((32, 32, 4), 255, np.uint8)
    array[3, 3, 3] = 0
    return array


GREY = np.zeros((32, 40), np.uint8)


@pytest.mark.parametrize(
    "name, array, arguments, line",
    [
        ("a.tif", GREY, ["--axes", "ZYX"], "axes 'ZYX' name 3 dimensions, but the image has 2"),
        ("a.tif", GREY, ["--axes", "QX"], "unknown axis 'Q'"),
        ("a.png", transparent(), [], "RGBA with transparent pixels"),
        ("a.tif", np.full((32, 40), np.nan, np.float32), [], "NaN"),
        ("a.tif", np.ones((1, 1), np.uint8), [], "1 × 1 pixels; expected at least 8 × 8"),
        ("a.png", np.zeros((32, 40, 3), np.uint8), [], "the image has 3 channels, but the model 'small-unet' takes 1"),
        ("a.png", np.zeros((32, 40, 3), np.uint8), [], "choose one of its channels, or correct the axes: --channel N"),
        ("a.tif", np.zeros((32, 40), np.complex64), [], "complex64"),
        ("a.tif", GREY, ["--channel", "3"], "channel 3 does not exist"),
        ("a.tif", GREY, ["--tile", "7"], "--tile is 7; expected 64 to 8192"),
        ("a.tif", GREY, ["--tile", "big"], "--tile is 'big'; expected a whole number or auto"),
        ("a.tif", GREY, ["--score", "7"], "--score is 7; expected 0 to 1"),
        ("a.tif", GREY, ["--object-size", "1e9"], "--object-size is 1e+09; expected 2 to 4096"),
        ("a.tif", GREY, ["--precision", "half"], "--precision 'half' is unknown; choose from auto, float32, bfloat16"),
        ("a.tif", GREY, ["--device", "tpu"], "--device 'tpu' is unknown; choose from auto"),
        ("a.tif", GREY, ["--format", "gif"], "--format 'gif' is unknown; choose from tiff"),
        ("a.tif", GREY, ["--scheduler", "what://x:1"], "no address of a dask scheduler"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(name, array, arguments, line, unet, out, tmp_path, run):
    path = write(tmp_path / name, array)
    ran = run("segment", path, "--model", unet, "--output", out, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err) == 1, ran.err
    assert ran.err[0].startswith("error: ") and line in ran.err[0]
    assert not out.exists() or names(out) == []


@pytest.mark.parametrize("model", ["no-such-model", "../etc", "/tmp", "nuclei-unet@99"])
def test_unknown_models(model, folders, out, run):
    images, _ = folders
    ran = run("segment", images, "--model", model, "--output", out)
    assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
    assert not out.exists()


def test_output_that_cannot_be_written(folders, unet, tmp_path, run):
    images, _ = folders
    (tmp_path / "file").write_text("")
    ran = run("segment", images, "--model", unet, "--output", tmp_path / "file" / "out")
    assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
    assert "nothing can be written to" in ran.err[0]


def test_empty_folder(unet, out, tmp_path, run):
    (tmp_path / "empty").mkdir()
    ran = run("segment", tmp_path / "empty", "--model", unet, "--output", out)
    assert (ran.code, len(ran.err)) == (2, 1)
    assert "no images in" in ran.err[0]


def test_two_images_of_one_name(folders, unet, out, tmp_path, run):
    images, _ = folders
    write(images / "a.png", np.zeros((32, 32), np.uint8))
    ran = run("segment", images, "--model", unet, "--output", out)
    assert (ran.code, ran.out, len(ran.err)) == (2, "", 1)
    assert "would both be written as a" in ran.err[0]


def test_the_bar_knows_of_tiles_around_objects_at_seams(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = []
    with ProgressBar("cells") as bar:
        bar(SegmentStarted(3, (64, 64), "cpu"))
        for event in (TileDone(1, 3, expected=2), TileDone(3, 5), TileDone(4, 5, at_seams=True)):
            bar(event)
            (task,) = bar._progress.tasks
            shown.append((task.completed, task.total, task.fields["more"].strip()))
    assert shown == [(1, 5, ""), (3, 5, ""), (4, 5, "objects at seams")]
