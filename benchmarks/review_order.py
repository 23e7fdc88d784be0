"""How soon the order of "Review next" finds what is wrong, beside random order, by simulation on annotated images.

    python benchmarks/review_order.py --data DATA --set nuclei:nuclei-maskrcnn --set phase_usiigaci:MODEL [--json out.json]

A model segments images that it was not trained on. What is wrong is told by the reference: objects without a partner of
IoU 0.5 (and, as a stricter question, 0.7), both the reference's (missed) and the model's (extra). A wrong object is found
when the region that holds its middle pixel is looked at. Regions of all images of a set are in one queue, as slices of a
stack would be; "per image" is the mean over images with five wrong objects or more, each with a queue of its own.

Columns: 50 % and 80 %, the share of regions looked at until so many of the wrong objects are found; "sooner", that share
in random order (the mean of a hundred) over it; position, the mean place of a wrong object in the queue (random: 0.50);
"no empty", regions without any object or candidate left out of both orders; least, the 50 % column of an order that
knows the reference.

``--without-candidates`` judges by labels alone, as labels from elsewhere are.

A set is FOLDER:MODEL, a folder of DATA with ``images`` and ``labels``; ``nuclei`` is fold 0 of ``nuclei_dsb2018``. Of other
folders the first images (``--skip``, 10) are left out: the model may have been trained on those.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reviewing import Corrected, read_set, segment_set

from segloop.events import drain
from segloop.matching import Overlaps
from segloop.route import Route, plan_route, route_events

IOU = (0.5, 0.7)
ENOUGH = 5
"""Wrong objects of an image from which on it is scored by itself."""

SHUFFLES = 100


@dataclass(frozen=True)
class Queue:
    """Regions in the order of looking: how many wrong objects each holds, and whether it holds anything at all."""

    wrong: np.ndarray
    empty: np.ndarray
    expected: np.ndarray

    def until(self, share: float) -> float:
        """Share of regions looked at until ``share`` of the wrong objects are found."""
        found = np.cumsum(self.wrong)
        return float((np.searchsorted(found, share * found[-1]) + 1) / len(found))

    @property
    def position(self) -> float:
        """Mean place of a wrong object in the queue, in [0, 1]."""
        places = (np.arange(len(self.wrong)) + 0.5) / len(self.wrong)
        return float((places * self.wrong).sum() / self.wrong.sum())

    def taken(self, index: np.ndarray) -> Queue:
        return Queue(self.wrong[index], self.empty[index], self.expected[index])

    def shuffled(self, share: float) -> float:
        """:meth:`until` in random order, the mean of many."""
        rng = np.random.default_rng(0)
        return float(np.mean([self.taken(rng.permutation(len(self.wrong))).until(share) for _ in range(SHUFFLES)]))


def middles(labels: np.ndarray, numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pixel of each object that is nearest its centroid."""
    for number in numbers.tolist():
        pixels = np.argwhere(labels == number)
        row, column = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        yield int(row), int(column)


def queue_of(route: Route, item: Corrected, threshold: float) -> Queue:
    """What the regions of one image hold."""
    matching = Overlaps.of(item.reference, item.labels).match(threshold)
    number_at = np.zeros(item.labels.shape, np.int64)
    for number, region in enumerate(route.regions):
        number_at[region.rows, region.columns] = number
    wrong = np.zeros(len(route.regions), int)
    for labels, numbers in ((item.reference, matching.missed), (item.labels, matching.extra)):
        for place in middles(labels, numbers):
            wrong[number_at[place]] += 1
    empty = np.array([not region.things for region in route.regions])
    return Queue(wrong, empty, np.array([region.expected for region in route.regions]))


def score(queues: list[Queue]) -> dict[str, float]:
    """One row of the table."""
    whole = Queue(*(np.concatenate([getattr(q, name) for q in queues]) for name in ("wrong", "empty", "expected")))
    ordered = whole.taken(np.argsort(-whole.expected, kind="stable"))
    full = ordered.taken(~ordered.empty)
    single = [queue for queue in queues if queue.wrong.sum() >= ENOUGH]
    return {
        "regions": len(ordered.wrong),
        "wrong": int(ordered.wrong.sum()),
        "50 %": ordered.until(0.5),
        "sooner 50 %": ordered.shuffled(0.5) / ordered.until(0.5),
        "80 %": ordered.until(0.8),
        "sooner 80 %": ordered.shuffled(0.8) / ordered.until(0.8),
        "position": ordered.position,
        "no empty 50 %": full.until(0.5),
        "no empty sooner": full.shuffled(0.5) / full.until(0.5),
        "least 50 %": ordered.taken(np.argsort(-ordered.wrong, kind="stable")).until(0.5),
        "images": len(single),
        "per image 50 %": float(np.mean([queue.until(0.5) for queue in single])),
        "per image sooner": float(
            np.mean([queue.shuffled(0.5) for queue in single]) / np.mean([queue.until(0.5) for queue in single])
        ),
    }


def main() -> None:
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", action="append", required=True, metavar="FOLDER:MODEL", dest="sets")
    parser.add_argument("--skip", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only, for a quick look")
    parser.add_argument("--things", type=int, default=0, help="most things in a region; SegLoop's own by default")
    parser.add_argument("--without-candidates", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for folder, model in (name.split(":") for name in options.sets):
        items = segment_set(read_set(options.data, folder, options.skip)[:: options.every], model)
        started = time.perf_counter()
        routes = []
        for item in items:
            route = drain(route_events(item.labels, None if options.without_candidates else item.found))
            if options.things:
                regions = tuple(plan_route(route.doubts, (1, *item.labels.shape), options.things))
                route = Route(regions, route.doubts, route.classes)
            routes.append(route)
        seconds = time.perf_counter() - started
        print(f"{folder}, {model}: {len(items)} images looked through in {seconds:.1f} s", file=sys.stderr)
        for threshold in IOU:
            queues = [queue_of(route, item, threshold) for route, item in zip(routes, items)]
            rows.append({"images of": folder, "model": model, "IoU": threshold, **score(queues)})
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        cells = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values())
        print("| " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps({"things": options.things, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
