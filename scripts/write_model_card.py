"""Write the model card (README.md) of a bundled model from its model.json and its scores.

python scripts/score_bundled.py runs/fold0/model --fold 0 --data DATA/nuclei_dsb2018 --json scores.json
python scripts/write_model_card.py src/segloop/weights/nuclei-unet --scores scores.json

For objects-maskrcnn also ``--domains rows.jsonl``, what ``benchmarks/transfer.py --sizes 0`` wrote of it.
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
    "objects-maskrcnn": "Gives each object a number of its own, with a score in [0, 1]. For nuclei take "
    "`nuclei-maskrcnn`; for other objects this one is the broader start of a fine-tuning.",
}
SOURCES = {
    "nuclei": "Broad Bioimage Benchmark\n  Collection, BBBC038v1 (Caicedo et al., Nature Methods 2019).",
    "objects": "Broad Bioimage Benchmark\n  Collection, BBBC038v1 (Caicedo et al., Nature Methods 2019) and BBBC010v1 "
    "(Wählby et al., Nature Methods 2012);\n  Usiigaci (Tsai et al., SoftwareX 2019, github.com/oist/Usiigaci), MIT "
    "License, Copyright (c) 2018 Okinawa Institute\n  of Science & Technology (text: LICENSE.usiigaci).",
}
FAILURES = """- Specks: half of the nuclei that `nuclei-maskrcnn` misses in fluorescence are smaller than 8 pixels,
  or hardly brighter than their ground. Nuclei under about 8 or over 100 pixels are found if the image is scaled,
  which happens by itself where most of them are so; of a mixture, the small ones are missed.
- Nuclei that touch: `nuclei-unet` finds clusters of large ones as one, its commonest error by far; both do in H&E.
- Crowded or strongly stained tissue (H&E): clearly worse than fluorescence, see the table.
- Few training images: brightfield (13) and stained on light ground (23) are little more than represented. In
  brightfield smears, whole transparent cells are taken for nuclei beside the nuclei themselves.
- Far out of focus: a blurred nucleus is found in shreds (`nuclei-unet`) or not at all.
- Anything but nuclei: whole cells, bacteria, organelles. Fine-tune, or train a model of your own."""
OBJECT_FAILURES = """- Worms that cross or are coiled are joined or cut.
- Thin processes of cells are left out, and cells that touch are joined.
- Nuclei in brightfield smears: whole transparent cells are found in their place, more than by `nuclei-maskrcnn`.
- It knows one microscope for phase contrast and one for worms. How it does on others was not measured."""
PICTURES = """
Of each modality the worst image of fold 0 (`scripts/show_failures.py`): right in green, wrong in red, missed in yellow.

![fluorescence, H&E, stained, brightfield](../../../../docs/images/failures-{family}.png)

Where it errs, by kind (`scripts/explain_errors.py`): the image, what is annotated, what was found; right in green,
several found as one in magenta, one found as several in blue, outline in orange, missed in yellow, extra in red.

![errors by kind](../../../../docs/images/errors-{family}.png)
"""
CALIBRATION = """
## What a score means

Of {candidates} candidates on fold 0, in bins of the score after the same kind of calibration (Platt's, fitted on the
other half of the groups); expected calibration error {error_after:.3f}, {error_before:.3f} without. Objects below
{threshold} are not shown at first.

| mean score | share that is right | candidates |
|---|---|---|
{rows}

![share that is right, by score](../../../../docs/images/reliability.png)
"""


def domain_section(file: Path) -> str:
    """The scores on images of other domains, which ``benchmarks/domains.py`` holds out."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    lines = (f"| {row['domain']} | {row['scores']['mean AP']:.3f} | {row['scores']['AP50']:.3f} |" for row in rows)
    return (
        "\nOf worms and of cells in phase contrast, images that were never learned (other wells, other fields of the "
        "same\nmicroscopes):\n\n| images | mean AP | AP50 |\n|---|---|---|\n" + "\n".join(lines) + "\n"
    )


def trainings(record: dict[str, Any]) -> list[str]:
    """A line for each part of the training, the first one first."""
    earlier = trainings(record["after"]) if record.get("after") else []
    where = "a CPU core" if record.get("device") == "cpu" else "a GPU (NVIDIA H100, shared by four trainings)"
    return [
        *earlier,
        f"  - {record['steps']} steps of {record['batch']} crops of {record['crop']}² pixels, learning rate "
        f"{record['learning_rate']}, seed {record['seed']}, {record['minutes']:.0f} minutes on {where}.",
    ]


def calibration_section(file: Path, threshold: float) -> str:
    """The section on what a score means."""
    table = json.loads(file.read_text())
    rows = (f"| {row['score']:.2f} | {row['right']:.2f} | {row['candidates']} |" for row in table["reliability"])
    return CALIBRATION.format(**{**table, "threshold": threshold}, rows="\n".join(rows))


def main() -> None:
    """Write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--domains", type=Path, help="what transfer.py --sizes 0 --rows wrote")
    parser.add_argument("--calibration", type=Path, help="what calibrate.py --json wrote")
    options = parser.parse_args()
    model = json.loads((options.folder / "model.json").read_text())["model"]
    scores = json.loads(options.scores.read_text())["scores"]
    training = model["training"]
    size = (options.folder / "weights.safetensors").stat().st_size / 1e6
    columns = ("AP50", "AP70", "AP90", "mean AP", "Dice")
    rows = [
        f"| {name} | {row['images']} | {row['objects']} | "
        + " | ".join(f"{row[c]:.3f} ± {row['error'][c]:.3f}" for c in columns)
        + " |"
        for name, row in scores.items()
    ]
    kind = model["name"].split("-")[0]
    of_nuclei = kind == "nuclei"
    domains = domain_section(options.domains) if options.domains else ""
    calibration = calibration_section(options.calibration, model["score_threshold"]) if options.calibration else ""
    card = f"""# {model["name"]}

{model["description"]}. {USES[model["name"]]}

- Network: {model["family"]}, {size:.1f} MB, input {model["channels"]} channels; a grey image is repeated to them.
- Licence of the weights: {model["license"]}.
- Data: {training["data"]}; {training["images"]} images, {training["objects"]} {kind}. {SOURCES[kind]}
- Trained by `{training["script"]}` on all folds, but for the fields of view of the images in the repository:
{chr(10).join(trainings(training))}

## Scores on images it has not seen

Of a model of the same recipe that fold 0 was kept from: no image of that fold, and no image of the same field of view,
was trained on. AP is pooled over objects,
TP / (TP + FP + FN); mean AP is the mean over images of the mean over IoU 0.5 to 0.95; Dice is that of the foreground.

| images | n | objects | {" | ".join(columns)} |
|---|---|---|{"---|" * len(columns)}
{chr(10).join(rows)}

{domains}
± is the standard error over fields of view. How to reproduce training and scores, what to expect on the other folds,
and what is and is not comparable with published figures: `docs/benchmarks.md`.
{calibration}
## Known failures

{FAILURES if of_nuclei else OBJECT_FAILURES}
{PICTURES.format(family=model["family"]) if of_nuclei else ""}"""
    (options.folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
