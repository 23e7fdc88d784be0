"""The loop, simulated: correct regions where the model is least sure, fine-tune, and again; beside two other ways.

    python benchmarks/loop.py --data DATA --cells FOLDER [--rounds 1,2,4,8] [--seconds 60] [--stardist PYTHON]

On images of domains that no bundled model has seen (``domains.py``), an annotator who knows the reference corrects
regions of 256² pixels until there are 1, then 2, 4, 8 of them. Where, the model says: each time where most is of what
the first region in the order of *Review next* asks about, over all images to be annotated, that lies in none of those
before. Objects that reach into a region are corrected as a whole and vouched for; all else is not reviewed. After each
round the model of the round before is fine-tuned on all regions so far, as the window does it: parts are held out, and
a model that does not score better is not taken. Three ways are compared on images that nobody learns from:

- ``segloop``: from the bundled model, ``--seconds`` per round;
- ``scratch``: a new SegLoop model of the same family and size on the regions of ``segloop``'s round, for all seconds
  of the rounds so far together;
- ``stardist``: the official package in an environment of its own (``--stardist``, its Python), on the same regions and
  for the same seconds as ``scratch``; for single objects only. It begins from nothing.

Seconds are those of the processor, on one thread, and so independent of what else the machine does: a minute of two
cores is up to 120. They limit training with its own scoring; all that a round takes is in the table. With ``--clock``
they are those of the clock, on ``--threads``.

Actions are those of ``annotator.py`` (IoU 0.8) that put a region right, cut out of its image: from what the model of
the round before finds there, with SegLoop's tools; and with napari's alone from an empty layer. Of classes, the share
of wrong pixels in the regions is told instead.

Each cell (domain, seed, round, way) is a JSON file in ``--cells``, with its model beside it; started again, finished
cells are left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from annotator import Goal, by_napari, by_segloop, without_specks
from domains import DOMAINS, Domain
from places import SIDE, Place, annotated, place_in
from report import machine, table
from reviewing import Annotated, Corrected

import segloop
from segloop import FinetuneSettings, SegmentSettings, load_model, segment
from segloop.errors import TrainingError
from segloop.events import drain
from segloop.labels import Task
from segloop.models.protocol import Trainable
from segloop.models.registry import get_family
from segloop.route import route_events
from segloop.store import write_model
from segloop.train.finetune import finetune_events, train_events

ENOUGH = 0.8
"""IoU from which on the annotator is content with an object."""
NO_LIMIT = 10_000
"""Epochs; the seconds end the training."""
HERE = Path(__file__).parent


class Way(Enum):
    """How the regions become a model."""

    SEGLOOP = "segloop"
    SCRATCH = "scratch"
    STARDIST = "stardist"


@dataclass(frozen=True)
class Cell:
    """One point of one curve; ``rounds`` are the numbers of regions after each round up to this one."""

    domain: str
    way: Way
    seed: int
    rounds: tuple[int, ...]
    seconds: float
    threads: int
    clock: str

    @property
    def name(self) -> str:
        """Of its file."""
        rounds = "+".join(map(str, self.rounds))
        return f"{self.domain}-{self.way.value}-{rounds}-{self.seconds:g}s-{self.clock}{self.threads}-seed{self.seed}"

    @property
    def key(self) -> dict[str, object]:
        """The cell as JSON values."""
        return asdict(self) | {"way": self.way.value, "rounds": list(self.rounds)}


class Loop:
    """Does cells, from those before them, and keeps them in a folder."""

    def __init__(self, data: Path, folder: Path, stardist: Path | None) -> None:
        self.data, self.folder, self.stardist = data, folder, stardist
        folder.mkdir(parents=True, exist_ok=True)

    def done(self, cell: Cell) -> dict | None:
        """What was found before."""
        path = self.folder / f"{cell.name}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def perform(self, cell: Cell) -> dict:
        """Do a cell and write it down."""
        domain = DOMAINS[cell.domain]
        images = {name: domain.read(self.data, name) for name in domain.annotated}
        match cell.way:
            case Way.SEGLOOP:
                row = self._segloop(cell, domain, images)
            case Way.SCRATCH:
                row = self._scratch(cell, domain, images)
            case Way.STARDIST:
                row = self._stardist(cell, domain, images)
        row = {**cell.key, "machine": machine(cell.threads), **row}
        draft = self.folder / f"{cell.name}.part"
        draft.write_text(json.dumps(row, indent=1))
        draft.replace(self.folder / f"{cell.name}.json")
        return row

    def _segloop(self, cell: Cell, domain: Domain, images: dict[str, Annotated]) -> dict:
        before = replace(cell, rounds=cell.rounds[:-1])
        row = self.done(before) if before.rounds else None
        model = load_model(self.folder / before.name if row else domain.model)
        places = [Place(**place) for place in row["places"]] if row else []
        known = model.spec.classes == domain.classes or domain.task is Task.INSTANCE
        found = self.next_places(
            model if known else None, domain, images, places, cell.rounds[-1] - len(places), cell.seed
        )
        work = self._work(model if known else None, domain, images, found)
        places += found
        started = _now(cell)
        with tempfile.TemporaryDirectory() as folder:
            training_set = annotated(domain, images, places, Path(folder))
            settings = FinetuneSettings(epochs=NO_LIMIT, minutes=cell.seconds / 60, seed=cell.seed)
            result = drain(finetune_events(model, training_set, settings, clock=_clock(cell)))
        taken = result.improved
        if taken:
            model = result.model
        spent = _now(cell) - started
        # a cell that was interrupted while it was scored left its model
        shutil.rmtree(self.folder / cell.name, ignore_errors=True)
        write_model(model, self.folder / cell.name)
        first, last = (None if np.isnan(value) else value for value in (result.before, result.after))
        return {
            "places": [asdict(place) for place in places],
            **work,
            "steps": result.model.spec.training["steps"],
            "own scores": [first, last],
            "taken": taken,
            "round s": spent,
            "scores": domain.scores(model, self.data)[0],
        }

    def _scratch(self, cell: Cell, domain: Domain, images: dict[str, Annotated]) -> dict:
        places = self._places(cell)
        channels = max(images[place.image].image.channels for place in places)
        spec = get_family(domain.family).new_spec(domain.folder, domain.classes, channels, 2, "small")
        started = _now(cell)
        with tempfile.TemporaryDirectory() as folder:
            training_set = annotated(domain, images, places, Path(folder))
            minutes = cell.seconds * len(cell.rounds) / 60
            settings = FinetuneSettings(epochs=NO_LIMIT, minutes=minutes, seed=cell.seed)
            result = drain(train_events(spec, training_set, settings, clock=_clock(cell)))
        spent = _now(cell) - started
        return {
            "steps": result.model.spec.training["steps"],
            "round s": spent,
            "scores": domain.scores(result.model, self.data)[0],
        }

    def _stardist(self, cell: Cell, domain: Domain, images: dict[str, Annotated]) -> dict:
        if self.stardist is None:
            raise SystemExit("--stardist names the Python of an environment with StarDist; see peers/README.md")
        task: dict[str, np.ndarray] = {}
        for number, place in enumerate(self._places(cell)):
            item = images[place.image]
            pixels = np.asarray(item.image.data, np.float32)
            low, high = np.percentile(pixels, (1, 99.8))
            task[f"image-{number}"] = ((pixels - low) / (high - low))[place.box]
            task[f"labels-{number}"] = item.reference[place.box].astype(np.int32)
        for number, name in enumerate(domain.held_out):
            task[f"test-{number}"] = np.asarray(domain.read(self.data, name).image.data, np.float32)
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "task.npz", **task)
            words = {
                "--task": f"{folder}/task.npz",
                "--labels": f"{folder}/labels.npz",
                "--seconds": cell.seconds * len(cell.rounds) * (cell.threads if cell.clock == "wall" else 1),
                "--threads": cell.threads,
                "--seed": cell.seed,
            }
            command = [str(self.stardist), str(HERE / "peers" / "stardist_loop.py")]
            command += [str(word) for pair in words.items() for word in pair]
            started = time.perf_counter()
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            notes = json.loads(answer.stdout.strip().splitlines()[-1])
            found = np.load(Path(folder) / "labels.npz")
            labels = [found[f"test-{number}"] for number in range(len(domain.held_out))]
        return {
            "steps": notes["steps"],
            "round s": notes["seconds"],
            "wall s": time.perf_counter() - started,
            "thresholds": notes["thresholds"],
            "scores": domain.score(labels, self.data),
        }

    def _places(self, cell: Cell) -> list[Place]:
        row = self.done(replace(cell, way=Way.SEGLOOP))
        if row is None:
            raise SystemExit(
                f"{cell.name} learns from the regions of way segloop, which was not done; add it to --ways"
            )
        return [Place(**place) for place in row["places"]]

    def next_places(
        self,
        model: Trainable | None,
        domain: Domain,
        images: dict[str, Annotated],
        done: Sequence[Place],
        count: int,
        seed: int,
    ) -> list[Place]:
        """The next regions to correct, in the order of Review next."""
        queue: list[tuple[float, float, Place]] = []
        chance = np.random.default_rng(seed)
        for name, item in images.items():
            labels, found = np.zeros(item.reference.shape, np.int64), None
            if model is not None:
                result = segment(model, item.image, SegmentSettings())
                labels, found = np.asarray(result.labels.data).astype(np.int64), result.candidates
            route = drain(route_events(labels, found, domain.task is Task.SEMANTIC))
            for region in route.regions:
                place = place_in(region, route.doubts, name, item.reference.shape)
                # where nothing tells regions apart, as before the first round of new classes, chance does
                queue.append((-region.expected / region.effort, chance.random(), place))
        chosen: list[Place] = []
        for _, _, place in sorted(queue, key=lambda entry: entry[:2]):
            if len(chosen) == count:
                break
            near = [old for old in [*done, *chosen] if old.image == place.image]
            if all(abs(old.top - place.top) >= SIDE or abs(old.left - place.left) >= SIDE for old in near):
                chosen.append(place)
        return chosen

    def _work(
        self, model: Trainable | None, domain: Domain, images: dict[str, Annotated], places: Sequence[Place]
    ) -> dict:
        """What it takes to put the regions right."""
        if domain.task is Task.SEMANTIC:
            wrong = []
            for place in places:
                item = images[place.image]
                labels = np.zeros(item.reference.shape, np.int64)
                if model is not None:
                    labels = np.asarray(segment(model, item.image, SegmentSettings()).labels.data)
                wrong.append(float(np.mean(labels[place.box] != item.reference[place.box])))
            return {"wrong pixels": mean(wrong)}
        actions, empty, objects = 0, 0, 0
        for place in places:
            item = images[place.image]
            pixels = np.ascontiguousarray(np.asarray(item.image.data)[place.box])
            image = segloop.Image(pixels, "YX", name=place.image)
            reference = without_specks(np.unique(item.reference[place.box], return_inverse=True)[1].reshape(SIDE, SIDE))
            objects += int(reference.max())
            nothing = Corrected(place.image, image, reference, np.zeros((SIDE, SIDE), np.int64), _NOTHING)
            anew = by_napari(nothing, ENOUGH, Goal.ACTIONS).actions
            empty += anew
            result = segment(model, image, SegmentSettings())
            labels = np.asarray(result.labels.data).astype(np.int64)
            found = Corrected(place.image, image, reference, labels, result.candidates)
            # who sees that it is quicker begins with an empty layer
            actions += min(by_segloop(found, ENOUGH, model, Goal.ACTIONS).actions, anew)
        return {"objects": objects, "actions": actions, "actions from an empty layer": empty}


_NOTHING = None


def _clock(cell: Cell) -> Callable[[], float]:
    return time.process_time if cell.clock == "cpu" else time.monotonic


def _now(cell: Cell) -> float:
    return _clock(cell)()


def results_table(rows: Sequence[dict]) -> str:
    """One line per domain, way and round; the mean over seeds."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["domain"], row["rounds"][-1], list(Way).index(Way(row["way"]))), []).append(row)
    lines = []
    for (domain, regions, way), group in sorted(groups.items()):
        names = list(group[0]["scores"])[:2] if DOMAINS[domain].task is Task.INSTANCE else ["mean Dice"]
        scores = " / ".join(f"{mean(row['scores'][name] for row in group):.3f}" for name in names)
        spent = f"{mean(row['round s'] for row in group):.0f}"
        work = ""
        if "actions" in group[0]:
            actions, empty = (sum(row[name] for row in group) for name in ("actions", "actions from an empty layer"))
            work = f"{actions} of {empty} for {sum(row['objects'] for row in group)} objects"
        elif "wrong pixels" in group[0]:
            work = f"{mean(row['wrong pixels'] for row in group):.0%} of pixels wrong"
        lines.append(
            [
                domain,
                str(regions),
                list(Way)[way].value,
                ", ".join(names),
                scores,
                f"{mean(row['steps'] for row in group):.0f}",
                spent,
                work,
                str(len(group)),
            ]
        )
    columns = ["images of", "regions", "way", "score", "held out", "steps", "s", "work of the round", "seeds"]
    return table(columns, lines)


