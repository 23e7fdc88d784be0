"""Memory: how much is free, what a run may take of it, and how running out of it is recognised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import torch

SHARE = 0.5
"""Of the free memory, what a network may work in; the rest is for the image, the labels and other programs."""

LARGEST_BATCH = 16
CPU = torch.device("cpu")
_CGROUP = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 50


def free_memory(device: torch.device = CPU) -> int:
    """Bytes that can still be had on ``device``; on the CPU no more than the limit of the container allows."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what torch holds but does not use can be used again
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(int(psutil.virtual_memory().available), _container_memory())


def _container_memory() -> int:
    """Free bytes within the memory limit that Linux set for this group of processes, if it did."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit == "max":
            return _NO_LIMIT
        counts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        # files that were read are kept as long as nobody needs the room
        used = int((_CGROUP / "memory.current").read_text()) - int(counts.get("inactive_file", 0))
        return max(0, int(limit) - max(0, used))
    except (OSError, ValueError):
        return _NO_LIMIT


def fitting_side(side: int, least: int, step: int, needed: Callable[[int], int], free: int) -> int:
    """Halve the side of a tile, in multiples of ``step`` and not below ``least``, until what it needs is free.

    ``needed`` gives the bytes that a tile of a side works in.
    """
    while side > least and needed(side) > SHARE * free:
        side = max(least, side // 2 // step * step)
    return side


def fitting_batch(needed: int, free: int, device: torch.device) -> int:
    """Number of tiles, each working in ``needed`` bytes, to predict at once.

    On the CPU always one: a tile stays in the caches and gives the same bytes whatever the machine's memory.
    """
    if device.type == "cpu":
        return 1
    return int(min(LARGEST_BATCH, max(1, SHARE * free // max(1, needed))))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, on whatever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    # torch's CPU allocator and oneDNN raise plain RuntimeErrors
    # the last two are oneDNN's words
    known = (
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "could not create a memory",
        "could not create a primitive",
    )
    return isinstance(error, RuntimeError) and any(words in text for words in known)
