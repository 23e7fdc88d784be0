"""What goes to stderr: one line per error or note."""

from __future__ import annotations

import sys

from segloop.errors import ChannelError, RangeError, SegloopError

DEBUG = "--debug"


class InterruptedByUser(Exception):
    """Ctrl-C was pressed."""


def note(text: str) -> None:
    """Tell the user something that is no error."""
    _write(f"note: {_flat(text)}")


def tell(text: str) -> None:
    """Tell the user how far the work is."""
    _write(_flat(text))


def complain(text: str) -> None:
    """Tell the user what went wrong."""
    _write(f"error: {_flat(text)}")


def describe(error: BaseException) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, ChannelError):
        return f"{_flat(str(error))}: --channel N, counted from 0, or --axes"
    if isinstance(error, RangeError):
        return f"--{error.field.replace('_', '-')} {error.problem}"
    if isinstance(error, SegloopError):
        return _flat(str(error))
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "there is not enough memory; try a smaller --tile, a smaller image, or --device cpu"
    if isinstance(error, OSError):
        return _flat(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    return (
        f"internal error: {type(error).__name__}: {_flat(str(error))}; please report it with the traceback that "
        f"{DEBUG} shows"
    )


def _flat(text: str) -> str:
    return " ".join(text.split())


def _write(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
