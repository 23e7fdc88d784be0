"""How nearly the result is independent of the tile size: bundled models on mosaics of real images.

    python benchmarks/seams.py [--json out.json] [--models nuclei-maskrcnn] [--tiles 256,512,640]
    python benchmarks/seams.py --retakes
    python benchmarks/seams.py --enlarged 3 --data DATA/nuclei_dsb2018 --model MODEL --fold 0

The second counts tiles only, no model is run: how many come on top of the grid's for squares of several sizes that
fill a plane of 8192 × 8192 pixels, with the tiles of ``nuclei-maskrcnn``. The third takes 12 fluorescence images, drawn
by ``--seed``, of a fold that MODEL has not seen, enlarged so many times and not reduced; its columns are those below,
counted over all of them, with the tiles of the grids and those that came on top. ``--leave-out 12`` leaves out of them
the 12 that seed 0 draws.

Labels from tiles of several sizes are compared with those of one tile that holds the whole image, on

- nuclei: the bundled fluorescence sample beside its mirror images, the objects about 20 pixels wide;
- large: its upper left quarter, enlarged 4 times; the model reduces it by itself, as it does for any user;
- large, not reduced: the same with the model's own object size as a setting: objects as large as the overlap of tiles.

Columns: objects; same object, the share with a partner of IoU >= 0.9; same pixels, the share that is foreground in both
or neither; split and joined, objects of which the tiles make two or more, and the reverse (each with more than half
of its pixels in it); cut, objects that end along a tile's border where the object of the reference goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pandas as pd
import torch

import segloop
from segloop.events import Event, SegmentStarted, TileDone
from segloop.labels import bounding_boxes
from segloop.matching import match
from segloop.retakes import TOUCH, GridView, best_depth, longest_worthwhile, plan_retakes, retake_side
from segloop.samples import load_sample
from segloop.tiling import Tile, plan_tiles

TILES = (256, 384, 512, 640, 768)
ENLARGED = 4
MODALITY = "fluorescence_grayscale"
LARGEST = 700
ALONG = 0.4
"""An object ends along a border if this share of its side lies at it."""


def mosaic() -> segloop.Image:
    """A 2 × 2 mosaic of the sample and its mirror images, about 1.4 megapixels."""
    pixels = np.asarray(load_sample("fluorescence").data)
    row = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    return segloop.Image(np.concatenate([row, row[::-1]], axis=0), "YX", name="nuclei")


def enlarged() -> segloop.Image:
    """A quarter of the sample, enlarged bilinearly."""
    pixels = np.asarray(load_sample("fluorescence").data)
    return enlarge(pixels[: pixels.shape[0] // 2, : pixels.shape[1] // 2], ENLARGED)


def enlarge(pixels: np.ndarray, factor: float) -> segloop.Image:
    """Interpolate an image (Y, X) bilinearly."""
    given = torch.from_numpy(pixels.astype(np.float32))
    larger = torch.nn.functional.interpolate(given[None, None], scale_factor=factor, mode="bilinear")
    return segloop.Image(larger[0, 0].round().numpy().astype(pixels.dtype), "YX")


def unseen(folder: Path, fold: int, factor: float, count: int, seed: int, others: int) -> Iterator[segloop.Image]:
    """Fluorescence images of a fold, of at most ``LARGEST`` pixels a side, enlarged; none of ``others`` of seed 0."""
    index = pd.read_csv(folder / "index.csv")
    fits = (index.modality == MODALITY) & (index.fold == fold) & (index.height <= LARGEST) & (index.width <= LARGEST)
    names = index.id[fits].to_numpy()

    def drawn(own: int, number: int) -> np.ndarray:
        return np.random.default_rng(own).choice(names, min(number, len(names)), replace=False)

    left_out = set(drawn(0, others))
    for name in (name for name in drawn(seed, count) if name not in left_out):
        yield enlarge(iio.imread(next((folder / "images").glob(f"{name}.*"))), factor)


def most_overlapped(labels: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each object of ``labels``, the object of ``other`` that shares most pixels with it, and their share of it."""
    count = int(other.max()) + 1
    pairs, shared = np.unique(labels.astype(np.int64) * count + other, return_counts=True)
    inside = (pairs >= count) & (pairs % count > 0)
    pairs, shared = pairs[inside], shared[inside]
    order = np.argsort(shared, kind="stable")
    best, share = np.zeros(int(labels.max()) + 1, np.int64), np.zeros(int(labels.max()) + 1)
    best[pairs[order] // count] = pairs[order] % count
    share[pairs[order] // count] = shared[order]
    return best, share / np.maximum(np.bincount(labels.ravel(), minlength=len(share)), 1)


def split_objects(reference: np.ndarray, labels: np.ndarray) -> int:
    """How many objects of the reference hold more than one object of ``labels``, each by more than half of it."""
    best, share = most_overlapped(labels, reference)
    return int((np.bincount(best[share > 0.5])[1:] > 1).sum())


def cut_objects(reference: np.ndarray, labels: np.ndarray, tiles: list[Tile]) -> int:
    """How many objects of ``labels`` end along a border of a tile where their partner in the reference goes on."""
    best, _ = most_overlapped(labels, reference)
    boxes, whole = bounding_boxes(labels), bounding_boxes(reference)
    count = 0
    for number, box in boxes.items():
        if best[number] == 0:
            continue
        mask, partner = labels[box] == number, whole[int(best[number])]
        cut = False
        for axis in (0, 1):
            for end, goes_on in (
                (box[axis].start, box[axis].start - partner[axis].start > 2),
                (box[axis].stop, partner[axis].stop - box[axis].stop > 2),
            ):
                edges = {edge for tile in tiles for edge in (tile.outer[axis].start, tile.outer[axis].stop)}
                last = mask.take(0 if end == box[axis].start else -1, axis=axis)
                near = any(abs(end - edge) <= 1 for edge in edges)
                cut |= near and goes_on and last.sum() >= max(4, ALONG * len(last))
        count += cut
    return count


def compare(reference: np.ndarray, labels: np.ndarray, tiles: list[Tile]) -> dict[str, Any]:
    """All columns but the time."""
    matching = match(reference, labels, 0.9)
    pairs, missed, extra = len(matching.iou), len(matching.missed), len(matching.extra)
    return {
        "objects": pairs + extra,
        "same_objects": pairs / max(1, pairs + max(missed, extra)),
        "same_pixels": float(((reference > 0) == (labels > 0)).mean()),
        "split": split_objects(reference, labels),
        "joined": split_objects(labels, reference),
        "cut": cut_objects(reference, labels, tiles),
    }


def measure(
    model: Any, name: str, image: segloop.Image, title: str, base: segloop.SegmentSettings, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Segment one image with tiles of some sizes, the whole image first."""
    whole = -(-max(image.shape) // 32) * 32
    reference, rows = None, []
    for tile in (whole, *(tile for tile in sizes if tile < whole)):
        started = time.perf_counter()
        settings = replace(base, tile=tile, instances=name.endswith("unet"))
        labels = np.asarray(segloop.segment(model, image, settings).labels.data)
        seconds = time.perf_counter() - started
        reference = labels if reference is None else reference
        side = tile // model.divisor * model.divisor
        tiles = plan_tiles(image.shape, (side,) * 2, (min(model.spec.halo, side // 4),) * 2, (model.divisor,) * 2)
        row = {"image": title, "model": name, "tile": tile, "whole": tile == whole}
        rows.append(row | compare(reference, labels, tiles) | {"seconds": seconds})
        print(as_line(rows[-1]), flush=True)
    return rows


def measure_unseen(model: Any, images: Iterator[segloop.Image], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Segment images with tiles of some sizes, their objects not brought to the model's size; sums over the images."""
    sums: dict[int, Counter[str]] = {tile: Counter() for tile in sizes}
    for image in images:
        whole = -(-max(image.shape) // 32) * 32
        base = segloop.SegmentSettings(object_size=model.spec.object_size, tile=whole)
        reference = np.asarray(segloop.segment(model, image, base).labels.data)
        for tile in (tile for tile in sizes if tile < whole):
            events: list[Event] = []
            labels = np.asarray(segloop.segment(model, image, replace(base, tile=tile), events.append).labels.data)
            matching = match(reference, labels, 0.9)
            grid = next(event.tiles for event in events if isinstance(event, SegmentStarted))
            halo = min(model.spec.halo, tile // 4)
            tiles = plan_tiles(image.shape, (tile,) * 2, (halo,) * 2, (model.divisor,) * 2)
            found = compare(reference, labels, tiles)
            sums[tile].update(
                images=1,
                same=len(matching.iou),
                missed=len(matching.missed),
                extra=len(matching.extra),
                **{name: found[name] for name in ("objects", "split", "joined", "cut")},
                tiles=grid,
                further=sum(isinstance(event, TileDone) for event in events) - grid,
            )
    return [{"tile": tile, **counts} for tile, counts in sums.items() if counts]


def unseen_line(row: dict[str, Any]) -> str:
    """A row of the table of unseen images."""
    share = row["same"] / max(1, row["same"] + max(row["missed"], row["extra"]))
    shown = [row["tile"], row["images"], row["objects"], f"{share:.4f}"]
    shown += [row[name] for name in ("missed", "extra", "split", "joined", "cut", "tiles", "further")]
    return f"| {' | '.join(map(str, shown))} |"


class Pieces:
    """What a grid found that saw each box once, where it lies deepest."""

    def __init__(self, boxes: np.ndarray, depth: np.ndarray) -> None:
        self.boxes, self.depth, self.cut = boxes, depth, depth <= TOUCH
        self.scores, self.sources = np.ones(len(boxes), np.float32), np.zeros(len(boxes), np.int64)


def count_retakes(sides: Sequence[int] = (20, 50, 60, 70, 80, 100), length: int = 8192) -> None:
    """Print the tiles of the grid, and those around objects that none of them sees well, for objects of each size."""
    shape = (length, length)
    spec = segloop.load_model("nuclei-maskrcnn").spec
    grid = plan_tiles(shape, (spec.tile,) * 2, (spec.halo,) * 2, (32,) * 2)
    around = (retake_side(longest_worthwhile(spec.object_size, True), spec.tile, 32),) * 2
    print(f"tiles of {grid[0].shape}, further ones of {around}\n")
    rng = np.random.default_rng(0)
    print("| side | objects | seen well by no tile | tiles of the grid | further tiles |\n|---|---|---|---|---|")
    for side in sides:
        corners = np.arange(0, length - 2 * side, 1.4 * side)
        low = np.stack(np.meshgrid(corners, corners), axis=-1).reshape(-1, 2)
        low += rng.uniform(0, 0.4 * side, low.shape)
        boxes = np.concatenate([low, low + side * rng.uniform(0.8, 1.2, (len(low), 1))], axis=1).astype(np.float32)
        deepest = best_depth(grid, boxes, shape)
        view = GridView(np.arange(len(boxes)), Pieces(boxes, deepest), grid, shape)
        further = plan_retakes(view.boxes, view.depth, around, 32, shape)
        print(f"| {side} | {len(boxes)} | {len(view.boxes)} | {len(grid)} | {len(further)} |", flush=True)


def as_line(row: dict[str, Any]) -> str:
    """A row of the table."""
    tile = "whole" if row["whole"] else row["tile"]
    return (
        f"| {row['image']} | {row['model']} | {tile} | {row['objects']} | {row['same_objects']:.4f} "
        f"| {row['same_pixels']:.5f} | {row['split']} | {row['joined']} | {row['cut']} | {row['seconds']:.1f} |"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--retakes", action="store_true", help="count further tiles for objects of several sizes")
    parser.add_argument("--enlarged", type=float, help="take unseen images, enlarged so many times")
    parser.add_argument("--data", type=Path, help="folder of the nuclei images, with index.csv")
    parser.add_argument("--model", default="nuclei-maskrcnn", help="for unseen images: one that has not seen the fold")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leave-out", type=int, default=0, help="of the images those that seed 0 draws, so many")
    parser.add_argument("--models", default="nuclei-unet,nuclei-maskrcnn")
    parser.add_argument("--tiles", default=",".join(map(str, TILES)))
    options = parser.parse_args()
    sizes = [int(tile) for tile in options.tiles.split(",")]
    if options.retakes:
        count_retakes()
        return
    if options.enlarged:
        if options.data is None:
            parser.error("--enlarged needs --data")
        images = unseen(options.data, options.fold, options.enlarged, options.images, options.seed, options.leave_out)
        rows = measure_unseen(segloop.load_model(options.model), images, sizes)
        print("| tile | images | objects | same object | missed | extra | split | joined | cut | tiles | further |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for row in rows:
            print(unseen_line(row), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2))
        return
    rows = []
    images = {"nuclei": mosaic(), "large": enlarged(), "large, not reduced": enlarged()}
    for title, image in images.items():
        print(f"{title}: {image.shape[0]} × {image.shape[1]} pixels")
    print("| image | model | tile | objects | same object (IoU ≥ 0.9) | same pixels | split | joined | cut | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.models.split(","):
        model = segloop.load_model(name)
        for title, image in images.items():
            own = segloop.SegmentSettings(object_size=model.spec.object_size)
            settings = own if title.endswith("not reduced") else segloop.SegmentSettings()
            rows.extend(measure(model, name, image, title, settings, sizes))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
