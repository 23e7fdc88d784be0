"""Score a model of nuclei on a fold that it has not seen, by modality.

    python scripts/score_bundled.py runs/nuclei-maskrcnn/fold0/model --fold 0 --data DATA/nuclei_dsb2018 [--json FILE]

A fold shares no field of view (group) with the other folds. The bundled models themselves were trained on all folds:
score those of ``scripts/train_bundled.py --fold K``, which were not trained on fold K. AP is pooled over the
objects of all images of a modality, TP / (TP + FP + FN); "mean AP" is the mean over images of the mean over IoU 0.5 to
0.95; Dice is pooled over pixels, nucleus and border together as foreground. ± is the standard error over fields of
view. With ``--json`` the counts of each image are kept too, which ``scripts/pool_folds.py`` puts together.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from image_scores import ImageScore, lines, parts, summary
from nuclei_data import NucleiImage, read_nuclei
from skimage.transform import resize

import segloop
from segloop.labels import Task
from segloop.metrics import class_scores, instance_scores
from segloop.models.protocol import Segmenter


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


def score(item: NucleiImage, model: Segmenter, settings: segloop.SegmentSettings) -> ImageScore:
    """Segment an image and count what is right."""
    started = time.perf_counter()
    labels = np.asarray(segloop.segment(model, item.image, settings).labels.data)
    seconds = time.perf_counter() - started
    return ImageScore(
        item.id,
        item.modality,
        item.group,
        item.fold,
        item.stardist_train,
        instance_scores(item.labels, labels),
        class_scores(item.labels > 0, labels > 0, 2),
        seconds,
    )


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
    scores = [score(item, model, settings) for item in images]
    table = {name: summary(members) for name, members in parts(scores).items()}
    print(f"{options.model}: fold {options.fold}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(lines(table))
    if options.json:
        own = [item.as_json() for item in scores]
        document = {"model": options.model, "fold": options.fold, "scores": table, "by_image": own}
        options.json.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
