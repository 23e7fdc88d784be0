"""Runs on a real cluster: a scheduler and two worker processes, whose results are those of a local run to the byte."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch
import zarr

from segloop import segmentation
from segloop.cli import main
from segloop.cluster import ClusterError, ImageDone, blocks, segment_on_cluster, segment_tiles, tasks, tiles
from segloop.cluster.connection import crew, model_source
from segloop.cluster.flow import flow
from segloop.errors import FileError, ImageError, ModelError, SegmentError, SettingsError
from segloop.events import Event, Notice, SegmentStarted, TileDone, drain
from segloop.image import Image
from segloop.models.device import Device, Precision
from segloop.models.registry import get_family
from segloop.normalize import check_finite
from segloop.results import LabelFormat, Order, Written, segment_file
from segloop.segmentation import SegmentSettings
from segloop.store import load_model, write_model

distributed = pytest.importorskip("distributed")

# processes of their own, each of which loads torch
pytestmark = pytest.mark.slow

CPU = SegmentSettings(device=Device.CPU)


def new_cluster(workers: int) -> Any:
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and two worker processes of one thread."""
    with new_cluster(2) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def one_thread(seeded: None) -> Iterator[None]:
    """As many as the workers have: the last digits of scores depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one chunk, so that even small images have several."""
    monkeypatch.setattr(blocks, "SIDE", 512)
    monkeypatch.setattr(blocks, "DEPTH", 2)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Folder of a small U-Net for planes (2) or volumes (3), untrained, with a border class."""
    made: dict[int, str] = {}

    def make(ndim: int) -> str:
        if ndim not in made:
            torch.manual_seed(0)
            family = get_family("unet")
            spec = family.new_spec("small-unet", ("background", "inside", "border"), 1, ndim, family.sizes()[0])
            tiny = dict(spec.architecture) | {"levels": 2, "base_channels": 4}
            folder = tmp_path_factory.mktemp("models") / f"unet-{ndim}"
            write_model(family.build(replace(spec, tile=64, halo=16, architecture=tiny)), folder)
            made[ndim] = str(folder)
        return made[ndim]

    return make


@pytest.fixture(scope="module")
def mosaic() -> np.ndarray:
    """Real nuclei, uint8 (1200, 1300), in squares of 250 pixels."""
    files = sorted((Path(__file__).parent / "data" / "nuclei" / "images").glob("*.png"))
    images = [np.asarray(iio.imread(file)) for file in files]
    grey = [image if image.ndim == 2 else image[..., :3].mean(axis=-1).astype(np.uint8) for image in images]
    whole = np.zeros((1200, 1300), np.uint8)
    corners = [(y, x) for y in range(0, 1200, 250) for x in range(0, 1300, 250)]
    for number, (y, x) in enumerate(corners):
        target = whole[y : y + 250, x : x + 250]
        source = grey[number % len(grey)][: target.shape[0], : target.shape[1]]
        target[: source.shape[0], : source.shape[1]] = source
    return whole


def as_zarr(folder: Path, array: np.ndarray, axes: str = "YX") -> Path:
    path = folder / "big.zarr"
    chunks = tuple(min(n, 256) for n in array.shape)
    stored = zarr.create_array(
        path, shape=array.shape, chunks=chunks, dtype=array.dtype, dimension_names=list(axes.lower())
    )
    stored[...] = array
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """All files, provenance without what tells one run from another."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            lines = path.read_bytes().splitlines()
            if path.name.endswith(".provenance.json"):
                lines = [line for line in lines if not line.strip().startswith((b'"created"', b'"seconds"'))]
            found[str(path.relative_to(folder))] = b"\n".join(lines)
    return found


