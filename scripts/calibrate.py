"""Make a Mask R-CNN's scores mean what they say, and choose its threshold, on a fold that it has not seen.

    python scripts/calibrate.py runs/m0/model --fold 0 --data DATA/nuclei_dsb2018 --json calibration.json
    python scripts/calibrate.py runs/m0/model --fold 0 --data DATA/nuclei_dsb2018 --apply runs/all/model --output DIR

A candidate is right if its mask has an IoU of at least 0.5 with an object that no better candidate has taken. Platt's
scaling (Platt 1999) maps the logit of the score, a · logit + b, to the share that is right. A score is the sigmoid of
a difference of two outputs of the box head: scaling and shift go into that layer's weights, and no code knows of them.
The expected calibration error (Guo et al. 2017, ten bins of equal width) is that of the other half of the groups
than the scaling was fitted on, both ways. ``--apply`` takes a model of the same recipe and
writes it, with the scaling and the threshold that fit all of the fold, as a new folder.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from diagram import diagram
from nuclei_data import NucleiImage, read_nuclei
from scipy.optimize import minimize
from scipy.special import expit, logit

import segloop
from segloop.candidates import rasterize
from segloop.metrics import instance_scores
from segloop.store import write_model

BINS = 10
THRESHOLDS = np.round(np.arange(0.2, 0.85, 0.05), 2)


def judge(labels: np.ndarray, candidates: segloop.Segmentation) -> tuple[np.ndarray, np.ndarray]:
    """Scores of an image's candidates, best first, float64 (N,), and whether each is right, bool (N,)."""
    found = candidates.candidates
    areas = np.bincount(labels.ravel())
    order = np.argsort(-found.scores, kind="stable")
    taken, right = set(), []
    for number in order:
        region, inside = rasterize(found.masks[number], found.boxes[number], labels.shape)
        under = labels[region][inside]
        shared = np.bincount(under[under > 0], minlength=1)
        best = int(shared.argmax())
        union = areas[best] + inside.sum() - shared[best] if shared[best] else 1
        hit = bool(shared[best] >= 0.5 * union) and best not in taken
        if hit:
            taken.add(best)
        right.append(hit)
    return found.scores[order].astype(float), np.array(right, bool)


def fit(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Platt's a and b by maximum likelihood."""
    x = logit(np.clip(scores, 1e-6, 1 - 1e-6))

    def loss(parameters: np.ndarray) -> float:
        z = parameters[0] * x + parameters[1]
        return float(np.mean(np.logaddexp(0, z) - right * z))

    # the loss is convex and smooth; a simplex may stop short of its minimum
    a, b = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    return float(a), float(b)


def calibrated(scores: np.ndarray, a: float, b: float) -> np.ndarray:
    """Scores after Platt's scaling."""
    return np.asarray(expit(a * logit(np.clip(scores, 1e-6, 1 - 1e-6)) + b))


def reliability(scores: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Per bin: candidates, mean score, share that is right."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    rows = []
    for number in range(BINS):
        own = place == number
        if own.any():
            rows.append({"candidates": int(own.sum()), "score": scores[own].mean(), "right": right[own].mean()})
    return rows


def calibration_error(rows: list[dict[str, float]]) -> float:
    """Expected calibration error, in [0, 1]."""
    total = sum(row["candidates"] for row in rows)
    return sum(row["candidates"] * abs(row["score"] - row["right"]) for row in rows) / total


def best_threshold(images: list[NucleiImage], results: list[segloop.Segmentation], a: float, b: float) -> float:
    """The calibrated score at which pooled AP50 over all modalities is best."""
    aps = []
    for threshold in THRESHOLDS:
        # where the calibrated score is the threshold
        raw = float(expit((logit(threshold) - b) / a))
        drawn = [
            result.candidates.paste(raw, result.thresholds.overlap, result.thresholds.min_area)[0][0]
            for result in results
        ]
        total = reduce(add, (instance_scores(item.labels, labels) for item, labels in zip(images, drawn)))
        aps.append(total.ap(0.5))
        print(f"threshold {threshold:.2f}: AP50 {aps[-1]:.4f}", flush=True)
    return float(THRESHOLDS[int(np.argmax(aps))])


def main() -> None:
    """Calibrate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--apply", type=Path, help="folder of the model to be calibrated")
    parser.add_argument("--output", type=Path, help="new folder for it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="file for the reliability diagram")
    options = parser.parse_args()
    model = segloop.load_model(options.model)
    images = read_nuclei(options.data, {options.fold})
    results = [segloop.segment(model, item.image) for item in images]
    judged = [judge(item.labels.astype(np.int64), result) for item, result in zip(images, results)]
    groups = sorted({item.group for item in images})
    half = set(np.random.default_rng(0).permutation(groups)[: len(groups) // 2])
    parts = [[pair for item, pair in zip(images, judged) if (item.group in half) == side] for side in (True, False)]
    pools = [tuple(np.concatenate(column) for column in zip(*part)) for part in parts]
    plain = reliability(*map(np.concatenate, zip(*pools)))
    after = [(calibrated(scores, *fit(*pools[1 - side])), right) for side, (scores, right) in enumerate(pools)]
    rows = reliability(*map(np.concatenate, zip(*after)))
    a, b = fit(*map(np.concatenate, zip(*pools)))
    threshold = best_threshold(images, results, a, b)
    table = {
        "candidates": sum(len(scores) for scores, _ in pools),
        "a": a,
        "b": b,
        "error_before": calibration_error(plain),
        "error_after": calibration_error(rows),
        "reliability_before": plain,
        "reliability": rows,
        "threshold": threshold,
    }
    print(json.dumps(table, indent=2))
    if options.json:
        options.json.write_text(json.dumps(table, indent=2))
    if options.picture:
        diagram({"as trained": plain, "after Platt's scaling": rows}).save(options.picture)
    if options.apply and options.output:
        other = segloop.load_model(options.apply)
        layer = other.module.roi_heads.box_predictor.cls_score
        with torch.no_grad():
            layer.weight *= a
            layer.bias *= a
            layer.bias[1] += b
        record = {**other.spec.training, "calibration": {"a": a, "b": b, "fold": options.fold}}
        other.spec = replace(other.spec, score_threshold=threshold, training=record)
        write_model(other, options.output)
        print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
