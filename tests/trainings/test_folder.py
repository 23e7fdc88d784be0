"""The folder of a training: what can be gone on with, told from the files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segloop.corrections import TrainingSet
from segloop.train.finetune import FinetuneSettings
from segloop.trainings import Order, TrainingFolder, new_training


@pytest.fixture
def folder(segloop_home: Path, tmp_path: Path) -> TrainingFolder:
    """A training of two epochs that has not begun."""
    training_set = TrainingSet(tmp_path / "set")
    return new_training(Order(tmp_path / "base", training_set.folder, "mine", FinetuneSettings(epochs=2)))


def tell(folder: TrainingFolder, *messages: dict[str, object]) -> None:
    (folder.path / "events.jsonl").write_text("".join(json.dumps(message) + "\n" for message in messages))


EPOCHS = [{"event": "EpochDone", "epoch": number} for number in (1, 2)]


@pytest.mark.parametrize(
    ("messages", "checkpoint", "resumes"),
    [
        (EPOCHS[:1], True, True),
        (EPOCHS, True, True),  # lost after the last epoch: in cross-validation, say
        (EPOCHS, False, False),
        ([*EPOCHS, {"ended": "done"}], True, False),
        ([*EPOCHS[:1], {"ended": "stopped"}], True, True),
        ([*EPOCHS, {"ended": "stopped"}], True, False),  # it was scored or saved last, and did that
        ([*EPOCHS, {"ended": "failed", "expected": True}], True, False),
        ([*EPOCHS, {"ended": "failed", "expected": False}], True, True),
    ],
)
def test_what_was_lost_can_go_on(
    folder: TrainingFolder, messages: list[dict[str, object]], checkpoint: bool, resumes: bool
) -> None:
    tell(folder, *messages)
    if checkpoint:
        folder.checkpoint.touch()
    assert folder.can_resume == resumes
