"""The transfer benchmark: nothing is scored that was learned, nothing is run twice, rows of seeds are pooled."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from domains import DOMAINS
from transfer import Start, perform, planned, results_table

from segloop.labels import Task

OPTIONS = {
    "sets": list(DOMAINS),
    "starts": list(Start),
    "minutes": 1.0,
    "settings": "",
    "model": [],
    "regions": False,
    "choose": False,
}


def test_no_image_is_learned_and_scored():
    for domain in DOMAINS.values():
        assert len(set(domain.annotated)) == len(domain.annotated) == 8
        assert domain.held_out
        assert not set(domain.annotated) & set(domain.held_out)


def test_a_section_lies_between_what_is_learned_and_what_is_scored():
    sections = DOMAINS["em_drosophila_vnc"]
    assert min(map(int, sections.held_out)) - max(map(int, sections.annotated)) == 2


def test_runs_are_planned_once_and_without_training_only_where_the_classes_fit():
    options = argparse.Namespace(**OPTIONS | {"sizes": [0, 1], "seeds": [0, 1], "model": ["nuclei-unet=other"]})
    runs = planned(options)
    assert len(set(runs)) == len(runs)
    untrained = [run for run in runs if not run.images]
    assert [run.domain for run in untrained] == [n for n, d in DOMAINS.items() if d.task is Task.INSTANCE]
    assert len(runs) == len(untrained) + len(DOMAINS) * len(Start) * 2
    models = {(run.domain, run.start): run.model for run in runs}
    assert models["em_drosophila_vnc", Start.BUNDLED] == "other"
    assert models["worms_bbbc010", Start.BUNDLED] == "nuclei-maskrcnn"
    assert models["worms_bbbc010", Start.SCRATCH] == ""


def test_the_table_pools_seeds():
    run = {"domain": "d", "minutes": 1.0, "settings": "", "images": 2, "start": "scratch", "steps": 10, "cpu": 60.0}
    rows = [run | {"scores": {"mean AP": value, "AP50": 0.5}} for value in (0.2, 0.4)]
    last = results_table(rows).splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells == ["d", "", "2", "scratch", "1", "mean AP, AP50", "0.300 (0.200–0.400)", "0.500", "10", "60", "2"]


@pytest.mark.parametrize("start", list(Start))
def test_a_run_from_end_to_end(tmp_path, start):
    domain = DOMAINS["em_drosophila_vnc"]
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / domain.folder / kind).mkdir(parents=True)
    for name in (domain.annotated[0], *domain.held_out):
        labels = np.zeros((160, 160), np.uint8)
        for number in range(1, len(domain.classes)):
            labels[10:150, 30 * number : 30 * number + 15] = number
        iio.imwrite(
            tmp_path / domain.folder / "images" / f"{name}.png",
            labels * 50 + rng.integers(0, 9, labels.shape, np.uint8),
        )
        tifffile.imwrite(tmp_path / domain.folder / "labels" / f"{name}.tif", labels)
    options = argparse.Namespace(
        **OPTIONS | {"sets": [domain.folder], "sizes": [1], "seeds": [0], "starts": [start], "minutes": 0.02}
    )
    (run,) = planned(options)
    row = perform(run, tmp_path, tmp_path / "pictures")
    assert run.key.items() <= row.items()
    assert row["steps"] >= 1
    assert 0 <= row["scores"]["mean Dice"] <= 1
    assert len(list((tmp_path / "pictures").iterdir())) == 1
