"""Evaluate: predicted labels against reference labels, as one report over many images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from skimage.measure import label as connected_components

from segloop.errors import FileError, LabelsError, SettingsError
from segloop.labels import Labels, Task, check_labels, check_no_photograph
from segloop.metrics import ClassScores, InstanceScores, class_scores, instance_scores
from segloop.settings import AUTO, Auto

GUESS_IMAGES = 8
"""How many reference files are looked at to tell instances from classes."""


@dataclass(frozen=True)
class ImageReport:
    """The scores of one image; only those of the report's task are given."""

    name: str
    instances: InstanceScores | None = None
    classes: ClassScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the scores as plain JSON values; Dice and IoU are the means over the foreground classes."""
        document: dict[str, Any] = {"name": self.name}
        if self.instances is not None:
            document |= _instances_to_json(self.instances)
        if self.classes is not None:
            document |= {"dice": self.classes.mean_dice, "iou": self.classes.mean_iou}
        return document


@dataclass(frozen=True)
class Report:
    """How well predictions agree with references.

    Parameters
    ----------
    task : Task
        Whether objects or classes were compared.
    instances : InstanceScores or None
        Pooled over the objects of all images; None for classes.
    classes : ClassScores or None
        Pooled over the pixels of all images; None for instances.
    class_names : tuple of str (K,)
        Names of the classes, background first; empty for instances.
    per_image : tuple of ImageReport
        In the order of the images.
    guessed : bool
        Whether the task was guessed from the reference, because nothing said it.
    unscored : tuple of str
        Names of predictions that have no reference.
    """

    task: Task
    instances: InstanceScores | None
    classes: ClassScores | None
    class_names: tuple[str, ...]
    per_image: tuple[ImageReport, ...]
    guessed: bool = False
    unscored: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.per_image)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, with the same keys always.

        ``images``, ``instances`` (``ap`` by IoU, ``mean_ap``, and ``f1``, ``pq``, ``precision``, ``recall``
        at IoU 0.5; None for classes), ``classes`` (list of ``class``, ``dice``, ``iou``, None where a class
        does not occur; empty for instances) and ``per_image``.
        """
        rows: list[dict[str, Any]] = []
        if self.classes is not None:
            rows = [
                {"class": name, "dice": _number(dice), "iou": _number(iou)}
                for name, dice, iou in zip(self.class_names, self.classes.dice, self.classes.iou)
            ]
        return {
            "images": self.images,
            "instances": None if self.instances is None else _instances_to_json(self.instances),
            "classes": rows,
            "per_image": [image.to_json() for image in self.per_image],
        }

    def summary(self) -> str:
        """Return the report as a table to read."""
        lines = [f"{self.images} {'image' if self.images == 1 else 'images'}, compared as {_MEANING[self.task]}"]
        if self.guessed:
            other = next(task for task in Task if task is not self.task)
            lines[0] += f" (guessed from the reference; --labels-are {_MEANING[other]}, in Python task={other.value!r})"
        if self.unscored:
            lines.append(f"without reference, not scored: {_listed(self.unscored)}")
        if self.instances is not None:
            lines += _instance_tables(self.instances, self.per_image)
        if self.classes is not None:
            lines += _class_tables(self.classes, self.class_names, self.per_image)
        return "\n".join(lines)


_MEANING = {Task.INSTANCE: "instances", Task.SEMANTIC: "classes"}


def evaluate(labels: Any, reference: Any, *, classes: Sequence[str] = (), task: Task | str | Auto = AUTO) -> Report:
    """Compare predicted labels with reference labels.

    Parameters
    ----------
    labels, reference : Labels, array, or sequence of them
        Of the same shapes, image by image.
    classes : sequence of str
        Names of the classes, background first. By default those of the Labels, if they have any.
    task : Task, "semantic" or "instance", or AUTO
        AUTO compares classes if there are names of classes, and instances otherwise.

    Raises
    ------
    LabelsError
        If there are no images, their number or shapes differ, or they are no labels.
    SettingsError
        If ``task`` is unknown.

    Examples
    --------
    >>> evaluate([[1, 1, 0, 2]], [[7, 7, 0, 0]]).instances.precision()
    0.5
    """
    predictions, references = _as_sequence(labels), _as_sequence(reference)
    if len(predictions) != len(references):
        raise LabelsError(f"{len(predictions)} label images and {len(references)} references; expected as many of both")
    names = _class_names(classes, [*references, *predictions])
    what = _as_task(task, names)
    numbered = ((str(number), *pair) for number, pair in enumerate(zip(predictions, references)))
    return _report(numbered, what, names)


