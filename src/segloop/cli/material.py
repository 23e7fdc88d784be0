"""What to train on, as given on the command line: folders of files, which become a training set, or a training set."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segloop.cli.inputs import Pair, listed, pair_files
from segloop.cli.labels_are import LabelsAre
from segloop.cli.reports import note
from segloop.corrections import TrainingSet
from segloop.errors import FileError, LabelsError, SegloopError, SettingsError
from segloop.image import Image
from segloop.io import holds_outlines, open_image, read_image, read_labels
from segloop.labels import Labels, Task, check_no_photograph, check_shape, look_like_instances
from segloop.models.protocol import Trainable

GUESS_FILES = 8
"""How many label files are looked at to tell instances from classes."""

MANY_CLASSES = 8

_NUMBERED = re.compile(r"\s*(\d+)[\s:,;=]+(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Material:
    """What to train on, as given on the command line: folders of files, or a training set instead of both."""

    images: Path | None
    labels: Path | None
    reviewed: Path | None
    labels_are: str
    classes: str
    training_set: Path | None = None


def find_pairs(material: Material) -> list[Pair]:
    """The files to train on; none if they are in a training set already.

    Raises
    ------
    SettingsError
        If neither files nor a training set are given, or both.
    FileError
        If they do not pair, or the folder is no training set.
    """
    if material.training_set is not None:
        if material.images or material.labels or material.reviewed:
            raise SettingsError("--training-set and folders of files are both given; expected one of them")
        if not (material.training_set / "training_set.json").is_file():
            raise FileError(f"{material.training_set} is no training set; name one, or give --images and --labels")
        return []
    if material.images is None or material.labels is None:
        raise SettingsError("nothing to learn from is given; expected --images and --labels, or --training-set")
    pairs, left_out = pair_files(material.images, material.labels, material.reviewed)
    if left_out:
        note(f"images without labels are left out: {listed(left_out)}")
    return pairs


def learned_set(folder: Path, pairs: list[Pair], material: Material, model: Trainable) -> TrainingSet:
    """The training set that was given, or one made of the files in an empty folder."""
    if material.training_set is not None:
        return TrainingSet(material.training_set)
    return new_training_set(folder, pairs, material, model.spec.classes, f"{model.spec.name}@{model.spec.version}")


def new_training_set(
    folder: Path,
    pairs: list[Pair],
    material: Material,
    known_classes: tuple[str, ...],
    model: str,
    task: Task = Task.INSTANCE,
) -> TrainingSet:
    """Copy images and labels into a training set.

    Parameters
    ----------
    folder : Path
        Empty.
    pairs : list of Pair
        The files.
    material : Material
        What was said about them.
    known_classes : tuple of str
        Names to take when nobody says others.
    model : str
        Name and version of the model to be fine-tuned.
    task : Task
        Of a model that is trained from scratch.
    """
    first = [_labels_of(pair) for pair in pairs[:GUESS_FILES]]
    for pair, given in zip(pairs, first):
        check_no_photograph(given.data, str(pair.labels))
    names = names_in(material.classes) or _file_names(material) or first[0].classes
    kind = _label_task(material, first)
    if kind is Task.SEMANTIC:
        # a class may occur in the last file only
        rest = (_labels_of(pair) for pair in pairs[GUESS_FILES:])
        numbers = {int(n) for labels in itertools.chain(first, rest) for n in np.unique(labels.data)}
        if not names and numbers - {0} == {max(numbers)} and max(numbers) >= max(2, len(known_classes)):
            raise LabelsError(
                f"the only number in the labels, besides 0, is {max(numbers)}; a class is its number: save such masks "
                "as 0 and 1, or use --labels-are instances if each file shows one object"
            )
        if not names and "border" in known_classes and numbers <= {0, 1}:
            raise LabelsError(
                f"the labels know one class only, but the model learns {', '.join(known_classes)} and would forget the "
                "border; give each object a number of its own, or name what to learn: --classes background,object"
            )
        classes = _semantic_classes(names, known_classes, max(numbers))
        if not names and len(numbers) > MANY_CLASSES and sum(look_like_instances(part.data) for part in first) > 0:
            note(
                f"{len(classes)} classes are learned, one for each number in the labels; are these single objects? "
                "Then use --labels-are instances"
            )
    else:
        classes = names_in(material.classes) if task is Task.INSTANCE else ()
        classes = tuple(name for name in classes if name != "background") or ("object",)
    training_set = TrainingSet(folder / "training", kind, classes)
    for pair in pairs:
        try:
            opened = open_image(pair.image)
            image = opened.image.without_alpha()
            if opened.axes_guessed:
                note(f"{pair.image.name}: axes guessed as {image.axes}; save it with its axes to change")
            labels = _aligned(read_labels(pair.labels, image), image)
            mask = None if pair.reviewed is None else _aligned(read_labels(pair.reviewed, image), image) > 0
            training_set.add(image, labels, mask, source=pair.image, model=model, key=pair.stem)
        except SegloopError as error:
            if pair.image.name in str(error) or pair.labels.name in str(error):
                raise
            raise type(error)(f"{pair.stem}: {error}") from error
    return training_set


def _labels_of(pair: Pair) -> Labels:
    """The labels; outlines need the image, which label images must not depend on."""
    return read_labels(pair.labels, read_image(pair.image) if holds_outlines(pair.labels) else None)


def _label_task(material: Material, labels: list[Labels]) -> Task:
    """Whether the label files hold instances or classes, and tell the user if it was guessed."""
    said = LabelsAre.named(material.labels_are)
    if said is not LabelsAre.AUTO:
        return Task.INSTANCE if said is LabelsAre.INSTANCES else Task.SEMANTIC
    if any(part.classes for part in labels):
        return Task.SEMANTIC
    filled = [part.data for part in labels if part.data.any()]
    # Files with class names hold classes, unless the numbers go beyond the names.
    named = _file_names(material)
    if named and all(int(data.max()) < len(named) for data in filled):
        return Task.SEMANTIC
    alike = sum(look_like_instances(data) for data in filled)
    task = Task.INSTANCE if 2 * alike >= max(1, len(filled)) else Task.SEMANTIC
    kind, other = ("single objects", "classes") if task is Task.INSTANCE else ("classes", "instances")
    note(f"the labels look like {kind}; --labels-are {other} says otherwise")
    return task


def _semantic_classes(names: tuple[str, ...], known: tuple[str, ...], largest: int) -> tuple[str, ...]:
    """Names of the label values 0…largest, background first."""
    if names and len(names) == largest and names[0] != "background":
        names = ("background", *names)
    if names and len(names) <= largest:
        raise LabelsError(
            f"the labels go up to {largest}, but {len(names)} classes are named: {', '.join(names)}; "
            "name one per label value, background first"
        )
    if names:
        return names
    if len(known) > largest:
        return known
    return ("background", *(f"class {number}" for number in range(1, largest + 1)))


def names_in(text: str) -> tuple[str, ...]:
    """Return the names that were given, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _file_names(material: Material) -> tuple[str, ...]:
    """The names in classes.txt in the labels' folder or beside it: one per line, with or without its number."""
    folder = material.labels
    if folder is None:
        return ()
    for path in (folder / "classes.txt", folder.resolve().parent / "classes.txt"):
        if not path.is_file():
            continue
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"{path} cannot be read: {error}; expected one class name per line") from error
        numbered = [_NUMBERED.fullmatch(line) for line in lines]
        if not all(numbered):
            return tuple(lines)
        by_number = {int(match[1]): match[2] for match in numbered if match}
        return tuple(by_number.get(number, f"class {number}") for number in range(max(by_number) + 1))
    return ()


def _aligned(labels: Labels, image: Image) -> np.ndarray:
    """The labels' array in the image's order of axes. Files that do not say their axes are taken as the image's."""
    if labels.shape != image.label_shape and sorted(labels.axes) == sorted(image.label_axes):
        return labels.data.transpose([labels.axes.index(axis) for axis in image.label_axes])
    check_shape(labels.shape, image)
    return labels.data
