"""The examples run as they stand in the documentation."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from segloop import load_model
from segloop.models import registry

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.fixture
def run_example(monkeypatch):
    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    return run


@pytest.mark.slow
def test_segment_folder(run_example, nuclei, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("27c30f901149.png", "a5fe0b7412dd.png"):
        (images / name).write_bytes((nuclei / "images" / name).read_bytes())
    run_example("segment_folder.py", images, tmp_path / "out")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    for stem in ("27c30f901149", "a5fe0b7412dd"):
        assert {f"{stem}_labels.tif", f"{stem}_rois.zip", f"{stem}_objects.csv"} <= set(written)
    assert capsys.readouterr().out.count("objects in") == 2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nuclei-unet", "nuclei-maskrcnn"])
def test_finetune_on_corrections(run_example, model, capsys):
    run_example("finetune_on_corrections.py", "--model", model, "--epochs", 1, "--name", "mine")
    out = capsys.readouterr().out
    assert "before: AP" in out
    assert "after: AP" in out
    assert load_model("mine").spec.parent.startswith(model)


@pytest.fixture
def installed_family(tmp_path, monkeypatch):
    """Install examples/custom_family.py as a package would: files on the path, one entry point."""
    info = tmp_path / "pixels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pixels\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[segloop.families]\npixels = custom_family:FAMILY\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    registry.get_family.cache_clear()
    yield
    registry.get_family.cache_clear()
    sys.modules.pop("custom_family", None)


def test_custom_family_keeps_the_contract(installed_family):
    from custom_family import FAMILY

    from segloop.testing import FamilyContract

    class Contract(FamilyContract):
        family = FAMILY
        learning_rate = 1e-2

    assert registry.get_family("pixels") is FAMILY
    assert "pixels" in registry.family_names()
    contract = Contract()
    for name in dir(Contract):
        if name.startswith("test_") and name != "test_survives_saving_and_loading":
            getattr(contract, name)()


def test_custom_family_is_stored_like_any_other(installed_family, tmp_path):
    from custom_family import FAMILY

    from segloop.testing import FamilyContract

    class Contract(FamilyContract):
        family = FAMILY

    Contract().test_survives_saving_and_loading(tmp_path)


def test_custom_family_segments(run_example, capsys):
    run_example("custom_family.py")
    dice = float(capsys.readouterr().out.rsplit(maxsplit=1)[-1])
    assert dice > 0.8


def test_all_examples_are_tested():
    text = Path(__file__).read_text(encoding="utf-8") + (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in text] == []
