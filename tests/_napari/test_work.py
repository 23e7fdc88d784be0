"""Work for threads that needs no window to be tested."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import segloop
from segloop import live_parts, store
from segloop._napari import training_work, work
from segloop.corrections import TrainingSet
from segloop.corrections.foreseen import Addition, ForeseenSet
from segloop.events import drain
from segloop.image import Image
from segloop.train.finetune import FinetuneSettings
from segloop.train.lineage import with_learned
from segloop.train.regions import find_regions


def test_what_the_base_model_learned_is_not_told_as_kept_out(untrained, tmp_path):
    training_set = TrainingSet(tmp_path, task="semantic", classes=("background", "foreground"))
    pixels = np.random.default_rng(0).integers(0, 255, (512, 384)).astype(np.uint8)
    training_set.add(Image(pixels, "YX"), (pixels > 100).astype(np.uint8))
    ordered = sorted(find_regions(training_set, 2, 0), key=lambda region: region.chance)
    settings = FinetuneSettings(validation=ordered[3].chance)
    for learned, kept_out in ((ordered[:0], 3), (ordered[:2], 1)):
        model = store.load_model(untrained)
        model.spec = dataclasses.replace(model.spec, training={"learned": with_learned({}, learned)})
        store.save_model(model, "base")
        base = next(info for info in store.list_models() if info.name == "base")
        uses = drain(training_work.plan_training(base, tmp_path, settings)).uses
        assert (uses.train_regions, uses.held_out_regions) == (12 - kept_out, kept_out)


@pytest.mark.parametrize("spare", [0, -1])
def test_sliders_for_parts_are_left_out_of_images_too_large_for_them(monkeypatch, spare):
    pixels = np.zeros((64, 96), np.uint8)
    pixels[10:30, 10:30] = 200
    image = Image(pixels, "YX")
    result = segloop.segment(segloop.load_model("nuclei-unet"), image, segloop.SegmentSettings(instances=True))
    monkeypatch.setattr(live_parts, "MOST_PIXELS", pixels.size + spare)
    live = work._live_parts(result, image, (), np.asarray(result.labels.data))
    assert (live is None) == (spare < 0)


@pytest.mark.parametrize(("task", "whole"), [("instance", True), ("semantic", False)])
def test_objects_mostly_in_a_region_are_put_into_a_training_set_whole(task, whole, tmp_path):
    labels = np.zeros((60, 60), np.uint16)
    labels[20:40, 15:35] = 1
    reviewed = np.zeros(labels.shape, bool)
    reviewed[:, :30] = True
    pixels = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    correction = work.Correction(
        Image(pixels, "YX"),
        labels,
        reviewed,
        task,
        ("cell",) if task == "instance" else ("background", "cell"),
        {},
        "",
        "",
    )
    drain(work.add_correction(tmp_path, correction))
    training_set = TrainingSet(tmp_path)
    (entry,) = training_set.entries
    _, _, mask = training_set.read(entry)
    assert mask[reviewed].all() and mask[20:40, 30:35].all() == whole and not mask[:, 37:].any()
    # what is foreseen is what is put in
    foreseen = Addition(correction.image, labels, correction.vouched_for(), entry.key)
    assert ForeseenSet(tmp_path, [foreseen]).renewed == ()


@pytest.mark.parametrize("order", [(("object",), ("nucleus",)), (("nucleus",), ("object",))])
def test_classes_are_foreseen_as_they_will_be(tmp_path, blobs, order):
    base = next(info for info in store.list_models() if info.name == "nuclei-maskrcnn")
    corrections = [
        work.Correction(
            Image(np.roll(blobs, 9 * n, 0), "YX"),
            (blobs > 100).astype(np.uint8),
            None,
            "instance",
            classes,
            {1: 1},
            "",
            "",
        )
        for n, classes in enumerate(order)
    ]
    coming = [training_work.Coming(lambda own=own: own, "cells (all of it)") for own in corrections]
    folder = tmp_path / "both"
    foreseen = drain(training_work.plan_training(base, folder, FinetuneSettings(), coming)).uses
    for own in corrections:
        drain(work.add_correction(folder, own))
    real = drain(training_work.plan_training(base, folder, FinetuneSettings())).uses
    assert foreseen.classes == real.classes == ("nucleus",)
