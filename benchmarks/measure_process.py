"""Run one command and say what it took: wall and CPU seconds, and its peak resident memory.

    python benchmarks/measure_process.py segloop --help

The last line on stderr is JSON. It imports little itself, because the peak of a child counts from the memory of the
process that started it: a benchmark that holds images must not start what it measures on its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MARK = "measured: "


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: seconds, and bytes at the peak."""

    wall: float
    cpu: float
    peak_bytes: int
    output: str


def cost_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command in a fresh process, beneath a small one that watches it.

    Raises
    ------
    RuntimeError
        If it fails; with what it said.
    """
    watcher = [sys.executable, "-S", "-E", __file__, *command]
    done = subprocess.run(watcher, capture_output=True, text=True, env=environment, check=False)
    messages, _, numbers = done.stderr.rpartition(MARK)
    if not numbers or json.loads(numbers)["status"] != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{(messages or done.stderr)[-4000:]}")
    found = json.loads(numbers)
    return Cost(found["wall"], found["cpu"], found["peak_bytes"], done.stdout)


def main() -> None:
    """Run and measure."""
    started = time.perf_counter()
    child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
    _, status, usage = os.wait4(child, 0)
    numbers = {
        "status": status,
        "wall": time.perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        # kilobytes on Linux, bytes on macOS
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    print(f"{MARK}{json.dumps(numbers)}", file=sys.stderr)


if __name__ == "__main__":
    main()
