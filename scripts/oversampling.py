"""Measure when reducing an image helps a model: what chose ``LARGER`` and ``LOST`` in ``segloop/object_size.py``.

    python scripts/oversampling.py runs/u0/model --fold 0 --data DATA/nuclei_dsb2018 --largest 400 --record u0.jsonl

Each image, as it is and interpolated to twice its sides, is segmented at the model's own scale and scaled to the size
that its objects are measured to have; beside it stands what the scaling loses of its contrast. What was measured is
appended to --record as it comes; started again, the script goes on. Then it prints AP50, pooled over all objects, of
the rule with other numbers: reduce from L times the model's size on if at most R of the contrast is lost. Numbers are
to be chosen on the two thirds that ``--every 3`` of ``scripts/magnification.py`` leaves out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from nuclei_data import NucleiImage, read_nuclei
from score_bundled import magnified

import segloop
from segloop.labels import Task
from segloop.metrics import instance_scores
from segloop.models.protocol import Segmenter
from segloop.object_size import LARGE, LARGER, LOST, SMALL, SURER, look
from segloop.planning import network_image
from segloop.segmentation import make_plan
from segloop.settings import AUTO

FACTORS = (1.0, 2.0)
SHARES = {"two thirds": (1, 2), "the other third": (0,), "together": (0, 1, 2)}
LARGERS = (1.25, 1.5, LARGER, 2.0, LARGE)
LOSSES = (0.03, 0.04, 0.05, 0.06, 0.07)


@dataclass(frozen=True)
class Measured:
    """What was measured of an image.

    Parameters
    ----------
    key, modality : str
    place : int
        Number of the image among those of the fold.
    factor : float
        By which its sides were interpolated.
    relative : float or None
        Diameter of its objects, relative to the model's; None where the model finds too few to tell.
    lost, sure : float
        What scaling loses of the contrast; median score of what is found in the scaled window. 0 without a size.
    plain, scaled : (int, int, int)
        Right, extra and missed objects at the model's own scale, and scaled whatever the size is.
    """

    key: str
    modality: str
    place: int
    factor: float
    relative: float | None
    lost: float
    sure: float
    plain: tuple[int, int, int]
    scaled: tuple[int, int, int]

    def counts(self, larger: float, loss: float) -> tuple[int, int, int]:
        """Return what is right, extra and missed by the rule with these numbers."""
        size = self.relative
        if size is None or (SMALL <= size <= LARGE and (size <= larger or self.lost > loss)):
            return self.plain
        return self.scaled if self.sure >= SURER else self.plain


def measure(model: Segmenter, item: NucleiImage, place: int, factor: float) -> Measured:
    """Segment an image both ways."""
    item = magnified(item, factor)
    own = segloop.SegmentSettings(
        instances=model.spec.task is Task.SEMANTIC, object_size=model.spec.object_size / model.spec.zoom
    )

    def counts(settings: segloop.SegmentSettings) -> tuple[int, int, int]:
        found = np.asarray(segloop.segment(model, item.image, settings).labels.data)
        scores = instance_scores(item.labels, found, (0.5,))
        return int(scores.tp[0]), int(scores.fp[0]), int(scores.fn[0])

    image = network_image(item.image, model.spec, None)
    seen = look(model, image, make_plan(model, image, own, AUTO, []))
    plain = counts(own)
    if seen is None:
        return Measured(item.id, item.modality, place, factor, None, 0.0, 0.0, plain, plain)
    found = seen.scaled(model).scores
    scaled = counts(replace(own, object_size=own.object_size / seen.zoom))
    sure = float(np.median(found)) if len(found) else 0.0
    return Measured(item.id, item.modality, place, factor, seen.relative, seen.lost, sure, plain, scaled)


def ap50(counts: Sequence[tuple[int, int, int]]) -> float:
    """Pooled over all objects."""
    right, extra, missed = np.sum(counts, axis=0)
    return float(right / max(1, right + extra + missed))


def table(measured: Sequence[Measured], places: Sequence[int]) -> list[str]:
    """AP50 of the images whose number, by three, leaves one of ``places``, for each pair of numbers, a line each."""
    some = [row for row in measured if row.place % 3 in places]
    lines = ["| L | " + " | ".join(f"R {loss:g}" for loss in LOSSES) + " |", "|---" * (1 + len(LOSSES)) + "|"]
    for larger in LARGERS:
        cells = []
        for loss in LOSSES:
            figures = [ap50([row.counts(larger, loss) for row in some if row.factor == factor]) for factor in FACTORS]
            text = " ".join(f"{figure:.3f}" for figure in figures)
            cells.append(f"**{text}**" if (larger, loss) == (LARGER, LOST) else text)
        lines.append(f"| {larger:g} | " + " | ".join(cells) + " |")
    plain = " ".join(f"{ap50([row.plain for row in some if row.factor == factor]):.3f}" for factor in FACTORS)
    return [*lines, f"never scaled: {plain}"]


def losses(measured: Sequence[Measured]) -> list[str]:
    """What images lose of which the rule asks it, as they are and enlarged, and how many are segmented better."""
    lines = []
    for factor in FACTORS:
        for name in sorted({row.modality for row in measured}):
            asked = [row for row in measured if row.relative is not None and LARGER < row.relative <= LARGE]
            some = [row for row in asked if row.factor == factor and row.modality == name]
            if some:
                gains = np.array([ap50([row.scaled]) - ap50([row.plain]) for row in some])
                low, high = (f"{edge(row.lost for row in some):.3f}" for edge in (min, max))
                better = f"{(gains > 0).sum()} of {len(some)} better, {(gains < 0).sum()} worse"
                lines.append(f"{name} × {factor:g}: {low} to {high} is lost; {better}")
    return lines


def main() -> None:
    """Measure what is missing in the record, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--largest", type=int, default=0, help="only images whose sides are at most this many pixels")
    parser.add_argument("--record", type=Path, required=True, help="file of what was measured, a line of JSON each")
    options = parser.parse_args()
    images = read_nuclei(options.data, {options.fold})
    if options.largest:
        images = [item for item in images if max(item.labels.shape) <= options.largest]
    measured = []
    if options.record.is_file():
        measured = [Measured(**json.loads(line)) for line in options.record.read_text().splitlines()]
    done = {(row.place, row.factor) for row in measured}
    model = segloop.load_model(options.model)
    with options.record.open("a") as record:
        for place, item in enumerate(images):
            for factor in FACTORS:
                if (place, factor) not in done:
                    row = measure(model, item, place, factor)
                    record.write(json.dumps(asdict(row)) + "\n")
                    record.flush()
                    measured.append(row)
    for modality in ("fluorescence", ""):
        some = [row for row in measured if row.modality.startswith(modality)]
        for name, places in SHARES.items():
            print(f"\n{modality or 'all'}, {name}: AP50 as they are, and at twice the size\n")
            print("\n".join(table(some, places)))
    print("\n" + "\n".join(losses(measured)))


if __name__ == "__main__":
    main()
