"""Train StarDist on a few annotated regions for a few seconds, and segment; runs in an environment of StarDist's own.

    STARDIST/bin/python benchmarks/peers/stardist_loop.py --task task.npz --labels out.npz --seconds 60 --threads 1

``task.npz`` holds ``image-N`` and ``labels-N``, the regions to learn from, and ``test-N``, the images to segment, which
``out.npz`` then holds as label images. Seconds are those of the processor that training takes; the start of TensorFlow
and what comes after are not in them. The configuration is that of the released ``2D_versatile_fluo``, as in
``stardist_train.py``; its weights cannot be had offline, so that it begins from nothing. One region in four is for
validation, by which the thresholds are chosen; of one region, itself. Nothing here imports SegLoop.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from stardist_train import augmenter


def main() -> None:
    """Train and segment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(options.seed)
    from csbdeep.utils import normalize
    from stardist import fill_label_holes
    from stardist.models import Config2D, StarDist2D

    task = np.load(options.task)
    count = sum(name.startswith("image-") for name in task.files)
    # the regions are parts of images that were normalised as a whole
    images = [task[f"image-{n}"] for n in range(count)]
    labels = [fill_label_holes(task[f"labels-{n}"].astype(np.int32)) for n in range(count)]
    held = max(1, count // 4)
    validation = images[:held], labels[:held]
    training = (images[held:], labels[held:]) if count > 1 else validation

    folder = options.labels.parent / "stardist"
    side = min(256, *(min(image.shape) // 16 * 16 for image in images))
    config = Config2D(
        n_rays=32,
        grid=(2, 2),
        n_channel_in=1,
        train_tensorboard=False,
        train_patch_size=(side, side),
        train_batch_size=4,
    )
    model = StarDist2D(config, name=folder.name, basedir=str(folder.parent))
    began: list[float] = []
    steps = [0]

    class Deadline(tf.keras.callbacks.Callback):
        """Stops when the seconds are over."""

        def on_train_begin(self, logs: object = None) -> None:
            began.append(time.process_time())

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            steps[0] += 1
            if time.process_time() - began[0] > options.seconds:
                self.model.stop_training = True

    model.prepare_for_training()
    model.callbacks.append(Deadline())
    model.train(*training, validation_data=validation, augmenter=augmenter(options.seed), seed=options.seed,
                epochs=10_000, steps_per_epoch=20)  # fmt: skip
    trained = time.process_time() - began[0]
    model.optimize_thresholds(*validation)
    tests = sorted((name for name in task.files if name.startswith("test-")), key=lambda name: int(name[5:]))
    found = {name: model.predict_instances(normalize(task[name].astype(np.float32), 1, 99.8))[0] for name in tests}
    np.savez_compressed(options.labels, **found)
    thresholds = {"prob": float(model.thresholds.prob), "nms": float(model.thresholds.nms)}
    print(json.dumps({"seconds": trained, "steps": steps[0], "thresholds": thresholds}))


if __name__ == "__main__":
    main()
