"""Ctrl-C during a training: the first ends it gently."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from segloop.cli.reports import note


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end the training gently, with its result; the second ends the program.

    Yields
    ------
    callable
        Whether Ctrl-C was pressed.
    """
    pressed = threading.Event()
    before: Any = signal.getsignal(signal.SIGINT)

    def end_gently(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)
        note("ending after this step with what was learned; Ctrl-C again abandons it")

    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    signal.signal(signal.SIGINT, end_gently)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