def evaluate_folders(
    reference: str | Path,
    prediction: str | Path,
    *,
    classes: Sequence[str] = (),
    task: Task | str | Auto = AUTO,
) -> Report:
    """Compare the label files of two folders, or two files, pair by pair; only one pair is in memory at a time.

    Files pair by stem; ``cells_labels.tif``, as SegLoop writes it, pairs with ``cells.tif`` too.

    Parameters
    ----------
    reference, prediction : path
        Folders with files that ``segloop.io.read_labels`` reads, or two such files, which pair whatever their names.
    classes : sequence of str
        Names of the classes, background first. By default those the files name, if they do.
    task : Task, "semantic" or "instance", or AUTO
        AUTO compares classes if there are names of classes; otherwise it guesses from the reference, and the
        report says so.

    Raises
    ------
    FileError
        If a folder or file cannot be read, no files pair, a reference has no prediction, or two files of one
        folder have the same stem.
    LabelsError
        If the labels of a pair do not fit each other, or the files are images instead of labels (of either folder the
        first is looked at).
    """
    from segloop.io import read_label_pair

    reference, prediction = Path(reference), Path(prediction)
    references, predictions = _label_files(reference), _label_files(prediction)
    if _is_one_file(reference) and _is_one_file(prediction):
        # whatever they are called
        predictions = dict(zip(references, predictions.values()))
    stems = sorted(references.keys() & predictions.keys())
    if not stems:
        raise FileError(
            f"no file of {reference} ({_listed(sorted(references))}) pairs with one of {prediction} "
            f"({_listed(sorted(predictions))}); give both the same name, such as cells.tif"
        )
    if missing := sorted(references.keys() - predictions.keys()):
        raise FileError(
            f"no prediction in {prediction} for the reference {_listed(missing)}; segment these images too, "
            "or take the references away"
        )
    looked_at = references[stems[0]], predictions[stems[0]]
    labels = read_label_pair(*looked_at)
    names = _class_names(classes, labels)
    guessed = task is AUTO and not names
    for part, path in zip(labels, looked_at):
        check_no_photograph(part.data, str(path))
    del labels, part  # before the next pair is read
    first = (read_label_pair(references[stem], predictions[stem])[0] for stem in stems[:GUESS_IMAGES])
    pairs = ((stem, *read_label_pair(predictions[stem], references[stem])) for stem in stems)
    report = _report(pairs, _guess_task(first) if guessed else _as_task(task, names), names)
    return replace(report, guessed=guessed, unscored=tuple(sorted(predictions.keys() - references.keys())))


def _report(pairs: Iterable[tuple[str, Any, Any]], task: Task, names: tuple[str, ...]) -> Report:
    images = []
    for name, prediction, reference in pairs:
        try:
            if task is Task.INSTANCE:
                images.append(ImageReport(name, instances=instance_scores(reference, prediction)))
            else:
                count = len(names) or 1 + max(_largest(reference), _largest(prediction))
                images.append(ImageReport(name, classes=class_scores(reference, prediction, count)))
        except LabelsError as error:
            raise LabelsError(f"image {name}: {error}") from error
        del prediction, reference  # before the next pair is read
    if not images:
        raise LabelsError("no label images to compare; expected at least one")
    if task is Task.INSTANCE:
        pooled = reduce(add, (image.instances for image in images if image.instances is not None))
        return Report(task, pooled, None, (), tuple(images))
    # without names, the number of classes is known only now: the largest that any image has
    count = len(names) or max(2, *(len(image.classes.reference) for image in images if image.classes is not None))
    images = [replace(image, classes=_widen(image.classes, count)) for image in images if image.classes is not None]
    pixels = reduce(add, (image.classes for image in images if image.classes is not None))
    names = names or ("background", *(f"class {number}" for number in range(1, count)))
    return Report(task, None, pixels, names, tuple(images))


def _widen(scores: ClassScores, count: int) -> ClassScores:
    zeros = (0,) * (count - len(scores.reference))
    return ClassScores(scores.intersection + zeros, scores.reference + zeros, scores.prediction + zeros)


def _largest(labels: Any) -> int:
    return int(check_labels(labels).max())


