"""What the documentation says is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
COMMANDS = ("models", "segment", "finetune", "train", "evaluate", "convert", "demo")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [link for link in links if not link.startswith(("http", "mailto:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_option_is_documented():
    text = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    code = "import sys; from segloop.cli import main; sys.argv = ['segloop', *sys.argv[1:]]; main()"
    missing = {}
    for command in COMMANDS:
        done = subprocess.run([sys.executable, "-c", code, command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"segloop {command}" in text
        options = set(re.findall(r"^\s+(?:-h, )?(--[a-z-]+)", done.stdout, flags=re.MULTILINE)) - {"--help"}
        if absent := sorted(option for option in options if f"{option}" not in text):
            missing[command] = absent
    assert missing == {}


@pytest.mark.slow
def test_the_readmes_python_runs(nuclei, tmp_path, monkeypatch):
    """Every Python block of the README, one after the other, in a folder with an image of that name."""
    import imageio.v3 as iio
    import tifffile

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("cells.tif", iio.imread(nuclei / "images" / "63d981a10709.png"))
    for name in ("cells_corrected", "cells_reference"):
        tifffile.imwrite(f"{name}.tif", tifffile.imread(nuclei / "labels" / "63d981a10709.tif"))
    namespace: dict[str, object] = {}
    for block in blocks:
        # a second instead of a minute: what is shown is the call, not the result
        exec(compile(block.replace("minutes=1)", "minutes=0.02)"), "README.md", "exec"), namespace)
    assert "report" in namespace
