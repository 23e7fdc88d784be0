"""How well the bundled models transfer to another domain from a few annotated images, beside training from nothing.

    python benchmarks/transfer.py --data DATA --rows transfer.jsonl [--sizes 1,4] [--minutes 1] [--pictures FOLDER]

For each domain (``domains.py``) and each number of annotated images: ``segloop finetune`` from the bundled model, and
``segloop train`` of a new model of the same size, each with its own defaults and for the same time; then both are
scored on images of that domain that no run has seen. Of the annotated images the training itself holds out a quarter
of the blocks of about 128 pixels, as it does for everybody.

Time is that of the processor, on one thread, so that the result does not depend on what else the machine does; it
includes the training's own scoring. "0 images" is the bundled model as it is, where its classes are the domain's.

With ``--regions``, one region of 256² pixels is annotated of each image and not the whole (``places.py``); with
``--choose``, scores are those of the annotated images after the first four, which is how settings are chosen without
looking at what is held out.

Each run appends one JSON object to ``--rows``; started again, the runs that are there already are left out. The table
is of all rows in the file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from statistics import mean

import imageio.v3 as iio
import numpy as np
import torch
from domains import DOMAINS, Domain
from places import annotated, lively_places
from report import table
from skimage.segmentation import find_boundaries

from segloop import FinetuneResult, FinetuneSettings, load_model
from segloop.events import drain
from segloop.labels import Task
from segloop.models.registry import get_family
from segloop.train.finetune import finetune_events, train_events

NO_LIMIT = 10_000
"""Epochs; the minutes end the training."""

LEARNED = 4
"""Of the annotated images, those that settings are chosen with come after so many."""

COLOURS = np.random.default_rng(0).integers(64, 256, (4096, 3)).astype(np.uint8)


class Start(Enum):
    """What a training starts from."""

    BUNDLED = "bundled"
    SCRATCH = "scratch"


@dataclass(frozen=True)
class Run:
    """One training, or with 0 images none; runs that are equal are made once."""

    domain: str
    start: Start
    images: int
    minutes: float
    seed: int
    model: str
    settings: str
    regions: bool = False
    choose: bool = False

    @property
    def key(self) -> dict[str, object]:
        """The run as JSON values."""
        return asdict(self) | {"start": self.start.value}


def train(run: Run, domain: Domain, data: Path, folder: Path) -> FinetuneResult:
    """Fine-tune, or train from nothing."""
    if run.regions:
        images = {name: domain.read(data, name) for name in domain.annotated[: run.images]}
        training_set = annotated(domain, images, lively_places(domain, images), folder)
    else:
        training_set = domain.training_set(data, folder, run.images)
    own = json.loads(run.settings) if run.settings else {}
    settings = FinetuneSettings(**{"epochs": NO_LIMIT, "minutes": run.minutes, "seed": run.seed, **own})
    if run.start is Start.BUNDLED:
        return drain(finetune_events(load_model(run.model), training_set, settings, clock=time.process_time))
    channels = {training_set.read(entry)[0].channels for entry in training_set.entries}
    spec = get_family(domain.family).new_spec(domain.folder, domain.classes, max(channels), 2, "small")
    return drain(train_events(spec, training_set, settings, clock=time.process_time))


def perform(run: Run, data: Path, pictures: Path | None) -> dict[str, object]:
    """Do one run; returns its row."""
    domain = DOMAINS[run.domain]
    row = dict(run.key)
    wall, cpu = time.perf_counter(), time.process_time()
    if run.images == 0:
        model = load_model(run.model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            result = train(run, domain, data, Path(folder))
        model = result.model
        row |= {
            "steps": model.spec.training["steps"],
            "train_regions": model.spec.training["train_regions"],
            "own before": _number(result.before),
            "own after": _number(result.after),
            "zoom": model.spec.zoom,
        }
    row |= {"wall": round(time.perf_counter() - wall, 1), "cpu": round(time.process_time() - cpu, 1)}
    scores, found = domain.scores(model, data, domain.annotated[LEARNED:] if run.choose else ())
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(run.settings.encode()).hexdigest()[:4]
        name = f"{run.domain}-{run.start.value}-{run.images}-{run.seed}-{digest}.png"
        if not run.choose:
            iio.imwrite(pictures / name, picture(domain, data, found[0]))
    return row | {"scores": scores}


def picture(domain: Domain, data: Path, found: np.ndarray) -> np.ndarray:
    """The first held-out image, outlined by the reference and by what was found, side by side: uint8 (Y, X, 3)."""
    item = domain.read(data, domain.held_out[0])
    pixels = np.asarray(item.image.data, np.float32)
    low, high = np.percentile(pixels, (1, 99.8))
    grey = (np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    sides = []
    for labels in (item.reference, found):
        side = np.stack([grey] * 3, axis=-1)
        shown = find_boundaries(labels) if domain.task is Task.INSTANCE else labels > 0
        side[shown] = COLOURS[labels[shown].astype(np.int64) % len(COLOURS)]
        sides.append(side)
    return np.hstack(sides)


def results_table(rows: Sequence[dict]) -> str:
    """One line per domain, start and number of images; the mean over seeds, and how far they lie apart."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["domain"], row["minutes"], row["settings"], row["images"], row["start"]), []).append(row)
    lines = []
    for (domain, minutes, own, images, start), group in sorted(groups.items()):
        scores = group[0]["scores"]
        cells = [_cell([row["scores"][name] for row in group]) for name in list(scores)[:2]]
        spent = _cell([row["cpu"] for row in group], 0)
        steps = "" if images == 0 else _cell([row["steps"] for row in group], 0)
        names = ", ".join(list(scores)[:2])
        lines.append([domain, own, str(images), start, f"{minutes:g}", names, *cells, steps, spent, str(len(group))])
    columns = ["images of", "settings", "n", "start", "minutes", "scores", "first", "second", "steps", "s", "runs"]
    return table(columns, lines)


