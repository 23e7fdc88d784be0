"""Train ``objects-maskrcnn``: goes on with ``nuclei-maskrcnn`` on nuclei, worms and cells mixed; resumable.

    python scripts/train_objects.py --data DATA --start runs/nuclei-maskrcnn/model --run runs/objects-maskrcnn

DATA holds the folders ``nuclei_dsb2018``, ``worms_bbbc010`` and ``phase_usiigaci`` (``docs/models.md`` says where they
come from). ``--start`` is the model that ``scripts/train_bundled.py`` made, before its scores were calibrated, or one
that this script made. Never learned are the images that ``benchmarks/domains.py`` holds out, and of nuclei the fields
of view of the images in the repository, or with ``--fold K`` that fold. ``--without FOLDER`` leaves a domain out
altogether, so that learning it can be measured (``benchmarks/transfer.py --model nuclei-maskrcnn=RUN/model``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile
import torch
from nuclei_data import draw_weights, read_training_part, training_images
from train_bundled import AUGMENTATION
from training_run import run_parser, train, write

from segloop.image import Image
from segloop.labels import diameters
from segloop.models.protocol import ModelSpec
from segloop.store import load_model
from segloop.train.augment import Augmentation
from segloop.train.data import CropSource, Example, TrainingImage
from segloop.train.fit import Fit, FitSettings

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from domains import DOMAINS

NUCLEI = "nuclei_dsb2018"
SHARES = {NUCLEI: 0.5, "worms_bbbc010": 0.2, "phase_usiigaci": 0.3}
"""Of the crops."""

OTHERS = Augmentation(zoom_low=0.5, zoom_high=1.6, rotate=True, intensity=0.6, invert=0.3, colour=0.0)
"""Larger objects than nuclei, and grey only."""

SOURCES = "BBBC038 (Data Science Bowl 2018 stage 1) and BBBC010, CC0-1.0; Usiigaci (Tsai et al. 2019), MIT"


@dataclass(frozen=True)
class Mixture:
    """Draws each example from one of several sources, which have their shares."""

    sources: Sequence[CropSource]
    shares: Sequence[float]

    def __call__(self, generator: np.random.Generator) -> Example:
        """Draw an example."""
        bounds = np.cumsum(self.shares) / np.sum(self.shares)
        return self.sources[int(np.searchsorted(bounds, generator.random(), side="right"))](generator)


def read_domain(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels (Y, X) of a domain, without those that are held out."""
    pairs = []
    for path in sorted((folder / "images").iterdir()):
        if path.stem in DOMAINS[folder.name].held_out:
            continue
        file = next((folder / "labels").glob(f"{path.stem}.*"))
        labels = tifffile.imread(file) if file.suffix == ".tif" else iio.imread(file)
        pairs.append((iio.imread(path), labels.astype(np.int32)))
    return pairs


def domain_source(pairs: Sequence[tuple[np.ndarray, np.ndarray]], spec: ModelSpec, crop: tuple[int, int]) -> CropSource:
    """Crops of the images of a domain, all of which count alike."""
    images = []
    for pixels, labels in pairs:
        image = Image(pixels, "YX")
        whole = [tuple(slice(0, n) for n in labels.shape)]
        images.append(TrainingImage(image, labels, np.ones(labels.shape, bool), whole, spec.normalization.fit(image)))
    return CropSource(images, spec, crop, OTHERS, (), lambda labels: labels)


def main() -> None:
    """Train."""
    parser = run_parser(__doc__)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--without", action="append", default=[], choices=sorted(SHARES))
    parser.set_defaults(epochs=20, steps=50, batch=4, learning_rate=3e-4)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    model = load_model(options.start)
    started = model.spec
    spec = replace(
        started,
        name="objects-maskrcnn",
        classes=("object",),
        license="MIT",
        description="Single objects of many kinds: nuclei, cells in phase contrast, worms; a start for others",
    )
    crop = (options.crop, options.crop)
    sources, shares, count, sizes = [], [], 0, []
    for name, share in SHARES.items():
        if name in options.without:
            continue
        if name == NUCLEI:
            nuclei = read_training_part(options.data / name, options.fold)
            learned = [item.labels for item in nuclei]
            weights = draw_weights(nuclei)
            images = training_images(nuclei, spec)
            sources.append(CropSource(images, spec, crop, AUGMENTATION, weights, lambda labels: labels))
        else:
            pairs = read_domain(options.data / name)
            learned = [labels for _, labels in pairs]
            sources.append(domain_source(pairs, spec, crop))
        shares.append(share)
        count += len(learned)
        sizes += [np.concatenate([diameters(labels) for labels in learned])]
        median = np.median(sizes[-1])
        print(f"{name}: {len(learned)} images, {len(sizes[-1])} objects, median diameter {median:.0f}", flush=True)
    settings = FitSettings(
        epochs=options.epochs,
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        weight_decay=0.05,
        warmup=0.1,
        average=0.99,
        seed=options.seed,
    )
    fit = Fit(model, Mixture(sources, shares), settings, clock=time.process_time)
    train(fit, options.run, model.device)
    held_out = "the images in the repository" if options.fold is None else f"fold {options.fold} of the nuclei"
    facts = {
        "data": SOURCES,
        "held_out": f"{held_out}, and what benchmarks/domains.py holds out",
        "without": sorted(options.without),
        "images": count,
        "objects": sum(map(len, sizes)),
        "after": dict(started.training),
    }
    write(model, spec, fit, options, facts, Path(__file__))


if __name__ == "__main__":
    main()
