"""How soon the order of "Review next" finds what is wrong, beside random order, by simulation on annotated images.

    python benchmarks/review_order.py --data DATA --set nuclei:nuclei-maskrcnn --set worms_bbbc010:MODEL

A model segments images that it was not trained on. What is wrong is told by the reference: objects without a partner
of IoU 0.5 (and, as a stricter question, 0.7), both the reference's (missed) and the model's (extra). A wrong object
is found when the region that holds its middle pixel is looked at. Regions of all images of a set are in one queue,
as slices of a stack would be; "per image" is the mean over images with five wrong objects or more, each with a queue
of its own.

Columns: regions; wrong, objects to be found; 50 % and 80 %, the share of regions looked at until so many of them are
found; sooner, that share in random order (the mean of a hundred) over it; "effort", the same with each region
weighted by what it takes to go there (``--going``, one glance, whatever the order itself takes it for) and a glance at
each object or candidate in it; position, the mean place of a wrong object in the queue (random: 0.50); least, the 50 %
column of an order that knows the reference.

``--without-candidates`` judges by labels alone, as labels from elsewhere are.

A set is FOLDER:MODEL, a folder of DATA with ``images`` and ``labels``; ``nuclei`` is fold 0 of ``nuclei_dsb2018``.
Of other folders the first images (``--skip``, 10) are left out: the model may have been trained on those.
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

GOING = 1
"""Glances that going to a region counts for: a yardstick of its own, the same for any order."""


@dataclass(frozen=True)
class Queue:
    """Regions in the order of looking: how many wrong objects each holds, and the effort of looking at it."""

    wrong: np.ndarray
    effort: np.ndarray
    worth: np.ndarray

    def until(self, share: float, effort: bool = False) -> float:
        """Share of regions, or of effort, until ``share`` of the wrong objects are found."""
        found = np.cumsum(self.wrong)
        place = int(np.searchsorted(found, share * found[-1]))
        spent = self.effort if effort else np.ones(len(self.effort))
        return float(spent[: place + 1].sum() / spent.sum())

    @property
    def position(self) -> float:
        """Mean place of a wrong object in the queue, in [0, 1]."""
        places = (np.arange(len(self.wrong)) + 0.5) / len(self.wrong)
        return float((places * self.wrong).sum() / self.wrong.sum())

    def taken(self, index: np.ndarray) -> Queue:
        """The same regions in another order."""
        return Queue(self.wrong[index], self.effort[index], self.worth[index])

    def shuffled(self, share: float, effort: bool = False) -> float:
        """:meth:`until` in random order, the mean of many."""
        rng = np.random.default_rng(0)
        return float(
            np.mean([self.taken(rng.permutation(len(self.wrong))).until(share, effort) for _ in range(SHUFFLES)])
        )


def middles(labels: np.ndarray, numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pixel of each object that is nearest its centroid."""
    for number in numbers.tolist():
        pixels = np.argwhere(labels == number)
        row, column = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        yield int(row), int(column)


def queue_of(route: Route, item: Corrected, threshold: float, going: int = GOING) -> Queue:
    """What the regions of one image hold."""
    matching = Overlaps.of(item.reference, item.labels).match(threshold)
    number_at = np.zeros(item.labels.shape, np.int64)
    # where regions overlap, the one that is looked at first finds it
    for number, region in reversed(list(enumerate(route.regions))):
        number_at[region.rows, region.columns] = number
    wrong = np.zeros(len(route.regions), int)
    for labels, numbers in ((item.reference, matching.missed), (item.labels, matching.extra)):
        for place in middles(labels, numbers):
            wrong[number_at[place]] += 1
    effort = np.array([going + len(region.things) for region in route.regions])
    return Queue(wrong, effort, np.array([region.expected / region.effort for region in route.regions]))


def score(queues: list[Queue]) -> dict[str, float]:
    """One row of the table."""
    whole = Queue(*(np.concatenate([getattr(q, name) for q in queues]) for name in ("wrong", "effort", "worth")))
    ordered = whole.taken(np.argsort(-whole.worth, kind="stable"))
    row: dict[str, float] = {"regions": len(ordered.wrong), "wrong": int(ordered.wrong.sum())}
    for share in (0.5, 0.8):
        for effort in (False, True):
            name = f"{share:.0%}" + (" effort" if effort else "")
            row[name] = ordered.until(share, effort)
            row[f"sooner {name}"] = ordered.shuffled(share, effort) / row[name]
    row["position"] = ordered.position
    row["least 50%"] = ordered.taken(np.argsort(-ordered.wrong, kind="stable")).until(0.5)
    single = [queue for queue in queues if queue.wrong.sum() >= ENOUGH]
    row["images"] = len(single)
    row["per image 50%"] = float(np.mean([queue.until(0.5) for queue in single]))
    row["per image sooner"] = float(np.mean([queue.shuffled(0.5) for queue in single])) / row["per image 50%"]
    return row


def main() -> None:
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", action="append", required=True, metavar="FOLDER:MODEL", dest="sets")
    parser.add_argument("--skip", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only, for a quick look")
    parser.add_argument("--things", type=int, default=0, help="most things in a region; SegLoop's own by default")
    parser.add_argument("--going", type=int, default=GOING, help="glances that going to a region counts for")
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
            queues = [queue_of(route, item, threshold, options.going) for route, item in zip(routes, items)]
            rows.append({"images of": folder, "model": model, "IoU": threshold, **score(queues)})
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        cells = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values())
        print("| " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps({"things": options.things, "going": options.going, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