def planned(options: argparse.Namespace) -> Iterator[Cell]:
    """All cells, each after those that it needs; the early rounds of every domain first."""
    for seed in options.seeds:
        for number in range(1, len(options.rounds) + 1):
            for name in options.sets:
                for way in options.ways:
                    if way is Way.STARDIST and (options.stardist is None or DOMAINS[name].task is Task.SEMANTIC):
                        continue
                    clock = "wall" if options.clock else "cpu"
                    rounds = tuple(options.rounds[:number])
                    yield Cell(name, way, seed, rounds, options.seconds, options.threads, clock)


def main() -> None:
    """Do what is not in the folder yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cells", type=Path, required=True, help="folder of finished cells")
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(DOMAINS), help=", ".join(DOMAINS))
    parser.add_argument("--rounds", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--ways", type=lambda text: [Way(name) for name in text.split(",")], default=list(Way))
    parser.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of training per round")
    parser.add_argument("--clock", action="store_true", help="seconds of the clock instead of the processor's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stardist", type=Path, help="Python of an environment with StarDist")
    parser.add_argument("--json", type=Path, help="where all cells are written together")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loop, rows = Loop(options.data, options.cells, options.stardist), []
    for cell in planned(options):
        row = loop.done(cell)
        if row is None:
            try:
                row = loop.perform(cell)
            except TrainingError as error:
                print(f"{cell.name}: {error}", file=sys.stderr, flush=True)
                continue
            print(json.dumps({**cell.key, "scores": row["scores"]}), file=sys.stderr, flush=True)
        rows.append(row)
    print(results_table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
