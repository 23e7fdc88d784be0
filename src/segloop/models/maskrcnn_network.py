"""The Mask R-CNN network (He et al. 2017) on torchvision's parts, every number of it written out.

Module names are torchvision's, so that ``maskrcnn_resnet50_fpn``'s state dict loads as it is.
"""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, batched_nms, clip_boxes_to_image, remove_small_boxes
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.misc import FrozenBatchNorm2d

from segloop.errors import ModelError
from segloop.models.inference import Inferring
from segloop.models.mask_filling import MaskFiller, box_head_of_rows
from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.maskrcnn_losses import ExampleSampler, ReviewedHeads, ReviewedProposals, mask_loss
from segloop.models.maskrcnn_sheet import Sheet, sheet_target
from segloop.models.maskrcnn_targets import object_masks
from segloop.models.packed import Residual
from segloop.models.roi_align import PyramidRoIAlign

LEVELS = ("0", "1", "2", "3")
STRIDES = (4, 8, 16, 32)
LIMIT_AREA = 512 * 512
"""Pixels of a tile that the limits on proposals and detections are meant for; larger tiles may have more."""
MASK_CHANNELS = 4096
"""Channels of all boxes whose masks are computed at once: few enough for the processor's cache."""
SURE, CROWDED = 0.5, 0.4
"""A tile is crowded if this share of its proposals became detections with at least this score; it then gets more."""


class ResidualBlock(Residual):
    """Two 3×3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out

    def parts(self) -> tuple[nn.Sequential, nn.Module]:
        """Layers, and what is added before the last ReLU."""
        return self.body, self.shortcut


class SmallBackbone(nn.Module):
    """A light residual network with a feature pyramid, strides 4 to 32."""

    def __init__(self, channels: int, config: MaskRCNNConfig) -> None:
        super().__init__()
        stem = 32
        self.body = nn.ModuleDict(
            {
                "stem": nn.Sequential(
                    nn.Conv2d(channels, stem, 3, 2, 1, bias=False),
                    nn.BatchNorm2d(stem),
                    nn.ReLU(inplace=True),
                )
            }
        )
        inputs = stem
        for level, (width, count) in enumerate(zip(config.widths, config.blocks)):
            blocks = [ResidualBlock(inputs if i == 0 else width, width, 2 if i == 0 else 1) for i in range(count)]
            self.body[f"stage{level}"] = nn.Sequential(*blocks)
            inputs = width
        self.fpn = FeaturePyramidNetwork(list(config.widths), config.pyramid, _fifth_level(config))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the pyramid's maps, float (N, pyramid, Y / stride, X / stride), finest first."""
        x = self.body["stem"](x)
        maps = OrderedDict()
        for level, name in enumerate(LEVELS):
            x = self.body[f"stage{level}"](x)
            maps[name] = x
        out: dict[str, Tensor] = self.fpn(maps)
        return out


