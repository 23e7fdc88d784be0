"""A run of training in a folder: a checkpoint after each epoch, and at the end the model with the record of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nuclei_data import FOLDS

from segloop.events import EpochDone
from segloop.models.protocol import ModelSpec, Trainable
from segloop.store import write_model
from segloop.train.fit import Fit


def run_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every run has; defaults of some are set by whoever adds the others."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--fold", type=int, choices=sorted(FOLDS), help="the fold of nuclei that is held out")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def train(fit: Fit, folder: Path, device: torch.device) -> None:
    """Train to the end; where ``folder`` has a checkpoint, go on from it."""
    checkpoint = folder / "checkpoint.pt"
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        fit.load_state_dict(torch.load(checkpoint, map_location=device, weights_only=True))
        print(f"going on after epoch {fit.epoch}", flush=True)
    for event in fit.run():
        if isinstance(event, EpochDone):
            print(f"epoch {event.epoch}/{event.epochs} loss {event.loss:.4f} {event.seconds / 60:.1f} min", flush=True)
            torch.save(fit.state_dict(), checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)


def write(
    model: Trainable, spec: ModelSpec, fit: Fit, options: argparse.Namespace, facts: Mapping[str, Any], script: Path
) -> None:
    """Write the averaged weights into ``model`` below the run's folder, with ``facts`` and how they were trained."""
    model.module.load_state_dict(fit.average)
    model.spec = replace(
        spec,
        training={
            **facts,
            "script": f"scripts/{script.name}",
            "epochs": fit.epoch,
            "steps": fit.step,
            "minutes": round(fit.seconds / 60, 1),
            "batch": options.batch,
            "crop": options.crop,
            "learning_rate": options.learning_rate,
            "device": model.device.type,
            "seed": options.seed,
            "torch": torch.__version__,
        },
    )
    write_model(model, options.run / "model")
    print(f"wrote {options.run / 'model'}", flush=True)
