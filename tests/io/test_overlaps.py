"""Overlaps in COCO: whole masks, told apart from what is seen, and drawn back as they were."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from pycocotools import mask as coco

from segloop import io
from segloop.io import HiddenPart
from segloop.labels import Labels


def test_whole_masks_are_written_and_what_is_seen_is_read_back(tmp_path):
    whole = np.zeros((3, 30, 40), bool)
    whole[0, 5:15, 5:25], whole[1, 8:28, 15:20], whole[2, 20:26, 17:35] = True, True, True
    # 3 lies over 2, 2 over 1, in both planes of a stack
    seen = np.zeros((2, 30, 40), np.uint16)
    for number in (1, 2, 3):
        seen[:, whole[number - 1]] = number
    hidden = [
        HiddenPart(label, {"Z": plane}, 0, 0, whole[label - 1] & (seen[plane] != label))
        for label in (1, 2)
        for plane in (0, 1)
    ]
    table = pd.DataFrame({"label": [1, 2, 3], "class": "worm", "score": [0.5, 0.7, 0.9], "origin": "model"})
    path = tmp_path / "worms.json"
    io.save_labels(Labels(seen, "ZYX"), path, table, hidden=hidden)

    document = json.loads(path.read_text())
    assert len(document["annotations"]) == 6
    for note in document["annotations"]:
        mask = coco.decode(note["segmentation"]).astype(bool)
        assert np.array_equal(mask, whole[note["label"] - 1])
        rows, columns = np.nonzero(mask)
        assert note["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert note["area"] == mask.sum()
        under = mask & (seen[0] != note["label"])
        assert note.get("hidden", 0) == under.sum()
    np.testing.assert_array_equal(io.read_labels(path).data, seen)
