"""Models of every family, untrained: what the command line does does not depend on how good they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from segloop.cli import main
from segloop.models.registry import get_family
from segloop.store import write_model


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, and the lines on stderr."""

    code: int
    out: str
    err: list[str]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command line in this process."""

    def run(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err.splitlines())

    return run


@pytest.fixture(scope="session")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small U-Net for one channel, with a border class."""
    torch.manual_seed(0)
    family = get_family("unet")
    spec = family.new_spec("small-unet", ("background", "inside", "border"), 1, 2, "small")
    folder = tmp_path_factory.mktemp("models") / "small-unet"
    tiny = dict(spec.architecture) | {"levels": 2, "base_channels": 4}
    write_model(family.build(replace(spec, tile=64, halo=16, architecture=tiny)), folder)
    return folder


@pytest.fixture
def blobs() -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Make an image of bright squares and its instance labels, (64, 64), by a seed."""

    def make(seed: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        labels = np.zeros((64, 64), np.uint16)
        for number, (y, x) in enumerate(((4, 6), (6, 40), (36, 8), (38, 36)), 1):
            labels[y : y + 12 + number, x : x + 14] = number
        image = random.integers(10, 40, labels.shape) + 150 * (labels > 0)
        return image.astype(np.uint8), labels

    return make


@pytest.fixture
def folders(tmp_path: Path, blobs: Callable[[int], tuple[np.ndarray, np.ndarray]]) -> tuple[Path, Path]:
    """Folders of three images and of their labels."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for seed, stem in enumerate(("a", "b", "c")):
        image, numbers = blobs(seed)
        tifffile.imwrite(images / f"{stem}.tif", image)
        tifffile.imwrite(labels / f"{stem}.tif", numbers)
    return images, labels
