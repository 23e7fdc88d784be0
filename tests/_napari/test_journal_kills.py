"""A real napari, killed at random moments while somebody edits; see killed_window.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.gui
@pytest.mark.skipif(
    sys.platform == "win32", reason="two processes' clocks are compared, which Windows does not promise"
)
def test_what_is_killed_comes_back(tmp_path: Path) -> None:
    kills = os.environ.get("SEGLOOP_TEST_KILLS", "6")
    script = Path(__file__).with_name("killed_window.py")
    command = [sys.executable, str(script), "--kills", kills, "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found["kills"] == int(kills)
    assert found["edits"] > 10 * int(kills)
    assert found["restored exactly"] >= int(kills) // 2
