"""The machine's limit: how fast it convolves at best."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch
from engine import DTYPES, Setup
from report import table
from torch.nn import functional as F

CHANNELS = (64, 128, 256)
SIDES = (32, 64, 128)
SECONDS = 0.4


def measure(setup: Setup) -> dict[str, Any]:
    """Return GFLOP/s by precision."""
    setup.say("limit: 3 × 3 convolutions")
    return {"gflops_per_second": setup.limit}


@torch.inference_mode()
def best_throughput(dtype: torch.dtype) -> float:
    """Return the best throughput of 3 × 3 convolutions through oneDNN, GFLOP/s, over some channels, sides and layouts.

    Each shape runs for a fraction of a second; its fastest run counts, since a limit is wanted and not a mean.
    """
    best = 0.0
    for channels, side, blocked in itertools.product(CHANNELS, SIDES, (False, True)):
        if blocked and dtype is not torch.float32:
            continue
        image = torch.randn(4, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        if blocked:
            # oneDNN's own layout: nothing is reordered between calls
            image, weight = image.contiguous().to_mkldnn(), weight.contiguous().to_mkldnn()
        work = 2 * 4 * channels * channels * 9 * side * side / 1e9
        fastest, began = float("inf"), time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            start = time.perf_counter()
            F.conv2d(image, weight, padding=1)
            fastest = min(fastest, time.perf_counter() - start)
        best = max(best, work / fastest)
    return best


def markdown(result: dict[str, Any]) -> str:
    """Show the result."""
    rows = [[name, f"{value:.0f}"] for name, value in result["gflops_per_second"].items()]
    assert set(result["gflops_per_second"]) <= set(DTYPES)
    return table(["best 3 × 3 convolution", "GFLOP/s"], rows)
