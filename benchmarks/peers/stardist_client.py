"""Talks to StarDist in its own process and environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from timing import Seconds

SCRIPT = Path(__file__).with_name("stardist_run.py")


class StarDistPeer:
    """A StarDist process that segments one image whenever asked; to be used in a ``with`` statement.

    Parameters
    ----------
    python : Path
        The interpreter of an environment with StarDist and TensorFlow.
    model : Path
        Folder of a trained model.
    image : uint8 (Y, X)
    folder : Path
        For the arrays that are passed on.
    threads : int
    """

    def __init__(self, python: Path, model: Path, image: np.ndarray, folder: Path, threads: int) -> None:
        self._labels = folder / "stardist_labels.npy"
        np.save(folder / "stardist_image.npy", image)
        command = [str(python), str(SCRIPT), "--model", str(model), "--image", str(folder / "stardist_image.npy")]
        command += ["--labels", str(self._labels), "--threads", str(threads)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        self._errors = (folder / "stardist_messages.txt").open("w+")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )
        self.answers: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def run(self) -> Seconds:
        """Segment once; seconds of ``predict_instances`` alone.

        Raises
        ------
        RuntimeError
            If the process ended; with what it said last.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print("run", file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"StarDist's process ended: {self._errors.read()[-2000:]}")
        answer = json.loads(line)
        self.answers.append(answer)
        return Seconds(answer["wall"], answer["cpu"])

    def labels(self) -> np.ndarray:
        """The label image of the last run, int32 (Y, X)."""
        array: np.ndarray = np.load(self._labels)
        return array
