"""Checkpoints: where a training stood at the end of an epoch, so that it can go on from there to the same end."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from segloop.errors import FileError
from segloop.events import EpochDone, Scored


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training between two epochs.

    Parameters
    ----------
    fit : dict
        Of :meth:`segloop.train.fit.Fit.state_dict`.
    before : Scored
        The held-out score of the model before training.
    history : tuple of EpochDone
        The epochs so far.
    """

    fit: dict[str, Any]
    before: Scored
    history: tuple[EpochDone, ...]

    def fit_on(self, device: torch.device) -> dict[str, Any]:
        """Return ``fit`` with its weights on a device; the optimiser moves its own."""
        weights = {name: self.fit[name] for name in ("live", "average")}
        moved = {name: {key: tensor.to(device) for key, tensor in own.items()} for name, own in weights.items()}
        return {**self.fit, **moved}


class Keeper(Protocol):
    """Where a training leaves its checkpoints, and finds the last one."""

    def last(self) -> Checkpoint | None:
        """Return the checkpoint to go on from; None to start anew."""
        ...

    def keep(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint; called after each epoch that was trained to its end."""
        ...


class NoKeeper:
    """Keeps nothing: a training starts anew each time."""

    def last(self) -> Checkpoint | None:
        """Return None."""
        return None

    def keep(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class FileKeeper:
    """Keeps the last checkpoint in a file, which is always whole: an older one stays until the next is on the disk."""

    path: Path

    def last(self) -> Checkpoint | None:
        """Read the file; None if there is none.

        Raises
        ------
        FileError
            If it cannot be read.
        """
        if not self.path.is_file():
            return None
        try:
            # weights_only: nothing in the file can run code
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            history = tuple(EpochDone(**epoch) for epoch in state["history"])
            return Checkpoint(state["fit"], Scored(**state["before"]), history)
        except Exception as error:
            # torch raises errors of many kinds for a file that is none of its own
            raise FileError(f"the checkpoint {self.path} cannot be read ({error}); start the training anew") from error

    def keep(self, checkpoint: Checkpoint) -> None:
        """Replace the file.

        Raises
        ------
        FileError
            If the disk is full or the folder cannot be written; the checkpoint before is still there.
        """
        state = {
            "fit": checkpoint.fit,
            "before": asdict(checkpoint.before),
            "history": [asdict(epoch) for epoch in checkpoint.history],
        }
        draft = self.path.with_suffix(".part")
        try:
            with draft.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except (OSError, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            raise FileError(f"the checkpoint {self.path} cannot be written: {error}") from error
