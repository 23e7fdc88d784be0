"""``segloop finetune --like``: train again as a version was trained, from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segloop.cli.reports import note
from segloop.corrections import TrainingSet
from segloop.errors import ModelError, TrainingError
from segloop.models.device import Device
from segloop.models.protocol import Trainable
from segloop.settings import settings_from_json
from segloop.store import home, load_model, weights_hash
from segloop.train.finetune import FinetuneResult, FinetuneSettings
from segloop.train.record import PACKAGES, changed_entries, environment, set_record, weights_digest

NEEDED = ("settings", "entries", "training_set", "parent_sha256", "threads", "device", "schedule")


@dataclass(frozen=True)
class Recipe:
    """How a version was made.

    Parameters
    ----------
    version : str
        As it was asked for, such as "mine@2".
    parent : str
        The model that was fine-tuned, "name@version".
    settings : FinetuneSettings
        Without a limit of time: where it was felt, the record has the schedule that followed from it.
    record : mapping
        All that the version records of its training.
    sha256 : str
        Of its weights.
    """

    version: str
    parent: str
    settings: FinetuneSettings
    record: Mapping[str, Any]
    sha256: str

    @property
    def folder(self) -> Path:
        """Where its training set is: among those that the window keeps, unless an older version says where it was.

        Raises
        ------
        ModelError
            If there is none of its name.
        """
        told = Path(self.record["training_set"]["folder"])
        folder = home() / "training_sets" / told
        if not folder.is_dir():
            raise ModelError(
                f"{self.version} was made from the training set {told.name!r}, which is not among those in "
                f"{folder.parent}; say where it is with --training-set, or name files with --images and --labels"
            )
        return folder

    @property
    def schedule(self) -> tuple[float, ...]:
        """How far training was at each step, if not the steps alone set it."""
        return tuple(float(value) for value in self.record["schedule"])

    def load_parent(self) -> Trainable:
        """Load the model to begin with, and compute with as many threads as then.

        Raises
        ------
        ModelError
            If it is gone, or has other weights.
        """
        if weights_hash(self.parent) != self.record["parent_sha256"]:
            raise ModelError(
                f"{self.parent}, from which {self.version} was made, has other weights now; restore the ones it had"
            )
        torch.set_num_threads(int(self.record["threads"]))
        return load_model(self.parent, self.settings.device)

    def check_data(self, training_set: TrainingSet) -> None:
        """Compare a training set with the one that was learned from.

        Raises
        ------
        TrainingError
            If it is another one, naming what differs.
        """
        was, now = self.record["training_set"], set_record(training_set)
        changes = [*training_set.verify(), *changed_entries(self.record["entries"], training_set)]
        changes += [
            f"its {what} was {was[what]} and is {now[what]}" for what in ("task", "classes") if was[what] != now[what]
        ]
        if changes:
            more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise TrainingError(
                f"the data are not those that {self.version} was made from: {'; '.join(changes[:3])}{more}. Other data "
                "give another model: restore them, or train without --like"
            )

    def tell_differences(self) -> None:
        """Note what may keep the weights from being the same although data and settings are."""
        now = environment()
        if self.record.get("recipe", 1) != now["recipe"]:
            note(f"{self.version} was made by a SegLoop that trained in another way: the weights will not be the same")
        others = [
            f"{name} {self.record[name]} (now {now[name]})"
            for name in (*PACKAGES, "machine")
            if self.record.get(name) not in (None, now[name])
        ]
        if others:
            note(f"{self.version} was made with {', '.join(others)}: the last digits of the weights may differ")

    def compare(self, result: FinetuneResult) -> bool:
        """Whether a result has the version's weights, to the bit."""
        return weights_digest(result.model) == self.sha256


def read_recipe(version: str) -> Recipe:
    """Read how a version was made.

    Raises
    ------
    ModelError
        If there is no such version, or it does not record enough to repeat it.
    """
    spec = load_model(version, Device.CPU).spec
    record = spec.training
    if not spec.parent or any(name not in record for name in NEEDED):
        raise ModelError(
            f"{version} cannot be repeated: it was not fine-tuned, or by an older SegLoop, which records too little"
        )
    try:
        settings: FinetuneSettings = settings_from_json(FinetuneSettings, record["settings"])
        device = Device(str(record["device"]).partition(":")[0])
    except (TypeError, ValueError) as error:
        raise ModelError(f"{version} cannot be repeated: its record has {error}") from error
    settings = replace(settings, device=device)
    # the limit of time, if it was felt, is in the schedule
    settings = replace(settings, minutes=math.inf)
    return Recipe(version, spec.parent, settings, record, weights_hash(version))