class MaskRCNN(Inferring):
    """Backbone, proposal network and heads.

    Parameters
    ----------
    config : MaskRCNNConfig
    channels : int
        Input channels.
    classes : int
        Object classes, without background.
    """

    def __init__(self, config: MaskRCNNConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.config = config
        strides = dict(zip(LEVELS, STRIDES))
        self.backbone = SmallBackbone(channels, config) if config.widths else _resnet50_backbone(channels, config)
        per_level = (config.aspect_ratios,) * len(config.anchors)
        self.rpn = ReviewedProposals(
            AnchorGenerator(config.anchors, per_level),
            _proposal_head(config),
            fg_iou_thresh=config.rpn_foreground,
            bg_iou_thresh=config.rpn_background,
            batch_size_per_image=config.rpn_samples,
            positive_fraction=config.rpn_positive,
            # proposals for inference are made by _propose
            pre_nms_top_n={"training": 2 * config.proposals_train, "testing": 0},
            post_nms_top_n={"training": config.proposals_train, "testing": 0},
            nms_thresh=config.proposal_nms,
            score_thresh=0.0,
        )

        def pooler(cells: int) -> PyramidRoIAlign:
            return PyramidRoIAlign(strides, cells, config.sampling_points, config.aligned, config.canonical_size)

        self.roi_heads = ReviewedHeads(
            box_roi_pool=pooler(7),
            box_head=TwoMLPHead(config.pyramid * 7 * 7, config.box_hidden),
            box_predictor=FastRCNNPredictor(config.box_hidden, classes + 1),
            fg_iou_thresh=config.box_foreground,
            bg_iou_thresh=config.box_foreground,
            batch_size_per_image=config.box_samples,
            positive_fraction=config.box_positive,
            bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),
            score_thresh=config.box_score,
            nms_thresh=config.box_nms,
            # the limit depends on the tile; other threads may predict tiles of another size at the same time
            detections_per_img=sys.maxsize,
            mask_roi_pool=pooler(14),
            mask_head=MaskRCNNHeads(config.pyramid, config.mask_layers, dilation=1),
            mask_predictor=MaskRCNNPredictor(config.mask_layers[-1], config.mask_layers[-1], classes + 1),
        )
        self.rpn.fg_bg_sampler = ExampleSampler(config.rpn_samples, config.rpn_positive)
        self.roi_heads.fg_bg_sampler = ExampleSampler(config.box_samples, config.box_positive)
        if config.mean and len(config.mean) != channels:
            raise ModelError(f"mean and std for {len(config.mean)} channels, but the model has {channels}")
        mean = torch.tensor(config.mean or (0.0,) * channels).view(1, -1, 1, 1)
        std = torch.tensor(config.std or (1.0,) * channels).view(1, -1, 1, 1)
        self.mean: Tensor
        self.std: Tensor
        # not part of the weights: torchvision's state dicts have no such keys
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def for_inference(self) -> None:
        """Take heads that only infer; see :func:`segloop.models.inference.inference_copy`."""
        heads = self.roi_heads
        heads.box_head = box_head_of_rows(heads.box_head, self.config.pyramid)
        heads.mask_predictor = MaskFiller(heads.mask_predictor)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Stage 1. Normalised images, float32 (N, C, Y, X), to the pyramid's maps by name."""
        maps: dict[str, Tensor] = self.backbone((images - self.mean) / self.std)
        return maps

    def detect(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Stage 2. Boxes float32 (N, 4), scores (N,) and classes (N,) of each image of ``size`` (Y, X), best first."""
        # a larger tile holds more objects: the limits are per 512 × 512 pixels
        share = max(1.0, size[0] * size[1] / LIMIT_AREA)
        found = []
        for image, raw in enumerate(self._raw_proposals(features, size)):
            own = {name: feature[image : image + 1] for name, feature in features.items()}
            most, limit = math.ceil(self.config.proposals * share), math.ceil(self.config.detections * share)
            found.append(self._detect_in(own, size, raw, most, limit))
        return found

    def _detect_in(
        self,
        features: Mapping[str, Tensor],
        size: tuple[int, int],
        raw: list[tuple[Tensor, ...]],
        most: int,
        limit: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Detect in one image the ``limit`` best, from ``most`` proposals, and more as long as it is crowded."""
        while True:
            ((boxes, scores, classes),) = self._detect(features, size, self._propose([raw], size, most))
            boxes, scores, classes = boxes[:limit], scores[:limit], classes[:limit]
            if int((scores >= SURE).sum()) < CROWDED * most or most >= limit:
                return boxes, scores, classes
            most = min(2 * most, limit)

    def _detect(
        self, features: Mapping[str, Tensor], size: tuple[int, int], proposals: list[Tensor]
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        shapes = [size] * len(proposals)
        pooled = self.roi_heads.box_roi_pool(features, proposals, shapes)
        logits, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        boxes, scores, classes = self.roi_heads.postprocess_detections(
            logits.float(), deltas.float(), proposals, shapes
        )
        return list(zip(boxes, scores, classes))

    def _raw_proposals(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> list[list[tuple[Tensor, ...]]]:
        """Per image and level: scores (N,), deltas (N, 4) and anchors (N, 4) of what may hold an object."""
        maps = list(features.values())
        logits, deltas = self.rpn.head(maps)
        anchors = self._anchors(maps, size)
        least = torch.logit(torch.tensor(self.config.proposal_score, dtype=torch.float64)).item()
        found = []
        for image in range(len(maps[0])):
            levels: list[tuple[Tensor, ...]] = []
            for level, own in enumerate(anchors):
                # rows, columns, anchors of a place: the order of torchvision's anchors
                score = logits[level][image].permute(1, 2, 0).reshape(-1).float()
                places = torch.where(score > least)[0]
                delta = deltas[level][image].permute(1, 2, 0).reshape(-1, 4)
                levels.append((score[places], delta[places].float(), own[places]))
            found.append(levels)
        return found

    def _propose(self, raw: list[list[tuple[Tensor, ...]]], size: tuple[int, int], most: int) -> list[Tensor]:
        """Boxes of each image that may hold an object, float32 (N, 4), N at most ``most``, best first.

        As torchvision's proposal network, but that only the best anchors of a level become boxes.
        """
        found = []
        for levels in raw:
            boxes, scores, numbers = [], [], []
            for level, (score, delta, anchor) in enumerate(levels):
                best = score.topk(min(2 * most, len(score))).indices
                boxes.append(self.rpn.box_coder.decode_single(delta[best], anchor[best]))
                scores.append(score[best])
                numbers.append(torch.full_like(best, level))
            clipped = clip_boxes_to_image(torch.cat(boxes), size)
            sure, level_of = torch.cat(scores), torch.cat(numbers)
            keep = remove_small_boxes(clipped, self.rpn.min_size)
            keep = keep[batched_nms(clipped[keep], sure[keep], level_of[keep], self.config.proposal_nms)][:most]
            found.append(clipped[keep])
        return found

    def _anchors(self, maps: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Anchors of each level, float32 (N, 4)."""
        generator = self.rpn.anchor_generator
        grid = [feature.shape[-2:] for feature in maps]
        strides = [
            [torch.tensor(n // shape[axis], device=maps[0].device) for axis, n in enumerate(size)] for shape in grid
        ]
        generator.set_cell_anchors(torch.float32, maps[0].device)
        anchors: list[Tensor] = generator.grid_anchors(grid, strides)
        return anchors

    def masks(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> list[Tensor]:
        """Stage 3. Fill boxes of each image: float32 (N, 28, 28) in [0, 1]; each class has a mask of its own."""
        return [self._fill(features, image, *own) for image, own in enumerate(zip(boxes, classes))]

    def _fill(self, features: Mapping[str, Tensor], image: int, boxes: Tensor, classes: Tensor) -> Tensor:
        heads = self.roi_heads
        own = {name: feature[image : image + 1] for name, feature in features.items()}
        filler = heads.mask_predictor
        if not isinstance(filler, MaskFiller):
            filler = MaskFiller(filler)
        parts = [boxes.new_zeros((0, 28, 28))]
        # thousands of objects at once would need gigabytes
        most = max(1, MASK_CHANNELS // max(self.config.mask_layers))
        for some, numbers in zip(boxes.split(most), classes.split(most)):
            if len(some):
                x = heads.mask_head(heads.mask_roi_pool(own, [some], [(0, 0)]))
                parts.append(filler(x, numbers))
        return torch.cat(parts)

    def losses(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the five losses of the paper: objectness and boxes of proposals; classes, boxes, masks of objects."""
        features = {name: feature.float() for name, feature in self.features(images).items()}
        size = (images.shape[-2], images.shape[-1])
        self._sample(1)
        # a fifth level's stride does not divide the sides of every crop
        if images.device.type != "cpu" and len(features) == len(LEVELS):
            return self.sheet_losses(features, targets, size)
        shapes = [size] * len(images)
        heads = self.roi_heads
        with torch.autocast(images.device.type, enabled=False):
            proposals, losses = self.rpn(self._image_list(features, size), features, targets)
            boxes, matched, classes, deltas = heads.select_training_samples(proposals, targets)
            pooled = heads.box_roi_pool(features, boxes, shapes)
            losses["loss_classifier"], losses["loss_box_reg"] = fastrcnn_loss(
                *heads.box_predictor(heads.box_head(pooled)), classes, deltas
            )
            # masks are learned in the boxes that hold an object, each the mask of its own class
            found = [own > 0 for own in classes]
            boxes = [own[some] for own, some in zip(boxes, found)]
            masks = [object_masks(target["objects"], own[some]) for target, own, some in zip(targets, matched, found)]
            pooled = heads.mask_roi_pool(features, boxes, shapes)
            logits = heads.mask_predictor(heads.mask_head(pooled))
            losses["loss_mask"] = mask_loss(logits, boxes, masks, [own[some] for own, some in zip(classes, found)])
        return losses

    def sheet_losses(
        self, features: Mapping[str, Tensor], targets: list[dict[str, Tensor]], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """The losses of crops of ``size`` (Y, X) with their boxes handled together: see ``maskrcnn_sheet``.

        What they are the mean of is drawn from all crops together; apart from that they are those of :meth:`losses`.
        """
        sheet = Sheet(len(targets), size, STRIDES[-1])
        target = sheet_target(sheet, targets)
        heads = self.roi_heads
        self._sample(sheet.count)
        with torch.autocast(target["boxes"].device.type, enabled=False):
            boxes, losses = self._sheet_proposals(sheet, features, target)
            boxes, (matched,), (classes,), deltas = heads.select_training_samples(boxes, [target])
            laid = sheet.lay_out(features)
            pooled = heads.box_roi_pool(laid, boxes, [sheet.size])
            losses["loss_classifier"], losses["loss_box_reg"] = fastrcnn_loss(
                *heads.box_predictor(heads.box_head(pooled)), [classes], deltas
            )
            found = torch.where(classes > 0)[0]
            own = boxes[0][found]
            pooled = heads.mask_roi_pool(laid, [own], [sheet.size])
            logits = heads.mask_predictor(heads.mask_head(pooled))
            crops, places = sheet.to_crops(own)
            masks = object_masks(target["objects"][crops], target["places"][matched[found]])
            losses["loss_mask"] = mask_loss(logits, [places], [masks], [classes[found]])
        return losses

    def _sheet_proposals(
        self, sheet: Sheet, features: Mapping[str, Tensor], target: dict[str, Any]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        maps = list(features.values())
        logits, deltas = self.rpn.head(maps)
        anchors, scores, offsets, boxes = [], [], [], []
        for anchor, logit, delta in zip(self._anchors(maps, sheet.crop), logits, deltas):
            # rows, columns, anchors of a place: the order of torchvision's anchors
            offset = delta.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).reshape(-1, 4)
            anchors.append((anchor + sheet.origins(anchor.device)[:, None]).reshape(-1, 4))
            scores.append(logit.permute(0, 2, 3, 1).reshape(-1))
            offsets.append(offset)
            decoded = self.rpn.box_coder.decode_single(offset.detach(), anchor.repeat(sheet.count, 1))
            boxes.append(sheet.place(decoded.reshape(sheet.count, -1, 4)).reshape(-1, 4))
        counts = [len(score) for score in scores]
        objectness = torch.cat(scores)
        proposals, _ = self.rpn.filter_proposals(torch.cat(boxes)[None], objectness[None], [sheet.size], counts)
        labels, matched = self.rpn.assign_targets_to_anchors([torch.cat(anchors)], [target])
        wanted = self.rpn.box_coder.encode(matched, [torch.cat(anchors)])
        found, placed = self.rpn.compute_loss(objectness, torch.cat(offsets), labels, wanted)
        return proposals, {"loss_objectness": found, "loss_rpn_box_reg": placed}

    def _sample(self, images: int) -> None:
        """Set how many examples are drawn at once: those of so many images."""
        config = self.config
        self.rpn._pre_nms_top_n["training"] = 2 * config.proposals_train * images
        self.rpn._post_nms_top_n["training"] = config.proposals_train * images
        self.rpn.fg_bg_sampler.batch_size_per_image = config.rpn_samples * images
        self.roi_heads.fg_bg_sampler.batch_size_per_image = config.box_samples * images

    def _image_list(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> ImageList:
        first = features[LEVELS[0]]
        # the anchor generator reads only the shape of the batch; an expanded scalar costs no memory
        shape = first.new_zeros(()).expand(len(first), 1, *size)
        return ImageList(shape, [size] * len(first))


def _resnet50_backbone(channels: int, config: MaskRCNNConfig) -> nn.Module:
    body = resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=config.norm_eps))
    if channels != 3:
        body.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    layers: dict[str, str] = {f"layer{level + 1}": name for level, name in enumerate(LEVELS)}
    backbone = BackboneWithFPN(body, layers, [256, 512, 1024, 2048], config.pyramid)
    backbone.fpn.extra_blocks = _fifth_level(config)
    return backbone


def _proposal_head(config: MaskRCNNConfig) -> RPNHead:
    head = RPNHead(config.pyramid, len(config.anchors[0]) * len(config.aspect_ratios))
    if config.rpn_kernel != 3:
        first = nn.Conv2d(config.pyramid, config.pyramid, config.rpn_kernel, padding=config.rpn_kernel // 2)
        nn.init.normal_(first.weight, std=0.01)
        nn.init.zeros_(first.bias)  # type: ignore[arg-type]
        head.conv[0][0] = first
    return head


def _fifth_level(config: MaskRCNNConfig) -> LastLevelMaxPool | None:
    return LastLevelMaxPool() if len(config.anchors) == 5 else None
