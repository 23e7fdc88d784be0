"""Say what a model of nuclei gets wrong on a fold that it has not seen, how often, and in which fields of view.

    python scripts/explain_errors.py runs/m0-calibrated --fold 0 --data DATA/nuclei_dsb2018 [--labels FOLDER]

The kinds of errors are those of ``object_errors.py``. "without" is what AP50 would be if all errors of the kind were
put right, and no other. ``--labels`` keeps what the model makes of the images, and takes it from there next time.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from error_picture import error_picture
from nuclei_data import NucleiImage, read_nuclei
from object_errors import Errors, Kind, ap, explain, totals, without
from visibility import FAINT, contrasts

import segloop
from segloop.labels import Task, diameters


def kinds_table(errors: Sequence[Errors]) -> str:
    """A line for each kind."""
    missed = Counter(kind for item in errors for kind in item.missed.values())
    extra = Counter(kind for item in errors for kind in item.extra.values())
    right, *wrong = totals(errors)
    lines = [f"{right} right, {wrong[0]} missed, {wrong[1]} extra: AP50 {ap(right, *wrong):.3f}\n"]
    lines += ["| kind | of the reference | of the model | AP50 without |", "|---|---|---|---|"]
    lines += [f"| {kind.value} | {missed[kind]} | {extra[kind]} | {without(errors, kind):.3f} |" for kind in Kind]
    return "\n".join(lines)


def groups_table(images: Sequence[NucleiImage], errors: Sequence[Errors], count: int) -> str:
    """A line for each of the fields of view that lose most, and what AP50 of the others is."""
    members: dict[str, list[int]] = {}
    for number, item in enumerate(images):
        members.setdefault(item.group, []).append(number)

    def lost(group: str) -> int:
        _, missed, extra = totals([errors[number] for number in members[group]])
        return missed + extra

    order = sorted(members, key=lost, reverse=True)
    whole = sum(lost(group) for group in order)
    lines = [
        "| field of view | images | objects | diameter | AP50 | share of what is wrong | AP50 of the others |",
        "|---" * 7 + "|",
    ]
    for place, group in enumerate(order[:count]):
        own = [errors[number] for number in members[group]]
        right, missed, extra = totals(own)
        left = totals([errors[number] for other in order[place + 1 :] for number in members[other]])
        sizes = np.concatenate([diameters(images[number].labels) for number in members[group]])
        first = images[members[group][0]]
        lines.append(
            f"| {group}, {first.id[:6]} | {len(own)} | {right + missed} | {np.median(sizes):.0f} | "
            f"{ap(right, missed, extra):.2f} | {lost(group) / whole:.2f} | {ap(*left):.3f} |"
        )
    return "\n".join(lines)


def visibility_table(images: Sequence[NucleiImage], errors: Sequence[Errors]) -> str:
    """Annotated objects by diameter and by contrast: how many are wrong, and AP50 if those were not annotated."""
    rows = [
        (np.sqrt(4 * area / np.pi), contrast, number in own.missed)
        for item, own in zip(images, errors)
        for number, (area, contrast) in contrasts(item).items()
    ]
    diameter, contrast, wrong = np.array(rows).T
    right, missed, extra = totals(errors)
    lines = ["| annotated objects | n | wrong | AP50 without those that are wrong |", "|---|---|---|---|"]
    for name, some in {
        "under 6 pixels": diameter < 6,
        "under 8 pixels": diameter < 8,
        f"contrast under {FAINT}": contrast < FAINT,
        "either of the last two": (diameter < 8) | (contrast < FAINT),
        "all others": (diameter >= 8) & ~(contrast < FAINT),
    }.items():
        lost = int((some & (wrong > 0)).sum())
        lines.append(f"| {name} | {some.sum()} | {lost} | {ap(right, missed - lost, extra):.3f} |")
    return "\n".join(lines)


def segmented(
    images: Sequence[NucleiImage], model: Path, settings: segloop.SegmentSettings, kept: Path | None
) -> list[np.ndarray]:
    """What the model makes of each image: unsigned integers (Y, X)."""
    loaded, found = segloop.load_model(model), []
    for item in images:
        file = None if kept is None else kept / f"{item.id}.npz"
        if file is not None and file.exists():
            found.append(np.load(file)["labels"])
            continue
        found.append(np.asarray(segloop.segment(loaded, item.image, settings).labels.data))
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(file, labels=found[-1])
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--stardist", action="store_true", help="only fluorescence images of StarDist's split")
    parser.add_argument("--groups", type=int, default=12, help="fields of view to list")
    parser.add_argument("--labels", type=Path, help="folder for what the model makes of the images")
    parser.add_argument("--picture", type=Path, help="file for a picture of the images --shown")
    parser.add_argument("--shown", type=lambda text: text.split(","), default=[], help="starts of the images' names")
    options = parser.parse_args()
    images = [item for item in read_nuclei(options.data, {options.fold}) if item.stardist_train or not options.stardist]
    task = segloop.load_model(options.model).spec.task
    settings = segloop.SegmentSettings(instances=task is Task.SEMANTIC)
    found = segmented(images, options.model, settings, options.labels)
    errors = [explain(item.labels, labels) for item, labels in zip(images, found)]
    for modality in sorted({item.modality for item in images}):
        print(f"{modality}: {kinds_table([own for item, own in zip(images, errors) if item.modality == modality])}\n")
    print(groups_table(images, errors, options.groups))
    print(f"\n{visibility_table(images, errors)}")
    if options.picture:
        iio.imwrite(
            options.picture,
            np.vstack(
                [
                    error_picture(item, labels, own)
                    for start in options.shown
                    for item, labels, own in zip(images, found, errors)
                    if item.id.startswith(start)
                ]
            ),
        )


if __name__ == "__main__":
    main()
