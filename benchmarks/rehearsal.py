"""Forgetting: what fine-tuning to another domain costs in the bundled model's own, with and without rehearsal.

    python benchmarks/rehearsal.py --data DATA [--model nuclei-unet] [--shares 0,0.125,0.25,0.5] [--steps 60]

DATA holds ``phase_usiigaci``. Each run learns from four regions of 256 × 256 pixels for the same number of steps; only
the share of rehearsed crops differs. Scored with the middle 384 × 384 pixels of six other images of the new domain, and
with the bundled images of the own domain that no bundled model was trained on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from domains import DOMAINS

from segloop import SegmentSettings, load_model, segment
from segloop.corrections import TrainingSet
from segloop.image import Image
from segloop.labels import Task
from segloop.metrics import class_scores, instance_scores
from segloop.models.device import Device
from segloop.models.protocol import Trainable
from segloop.train.finetune import FinetuneSettings, finetune
from segloop.train.material import label_translation
from segloop.train.plan import plan_finetuning

DOMAIN = DOMAINS["phase_usiigaci"]
REGIONS, SIDE, SCORED_SIDE = 4, 256, 384


def middle(item: object, side: int) -> tuple[Image, np.ndarray]:
    """The middle of an annotated image, and its reference."""
    shape = item.reference.shape
    box = tuple(slice((n - side) // 2, (n + side) // 2) for n in shape)
    return Image(np.asarray(item.image.data)[box], "YX"), item.reference[box]


def new_score(model: Trainable, data: Path) -> float:
    """Score a model on the new domain: mean AP, or mean Dice."""
    spec = model.spec
    translate = label_translation(spec, Task.INSTANCE)
    parts = []
    for name in DOMAIN.held_out:
        image, reference = middle(DOMAIN.read(data, name), SCORED_SIDE)
        found = np.asarray(segment(model, image, SegmentSettings(device=Device.CPU)).labels.data)
        if spec.task is Task.INSTANCE:
            parts.append(instance_scores(reference, found))
        else:
            parts.append(class_scores(translate(reference), found, len(spec.classes)))
    pooled = reduce(add, parts)
    return float(pooled.mean_ap if spec.task is Task.INSTANCE else pooled.mean_dice)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei-unet")
    parser.add_argument("--shares", default="0,0.125,0.25,0.5")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = load_model(given.model, Device.CPU)
    print(
        f"{given.model}, {given.steps} steps, seed {given.seed}; new domain before: {new_score(base, given.data):.3f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        training_set = TrainingSet(Path(folder), Task.INSTANCE, DOMAIN.classes)
        for name in DOMAIN.annotated[:REGIONS]:
            image, reference = middle(DOMAIN.read(given.data, name), SIDE)
            training_set.add(image, reference, source=name, key=name)
        per_epoch = plan_finetuning(training_set, 2, given.seed, 0, FinetuneSettings().batch).steps
        epochs = max(1, round(given.steps / per_epoch))
        for share in map(float, given.shares.split(",")):
            settings = FinetuneSettings(
                epochs=epochs, validation=0, device=Device.CPU, seed=given.seed, rehearsal=share
            )
            started = time.process_time()
            result = finetune(base, training_set, settings)
            seconds = time.process_time() - started
            own = result.own
            print(
                f"rehearsal {share:5.3f}: new domain {new_score(result.model, given.data):.3f}, own domain "
                f"{own.before:.3f} -> {own.after:.3f} (± {own.gain_error:.3f}), "
                f"{epochs * per_epoch} steps, {seconds:.0f} s of CPU",
                flush=True,
            )


if __name__ == "__main__":
    main()
