"""Crops on a sheet: what is learned from them together is what is learned from each by itself."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor

from segloop.models.maskrcnn import FAMILY, MaskRCNNModel
from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.maskrcnn_sheet import Sheet, sheet_target
from segloop.models.protocol import Example, ModelSpec, Task

# every anchor and every proposal is an example, so that nothing is left to chance
EVERYTHING = MaskRCNNConfig(
    widths=(8, 8, 8, 8),
    blocks=(1, 1, 1, 1),
    pyramid=8,
    box_hidden=16,
    mask_layers=(8,),
    proposals_train=10**5,
    proposal_nms=0.95,
    rpn_samples=10**6,
    rpn_positive=1.0,
    box_samples=10**6,
    box_positive=1.0,
)


def model() -> MaskRCNNModel:
    spec = ModelSpec("tiny", "maskrcnn", Task.INSTANCE, ("cell",), channels=1, architecture=asdict(EVERYTHING))
    torch.manual_seed(0)
    built = FAMILY.build(spec)
    built.module.train()
    return built


def crop(seed: int, objects: int, unreviewed: int = 0) -> Example:
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((64, 96))
    labels = np.zeros((64, 96), np.int64)
    for number in range(1, objects + 1):
        y, x = rng.uniform(0, 64), rng.uniform(0, 96)
        labels[(rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(4, 9) ** 2] = number
    reviewed = np.ones(labels.shape, bool)
    reviewed[:, :unreviewed] = False
    image = torch.from_numpy((labels > 0) + rng.normal(0, 0.1, labels.shape)).float()[None]
    return Example(image, torch.from_numpy(labels), torch.from_numpy(reviewed), {1: 1})


def both(built: MaskRCNNModel, examples: list[Example]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    prepared = [built.prepare(example) for example in examples]
    alone = built.losses(prepared)
    features = built.module.features(torch.stack([example.image for example in examples]))
    together = built.module.sheet_losses(features, [dict(example.target) for example in prepared], (64, 96))
    return alone, together


def test_losses_and_gradients_are_those_of_each_crop() -> None:
    built = model()
    # five crops leave an empty place on the sheet; one has no object, one is in part unreviewed
    examples = [crop(0, 4), crop(1, 7), crop(2, 0), crop(3, 5, unreviewed=40), crop(4, 2)]
    losses = both(built, examples)
    gradients = []
    for own in losses:
        built.module.zero_grad()
        torch.stack(list(own.values())).sum().backward()
        gradients.append({name: tensor.grad.clone() for name, tensor in built.module.named_parameters()})
    alone, together = losses
    assert alone.keys() == together.keys()
    for name in alone:
        assert alone[name].item() == pytest.approx(together[name].item(), rel=1e-4), name
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-3, atol=1e-5), name


def test_crops_without_any_object() -> None:
    built = model()
    alone, together = both(built, [crop(0, 0), crop(1, 0)])
    assert together["loss_mask"].item() == together["loss_rpn_box_reg"].item() == 0
    assert together["loss_objectness"].item() == pytest.approx(alone["loss_objectness"].item(), rel=1e-4)


def test_places_by_hand() -> None:
    sheet = Sheet(3, (64, 96), 32)
    assert (sheet.columns, sheet.pitch, sheet.size) == (2, (128, 160), (256, 320))
    origins = sheet.origins(torch.device("cpu"))
    assert origins[:, :2].tolist() == [[32, 32], [192, 32], [32, 160]]
    boxes = torch.tensor([[[0.0, 0, 10, 10]], [[-5, 60, 100, 70]], [[90, 1, 96, 2]]])
    placed = sheet.place(boxes)
    # cut to 96 × 64 and moved
    assert placed[1].tolist() == [[192, 92, 288, 96]]
    crops, back = sheet.to_crops(placed.flatten(0, 1))
    assert crops.tolist() == [0, 1, 2]
    assert back.tolist() == [[0, 0, 10, 10], [0, 60, 96, 64], [90, 1, 96, 2]]


def test_maps_are_laid_out_where_boxes_are() -> None:
    sheet = Sheet(3, (64, 96), 32)
    maps = torch.arange(3 * 2 * 16 * 24, dtype=torch.float32).reshape(3, 2, 16, 24)
    (laid,) = sheet.lay_out({"0": maps}).values()
    assert laid.shape == (1, 2, 64, 80)
    for number, (x, y, *_) in enumerate((sheet.origins(maps.device) / 4).int().tolist()):
        assert torch.equal(laid[0, :, y : y + 16, x : x + 24], maps[number])
        # beyond its edge a crop is continued by its edge
        assert torch.equal(laid[0, :, y : y + 16, x - 8], maps[number, :, :, 0])


def test_targets_keep_their_crop() -> None:
    built = model()
    sheet = Sheet(2, (64, 96), 32)
    one, other = (dict(built.prepare(crop(seed, 3)).target) for seed in (0, 1))
    target = sheet_target(sheet, [one, other])
    crops, boxes = sheet.to_crops(target["boxes"])
    assert torch.equal(boxes, torch.cat([one["boxes"], other["boxes"]]))
    assert crops.tolist() == [0] * len(one["boxes"]) + [1] * len(other["boxes"])
    assert target["places"].tolist() == [*range(len(one["boxes"])), *range(len(other["boxes"]))]
