"""Loads torch in a worker's thread so that the window does not stand still meanwhile.

Python lets one thread at a time run, and two things that ``import torch`` does keep all others waiting for tenths of a
second, or for seconds when the files come from a slow disk: opening libraries of hundreds of megabytes, and searching
everything in memory for garbage because so many objects were made.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def open_torch_libraries() -> None:
    """Open torch's libraries as ``import torch`` will, in the same order, but letting other threads run.

    Does nothing on Windows, where torch itself opens them in such a way. What cannot be opened is left to ``import
    torch``, which says why.
    """
    found = find_spec("torch") if "torch" not in sys.modules and os.name == "posix" else None
    if found is None or found.origin is None:
        return
    folder = Path(found.origin).parent / "lib"
    ending = "dylib" if sys.platform == "darwin" else "so"
    # a C function called through ctypes does not hold Python's lock; importing an extension and ctypes.CDLL do
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name, seen_by in (("libtorch_global_deps", os.RTLD_GLOBAL), ("libtorch", os.RTLD_LOCAL)):
        library = folder / f"{name}.{ending}"
        if not library.is_file() or not dlopen(os.fsencode(library), os.RTLD_NOW | seen_by):
            return


@contextmanager
def no_garbage_search() -> Iterator[None]:
    """Search for no garbage, and take what was made meanwhile for lasting: modules are."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            # to the oldest generation at once, without looking at each object
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()
