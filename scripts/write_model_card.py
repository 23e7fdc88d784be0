"""Write the model card (README.md) of a bundled model from its model.json and its scores.

python scripts/score_bundled.py runs/fold0/model --fold 0 --data DATA/nuclei_dsb2018 --json scores.json
python scripts/write_model_card.py src/segloop/weights/nuclei-unet --scores scores.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

USES = {
    "nuclei-unet": "Gives each pixel a class: 0 background, 1 nucleus, 2 border (the outermost ring inside a nucleus). "
    "1 and 2 together are the foreground. With *single objects* (`--instances`), watershed parts the nuclei.",
    "nuclei-maskrcnn": "Gives each nucleus a number of its own, with a score in [0, 1].",
}
FAILURES = """- Nuclei under about 8 or over 100 pixels are found if the image is scaled, which happens by itself where
  most of them are so; of a mixture, the small ones are missed.
- Crowded or strongly stained tissue (H&E): clearly worse than fluorescence, see the table.
- Few training images: brightfield (13) and stained on light ground (23) are little more than represented. In
  brightfield smears, whole transparent cells are taken for nuclei beside the nuclei themselves.
- Anything but nuclei: whole cells, bacteria, organelles. Fine-tune, or train a model of your own."""


def trainings(record: dict[str, Any]) -> list[str]:
    """A line for each part of the training, the first one first."""
    earlier = trainings(record["after"]) if record.get("after") else []
    where = "a CPU core" if record.get("device") == "cpu" else "a GPU (NVIDIA H100, shared by four trainings)"
    return [
        *earlier,
        f"  - {record['steps']} steps of {record['batch']} crops of {record['crop']}² pixels, learning rate "
        f"{record['learning_rate']}, seed {record['seed']}, {record['minutes']:.0f} minutes on {where}.",
    ]


def main() -> None:
    """Write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    options = parser.parse_args()
    model = json.loads((options.folder / "model.json").read_text())["model"]
    scores = json.loads(options.scores.read_text())["scores"]
    training = model["training"]
    size = (options.folder / "weights.safetensors").stat().st_size / 1e6
    columns = ("AP50", "AP70", "AP90", "mean AP", "Dice")
    rows = [
        f"| {name} | {row['images']} | {row['objects']} | " + " | ".join(f"{row[c]:.3f}" for c in columns) + " |"
        for name, row in scores.items()
    ]
    card = f"""# {model["name"]}

{model["description"]}. {USES[model["name"]]}

- Network: {model["family"]}, {size:.1f} MB, input {model["channels"]} channels; a grey image is repeated to them.
- Licence of the weights: {model["license"]}.
- Data: {training["data"]}; {training["images"]} images, {training["objects"]} nuclei. Broad Bioimage Benchmark
  Collection, BBBC038v1 (Caicedo et al., Nature Methods 2019).
- Trained by `{training["script"]}` on all folds, but for the fields of view of the images in the repository:
{chr(10).join(trainings(training))}

## Scores on images it has not seen

Of a model of the same recipe that fold 0 was kept from: no image of that fold, and no image of the same field of view,
was trained on. AP is pooled over objects,
TP / (TP + FP + FN); mean AP is the mean over images of the mean over IoU 0.5 to 0.95; Dice is that of the foreground.

| images | n | objects | {" | ".join(columns)} |
|---|---|---|{"---|" * len(columns)}
{chr(10).join(rows)}

How to reproduce training and scores: `docs/benchmarks.md`.

## Known failures

{FAILURES}

Of each modality the worst image of fold 0 (`scripts/show_failures.py`): right in green, wrong in red, missed in yellow.

![fluorescence, H&E, stained, brightfield](../../../../docs/images/failures-{model["family"]}.png)
"""
    (options.folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