def both(
    cluster: Any,
    tmp_path: Path,
    image: Path,
    model: str,
    settings: SegmentSettings = CPU,
    label_format: LabelFormat = LabelFormat.OME_ZARR,
    on_event: Callable[[Event], object] = lambda event: None,
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a local run and one on the cluster write."""
    outputs = tmp_path / "here", tmp_path / "there"
    for output in outputs:
        output.mkdir()
    here, there = (Order(model, output, "", settings, label_format) for output in outputs)
    drain(segment_file(image, load_model(model, Device.CPU), here))
    segment_on_cluster(cluster.scheduler_address, image, there, on_event)
    return contents(outputs[0]), contents(outputs[1])


@pytest.mark.parametrize("model", ["nuclei-unet", "nuclei-maskrcnn"])
def test_bundled_models_give_the_bytes_of_a_local_run(cluster, tmp_path, mosaic, model):
    events: list[Event] = []
    here, there = both(cluster, tmp_path, as_zarr(tmp_path, mosaic), model, on_event=events.append)
    assert here == there
    # several chunks, all written by the workers, and nothing else left
    assert len([name for name in there if "/0/c/" in name]) == 9
    started = events[0]
    assert isinstance(started, SegmentStarted) and started.device == "2 workers"
    done = [event.done for event in events if isinstance(event, TileDone)]
    assert done == list(range(1, started.tiles + 1)) and len(done) > 4


def test_float32_and_tiff_are_those_of_a_local_run(cluster, tmp_path, mosaic):
    settings = replace(CPU, precision=Precision.FLOAT32, object_size=30.0)
    image = as_zarr(tmp_path, mosaic[:700, :600])
    here, there = both(cluster, tmp_path, image, "nuclei-maskrcnn", settings, LabelFormat.TIFF)
    assert here == there
    assert sorted(there) == sorted(
        name + ending for name in ("big_labels.tif", "big_objects.csv") for ending in ("", ".provenance.json")
    )


@pytest.mark.parametrize("axes", ["TZYX", "ZYXT", "XZY"])
def test_stacks_and_their_axes(cluster, tmp_path, mosaic, unet, axes):
    lengths = {"T": 2, "Z": 3}
    order = sorted(axes, key="TZYX".index)
    planes = int(np.prod([lengths[axis] for axis in order[:-2]]))
    stack = np.stack([mosaic[80 * n : 80 * n + 150, :600] for n in range(planes)])
    stack = stack.reshape([*(lengths[axis] for axis in order[:-2]), 150, 600])
    image = as_zarr(tmp_path, stack.transpose([order.index(axis) for axis in axes]), axes)
    here, there = both(cluster, tmp_path, image, unet(2))
    assert here == there
    (tmp_path / "objects").mkdir()
    here, there = both(cluster, tmp_path / "objects", image, "nuclei-maskrcnn")
    assert here == there


def test_volumes(cluster, tmp_path, mosaic, unet):
    image = as_zarr(tmp_path, np.stack([mosaic[n : n + 120, :560] for n in range(5)]), "ZYX")
    here, there = both(cluster, tmp_path, image, unet(3))
    assert here == there


@pytest.mark.parametrize("label_format", LabelFormat)
def test_single_objects_of_a_unet(cluster, tmp_path, mosaic, label_format):
    image = as_zarr(tmp_path, mosaic[:500, :600])
    here, there = both(cluster, tmp_path, image, "nuclei-unet", replace(CPU, instances=True), label_format)
    assert here == there


def test_an_image_of_one_intensity(cluster, tmp_path):
    image = as_zarr(tmp_path, np.full((200, 300), 7, np.uint8))
    here, there = both(cluster, tmp_path, image, "nuclei-maskrcnn")
    assert here == there


def test_a_killed_worker_is_replaced_and_nothing_is_lost(cluster, tmp_path, mosaic, unet):
    killed = []

    def kill(event: Event) -> None:
        if isinstance(event, TileDone) and event.done > 20 and not killed:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    image = as_zarr(tmp_path, mosaic)
    here, there = both(cluster, tmp_path, image, unet(2), on_event=kill)
    assert killed and here == there
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        assert killed[0] not in client.run(os.getpid).values()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_every_worker_is_said_in_words_that_help():
    """As the system does with a worker that takes too much memory."""
    with new_cluster(1) as own, distributed.Client(own, set_as_default=False) as client:
        own.scheduler.allowed_failures = 1
        ((_, outcome),) = flow(client, _die, [()], timeout=60)
        assert isinstance(outcome, ClusterError)
        for said in ("2 workers died over one task", "smaller --tile", "more memory", "fewer workers"):
            assert said in str(outcome)


def test_objects_at_seams_are_looked_at_again_and_come_out_the_same(cluster, tmp_path, mosaic):
    large = np.kron(mosaic[:250, :300], np.ones((4, 4), np.uint8))
    settings = replace(CPU, tile=384, object_size=load_model("nuclei-maskrcnn", Device.CPU).spec.object_size)
    image = as_zarr(tmp_path, large)
    events: list[Event] = []
    here, there = both(cluster, tmp_path, image, "nuclei-maskrcnn", settings=settings, on_event=events.append)
    done = [event for event in events if isinstance(event, TileDone)]
    started = next(event for event in events if isinstance(event, SegmentStarted))
    assert len(done) > started.tiles and here == there
    assert all(event.done < event.tiles for event in done[:-1]) and done[-1].done == done[-1].tiles
    assert [event.at_seams for event in done] == [number >= started.tiles for number in range(len(done))]


@pytest.mark.parametrize("learned", [False, True])
def test_a_network_that_has_learned_no_objects_asks_for_no_further_tiles(cluster, tmp_path, mosaic, learned):
    torch.manual_seed(0)
    family = get_family("maskrcnn")
    spec = family.new_spec("untrained", ("cell",), 1, 2, "small")
    # boxes about as large as the tiles
    sides = ((32.0,), (64.0,), (96.0,), (128.0,))
    boxes = dict(spec.architecture) | {"box_score": 0.0, "anchors": sides, "detections": 50}
    write_model(
        family.build(replace(spec, architecture=boxes, object_size=40.0 if learned else 0.0)), tmp_path / "untrained"
    )
    events: list[Event] = []
    settings = replace(CPU, tile=128, score=0.0, **({"object_size": 40.0} if learned else {}))
    image = as_zarr(tmp_path, mosaic[:300, :300])
    here, there = both(cluster, tmp_path, image, str(tmp_path / "untrained"), settings, on_event=events.append)
    started = next(event for event in events if isinstance(event, SegmentStarted))
    done = sum(isinstance(event, TileDone) for event in events)
    assert here == there and (done > started.tiles if learned else done == started.tiles)


def _short_of_memory(side: int, error: Exception, module: str = "segloop.cluster.tasks") -> None:
    """Let tiles larger than ``side`` not fit in memory."""
    import importlib

    found = importlib.import_module(module)
    predict = found.predict_tiles

    def limited(model: Any, plan: Any, block: Any, tiles: Any) -> Any:
        if max(tiles[0].shape[-2:]) > side:
            raise error
        return predict(model, plan, block, tiles)

    found.predict_tiles = limited


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")],
    ids=["system", "torch"],
)
@pytest.mark.parametrize("model", ["classes", "nuclei-maskrcnn"])
def test_out_of_memory_on_workers_makes_tiles_smaller_as_a_local_run_does(
    tmp_path, mosaic, unet, monkeypatch, model, error
):
    import cloudpickle

    side, name, pixels = (40, unet(2), mosaic[:200, :300]) if model == "classes" else (200, model, mosaic[:600, :700])
    events: list[Event] = []
    # by value: a worker does not see this file
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with new_cluster(2) as short:
            with distributed.Client(short.scheduler_address, set_as_default=False) as client:
                client.run(_short_of_memory, side, error)
            with monkeypatch.context() as here:
                here.setattr(segmentation, "predict_tiles", segmentation.predict_tiles)
                _short_of_memory(side, error, segmentation.__name__)
                local, there = both(short, tmp_path, as_zarr(tmp_path, pixels), name, on_event=events.append)
            assert local == there
            smaller = [event.message for event in events if isinstance(event, Notice)]
            assert smaller and all("not enough memory for tiles of" in message for message in smaller)
            assert len(set(smaller)) == len(smaller)
            first = next(event for event in events if isinstance(event, SegmentStarted))
            last = [event for event in events if isinstance(event, TileDone)][-1]
            assert last.done == last.tiles > first.tiles

            # not even the smallest fit: the words of a local run
            with distributed.Client(short.scheduler_address, set_as_default=False) as client:
                client.run(_short_of_memory, 0, error)
            with pytest.raises(SegmentError, match="not enough memory even for tiles of"):
                segment_on_cluster(short.scheduler_address, tmp_path / "big.zarr", Order(name, tmp_path / "none"))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_tiles_are_planned_for_the_memory_of_the_workers(cluster, tmp_path, mosaic, monkeypatch):
    scarce = tmp_path / "scarce"
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        found = crew(client, model_source(Order("nuclei-unet", tmp_path)), Order("nuclei-unet", tmp_path))
        # dask gives each its share of the machine
        limit = min(info["memory_limit"] for info in client.scheduler_info()["workers"].values())
        assert 0 < found.free <= limit
        monkeypatch.setattr(tiles, "crew", lambda *given: replace(found, free=1 << 26))
        scarce.mkdir()
        events: list[Event] = []
        order = Order("nuclei-unet", scarce, "", CPU, LabelFormat.OME_ZARR)
        drain(segment_tiles(client, as_zarr(tmp_path, mosaic[:300, :300]), order, 30), events.append)
    assert any("memory is short: tiles of" in event.message for event in events if isinstance(event, Notice))
    first = next(event for event in events if isinstance(event, SegmentStarted))
    assert max(first.tile) < 300


def test_the_threads_of_a_worker_share_what_they_learn_of_a_run(tmp_path, monkeypatch):
    made = []

    class SlowMeans(tasks._Means):
        def __init__(self, *given: Any) -> None:
            # so that all threads find that there is none yet
            time.sleep(0.05)
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(tasks, "_Means", SlowMeans)
    # what it asks of a model is not needed for no tiles
    run = tasks.TileRun(
        str(tmp_path), tasks.ModelSource("", (), ""), "cpu", Precision.FLOAT32, "", "YX", None, None, False
    )
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: tasks.predict_group(run, []), range(8)))
    assert all(not predicted.parts and not predicted.notices for predicted in done)
    assert len(made) == 1


def test_images_of_a_folder_are_those_of_a_local_run(cluster, tmp_path, mosaic, unet, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [Path(f"{name}.tif") for name in "abcd"]
    for number, path in enumerate(paths):
        tifffile.imwrite(path, mosaic[100 * number : 100 * number + 200, :300])
    paths[2].write_bytes(b"II*\0 no TIFF")
    for output in ("here", "there"):
        Path(output).mkdir()
    here, there = (Order(unet(2), Path(output), "", CPU) for output in ("here", "there"))
    events: list[Event] = []
    outcomes = segment_on_cluster(cluster.scheduler_address, paths, there, events.append)
    model = load_model(unet(2), Device.CPU)
    for number, path in enumerate(paths):
        if number == 2:
            assert isinstance(outcomes[number], FileError) and "c.tif" in str(outcomes[number])
            continue
        written = drain(segment_file(path, model, here))
        assert isinstance(outcomes[number], Written)
        assert outcomes[number].labels == Path("there", written.labels.name)
    # settings say what was asked for, provenance what was given
    assert contents(Path("here")) == contents(Path("there"))
    assert sorted(str(event.path) for event in events if isinstance(event, ImageDone)) == [str(path) for path in paths]


def test_the_command_line(cluster, tmp_path, mosaic, unet, capfd):
    images = tmp_path / "images"
    images.mkdir()
    for number, name in enumerate("abc"):
        tifffile.imwrite(images / f"{name}.tif", mosaic[100 * number : 100 * number + 200, :300])
    (images / "b.tif").write_bytes(b"II*\0 no TIFF")
    for output, more in [("here", []), ("there", ["--scheduler", cluster.scheduler_address])]:
        arguments = ["segment", str(images), "--model", unet(2), "--output", str(tmp_path / output), *more]
        assert main([*arguments, "--device", "cpu"]) == 2
        said = capfd.readouterr()
        assert len(said.out.splitlines()) == 2 and "a.tif: " in said.out and f"{output}/c_labels.tif" in said.out
        bad, summary = said.err.splitlines()
        assert "b.tif is damaged" in bad
        assert summary == "error: 1 of 3 images could not be segmented"
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    one = ["segment", str(images / "a.tif"), "--model", unet(2), "--output", str(tmp_path / "one")]
    assert main([*one, "--device", "cpu", "--scheduler", cluster.scheduler_address]) == 0
    assert capfd.readouterr().err == ""
    labels = "a_labels.tif"
    assert (tmp_path / "one" / labels).read_bytes() == (tmp_path / "here" / labels).read_bytes()


def test_a_run_that_is_given_up_leaves_nothing(cluster, tmp_path, mosaic, unet):
    image = as_zarr(tmp_path, mosaic)
    output = tmp_path / "out"
    output.mkdir()
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        work = segment_tiles(client, image, Order(unet(2), output, "", CPU, LabelFormat.OME_ZARR), 30)
        while not isinstance(next(work), TileDone):
            pass
        work.close()
        assert not list(output.iterdir())
        assert not client.futures


@pytest.mark.parametrize(
    "pixels, settings, error, words",
    [
        (np.full((64, 64), np.nan, np.float32), CPU, ImageError, "NaN"),
        (np.zeros((64, 64), np.uint8), replace(CPU, channel=3), ImageError, "channel 3 does not exist"),
        (np.eye(64, dtype=np.uint8), replace(CPU, device=Device.MPS), SettingsError, "not available"),
    ],
)
def test_what_is_wrong_is_said_as_by_a_local_run(cluster, tmp_path, unet, pixels, settings, error, words):
    output = tmp_path / "out"
    with pytest.raises(error, match=words):
        segment_on_cluster(cluster.scheduler_address, as_zarr(tmp_path, pixels), Order(unet(2), output, "", settings))
    assert not list(output.iterdir())


def test_a_pixel_that_only_a_worker_sees_is_no_number(cluster, tmp_path, mosaic, unet):
    pixels = np.tile(mosaic, (3, 3)).astype(np.float32)
    # between the blocks that statistics are fitted on
    for place in [(600, 600), (900, 700), (1100, 1650), (1700, 1100)]:
        trial = pixels.copy()
        trial[place] = np.nan
        try:
            check_finite(Image(trial, "YX").sample())
            break
        except ImageError:
            continue
    else:
        pytest.skip("all pixels are looked at")
    with pytest.raises(ImageError, match="NaN"):
        segment_on_cluster(cluster.scheduler_address, as_zarr(tmp_path, trial), Order(unet(2), tmp_path / "out"))


def test_results_that_exist_are_kept(tmp_path, unet):
    (tmp_path / "a_labels.tif").write_text("mine")
    with pytest.raises(FileError, match="exists already"):
        segment_on_cluster("tcp://127.0.0.1:1", tmp_path / "a.tif", Order(unet(2), tmp_path))


def test_without_distributed(tmp_path, unet, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install .napari-segloop\[cluster\]"):
        segment_on_cluster("tcp://127.0.0.1:1", tmp_path / "a.tif", Order(unet(2), tmp_path))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:1"])
def test_no_scheduler(tmp_path, unet, address):
    with pytest.raises(ClusterError, match="dask scheduler"):
        segment_on_cluster(address, tmp_path / "a.tif", Order(unet(2), tmp_path), timeout=1)


def test_no_workers(tmp_path, unet):
    with (
        new_cluster(0) as empty,
        pytest.raises(ClusterError, match="has no workers after"),
    ):
        segment_on_cluster(empty.scheduler_address, tmp_path / "a.tif", Order(unet(2), tmp_path), timeout=0.5)


def _another_version() -> None:
    import segloop

    segloop.__version__ = "0.0.1"


def _no_segloop() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "segloop"]:
        del sys.modules[name]
    sys.modules["segloop"] = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "spoil, words",
    [(_another_version, "has SegLoop 0.0.1, but here is"), (_no_segloop, "cannot load SegLoop")],
)
def test_workers_that_cannot_do_it(tmp_path, mosaic, unet, spoil, words):
    import cloudpickle

    # by value: a worker does not see this file
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with new_cluster(1) as one:
            with distributed.Client(one.scheduler_address, set_as_default=False) as client:
                client.run(spoil)
            with pytest.raises(ClusterError, match=words):
                segment_on_cluster(
                    one.scheduler_address, as_zarr(tmp_path, mosaic[:64, :64]), Order(unet(2), tmp_path / "out")
                )
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_unknown_models_are_found_before_anything_is_asked(cluster, tmp_path, mosaic):
    with pytest.raises(ModelError, match="unknown model"):
        segment_on_cluster(cluster.scheduler_address, as_zarr(tmp_path, mosaic), Order("nobody", tmp_path / "out"))
