"""Keeps torch from loading a second LLVM into napari's process, which would end it.

Mesa's OpenGL drivers (llvmpipe in virtual machines and remote desktops, radeonsi for AMD) load libLLVM for everyone in
the process to see. Triton, which comes with torch for Linux, has an LLVM of its own that then binds to Mesa's, and the
process dies while triton is imported. torch imports triton as soon as an optimiser is made, and does without it if it
is not there; SegLoop never compiles, so nothing is lost. https://github.com/tensorflow/tensorflow/issues/124205 is of
the same kind.
"""

from __future__ import annotations

import sys
from pathlib import Path

MAPS = Path("/proc/self/maps")


def keep_triton_out() -> None:
    """Make ``import triton`` fail from now on, if it would end the process; does nothing elsewhere."""
    if "triton" not in sys.modules and _has_llvm():
        # this is how Python is told that a module cannot be imported
        sys.modules["triton"] = None  # type: ignore[assignment]


def _has_llvm() -> bool:
    """Whether a shared libLLVM is loaded into this process (Linux; elsewhere there is no triton)."""
    try:
        return b"libLLVM" in MAPS.read_bytes()
    except OSError:
        return False
