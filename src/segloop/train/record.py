"""What a training is recorded with, so that it can be repeated: its first weights, the software, the processors."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from segloop.corrections import Entry, TrainingSet
from segloop.models.protocol import Trainable

WORDS = {"images": "image", "labels": "labels", "reviewed": "reviewed mask"}
RECIPE = 2
"""Number of what a training does with the same data and settings; one more whenever that changes. 1 is not recorded."""
PACKAGES = ("napari-segloop", "torch", "torchvision", "numpy")


def weights_bytes(model: Trainable) -> bytes:
    """Return a model's weights as a safetensors file; the same weights give the same bytes."""
    return save({key: tensor.detach().cpu().contiguous() for key, tensor in model.module.state_dict().items()})


def weights_digest(model: Trainable) -> str:
    """Return the sha256 of a model's weights, as the model.json of a saved model gives it."""
    return hashlib.sha256(weights_bytes(model)).hexdigest()


def environment() -> dict[str, Any]:
    """Return what weights depend on besides data and settings: packages, kind of processor, threads, the recipe."""
    return {
        "recipe": RECIPE,
        **{name: version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def entry_records(training_set: TrainingSet) -> list[dict[str, str]]:
    """Return what is recorded of each entry: its number, where it came from, hashes of image, labels and mask."""
    return [_record(entry) for entry in training_set.entries]


def changed_entries(recorded: list[dict[str, str]], training_set: TrainingSet) -> list[str]:
    """Say what of a training set is not what was recorded, a phrase each; where an image came from does not matter."""
    before, now = _by_number(recorded), _by_number(entry_records(training_set))
    changes = [f"{n} ({now[n]['source'] or 'no source'}) was added" for n in now if n not in before]
    changes += [f"{n} ({before[n]['source'] or 'no source'}) is missing" for n in before if n not in now]
    for number in before.keys() & now.keys():
        words = [word for kind, word in WORDS.items() if before[number].get(kind) != now[number].get(kind)]
        if words:
            changes.append(f"{number} ({now[number]['source'] or 'no source'}) has another {' and '.join(words)}")
    return sorted(changes)


def schedule_record(schedule: list[float], steps: int) -> list[float]:
    """Return how far training was at each step, if the time that passed or a stop set it; [] if the steps alone did."""
    return [] if schedule == [step / max(1, steps) for step in range(steps)] else list(schedule)


def set_record(training_set: TrainingSet) -> dict[str, Any]:
    """Return what is recorded of a training set as a whole: its folder's name, and what its labels mean.

    Not where the folder was: a model may be given to others.
    """
    return {
        "folder": training_set.folder.name,
        "task": training_set.task.value,
        "classes": list(training_set.classes),
    }


def _record(entry: Entry) -> dict[str, str]:
    # no more of where it lay than its name, as with the training set
    return {"id": entry.id, "source": Path(entry.source).name, **entry.hashes}


def _by_number(entries: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {entry["id"]: entry for entry in entries}
