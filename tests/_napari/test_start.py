"""Opening: what takes long to import is imported beside the window, after the dock is on screen."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from segloop._napari import choosers, loading, session
from segloop.corrections import training_set
from segloop.io.notes import DEFAULT_CLASS

SLOW = ("torch", "torchvision", "pandas", "skimage.segmentation", "skimage.draw", "tifffile", "zarr")


def test_the_dock_imports_nothing_slow():
    code = (
        "import sys, segloop._napari.plugin\n"
        f"print(*(name for name in {SLOW!r} if name in sys.modules and name not in before))"
    )
    # what napari itself imports is no matter of the dock's
    napari = "import sys, napari.layers, napari.qt.threading\nbefore = set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", napari + code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_the_file_that_makes_a_folder_a_training_set():
    assert session.TRAINING_SET_FILE == training_set.JSON_NAME


def test_the_class_that_nobody_named():
    assert choosers.UNNAMED == (DEFAULT_CLASS,)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_searched_for_again_afterwards(enabled):
    before = gc.isenabled()
    # the session's (conftest.py) would hide what is frozen here
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError), loading.no_garbage_search():
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() == enabled
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if before else gc.disable)()
        if frozen:
            gc.freeze()


def test_torch_is_imported_as_ever_after_its_libraries_were_opened():
    code = (
        "from segloop._napari.loading import open_torch_libraries\n"
        "open_torch_libraries()\n"
        "import torch\n"
        "print(int(torch.ones(2).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["2"]
