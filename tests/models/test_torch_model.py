"""What all torch models share."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
import torch

from segloop.models.maskrcnn import FAMILY as MASKRCNN
from segloop.models.protocol import Example, ModelSpec, Trainable
from segloop.models.unet import FAMILY as UNET
from segloop.normalize import Normalization


def spec_of(family: object) -> ModelSpec:
    if family is MASKRCNN:
        return MASKRCNN.new_spec("x", ("cell",), 3, 2, "small")
    return UNET.new_spec("x", ("background", "cell"), 3, 2, "small")


def test_a_model_that_has_predicted_prepares_examples_in_another_process() -> None:
    """As a training draws its batches: ``prepare`` is sent, and with it the model."""
    model = MASKRCNN.build(spec_of(MASKRCNN))
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    model.predict(image[None])
    labels = torch.zeros(64, 64, dtype=torch.int64)
    labels[10:30, 10:30] = 1
    example = Example(image, labels, torch.ones(64, 64, dtype=torch.bool))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        sent = pool.submit(model.prepare, example).result(timeout=120)
    expected = model.prepare(example).target
    assert set(sent.target) == set(expected)
    assert all(torch.equal(sent.target[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("family", [UNET, MASKRCNN], ids=["unet", "maskrcnn"])
def test_other_classes_may_be_told_apart_by_colour(family: object) -> None:
    normalization = Normalization(joint=True, one_colour=True)
    model: Trainable = family.build(replace(spec_of(family), normalization=normalization))
    assert model.with_classes(model.spec.classes).spec == model.spec
    other = model.with_classes((*model.spec.classes, "infected"))
    assert other.spec.normalization == Normalization(joint=True)
