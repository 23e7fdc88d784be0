"""Mask R-CNN of size ``resnet50`` is torchvision's, number by number, and takes its weights."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator

from segloop.errors import ModelError
from segloop.models.maskrcnn import FAMILY, MaskRCNNModel
from segloop.models.maskrcnn_config import RESNET50, MaskRCNNConfig

SIDE = 96
CLASSES = tuple(f"class {number}" for number in range(1, 91))

COUNTERPARTS: dict[str, Callable[[MaskRCNNConfig], Any] | str] = {
    # what torchvision's parameter is in our config …
    "image_mean": lambda c: list(c.mean),
    "image_std": lambda c: list(c.std),
    "rpn_anchor_generator": lambda c: AnchorGenerator(c.anchors, (c.aspect_ratios,) * len(c.anchors)),
    "rpn_pre_nms_top_n_train": lambda c: 2 * c.proposals_train,
    "rpn_pre_nms_top_n_test": lambda c: 2 * c.proposals,
    "rpn_post_nms_top_n_train": lambda c: c.proposals_train,
    "rpn_post_nms_top_n_test": lambda c: c.proposals,
    "rpn_nms_thresh": lambda c: c.proposal_nms,
    "rpn_fg_iou_thresh": lambda c: c.rpn_foreground,
    "rpn_bg_iou_thresh": lambda c: c.rpn_background,
    "rpn_batch_size_per_image": lambda c: c.rpn_samples,
    "rpn_positive_fraction": lambda c: c.rpn_positive,
    "box_score_thresh": lambda c: c.box_score,
    "box_nms_thresh": lambda c: c.box_nms,
    "box_detections_per_img": lambda c: c.detections,
    "box_fg_iou_thresh": lambda c: c.box_foreground,
    "box_bg_iou_thresh": lambda c: c.box_foreground,
    "box_batch_size_per_image": lambda c: c.box_samples,
    "box_positive_fraction": lambda c: c.box_positive,
    # … or what takes its place
    "backbone": "widths, blocks, pyramid, norm_eps: SmallBackbone or ResNet-50",
    "num_classes": "ModelSpec.classes, plus background",
    "min_size": "no resizing: zoom and tiles, see segloop.resample",
    "max_size": "no resizing: zoom and tiles, see segloop.resample",
    "rpn_head": "pyramid, anchors, aspect_ratios: RPNHead",
    "rpn_score_thresh": "0.0, in MaskRCNN",
    "box_roi_pool": "sampling_points, aligned, canonical_size: PyramidRoIAlign of 7 cells",
    "box_head": "box_hidden: TwoMLPHead",
    "box_predictor": "FastRCNNPredictor",
    "bbox_reg_weights": "(10.0, 10.0, 5.0, 5.0), in MaskRCNN",
    "mask_roi_pool": "sampling_points, aligned, canonical_size: PyramidRoIAlign of 14 cells",
    "mask_head": "mask_layers: MaskRCNNHeads",
    "mask_predictor": "mask_layers: MaskRCNNPredictor",
    "kwargs": "of GeneralizedRCNNTransform, which is not used",
}


def test_every_parameter_of_torchvision_has_a_counterpart() -> None:
    parameters = set(inspect.signature(TorchvisionMaskRCNN.__init__).parameters) - {"self"}
    assert parameters == set(COUNTERPARTS)


def test_numbers_that_are_no_parameter_are_as_documented() -> None:
    """torchvision keeps some to itself; should one change, docs/models.md is to be changed too."""
    network = FAMILY.build(FAMILY.new_spec("small", ("cell",), 1, 2, "small")).module
    assert network.rpn.min_size == 1e-3
    assert network.rpn.score_thresh == 0.0
    assert network.roi_heads.box_coder.weights == (10.0, 10.0, 5.0, 5.0)
    assert "remove_small_boxes(boxes, min_size=1e-2)" in inspect.getsource(network.roi_heads.postprocess_detections)
    # proposals for inference are ours: see MaskRCNN._propose
    assert network.rpn._pre_nms_top_n["training"] == 1000


def test_the_classic_size_keeps_torchvisions_numbers_where_cells_do_not_need_others() -> None:
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(TorchvisionMaskRCNN.__init__).parameters.items()
        if parameter.default not in (inspect.Parameter.empty, None)
    }
    differing = {
        name
        for name, ours in COUNTERPARTS.items()
        if callable(ours) and name in defaults and ours(RESNET50) != defaults[name]
    }
    assert differing == {
        "box_detections_per_img",  # 100: cells would be dropped
        "rpn_pre_nms_top_n_test",  # 1000, 1000 after: too few for 1000 objects
        "rpn_post_nms_top_n_train",  # 2000: memory
        "box_batch_size_per_image",  # 512: memory
    }


def our_parameters(config: MaskRCNNConfig) -> dict[str, Any]:
    return {name: ours(config) for name, ours in COUNTERPARTS.items() if callable(ours)}


@pytest.fixture(scope="module")
def config() -> MaskRCNNConfig:
    # few and sure: a random network finds something everywhere
    return replace(RESNET50, proposals=80, detections=25, box_score=0.02, norm_eps=1e-5)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 12, 12, generator=generator)
    return nn.functional.interpolate(coarse, SIDE, mode="bilinear")


@pytest.fixture(scope="module")
def theirs(config: MaskRCNNConfig, picture: Tensor) -> nn.Module:
    """torchvision's model with random weights and with our numbers for its parameters."""
    torch.manual_seed(5)
    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=91, min_size=SIDE, max_size=SIDE, **our_parameters(config)
    )
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.5, 1)
                layer.bias.normal_(0, 0.1)
        # far apart, so that rounding does not decide who comes first
        model.rpn.head.cls_logits.weight *= 30
        model.rpn.head.bbox_pred.weight *= 5
        last = model.roi_heads.box_predictor.cls_score
        last.weight *= 30
        # what all boxes have in common would make them one class
        means: list[Tensor] = []
        handle = last.register_forward_hook(lambda *call: means.append(call[2].mean(dim=0)))
        model.eval()(list(picture))
        handle.remove()
        last.bias -= means[0]
    return model