def _cell(values: Sequence[float], digits: int = 3) -> str:
    apart = f" ({min(values):.{digits}f}–{max(values):.{digits}f})" if max(values) > min(values) and digits else ""
    return f"{mean(values):.{digits}f}{apart}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def planned(options: argparse.Namespace) -> list[Run]:
    """All runs, the small ones of every domain first."""
    own = dict(pair.split("=", 1) for pair in options.model)
    runs = []
    for seed in options.seeds:
        for images in options.sizes:
            for name in options.sets:
                for start in options.starts:
                    model = own.get(DOMAINS[name].model, DOMAINS[name].model) if start is Start.BUNDLED else ""
                    run = Run(
                        name,
                        start,
                        images,
                        options.minutes,
                        seed,
                        model,
                        options.settings,
                        options.regions,
                        options.choose,
                    )
                    if images:
                        runs.append(run)
                    elif start is Start.BUNDLED and DOMAINS[name].task is Task.INSTANCE:
                        runs.append(replace(run, minutes=0, seed=0))
    return list(dict.fromkeys(runs))


def main() -> None:
    """Run what is not in the file yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True, help="file that rows are appended to")
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(DOMAINS), help=", ".join(DOMAINS))
    parser.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1, 2, 4, 8])
    parser.add_argument("--starts", type=lambda text: [Start(name) for name in text.split(",")], default=list(Start))
    parser.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="of the processor, for each training")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER", help="a bundled model's stead")
    parser.add_argument("--settings", default="", help="settings other than the default, as JSON, such as a rate")
    parser.add_argument("--regions", action="store_true", help="annotate one region of each image only")
    parser.add_argument("--choose", action="store_true", help="score with annotated images that are not learned")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the first held-out image")
    options = parser.parse_args()
    if options.choose and max(options.sizes) > LEARNED:
        parser.error(f"--choose scores with the annotated images after the first {LEARNED}; choose --sizes up to that")
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()] if options.rows.exists() else []
    for run in planned(options):
        if any(run.key.items() <= row.items() for row in rows):
            continue
        row = perform(run, options.data, options.pictures)
        print(json.dumps(row), file=sys.stderr, flush=True)
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        rows.append(row)
    print(results_table(rows))


if __name__ == "__main__":
    main()
