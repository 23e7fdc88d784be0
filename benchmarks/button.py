"""From pressing the button to new labels: where the time of one fine-tuning goes.

    python benchmarks/button.py --data DATA [--sets worms_bbbc010,em_drosophila_vnc] [--minutes 0.7] [--regions 4]

What the window does after a click on Fine-tune, without the window: a training in a process of its own, followed to its
end; the new model is loaded, and segments an image of the domain. The training set is one region of 256² pixels, with
the objects that reach into it, of each of the first annotated images of a domain (``domains.py``). For each part:
seconds of the clock, and of the processor by this process and the one that trains. All is done in a home of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from domains import DOMAINS, Domain
from places import SIDE, Place, annotated
from report import machine, machine_line, table


class Stopwatch:
    """Seconds of the clock and of the processor, part by part; the other process is asked for its own."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self.other = 0.0
        self._last = self._now()

    def part(self, name: str) -> None:
        """A part ends."""
        now = self._now()
        self.rows.append((name, now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time() + self.other


def places(domain: Domain, data: Path, count: int) -> list[Place]:
    """A region in the middle of each of the first images; of more regions than images, also at their corners."""
    found = []
    for number in range(count):
        name = domain.annotated[number % len(domain.annotated)]
        shape = domain.read(data, name).reference.shape
        middle = number < len(domain.annotated)
        found.append(Place(name, *((n - SIDE) // 2 if middle else 0 for n in shape)))
    return found


def measure(domain: Domain, data: Path, regions: int, minutes: float) -> tuple[Stopwatch, str]:
    """One fine-tuning; returns its parts, and what came out in words."""
    import psutil

    from segloop import FinetuneSettings, SegmentSettings, segment
    from segloop.events import EpochDone, Scored, TrainingStarted
    from segloop.store import BUNDLED
    from segloop.trainings import Order, follow, new_training

    images = {name: domain.read(data, name) for name in domain.annotated[:regions]}
    with tempfile.TemporaryDirectory() as folder:
        training_set = annotated(domain, images, places(domain, data, regions), Path(folder))
        order = Order(BUNDLED / domain.model, training_set.folder, "tuned", FinetuneSettings(minutes=minutes))
        watch, epochs = Stopwatch(), 0
        training = new_training(order)
        events = follow(training)
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result = end.value
                break
            with suppress(psutil.Error, TypeError):
                # the last number before the process ends is kept
                process = psutil.Process(training.read("process.json")["process"][0])
                watch.other = max(watch.other, sum(process.cpu_times()[:2]))
            match event:
                case TrainingStarted():
                    watch.part("start of the process, reading")
                case Scored(stage="before"):
                    watch.part("score before")
                case EpochDone(epoch=epochs):
                    if epochs == 1:
                        watch.part("first epoch")
                case Scored(stage="after"):
                    watch.part("other epochs, score after")
        watch.part("saving, end of the process, loading")
        steps = result.model.spec.training["steps"]
        image = domain.read(data, domain.held_out[0]).image
        segment(result.model, image, SegmentSettings())
        watch.part(f"new labels of an image of {' × '.join(map(str, np.shape(image.data)))}")
    scores = f"held-out score {result.before:.3f} before, {result.after:.3f} after"
    return watch, f"{regions} regions, {steps} steps in {epochs} epochs; {scores}"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(DOMAINS), help=", ".join(DOMAINS))
    parser.add_argument("--minutes", type=float, default=0.7, help="of training at most, as in the window")
    parser.add_argument("--regions", type=int, default=4)
    options = parser.parse_args()
    print(machine_line(machine(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))))
    for name in options.sets:
        with tempfile.TemporaryDirectory(prefix="segloop-") as home:
            os.environ["SEGLOOP_HOME"] = home
            watch, words = measure(DOMAINS[name], options.data, options.regions, options.minutes)
        rows = [[part, f"{clock:.1f}", f"{processor:.1f}"] for part, clock, processor in watch.rows]
        total = [f"{sum(row[number] for row in watch.rows):.1f}" for number in (1, 2)]
        print(f"{name}, {DOMAINS[name].model}: {words}\n")
        print(table(["part", "s", "s of the processor"], [*rows, ["all", *total]]))


if __name__ == "__main__":
    main()
