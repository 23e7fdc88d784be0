"""Score a model of nuclei on a fold that it has not seen, by modality.

    python scripts/score_bundled.py runs/nuclei-maskrcnn/fold0/model --fold 0 --data DATA/nuclei_dsb2018 [--json FILE]

A fold shares no field of view (group) with the other folds. The bundled models themselves were trained on all folds:
score those of ``scripts/train_bundled.py --fold K``, which were not trained on fold K. AP is pooled over the
objects of all images of a modality, TP / (TP + FP + FN); "mean AP" is the mean over images of the mean over IoU 0.5 to
0.95; Dice is pooled over pixels, nucleus and border together as foreground.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nuclei_data import NucleiImage, read_nuclei
from skimage.transform import resize

import segloop
from segloop.labels import Task
from segloop.metrics import InstanceScores, class_scores, instance_scores

COLUMNS = ("AP50", "AP70", "AP90", "mean AP", "Dice", "s/MP")


def magnified(item: NucleiImage, factor: float) -> NucleiImage:
    """Interpolate an image and its labels to ``factor`` times their sides; the model is not told."""
    if factor == 1:
        return item
    pixels = np.asarray(item.image.data)
    shape = tuple(round(n * factor) for n in item.labels.shape)
    large = resize(pixels, shape + pixels.shape[2:], order=1, anti_aliasing=factor < 1, preserve_range=True)
    labels = resize(item.labels, shape, order=0, anti_aliasing=False, preserve_range=True)
    image = segloop.Image(np.rint(large).astype(pixels.dtype), item.image.axes, name=item.id)
    return replace(item, image=image, labels=labels.astype(item.labels.dtype))


def score(images: list[NucleiImage], model: object, settings: segloop.SegmentSettings) -> dict[str, Any]:
    """Score a model on some images."""
    objects, pixels, per_image, seconds, area = [], [], [], 0.0, 0
    for item in images:
        started = time.perf_counter()
        labels = segloop.segment(model, item.image, settings).labels.data
        seconds += time.perf_counter() - started
        area += labels.size
        own = instance_scores(item.labels, labels)
        objects.append(own)
        per_image.append(own.mean_ap)
        pixels.append(class_scores(item.labels > 0, labels > 0, 2))
    total = reduce(add, objects)
    return {
        "images": len(images),
        "objects": total.tp[0] + total.fn[0],
        "AP50": total.ap(0.5),
        "AP70": total.ap(0.7),
        "AP90": total.ap(0.9),
        "mean AP": float(np.mean(per_image)),
        "Dice": reduce(add, pixels).dice[1],
        "s/MP": seconds / area * 1024**2,
        "error": spread([item.group for item in images], objects),
    }


def spread(groups: list[str], objects: list[InstanceScores], rounds: int = 1000) -> dict[str, float]:
    """Standard errors of AP: a thousand times, as many fields of view (groups) are drawn with repetition."""
    random = np.random.default_rng(0)
    names = sorted(set(groups))
    members = {name: [own for group, own in zip(groups, objects) if group == name] for name in names}
    drawn: list[tuple[float, ...]] = []
    for _ in range(rounds):
        some = [own for name in random.choice(names, len(names)) for own in members[name]]
        total = reduce(add, some)
        drawn.append((*(total.ap(iou) for iou in (0.5, 0.7, 0.9)), float(np.mean([own.mean_ap for own in some]))))
    return dict(zip(("AP50", "AP70", "AP90", "mean AP"), np.std(drawn, axis=0).tolist()))


def main() -> None:
    """Score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--score", type=float, default=None, help="threshold; the model's own by default")
    parser.add_argument("--zoom", type=float, default=1.0, help="have the model enlarge the images by this")
    parser.add_argument(
        "--magnify", type=float, default=1.0, help="interpolate the images to this many times their side"
    )
    parser.add_argument("--largest", type=int, default=0, help="only images whose sides are at most this many pixels")
    parser.add_argument("--flips", action="store_true", help="look at each image four ways")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only, for a quick look")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    model = segloop.load_model(options.model)
    changes: dict[str, object] = {"instances": model.spec.task is Task.SEMANTIC, "flips": options.flips}
    if options.score is not None:
        changes["score"] = options.score
    if options.zoom != 1.0:
        changes["object_size"] = model.spec.object_size / options.zoom
    settings = segloop.SegmentSettings(**changes)
    images = read_nuclei(options.data, {options.fold})
    if options.largest:
        images = [item for item in images if max(item.labels.shape) <= options.largest]
    images = [magnified(item, options.magnify) for item in images[:: options.every]]
    groups = {"all": images}
    for name in sorted({item.modality for item in images}):
        groups[name] = [item for item in images if item.modality == name]
    groups["fluorescence, StarDist's split"] = [item for item in images if item.stardist_train]
    table = {name: score(members, model, settings) for name, members in groups.items() if members}
    print(f"{options.model}: fold {options.fold}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"| {'images':32s} | n | objects | " + " | ".join(COLUMNS) + " |")
    print("|---|---|---|" + "---|" * len(COLUMNS))
    for name, row in table.items():
        cells = (f"{row[c]:.3f}" + (f" ± {row['error'][c]:.3f}" if c in row["error"] else "") for c in COLUMNS)
        print(f"| {name} | {row['images']} | {row['objects']} | " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps({"model": options.model, "fold": options.fold, "scores": table}, indent=2))


if __name__ == "__main__":
    main()
