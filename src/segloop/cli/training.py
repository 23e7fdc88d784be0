"""``segloop finetune`` and ``segloop train``."""

from __future__ import annotations

import itertools
import math
import re
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segloop.cli.inputs import Pair, listed, pair_files
from segloop.cli.interrupting import interruptible
from segloop.cli.labels_are import LabelsAre
from segloop.cli.printing import print_json, print_line
from segloop.cli.progress import ProgressBar
from segloop.cli.repeating import read_recipe
from segloop.cli.reports import note
from segloop.cli.segmenting import device_named
from segloop.corrections import TrainingSet
from segloop.errors import FileError, LabelsError, ModelError, SegloopError, SettingsError
from segloop.events import drain
from segloop.image import Image
from segloop.io import open_image, read_labels
from segloop.labels import Labels, Task, check_shape, look_like_instances
from segloop.models.protocol import Trainable
from segloop.models.registry import get_family
from segloop.store import BUNDLED, check_name, load_model
from segloop.train.finetune import FinetuneResult, FinetuneSettings, finetune_events, train_events
from segloop.versions import save_result

GUESS_FILES = 8
"""How many label files are looked at to tell instances from classes."""

USELESS = 0.05
"""A model with a lower held-out score is of no use yet."""

_NUMBERED = re.compile(r"\s*(\d+)[\s:,;=]+(.+?)\s*")
_EPOCHS_WITHOUT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Material:
    """What to train on, as given on the command line: folders of files, or a training set instead of both."""

    images: Path | None
    labels: Path | None
    reviewed: Path | None
    labels_are: str
    classes: str
    training_set: Path | None = None


@dataclass(frozen=True, slots=True)
class NewModel:
    """What to train from scratch, as given on the command line; ``size`` "" is the family's usual one."""

    name: str
    family: str
    size: str
    ndim: int


def given_settings(
    epochs: int | None, minutes: float | None, device: str, seed: int | None, rehearsal: float | None = None
) -> FinetuneSettings:
    """Return the settings of a training; what was not given keeps its default.

    Raises
    ------
    SettingsError
        If both epochs and minutes are given, or a value is out of its range.
    """
    if epochs is not None and minutes is not None:
        raise SettingsError("--epochs and --minutes are both given; expected one of them")
    settings = FinetuneSettings(device=device_named(device))
    if minutes is not None:
        settings = replace(settings, minutes=minutes, epochs=_EPOCHS_WITHOUT_LIMIT)
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    if rehearsal is not None:
        settings = replace(settings, rehearsal=rehearsal)
    return settings if seed is None else replace(settings, seed=seed)


def finetune_model(
    model_name: str, material: Material, settings: FinetuneSettings, name: str, keep_worse: bool, as_json: bool
) -> bool:
    """Fine-tune, print before and after, and save what got better.

    Returns
    -------
    bool
        Whether Ctrl-C ended the training early; what was learned until then is treated like any result.

    Raises
    ------
    SegloopError
    """
    _check_own_name(name)
    pairs = _pairs(material)
    model = load_model(model_name, settings.device)
    with tempfile.TemporaryDirectory(prefix="segloop-") as folder:
        training_set = _learned_set(Path(folder), pairs, material, model)
        with ProgressBar(name, quiet=as_json) as progress, interruptible() as stop:
            result = drain(finetune_events(model, training_set, settings, stop), progress)
        _finish(result, training_set, name, result.improved or keep_worse, as_json)
        return stop()


def repeat_training(version: str, material: Material, name: str, keep_worse: bool, as_json: bool) -> bool:
    """Fine-tune as a version was fine-tuned, and say whether its weights came out again; see :func:`finetune_model`.

    Raises
    ------
    SegloopError
        Also if the version cannot be repeated, or the data are not the same.
    """
    _check_own_name(name)
    recipe = read_recipe(version)
    if material.training_set is None and material.images is None and material.labels is None:
        material = replace(material, training_set=recipe.folder)
    pairs = _pairs(material)
    model = recipe.load_parent()
    with tempfile.TemporaryDirectory(prefix="segloop-") as folder:
        training_set = _learned_set(Path(folder), pairs, material, model)
        recipe.check_data(training_set)
        recipe.tell_differences()
        with ProgressBar(name, quiet=as_json) as progress, interruptible() as stop:
            events = finetune_events(model, training_set, recipe.settings, stop, schedule=recipe.schedule)
            result = drain(events, progress)
        same = recipe.compare(result)
        if not as_json:
            print_line(f"the weights are {'' if same else 'not '}those of {version}, to the bit")
        repeated = {"like": version, "same_weights": same}
        _finish(result, training_set, name, result.improved or keep_worse, as_json, repeated)
        return stop()


