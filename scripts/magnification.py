"""Say what another magnification costs, and how much of that the model can be blamed for.

    python scripts/magnification.py runs/m0-calibrated --fold 0 --data DATA/nuclei_dsb2018 --largest 400 --every 3

Images of nuclei are interpolated to half and to twice their sides, as by ``score_bundled.py --magnify``. AP50 pooled
over all objects; "of 8 to 100 pixels": objects whose diameter is in that range at both sizes, the others neither missed
nor extra, as the images are and magnified; "resampled": what was found in the image as it is, resampled as the
annotation is, against the resampled annotation: what the resampling alone costs; "told": the model is told by how much
the image was magnified.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from nuclei_data import NucleiImage, read_nuclei
from score_bundled import magnified

import segloop
from segloop.labels import Task
from segloop.metrics import InstanceScores, instance_scores

RANGE = (8.0, 100.0)
"""Diameters in pixels that the models are made for."""

FACTORS = (0.5, 2.0)


def in_range(item: NucleiImage, factors: Sequence[float]) -> np.ndarray:
    """Numbers of the objects whose diameter is in ``RANGE`` at each magnification."""
    diameter = np.sqrt(4 * np.bincount(item.labels.ravel())[1:] / np.pi)
    fits = [(diameter * factor >= RANGE[0]) & (diameter * factor <= RANGE[1]) for factor in factors]
    return 1 + np.flatnonzero(np.logical_and.reduce(fits))


def scores_of(labels: np.ndarray, found: np.ndarray, numbers: np.ndarray) -> InstanceScores:
    """Score what was found of the objects with these numbers; the others are neither missed nor extra."""
    return instance_scores(labels, found, (0.5,), (labels == 0) | np.isin(labels, numbers))


def ap50(scores: Sequence[InstanceScores]) -> str:
    """Pooled, and the number of objects."""
    whole = reduce(add, scores)
    return f"{whole.ap(0.5):.3f} ({whole.tp[0] + whole.fn[0]})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--largest", type=int, default=0, help="only images whose sides are at most this many pixels")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only")
    parser.add_argument("--flips", action="store_true", help="look at each image four ways")
    options = parser.parse_args()
    model = segloop.load_model(str(options.model))
    settings = segloop.SegmentSettings(instances=model.spec.task is Task.SEMANTIC, flips=options.flips)
    images = read_nuclei(options.data, {options.fold})
    if options.largest:
        images = [item for item in images if max(item.labels.shape) <= options.largest]
    images = images[:: options.every]

    def segmented(item: NucleiImage, told: float = 0.0) -> np.ndarray:
        own = replace(settings, object_size=told * model.spec.object_size) if told else settings
        return np.asarray(segloop.segment(model, item.image, own).labels.data)

    plain = [segmented(item) for item in images]
    print(
        "| images | size | AP50 (objects) | 8 to 100 pixels: as it is | 8 to 100 pixels: so large | resampled | told |"
    )
    print("|---" * 7 + "|")
    for factor in FACTORS:
        others = [magnified(item, factor) for item in images]
        found = [segmented(item) for item in others]
        told = [segmented(item, factor) for item in others]
        resampled = [magnified(replace(item, labels=own), factor).labels for item, own in zip(images, plain)]
        numbers = [in_range(item, (1.0, factor)) for item in images]
        for name in ("fluorescence", ""):
            some = [place for place, item in enumerate(images) if item.modality.startswith(name)]
            cells = [
                ap50([instance_scores(others[n].labels, found[n], (0.5,)) for n in some]),
                ap50([scores_of(images[n].labels, plain[n], numbers[n]) for n in some]),
                ap50([scores_of(others[n].labels, found[n], numbers[n]) for n in some]),
                ap50([instance_scores(others[n].labels, resampled[n], (0.5,)) for n in some]),
                ap50([instance_scores(others[n].labels, told[n], (0.5,)) for n in some]),
            ]
            print(f"| {len(some)} {name or 'all'} | {factor:g} | " + " | ".join(cells) + " |", flush=True)
    whole = [instance_scores(item.labels, own, (0.5,)) for item, own in zip(images, plain)]
    print(f"as they are: {ap50(whole)}, fluorescence ", end="")
    print(ap50([own for item, own in zip(images, whole) if item.modality.startswith("fluorescence")]))


if __name__ == "__main__":
    main()
