"""A run of training is gone on with where it ended, and its model says how it was trained."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from training_run import run_parser, train, write

from segloop.events import EpochDone
from segloop.models.protocol import Example
from segloop.models.registry import get_family
from segloop.store import load_model
from segloop.train.fit import Fit, FitSettings


def example(generator: np.random.Generator) -> Example:
    """A bright square somewhere in an image of 32 × 32 pixels."""
    labels = torch.zeros(32, 32, dtype=torch.int64)
    y, x = generator.integers(0, 20, 2)
    labels[y : y + 12, x : x + 12] = 1
    return Example(labels[None].float(), labels, torch.ones(32, 32, dtype=torch.bool))


def new_fit(options) -> Fit:
    """The same training each time."""
    torch.manual_seed(0)
    family = get_family("unet")
    spec = family.new_spec("new", ("background", "square"), 1, 2, "small")
    settings = FitSettings(epochs=options.epochs, steps=1, batch=options.batch, learning_rate=1e-3, seed=options.seed)
    return Fit(family.build(spec), example, settings, clock=lambda: 0.0)


def test_a_run_goes_on_after_its_last_epoch(tmp_path, monkeypatch, capsys):
    parser = run_parser("")
    parser.set_defaults(epochs=2, batch=1, learning_rate=1e-3)
    options = parser.parse_args(["--data", str(tmp_path), "--run", str(tmp_path / "run")])
    whole = new_fit(options)
    train(whole, tmp_path / "whole", torch.device("cpu"))
    interrupted = new_fit(options)

    def killed(fit):
        event = next(event for event in Fit.run(fit) if isinstance(event, EpochDone))
        yield event
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(interrupted, "run", lambda: killed(interrupted))
        with pytest.raises(KeyboardInterrupt):
            train(interrupted, options.run, torch.device("cpu"))
    assert (options.run / "checkpoint.pt").is_file() and interrupted.epoch == 1
    again = new_fit(options)
    train(again, options.run, torch.device("cpu"))
    assert "going on after epoch 1" in capsys.readouterr().out and again.epoch == 2
    for name, tensor in whole.average.items():
        assert torch.equal(tensor, again.average[name])
    write(again.model, again.model.spec, again, options, {"images": 1}, Path("scripts/train_squares.py"))
    record = load_model(options.run / "model").spec.training
    assert (record["script"], record["images"], record["epochs"]) == ("scripts/train_squares.py", 1, 2)
    assert (record["steps"], record["batch"], record["device"]) == (2, 1, "cpu")
