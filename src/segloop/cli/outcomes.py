"""What is said of each image of ``segloop segment``: what it became, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from segloop.cli.printing import print_line
from segloop.cli.reports import complain, describe
from segloop.results import Written


def print_written(path: Path, written: Written) -> None:
    """Say what an image became."""
    print_line(f"{path.name}: {written.summary()} -> {written.labels} ({written.seconds:.1f} s)")


def complain_about(path: Path, error: BaseException) -> None:
    """Say what is wrong with an image."""
    reason = describe(error)
    complain(reason if path.name in reason else f"{path}: {reason}")
