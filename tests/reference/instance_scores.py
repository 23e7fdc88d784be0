"""Score the cases with StarDist's own metrics and print JSON; see README.md for the command."""

from __future__ import annotations

import json
import re

from instance_cases import cases
from stardist import __version__
from stardist.matching import matching, matching_dataset

# Not 0.6, 0.7 …: StarDist rounds IoU to float32, so a pair exactly at a threshold falls on either side.
THRESHOLDS = (0.1, 0.3, 0.501, 0.551, 0.601, 0.651, 0.701, 0.751, 0.801, 0.851, 0.901, 0.951)
FIELDS = ("tp", "fp", "fn", "precision", "recall", "accuracy", "f1", "panoptic_quality")


def columns(results: list) -> dict:
    """Keep the fields that are compared, one number per threshold."""
    return {field: [round(float(getattr(result, field)), 6) for result in results] for field in FIELDS}


everything = list(cases())
references, predictions = [ref for _, ref, _ in everything], [pred for _, _, pred in everything]
document = {
    "stardist": __version__,
    "iou": THRESHOLDS,
    "cases": {name: columns([matching(ref, pred, t) for t in THRESHOLDS]) for name, ref, pred in everything},
    "pooled": columns([matching_dataset(references, predictions, t, show_progress=False) for t in THRESHOLDS]),
}
text = json.dumps(document, indent=1)
# one line for each list of numbers
print(re.sub(r"\n\s+(?=[\d\]])", " ", text))
