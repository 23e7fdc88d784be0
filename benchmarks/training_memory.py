"""Memory of training on a large set: 10,000 crops of 256 × 256 pixels, in a process of its own.

    python benchmarks/training_memory.py --folder SCRATCH [--crops 10000] [--models nuclei-unet,nuclei-maskrcnn]

Makes a training set in SCRATCH (kept for the next time; 16 different images under many names, so that it takes little
of the disk, and with hashes of their own, so that they are not taken for copies), trains one epoch on it, and prints
the most memory that the process had resident, and the processor's time. ``--limit-files`` lowers the number of files
that may be open, as on computers where it is small.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

SIDE, DIFFERENT = 256, 16


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs on a noisy ground: uint8 image, uint16 instances."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((SIDE, SIDE))
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for number in range(1, 40):
        y, x = rng.uniform(0, SIDE, 2)
        labels[(rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(7, 11) ** 2] = number
    return (40 + 150 * (labels > 0) + rng.normal(0, 12, labels.shape)).clip(0, 255).astype(np.uint8), labels


def make_set(folder: Path, crops: int) -> None:
    """Make the training set: some entries as they are made, the others with links to their files."""
    from segloop.corrections import TrainingSet
    from segloop.corrections.entries import Record
    from segloop.image import Image

    training_set = TrainingSet(folder)
    made = [training_set.add(Image(image, "YX"), labels) for image, labels in map(scene, range(DIFFERENT))]
    entries = list(made)
    for number in range(DIFFERENT + 1, crops + 1):
        like = made[number % DIFFERENT]
        name = f"{number:04}"
        entry = replace(like, id=name, stem=name, hashes={**like.hashes, "images": f"{number:064x}"})
        for old, new in zip(like.files, entry.files):
            os.link(folder / old, folder / new)
        entries.append(entry)
    record = Record(training_set.task, training_set.classes, tuple(entries), crops)
    (folder / "training_set.json").write_bytes(record.to_bytes())


def train(folder: Path, model: str) -> None:
    """Train one epoch and print what it took, as JSON."""
    import torch

    from segloop import load_model
    from segloop.corrections import TrainingSet
    from segloop.events import EpochDone, drain
    from segloop.models.device import Device
    from segloop.train.finetune import FinetuneSettings, finetune_events

    torch.set_num_threads(1)
    training_set = TrainingSet(folder)
    started = time.process_time()
    marks: dict[str, float] = {}

    def note(event: object) -> None:
        marks.setdefault(type(event).__name__, time.process_time() - started)

    settings = FinetuneSettings(epochs=1, device=Device.CPU)
    result = drain(finetune_events(load_model(model, Device.CPU), training_set, settings), note)
    training = result.model.spec.training
    print(
        json.dumps(
            {
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                "regions": training["train_regions"],
                "held_out": training["held_out_regions"],
                "steps": training["steps"],
                "before_training": marks["TrainingStarted"],
                "to_epoch": marks[EpochDone.__name__],
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=10_000)
    parser.add_argument("--models", default="nuclei-unet,nuclei-maskrcnn")
    parser.add_argument("--limit-files", type=int, default=1024)
    parser.add_argument("--train", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder / f"crops-{given.crops}"
    if given.train:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given.limit_files, given.limit_files))
        train(folder, given.train)
        return
    if not (folder / "training_set.json").is_file():
        make_set(folder, given.crops)
    for model in given.models.split(","):
        command = [sys.executable, __file__, "--folder", given.folder, "--crops", str(given.crops), "--train", model]
        done = subprocess.run([*command, "--limit-files", str(given.limit_files)], capture_output=True, text=True)
        if done.returncode:
            print(f"{model}: failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{model}: {given.crops} crops, {found['regions']} regions + {found['held_out']} held out, "
            f"{found['steps']} steps: at most {found['peak']:.2f} GiB resident; {found['before_training']:.0f} s CPU "
            f"before training, {found['to_epoch']:.0f} s to the end of the epoch",
            flush=True,
        )


if __name__ == "__main__":
    main()
