"""``segloop finetune`` and ``segloop train``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from segloop.cli.interrupting import interruptible
from segloop.cli.material import Material, find_pairs, learned_set, names_in, new_training_set
from segloop.cli.printing import print_line
from segloop.cli.progress import ProgressBar
from segloop.cli.repeating import read_recipe
from segloop.cli.segmenting import device_named
from segloop.cli.training_result import finish
from segloop.errors import ModelError, SettingsError
from segloop.events import drain
from segloop.labels import Task
from segloop.models.registry import get_family
from segloop.store import BUNDLED, check_name, load_model
from segloop.train.finetune import FinetuneSettings, finetune_events, train_events

_EPOCHS_WITHOUT_LIMIT = 10_000


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
    pairs = find_pairs(material)
    model = load_model(model_name, settings.device)
    with tempfile.TemporaryDirectory(prefix="segloop-") as folder:
        training_set = learned_set(Path(folder), pairs, material, model)
        with ProgressBar(name, quiet=as_json) as progress, interruptible() as stop:
            result = drain(finetune_events(model, training_set, settings, stop), progress)
        finish(result, training_set, name, result.improved or keep_worse, as_json)
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
    pairs = find_pairs(material)
    model = recipe.load_parent()
    with tempfile.TemporaryDirectory(prefix="segloop-") as folder:
        training_set = learned_set(Path(folder), pairs, material, model)
        recipe.check_data(training_set)
        recipe.tell_differences()
        with ProgressBar(name, quiet=as_json) as progress, interruptible() as stop:
            events = finetune_events(model, training_set, recipe.settings, stop, schedule=recipe.schedule)
            result = drain(events, progress)
        same = recipe.compare(result)
        if not as_json:
            print_line(f"the weights are {'' if same else 'not '}those of {version}, to the bit")
        repeated = {"like": version, "same_weights": same}
        finish(result, training_set, name, result.improved or keep_worse, as_json, repeated)
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
    pairs = find_pairs(material)
    with tempfile.TemporaryDirectory(prefix="segloop-") as folder:
        own = () if family.task is Task.SEMANTIC else ("object",)
        training_set = new_training_set(Path(folder), pairs, material, own, "", family.task)
        classes = training_set.classes
        if family.task is Task.SEMANTIC and training_set.task is Task.INSTANCE:
            classes = names_in(material.classes) or ("background", "inside", "border")
        channels = {training_set.read(entry)[0].channels for entry in training_set.entries}
        spec = family.new_spec(new.name, classes, max(channels), new.ndim, size)
        # Grey images among colour ones are repeated to as many channels.
        spec = replace(spec, repeat_grey=1 in channels and len(channels) == 2)
        with ProgressBar(new.name, quiet=as_json) as progress, interruptible() as stop:
            result = drain(train_events(spec, training_set, settings, stop), progress)
        finish(result, training_set, new.name, True, as_json)
        return stop()


def _check_own_name(name: str) -> None:
    """Raise ModelError if ``name`` cannot name a model, or would hide a bundled one."""
    if (BUNDLED / check_name(name)).is_dir():
        raise ModelError(f"--name {name} is a bundled model, which the new one would hide; choose a name of your own")
