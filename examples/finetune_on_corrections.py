"""The loop in Python: segment, take a person's correction, fine-tune on it, segment again, compare.

    python examples/finetune_on_corrections.py [--model nuclei-maskrcnn] [--sample histology] [--epochs 10]

Only the left part of the sample image is corrected; the comparison is made on the rest.
"""

import argparse
import tempfile

import numpy as np

import segloop
from segloop.events import EpochDone
from segloop.samples import load_correction, load_reference, load_sample

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--model", default="nuclei-maskrcnn", help="as `segloop models` lists them")
parser.add_argument("--sample", default="histology", help="name of a sample image")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--name", default="", help="keep the new model under this name")
options = parser.parse_args()


def tell(event):
    """Say how far the training is; other events are pictures of held-out regions, notices and the scores."""
    if isinstance(event, EpochDone):
        done = f"epoch {event.epoch} of {event.epochs}, {event.seconds:.0f} s"
        print(f"{done}: loss {event.loss:.2f}, held-out score {event.score:.2f}")


image = load_sample(options.sample)
model = segloop.load_model(options.model)
settings = segloop.SegmentSettings(instances=model.spec.task == "semantic")
first = segloop.segment(model, image, settings)

# 1. what a person corrected, and the part of the image she vouches for
labels, reviewed = load_correction(options.sample)
with tempfile.TemporaryDirectory() as folder:
    training_set = segloop.TrainingSet(folder)
    training_set.add(image, labels, reviewed, source=options.sample, model=model.spec.name)

    # 2. fine-tune; a part of what was reviewed is held out to score the model before and after
    result = segloop.finetune(
        model,
        training_set,
        segloop.FinetuneSettings(epochs=options.epochs),
        on_event=tell,
    )
print(f"{result.metric}: {result.before:.3f} before, {result.after:.3f} after")

# 3. segment again, and compare both where nobody corrected anything
second = segloop.segment(result.model, image, settings)
reference = np.where(reviewed, 0, load_reference(options.sample).data)
for title, segmentation in (("before", first), ("after", second)):
    found = np.where(reviewed, 0, segmentation.labels.data)
    scores = segloop.evaluate(found, reference).instances
    print(f"{title}: AP at IoU 0.5 {scores.ap(0.5):.3f}, mean AP {scores.mean_ap:.3f}")

if options.name:
    print("saved:", segloop.save_model(result.model, options.name))