def build(config: MaskRCNNConfig, classes: tuple[str, ...] = CLASSES, channels: int = 3) -> MaskRCNNModel:
    spec = FAMILY.new_spec("classic", classes, channels, 2, "resnet50")
    numbers = {name: getattr(config, name) for name in config.__slots__}
    if channels != 3:
        numbers |= {"mean": (), "std": ()}
    return FAMILY.build(replace(spec, architecture=numbers))


@pytest.fixture(scope="module")
def ours(config: MaskRCNNConfig, theirs: nn.Module) -> MaskRCNNModel:
    model = build(config)
    assert model.load_torchvision(theirs.state_dict()) == []
    return model


def test_same_boxes_scores_and_masks(theirs: nn.Module, ours: MaskRCNNModel, picture: Tensor) -> None:
    masks: list[Tensor] = []
    handle = theirs.roi_heads.mask_predictor.register_forward_hook(lambda *call: masks.append(call[2].sigmoid()))
    with torch.inference_mode():
        (expected,) = theirs(list(picture))
    handle.remove()
    (got,) = ours.predict(picture)
    assert len(got) == len(expected["scores"]) >= 10
    assert got.classes.tolist() == expected["labels"].tolist()
    assert len(set(got.classes.tolist())) > 1
    torch.testing.assert_close(torch.from_numpy(got.scores), expected["scores"], rtol=0, atol=1e-3)
    torch.testing.assert_close(torch.from_numpy(got.boxes), expected["boxes"], rtol=0, atol=1e-3)
    own = masks[0][torch.arange(len(got)), expected["labels"]]
    torch.testing.assert_close(torch.from_numpy(got.masks), own, rtol=0, atol=1e-3)
    assert own.std() > 1e-3


def test_features_are_torchvisions(theirs: nn.Module, ours: MaskRCNNModel, picture: Tensor) -> None:
    with torch.inference_mode():
        images, _ = theirs.transform(list(picture))
        assert images.tensors.shape == picture.shape  # no resizing: its min_size is our side
        expected = theirs.backbone(images.tensors)
    got = ours.features(picture)
    assert list(got) == list(expected) == ["0", "1", "2", "3", "pool"]
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-4)


def test_variances_get_what_the_weights_were_trained_with() -> None:
    """torchvision sets it to 0 for its COCO weights; so does the classic size."""
    assert RESNET50.norm_eps == 0.0
    model = FAMILY.build(FAMILY.new_spec("classic", ("cell",), 3, 2, "resnet50"))
    norms = [layer for layer in model.module.modules() if type(layer).__name__ == "FrozenBatchNorm2d"]
    assert len(norms) == 53 and all(layer.eps == 0.0 for layer in norms)


def released_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in torchvision's file of COCO weights, which is older than its modules."""
    old = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        name = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d)\.0\.", r"\1.", name)
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        name = re.sub(r"mask_head\.(\d)\.0\.", lambda match: f"mask_head.mask_fcn{int(match[1]) + 1}.", name)
        old[name] = tensor
    return old


def test_released_names_other_classes_and_other_models(
    theirs: nn.Module, ours: MaskRCNNModel, config: MaskRCNNConfig
) -> None:
    state = released_names(theirs.state_dict())
    assert {"backbone.fpn.inner_blocks.0.weight", "rpn.head.conv.bias", "roi_heads.mask_head.mask_fcn4.weight"} <= set(
        state
    )
    model = build(config, ("cell",), channels=1)
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    fresh = model.load_torchvision(state)
    last = ("box_predictor.bbox_pred", "box_predictor.cls_score", "mask_predictor.mask_fcn_logits")
    expected = [f"roi_heads.{layer}.{kind}" for layer in last for kind in ("bias", "weight")]
    assert fresh == ["backbone.body.conv1.weight", *expected]
    for name, tensor in model.module.state_dict().items():
        assert torch.equal(tensor, before[name] if name in fresh else ours.module.state_dict()[name])

    # ImageNet's: the body of the backbone and nothing else
    imagenet = resnet50(weights=None).state_dict()
    fresh = model.load_torchvision(imagenet)
    assert "backbone.body.conv1.weight" in fresh
    assert all(not name.startswith("backbone.body.layer") for name in fresh)
    assert torch.equal(model.module.backbone.body.layer4[2].conv3.weight, imagenet["layer4.2.conv3.weight"])

    with pytest.raises(ModelError, match=r"has 'roi_heads.keypoint.weight', which this model lacks"):
        model.load_torchvision({**state, "roi_heads.keypoint.weight": torch.zeros(1)})
    with pytest.raises(ModelError, match="none of the state dict's weights fits"):
        model.load_torchvision({})
    small = FAMILY.build(FAMILY.new_spec("small", ("cell",), 3, 2, "small"))
    with pytest.raises(ModelError, match="a model of size resnet50"):
        small.load_torchvision(state)
