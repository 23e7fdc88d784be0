"""A viewer with the dock, as a person opens it, and models that cost nothing."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication

from segloop import store
from segloop._napari.jobs import explain
from segloop._napari.plugin import SegloopDock
from segloop._napari.steps.step import Step
from segloop.models.registry import get_family

# a viewer without a job may load Mesa's LLVM before torch looks for triton; see segloop._napari.llvm
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

PATIENCE = 60_000
"""Milliseconds: a busy machine is no reason to fail."""


@pytest.fixture(scope="session", autouse=True)
def modules_are_no_garbage() -> Iterator[None]:
    """Let the search for garbage, which comes with the end of each viewer, pass over what is imported for good."""
    for module in ("napari._qt.qt_main_window", "pyqtgraph", "segloop.segmentation", "segloop.trainings"):
        importlib.import_module(module)
    for name in ("unet", "maskrcnn"):
        get_family(name)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def quiet_workers(qapp: QApplication) -> Iterator[None]:
    """Let no worker outlive its test."""
    yield
    assert QThreadPool.globalInstance().waitForDone(PATIENCE)
    qapp.processEvents()


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the errors that the user is told of, instead of letting napari show some of them."""
    told: list[str] = []
    fail = Step.fail

    def collect(step: Step, error: Exception) -> None:
        told.append(explain(error))
        fail(step, error)

    monkeypatch.setattr(Step, "fail", collect)
    monkeypatch.setattr("segloop._napari.steps.step.show_error", lambda _: None)
    return told


@pytest.fixture
def untrained(segloop_home: Path) -> str:
    """An own U-Net with fresh weights: real in everything but what it has learned."""
    family = get_family("unet")
    spec = family.new_spec("fresh", ("background", "foreground"), 1, 2, family.sizes()[0])
    store.save_model(family.build(spec), "fresh")
    return "fresh"


@pytest.fixture
def open_dock(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Callable[..., SegloopDock]:
    """Open a viewer and in it the dock; wait until the dock is ready to run."""

    def open_it(**keywords: Any) -> SegloopDock:
        viewer = make_napari_viewer(**keywords)
        dock = SegloopDock(viewer)
        viewer.window.add_dock_widget(dock, name="SegLoop")
        qtbot.waitUntil(lambda: dock.segment.form is not None, timeout=PATIENCE)
        return dock

    return open_it


@pytest.fixture
def dock(open_dock: Callable[..., SegloopDock]) -> SegloopDock:
    """The dock in an empty viewer."""
    return open_dock()


@pytest.fixture
def blobs() -> np.ndarray:
    """A grey image of 96 × 128 pixels with two bright squares."""
    image = np.full((96, 128), 10, np.uint8)
    image[20:40, 20:40] = 200
    image[50:80, 70:110] = 180
    return image


def idle(dock: SegloopDock) -> bool:
    """Whether no job of the dock is running."""
    steps = (dock.segment_step, dock.review_step, dock.finetune_step, dock.export_step)
    return all(step.job is None for step in steps)
