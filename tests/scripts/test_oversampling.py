"""The rule for images with more pixels than details, by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from oversampling import Measured, losses, table

from segloop.object_size import LARGER, LOST

ROW = Measured("a", "fluorescence", 1, 2.0, 2.0, 0.03, 0.9, (1, 1, 0), (2, 0, 0))


def test_an_image_is_reduced_only_if_little_is_lost_and_the_model_is_sure():
    for row, is_scaled in (
        (ROW, True),
        (replace(ROW, lost=0.07), False),
        (replace(ROW, relative=1.5), False),
        (replace(ROW, sure=0.7), False),
        (replace(ROW, relative=None), False),
        # so large that it is reduced whatever is lost
        (replace(ROW, relative=4.0, lost=0.5), True),
        (replace(ROW, relative=0.5, lost=0.5), True),
    ):
        assert row.counts(LARGER, LOST) == ((2, 0, 0) if is_scaled else (1, 1, 0))
    assert replace(ROW, relative=1.5).counts(1.25, LOST) == (2, 0, 0)


def test_tables_are_of_the_images_asked_for():
    rows = [ROW, replace(ROW, factor=1.0), replace(ROW, place=3, plain=(0, 2, 0), scaled=(0, 2, 0)),
            replace(ROW, place=3, factor=1.0)]  # fmt: skip
    first = table(rows, (1, 2))
    assert "**1.000 1.000**" in "\n".join(first) and first[-1] == "never scaled: 0.500 0.500"
    assert table(rows, (0,))[-1] == "never scaled: 0.500 0.000"
    assert losses(rows)[-1] == "fluorescence × 2: 0.030 to 0.030 is lost; 1 of 2 better, 0 worse"
