"""The budget benchmark: shares of the longest training's gain, of the same regions only."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from budget import results_table


def row(domain: str, seconds: float, seed: int = 0, **scores: float) -> dict:
    return {"domain": domain, "regions": 4, "seconds": seconds, "seed": seed, "steps": 7, "scores": scores}


def test_shares_are_of_the_gain_of_the_longest_training() -> None:
    text = results_table(
        [
            row("worms_bbbc010", 1200, **{"mean AP": 0.5, "AP50": 0.9, "recall50": 0.9}),
            row("worms_bbbc010", 0, **{"mean AP": 0.1, "AP50": 0.1, "recall50": 0.2}),
            row("worms_bbbc010", 80, **{"mean AP": 0.4, "AP50": 0.7, "recall50": 0.7}),
            # another seed has other regions
            row("worms_bbbc010", 80, 1, **{"mean AP": 0.3, "AP50": 0.2, "recall50": 0.3}),
            # new classes begin with nothing
            row("em_drosophila_vnc", 80, **{"mean Dice": 0.3, "Dice glia": 0.1}),
            row("em_drosophila_vnc", 1200, **{"mean Dice": 0.6, "Dice glia": 0.4}),
        ]
    )
    lines = [line for line in text.splitlines() if "_" in line]
    assert [line.count("%") for line in lines] == [1, 1, 0, 2, 2, 2]
    assert "0.300 (50%)" in lines[0] and "0.600 (100%)" in lines[1]
    assert "0.400 (75%) / 0.700 (75%)" in lines[3]
    assert "0.300 (100%) / 0.200 (100%)" in lines[5]
