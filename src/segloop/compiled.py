"""Compiled: inner loops translated to machine code by numba, kept on disk after their first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; it runs without the interpreter's lock.

    Where there is no folder for numba to keep the result in (a read-only installation without a home folder),
    each process compiles anew.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)
