"""The house rules that a machine can check."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "segloop"
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LONGEST_FILE = 450

IMPORT_THE_CORE = """
import importlib, pkgutil, sys

class Blocked:
    names = {"napari", "qtpy", "PyQt5", "PyQt6", "PySide6", "magicgui", "superqt", "psygnal", "pyqtgraph"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is blocked in this test")

sys.meta_path.insert(0, Blocked())
import segloop

def walk(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name in ("segloop._napari", "segloop.__main__"):
            continue
        imported = importlib.import_module(module.name)
        print(module.name)
        if module.ispkg:
            walk(imported)

walk(segloop)
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules() -> set[str]:
    """The direct children of ``segloop``, without the window."""
    names = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return {f"segloop.{name}" for name in names if not name.startswith("_")}


@pytest.mark.slow
def test_core_needs_neither_qt_nor_napari():
    imported = set(python(IMPORT_THE_CORE).split())
    assert modules() <= imported


def test_importing_segloop_loads_nothing_heavy():
    code = "import sys, segloop; print(*(name for name in sys.modules if '.' not in name))"
    loaded = set(python(code).split())
    assert not loaded & {
        "torch",
        "torchvision",
        "numpy",
        "scipy",
        "skimage",
        "pandas",
        "napari",
        "qtpy",
        "dask",
    }


@pytest.mark.slow
def test_imports_point_one_way():
    linter = shutil.which("lint-imports", path=sysconfig.get_path("scripts"))
    assert linter, "lint-imports is not installed; install the extra 'dev'"
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_contracts_name_every_module():
    """A new module must say where in the house it belongs."""
    layers, windowless, *_ = LINTER["contracts"]
    placed = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    assert modules() <= placed
    assert modules() <= set(windowless["source_modules"])


def test_files_stay_readable():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST_FILE} == {}
