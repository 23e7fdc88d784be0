"""StarDist's ``predict_instances`` on one image, again and again; runs in an environment of StarDist's own.

    STARDIST/bin/python benchmarks/peers/stardist_run.py --model MODELS/stardist --image field.npy --labels out.npy

Reads "run" from stdin, line by line, and answers each with a line of JSON: seconds from normalised array to label image
(``wall``, ``cpu``), the same with StarDist's own normalisation (``wall_from_array``, ``cpu_from_array``), and the
number of objects. Ends with its input. Nothing here imports SegLoop.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    parser.add_argument("--image", type=Path, required=True, help="array (Y, X) in a .npy file")
    parser.add_argument("--labels", type=Path, required=True, help="where the label image is left, as .npy")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()

    # what TensorFlow and StarDist print is not for the reader of this process's answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    import stardist
    from csbdeep.utils import normalize
    from stardist.models import StarDist2D

    model = StarDist2D(None, name=options.model.name, basedir=str(options.model.parent))
    image = np.load(options.image)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        start = time.perf_counter(), time.process_time()
        normalised = normalize(image.astype(np.float32), 1, 99.8)
        middle = time.perf_counter(), time.process_time()
        labels, details = model.predict_instances(normalised)
        end = time.perf_counter(), time.process_time()
        np.save(options.labels, labels)
        answer = {
            "wall": end[0] - middle[0],
            "cpu": end[1] - middle[1],
            "wall_from_array": end[0] - start[0],
            "cpu_from_array": end[1] - start[1],
            "objects": len(details["prob"]),
            "versions": {"stardist": stardist.__version__, "tensorflow": tf.__version__},
            "threads": options.threads,
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
