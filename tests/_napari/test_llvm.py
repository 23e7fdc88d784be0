"""The process survives what torch imports next to Mesa's OpenGL drivers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from segloop._napari import llvm


@pytest.mark.parametrize(
    "maps, kept_out", [("7f00 r-xp /usr/lib/libLLVM-15.so.1\n", True), ("7f00 r-xp /usr/lib/libGL.so\n", False)]
)
def test_triton_is_kept_out_only_where_it_would_crash(tmp_path, monkeypatch, maps, kept_out):
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    (tmp_path / "maps").write_text(maps)
    monkeypatch.setattr(llvm, "MAPS", tmp_path / "maps")
    llvm.keep_triton_out()
    assert ("triton" in sys.modules) == kept_out
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.setattr(llvm, "MAPS", tmp_path / "missing")
    llvm.keep_triton_out()
    assert "triton" not in sys.modules


SCRIPT = """
import numpy as np
import napari
from qtpy.QtTest import QTest
from segloop._napari.llvm import keep_triton_out

viewer = napari.Viewer(show=True)
viewer.add_image(np.zeros((50, 50)))
QTest.qWait(500)
keep_triton_out()
import torch
torch.optim.AdamW(torch.nn.Linear(2, 2).parameters())
viewer.add_labels(np.ones((50, 50), int))
QTest.qWait(100)
viewer.close()
print("alive")
"""


@pytest.mark.slow
@pytest.mark.gui
def test_an_optimiser_beside_a_drawn_canvas(tmp_path: Path):
    script = tmp_path / "optimise.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "alive" in done.stdout
