"""Train a StarDist model for the speed comparison; runs in an environment of StarDist's own (see ``README.md``).

    STARDIST/bin/python benchmarks/peers/stardist_train.py --data DATA/nuclei_dsb2018 --model MODELS/stardist

The configuration is that of StarDist's released ``2D_versatile_fluo``: 32 rays, grid (2, 2), one channel, all else
its default. It is trained on the fluorescence images of folds 1 to 4, the folds that SegLoop's bundled models are
trained on, with the augmentation of StarDist's example notebook. A model of a few minutes is far from
the best that StarDist can do; it serves to have realistic numbers of candidates and objects when speed is measured.
Nothing here imports SegLoop.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path

import numpy as np

TRAINING_FOLDS = {"1", "2", "3", "4"}
VALIDATION_EVERY = 10


def read_fluorescence(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read the images, float32 (Y, X), percentile-normalised, and their labels, int32 (Y, X), of the training folds."""
    import imageio.v3 as iio
    import tifffile
    from csbdeep.utils import normalize

    images, labels = [], []
    with (folder / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] in TRAINING_FOLDS]
    for row in rows:
        if row["modality"] != "fluorescence_grayscale":
            continue
        pixels = iio.imread(next((folder / "images").glob(f"{row['id']}.*")))
        path = next((folder / "labels").glob(f"{row['id']}.*"))
        images.append(normalize((pixels if pixels.ndim == 2 else pixels[..., 0]).astype(np.float32), 1, 99.8))
        labels.append((tifffile.imread(path) if path.suffix == ".tif" else iio.imread(path)).astype(np.int32))
    return images, labels


def augmenter(seed: int):
    """Return StarDist's augmentation: flips and quarter turns, and a random gain and offset of intensities."""
    random = np.random.default_rng(seed)

    def augment(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turns = int(random.integers(4))
        image, labels = np.rot90(image, turns), np.rot90(labels, turns)
        if random.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        return image * random.uniform(0.6, 2) + random.uniform(-0.2, 0.2), labels

    return augment


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model to write")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the model's weights")
    options = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(options.seed)
    from stardist import fill_label_holes
    from stardist.models import Config2D, StarDist2D

    images, labels = read_fluorescence(options.data)
    labels = [fill_label_holes(own) for own in labels]
    validation = range(0, len(images), VALIDATION_EVERY)
    training = [n for n in range(len(images)) if n not in validation]

    config = Config2D(n_rays=32, grid=(2, 2), n_channel_in=1, train_tensorboard=False)
    earlier = json.loads((options.model / "training.json").read_text()) if options.resume else {"minutes": 0}
    model = StarDist2D(None if options.resume else config, name=options.model.name, basedir=str(options.model.parent))
    started = time.monotonic()

    class Deadline(tf.keras.callbacks.Callback):
        """Stops when the minutes are over."""

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if time.monotonic() - started > options.minutes * 60:
                self.model.stop_training = True

    model.prepare_for_training()
    model.callbacks.append(Deadline())
    history = model.train(
        [images[n] for n in training],
        [labels[n] for n in training],
        validation_data=([images[n] for n in validation], [labels[n] for n in validation]),
        augmenter=augmenter(options.seed),
        seed=options.seed,
        epochs=config.train_epochs,
        steps_per_epoch=config.train_steps_per_epoch,
    )
    model.optimize_thresholds([images[n] for n in validation], [labels[n] for n in validation])
    notes = {
        "images": len(training),
        "minutes": earlier["minutes"] + options.minutes,
        "threads": options.threads,
        "epochs": len(history.history["loss"]),
        "loss": history.history["loss"][-1],
        "validation_loss": history.history["val_loss"],
        "thresholds": {"prob": float(model.thresholds.prob), "nms": float(model.thresholds.nms)},
    }
    (options.model / "training.json").write_text(json.dumps(notes, indent=2))
    print(json.dumps(notes))


if __name__ == "__main__":
    main()
