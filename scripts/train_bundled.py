"""Train a bundled model from nothing; resumable.

    python scripts/train_bundled.py nuclei-unet --data DATA/nuclei_dsb2018 --run runs/nuclei-unet
    python scripts/train_bundled.py nuclei-maskrcnn --data DATA/nuclei_dsb2018 --run runs/nuclei-maskrcnn

With ``--fold K`` that fold is held out and never seen: ``scripts/score_bundled.py`` scores on it. Without, all folds
are learned from, but for the fields of view of the images in the repository. The checkpoint in --run is written after
each epoch; started again, training goes on from it. At the end the model's folder is in --run/model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nuclei_data import draw_weights, read_training_part, training_images
from training_run import run_parser, train, write

from segloop.labels import border_classes
from segloop.models.device import Device
from segloop.models.protocol import ModelSpec
from segloop.models.registry import get_family
from segloop.normalize import Normalization
from segloop.store import load_model
from segloop.train.augment import Augmentation
from segloop.train.data import CropSource
from segloop.train.fit import Fit, FitSettings

AUGMENTATION = Augmentation(zoom_low=0.5, zoom_high=2.0, rotate=True, intensity=0.6, invert=0.1, colour=0.5)

SAMPLES = {"proposals_train": 300, "box_samples": 192, "box_positive": 0.4}
"""More examples per image than in fine-tuning: their cost does not matter on a GPU."""


def nuclei_spec(name: str, architecture: Mapping[str, Any]) -> ModelSpec:
    """The spec of a bundled model before training; ``architecture`` has what differs from the size's own numbers."""
    family = get_family({"nuclei-unet": "unet", "nuclei-maskrcnn": "maskrcnn"}[name])
    classes = ("background", "nucleus", "border") if name == "nuclei-unet" else ("nucleus",)
    spec = family.new_spec(name, classes, channels=3, ndim=2, size="small")
    return replace(
        spec,
        architecture={**spec.architecture, **architecture},
        repeat_grey=True,
        normalization=Normalization(low=1.0, high=99.8, joint=True, one_colour=True),
        license="CC0-1.0",
        description={
            "nuclei-unet": "Nuclei as background / nucleus / border, in fluorescence, H&E and brightfield images",
            "nuclei-maskrcnn": "Nuclei as single objects, in fluorescence, H&E and brightfield images",
        }[name],
    )


def main() -> None:
    """Train."""
    parser = run_parser(__doc__)
    parser.add_argument("name", choices=["nuclei-unet", "nuclei-maskrcnn"])
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.set_defaults(epochs=100, steps=100, batch=16, learning_rate=1e-3)
    parser.add_argument("--architecture", type=json.loads, default={}, help="numbers other than the size's, as JSON")
    parser.add_argument("--start", type=Path, help="folder of a model whose weights are started from")
    parser.add_argument("--device", type=Device, default=Device.AUTO, help="auto, cpu, cuda or mps")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw examples ahead")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    # sizes are the same in each step; those of Mask R-CNN's heads are not, and each new one would be tried out
    torch.backends.cudnn.benchmark = options.name == "nuclei-unet"

    spec = nuclei_spec(options.name, options.architecture)
    device = options.device.resolve()
    samples = SAMPLES if spec.family == "maskrcnn" and device.type != "cpu" else {}
    model = get_family(spec.family).build(replace(spec, architecture={**spec.architecture, **samples}))
    started = load_model(options.start) if options.start else None
    if started is not None:
        model.module.load_state_dict(started.module.state_dict())
    model.to(device)
    images = read_training_part(options.data, options.fold)
    diameters = [d for item in images for d in np.sqrt(4 * np.bincount(item.labels.ravel())[1:] / np.pi) if d > 0]
    source = CropSource(
        training_images(images, spec),
        spec,
        (options.crop, options.crop),
        AUGMENTATION,
        draw_weights(images),
        border_classes if options.name == "nuclei-unet" else lambda labels: labels,
    )
    settings = FitSettings(
        epochs=options.epochs,
        steps=options.steps,
        minutes=options.minutes,
        batch=options.batch,
        learning_rate=options.learning_rate,
        weight_decay=0.05,
        average=0.999,
        seed=options.seed,
        workers=options.workers,
    )
    fit = Fit(model, source, settings)
    train(fit, options.run, model.device)
    facts = {
        "data": "BBBC038 (Data Science Bowl 2018 stage 1), CC0-1.0",
        "held_out": "the images in the repository" if options.fold is None else f"fold {options.fold}",
        "images": len(images),
        "objects": len(diameters),
        "after": {} if started is None else dict(started.spec.training),
    }
    spec = replace(spec, object_size=round(float(np.median(diameters)), 1))
    write(model, spec, fit, options, facts, Path(__file__))


if __name__ == "__main__":
    main()
