"""``segloop demo``."""

from __future__ import annotations

from pathlib import Path

from segloop.cli.printing import print_line
from segloop.cli.progress import ProgressBar
from segloop.demo import run_demo
from segloop.io import check_writable


def show_demo(output: Path) -> None:
    """Run the demo into ``output``, telling each step as it goes.

    Raises
    ------
    SegloopError
    """
    check_writable(output)
    with ProgressBar("demo") as progress:
        run_demo(output, print_line, progress)
