"""How long it takes to start."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from engine import Setup
from measure_process import cost_of
from report import table

REPEATS = 5
_IMPORT = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"


def measure(setup: Setup) -> dict[str, Any]:
    """Start fresh processes, in turn."""
    imports: dict[str, list[float]] = {"segloop": [], "torch": [], "torchvision": []}
    helps: list[float] = []
    empty: list[float] = []
    setup.say("startup: fresh processes")
    for _ in range(REPEATS):
        for package, seconds in imports.items():
            seconds.append(float(cost_of([sys.executable, "-c", _IMPORT.format(package)]).output))
        helps.append(cost_of([sys.executable, "-m", "segloop", "--help"]).wall)
        empty.append(cost_of([sys.executable, "-c", "pass"]).wall)
    times = {f"import {package}": seconds for package, seconds in imports.items()}
    times |= {"segloop --help, the whole process": helps, "python, the whole process": empty}
    return {name: {"median": statistics.median(seconds), "runs": seconds} for name, seconds in times.items()}


def markdown(result: dict[str, Any]) -> str:
    """Show the result."""
    rows = [[f"`{name}`" if "," not in name else name, f"{times['median']:.3f}"] for name, times in result.items()]
    return table(["start", "s wall"], rows)