def train_model(new: NewModel, material: Material, settings: FinetuneSettings, as_json: bool) -> bool:
    """Train from scratch, print the held-out score, and save; returns whether Ctrl-C ended it early.

    Raises
    ------
    SegloopError
    """
    _check_own_name(new.name)
    family = get_family(new.family)
    size = new.size or family.sizes()[0]
    if size not in family.sizes():
        raise SettingsError(f"--size {size!r} is unknown; {new.family} comes in {', '.join(family.sizes())}")
    pairs = _pairs(material)
    with tempfile.TemporaryDirectory(prefix="segloop-") as folder:
        own = () if family.task is Task.SEMANTIC else ("object",)
        training_set = _training_set(Path(folder), pairs, material, own, "", family.task)
        classes = training_set.classes
        if family.task is Task.SEMANTIC and training_set.task is Task.INSTANCE:
            classes = _names(material.classes) or ("background", "inside", "border")
        channels = {training_set.read(entry)[0].channels for entry in training_set.entries}
        spec = family.new_spec(new.name, classes, max(channels), new.ndim, size)
        # Grey images among colour ones are repeated to as many channels.
        spec = replace(spec, repeat_grey=1 in channels and len(channels) == 2)
        with ProgressBar(new.name, quiet=as_json) as progress, interruptible() as stop:
            result = drain(train_events(spec, training_set, settings, stop), progress)
        _finish(result, training_set, new.name, True, as_json)
        return stop()


def _check_own_name(name: str) -> None:
    """Raise ModelError if ``name`` cannot name a model, or would hide a bundled one."""
    if (BUNDLED / check_name(name)).is_dir():
        raise ModelError(f"--name {name} is a bundled model, which the new one would hide; choose a name of your own")


def _finish(
    result: FinetuneResult,
    training_set: TrainingSet,
    name: str,
    keep: bool,
    as_json: bool,
    repeated: dict[str, Any] | None = None,
) -> None:
    """Save the model if it is to be kept, and print what came out; ``repeated`` is what is told of a repetition."""
    folder = save_result(result, name) if keep else None
    notices = list(result.notices)
    if keep and result.after < USELESS:
        notices.append(
            f"the new model finds next to nothing in the regions kept out of training (score {result.after:.3f}); "
            "train it for longer (--epochs, --minutes), or on more labels"
        )
        note(notices[-1])
    if as_json:
        print_json(
            {
                "name": name,
                "saved": keep,
                "version": result.model.spec.version if keep else None,
                "path": str(folder) if folder else None,
                "metric": result.metric,
                "before": result.before,
                "after": result.after,
                "improved": result.improved,
                "own_domain": {**asdict(result.own), "words": result.own.words} if result.own.origin else None,
                "images": len(training_set),
                "labels": "instances" if training_set.task is Task.INSTANCE else "classes",
                "classes": list(result.model.spec.classes),
                "history": [asdict(epoch) for epoch in result.history],
                "notices": notices,
                "seconds": result.seconds,
                **(repeated or {}),
            }
        )
        return
    print_line(f"{len(result.history)} epochs on {len(training_set)} images in {result.seconds:.0f} s")
    print_line(f"{result.metric}, held out: before {_score(result.before)}, after {_score(result.after)}")
    if result.own.words:
        print_line(result.own.words)
    if not keep:
        print_line("the new model is not better and was not saved; --keep-worse saves it, more labels may help")
        return
    if not result.improved:
        print_line("the new model is not better than the old one")
    print_line(f"saved as {name}, version {result.model.spec.version}: segloop segment ... --model {name}")


def _score(score: float) -> str:
    return "unknown" if math.isnan(score) else f"{score:.3f}"


def _pairs(material: Material) -> list[Pair]:
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


def _learned_set(folder: Path, pairs: list[Pair], material: Material, model: Trainable) -> TrainingSet:
    """The training set that was given, or one made of the files in an empty folder."""
    if material.training_set is not None:
        return TrainingSet(material.training_set)
    return _training_set(folder, pairs, material, model.spec.classes, f"{model.spec.name}@{model.spec.version}")


def _training_set(
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
    first = [read_labels(pair.labels) for pair in pairs[:GUESS_FILES]]
    names = _names(material.classes) or _file_names(material) or first[0].classes
    kind = _label_task(material, first)
    if kind is Task.SEMANTIC:
        # a class may occur in the last file only
        rest = (read_labels(pair.labels) for pair in pairs[GUESS_FILES:])
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
    else:
        classes = _names(material.classes) if task is Task.INSTANCE else ()
        classes = tuple(name for name in classes if name != "background") or ("object",)
    training_set = TrainingSet(folder / "training", kind, classes)
    for pair in pairs:
        try:
            opened = open_image(pair.image)
            image = opened.image.without_alpha()
            if opened.axes_guessed:
                note(f"{pair.image.name}: axes guessed as {image.axes}; save it with its axes to change")
            labels = _aligned(read_labels(pair.labels), image)
            mask = None if pair.reviewed is None else _aligned(read_labels(pair.reviewed), image) > 0
            training_set.add(image, labels, mask, source=pair.image, model=model, key=pair.stem)
        except SegloopError as error:
            if pair.image.name in str(error) or pair.labels.name in str(error):
                raise
            raise type(error)(f"{pair.stem}: {error}") from error
    return training_set


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


def _names(text: str) -> tuple[str, ...]:
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
