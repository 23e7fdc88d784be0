"""What a short training gives of a long one: the same corrected regions, trained for a minute and for ten.

    python benchmarks/budget.py --data DATA --rows budget.jsonl [--sets worms_bbbc010] [--seconds 80,1200] [--regions 4]

Regions of 256² pixels are corrected where ``loop.py`` corrects them in its first round; then the bundled model is
fine-tuned on them from the start for each number of seconds, and scored on images that nobody learns from. Seconds are
those of the processor, on one thread: 80 are about what two cores do in the 0.7 minutes that the window trains for by
default, 1,200 about what they do in ten minutes. They limit training with its own scoring.

The share is that of the longest training's gain over the bundled model; where its classes are others it begins at 0.
Each training appends one JSON object to ``--rows``; started again, those that are there are left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from domains import DOMAINS, Domain
from loop import NO_LIMIT, Loop
from places import Place, annotated
from report import table

from segloop import FinetuneSettings, load_model
from segloop.events import drain
from segloop.labels import Task
from segloop.train.finetune import finetune_events


def corrected(domain: Domain, data: Path, regions: int, seed: int) -> list[Place]:
    """The regions that an annotator corrects first."""
    with tempfile.TemporaryDirectory() as folder:
        images = {name: domain.read(data, name) for name in domain.annotated}
        model = load_model(domain.model) if domain.task is Task.INSTANCE else None
        return Loop(data, Path(folder), None).next_places(model, domain, images, [], regions, seed)


def perform(domain: Domain, data: Path, places: list[Place], seconds: float, seed: int) -> dict[str, object]:
    """Train for so many seconds, 0 for not at all, and score."""
    row: dict[str, object] = {"domain": domain.folder, "regions": len(places), "seconds": seconds, "seed": seed}
    model, started = load_model(domain.model), time.process_time()
    if seconds:
        images = {name: domain.read(data, name) for name in domain.annotated}
        with tempfile.TemporaryDirectory() as folder:
            training_set = annotated(domain, images, places, Path(folder))
            settings = FinetuneSettings(epochs=NO_LIMIT, minutes=seconds / 60, seed=seed)
            result = drain(finetune_events(model, training_set, settings, clock=time.process_time))
        model = result.model
        row |= {"places": [asdict(place) for place in places], "steps": model.spec.training["steps"]}
        row |= {"taken": result.improved, "s": time.process_time() - started}
    return row | {"scores": domain.scores(model, data)[0]}


def results_table(rows: list[dict]) -> str:
    """One line per training; shares of the gain of the longest one in the same domain, from the same regions."""
    lines = []
    for row in sorted(rows, key=lambda row: (row["domain"], row["regions"], row["seed"], row["seconds"])):
        alike = [other for other in rows if all(other[key] == row[key] for key in ("domain", "regions", "seed"))]
        longest = max(alike, key=lambda other: other["seconds"])
        nothing = next((other["scores"] for other in alike if not other["seconds"]), {})
        names = list(row["scores"])[: 2 if DOMAINS[row["domain"]].task is Task.INSTANCE else 1]
        cells = []
        for name in names:
            first, last = nothing.get(name, 0.0), longest["scores"][name]
            share = (
                f" ({(row['scores'][name] - first) / (last - first):.0%})" if row["seconds"] and last > first else ""
            )
            cells.append(f"{row['scores'][name]:.3f}{share}")
        steps = str(row.get("steps", ""))
        lines.append([row["domain"], str(row["regions"]), str(row["seed"]), f"{row['seconds']:g}", steps, *cells])
    return table(
        ["images of", "regions", "seed", "s", "steps", "score"], [[*line[:5], " / ".join(line[5:])] for line in lines]
    )


def main() -> None:
    """Train, score, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True, help="file that rows are appended to")
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(DOMAINS), help=", ".join(DOMAINS))
    parser.add_argument("--seconds", type=lambda text: [float(n) for n in text.split(",")], default=[80.0, 1200.0])
    parser.add_argument("--regions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()] if options.rows.exists() else []
    for name in options.sets:
        domain, places = DOMAINS[name], []
        # a bundled model of other classes finds none of the domain's
        none = [0.0] if domain.task is Task.INSTANCE else []
        for seconds in [*none, *sorted(options.seconds)]:
            key = {"domain": name, "regions": options.regions, "seconds": seconds, "seed": options.seed}
            if any(key.items() <= row.items() for row in rows):
                continue
            places = places or corrected(domain, options.data, options.regions, options.seed)
            rows.append(perform(domain, options.data, places, seconds, options.seed))
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(results_table(rows))


if __name__ == "__main__":
    main()