def _as_sequence(labels: Any) -> list[Any]:
    if isinstance(labels, (list, tuple)) and all(hasattr(part, "shape") for part in labels):
        return list(labels)
    return [labels]


def _class_names(given: Sequence[str], labels: Sequence[Any]) -> tuple[str, ...]:
    named = {part.classes: None for part in labels if isinstance(part, Labels) and part.classes}
    if given:
        return tuple(str(name) for name in given)
    if len({len(names) for names in named}) > 1:
        raise LabelsError(f"the label images have different classes: {' and '.join(map(str, named))}; expected one set")
    return next(iter(named), ())


def _as_task(task: Task | str | Auto, names: tuple[str, ...]) -> Task:
    if isinstance(task, Auto):
        return Task.SEMANTIC if names else Task.INSTANCE
    try:
        return Task(task)
    except ValueError as error:
        raise SettingsError(f"unknown task {task!r}; expected semantic or instance") from error


def _guess_task(references: Iterable[Labels]) -> Task:
    """Instances are one piece each, nearly always; classes have many pieces."""
    pieces = numbers = 0
    for labels in references:
        numbers += int(np.count_nonzero(np.unique(labels.data)))
        pieces += int(connected_components(labels.data, background=0, connectivity=labels.data.ndim).max())
    return Task.SEMANTIC if pieces > 1.5 * numbers else Task.INSTANCE


def _label_files(folder: Path) -> dict[str, Path]:
    """The label files of a folder, or the one file, by the stem that they pair by."""
    from segloop.io import LABEL_SUFFIXES, files_by_stem, stem_of

    if _is_one_file(folder):
        return {stem_of(folder).removesuffix("_labels"): folder}
    files: dict[str, Path] = {}
    for stem, paths in files_by_stem(
        folder, LABEL_SUFFIXES, lambda path: stem_of(path).removesuffix("_labels")
    ).items():
        # beside an image, the labels are what is named so
        chosen = [path for path in paths if stem_of(path) != stem] or paths
        if len(chosen) > 1:
            raise FileError(
                f"{folder} has two files for {stem!r}: {chosen[0].name} and {chosen[1].name}; move one away"
            )
        files[stem] = chosen[0]
    return files


def _is_one_file(path: Path) -> bool:
    """Whether a path is that of a label image: some formats are folders."""
    from segloop.io import is_zarr

    return path.is_file() or is_zarr(path)


def _instances_to_json(scores: InstanceScores) -> dict[str, Any]:
    return {
        "ap": {f"{threshold:.2f}": scores.ap(threshold) for threshold in scores.thresholds},
        "mean_ap": scores.mean_ap,
        "f1": scores.f1(),
        "pq": scores.pq(),
        "precision": scores.precision(),
        "recall": scores.recall(),
    }


def _instance_tables(scores: InstanceScores, images: Sequence[ImageReport]) -> list[str]:
    rows = [
        (f"{t:.2f}", scores.ap(t), scores.f1(t), scores.pq(t), scores.precision(t), scores.recall(t))
        for t in scores.thresholds
    ]
    each = [(image.name, s.ap(), s.f1(), s.pq(), s.mean_ap) for image in images if (s := image.instances)]
    return [
        "",
        *_table(("IoU", "AP", "F1", "PQ", "precision", "recall"), rows),
        f"mean AP {scores.mean_ap:.3f}",
        "",
        *_table(("image", "AP 0.50", "F1", "PQ", "mean AP"), each),
    ]


def _class_tables(scores: ClassScores, names: Sequence[str], images: Sequence[ImageReport]) -> list[str]:
    each = [(image.name, c.mean_dice, c.mean_iou) for image in images if (c := image.classes)]
    return [
        "",
        *_table(("class", "Dice", "IoU"), list(zip(names, scores.dice, scores.iou))),
        f"mean without background: Dice {scores.mean_dice:.3f}, IoU {scores.mean_iou:.3f}",
        "",
        *_table(("image", "Dice", "IoU"), each),
    ]


def _number(score: float) -> float | None:
    return None if math.isnan(score) else score


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> list[str]:
    cells = [header, *([cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row] for row in rows)]
    first = max(len(row[0]) for row in cells)
    widths = [max(len(row[column]) for row in cells) for column in range(1, len(header))]
    return ["  ".join([row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], widths))]) for row in cells]
