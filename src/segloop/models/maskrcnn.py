"""Mask R-CNN as a SegLoop model: spec, targets, prediction in stages. The network is in ``maskrcnn_network``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from segloop.errors import ModelError
from segloop.models.maskrcnn_config import RESNET50, SMALL, config_from
from segloop.models.maskrcnn_losses import drawn_by
from segloop.models.maskrcnn_network import LIMIT_AREA, MASK_CHANNELS, MaskRCNN
from segloop.models.maskrcnn_targets import DetectionExample, detection_target
from segloop.models.protocol import Example, Instances, MeanLoss, ModelSpec, Task
from segloop.models.torch_model import TorchModel, copy_matching

TILE = 640
"""Largest side of a tile unless the user says another: of larger tiles less is overlap, smaller ones show sooner and
keep more cores at work, 16 in an image of 2048 x 2048 pixels."""


class MaskRCNNModel(TorchModel):
    """A Mask R-CNN with its spec."""

    module: MaskRCNN
    network: MaskRCNN
    divisor = 32

    def __init__(self, spec: ModelSpec) -> None:
        if spec.task is not Task.INSTANCE or spec.ndim != 2:
            raise ModelError(
                f"Mask R-CNN finds objects in planes, but model {spec.name!r} says {spec.task.value}, {spec.ndim}D; "
                "use task instance and ndim 2"
            )
        config = config_from(spec.architecture, spec.name)
        super().__init__(spec, MaskRCNN(config, spec.channels, len(spec.classes)))

    def working_memory(self, shape: tuple[int, ...]) -> int:
        """Bytes that predicting one tile of ``shape`` (Y, X) takes at most."""
        config, pixels = self.module.config, math.prod(shape)
        # ResNet-50's widest map has 256 channels at stride 4, and a 64-channel one at stride 2 before it
        trunk = 3 * max(config.widths[0] if config.widths else 256, config.pyramid) / 16 + 64 / 2
        boxes = config.detections * max(1.0, pixels / LIMIT_AREA) * config.pyramid * 7 * 7 * 2
        masks = 3 * max(MASK_CHANNELS, *config.mask_layers) * 28 * 28
        return int(4 * (2 * trunk * pixels + boxes + masks)) + self.layout_memory

    @torch.inference_mode()
    def predict(self, tiles: Tensor) -> list[Instances]:
        """Predict tiles, float32 (N, C, Y, X); one Instances per tile."""
        maps = self.features(tiles)
        found = self.detect(maps, (tiles.shape[-2], tiles.shape[-1]))
        boxes = [torch.from_numpy(own.boxes).to(self.device) for own in found]
        classes = [torch.from_numpy(own.classes).to(self.device) for own in found]
        masks = self.masks(maps, boxes, classes)
        return [Instances(own.boxes, own.scores, own.classes, mask.cpu().numpy()) for own, mask in zip(found, masks)]

    @torch.inference_mode()
    def features(self, tiles: Tensor) -> dict[str, Tensor]:
        """Compute the feature pyramid of tiles, float32 (N, C, Y, X)."""
        self.check_tiles(tiles)
        return self.network.features(tiles.to(self.device).contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def detect(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> list[Instances]:
        """Find objects in tiles of ``size`` (Y, X); their masks are empty, (N, 0, 0)."""
        return [
            Instances(
                boxes.cpu().numpy(),
                scores.cpu().numpy(),
                classes.cpu().numpy(),
                np.zeros((len(boxes), 0, 0), np.float32),
            )
            for boxes, scores, classes in self.network.detect(features, size)
        ]

    @torch.inference_mode()
    def masks(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> list[Tensor]:
        """Fill boxes, per tile float32 (N, 4) and int64 (N,) in 1…K; per tile float32 (N, 28, 28) in [0, 1]."""
        return self.network.masks(features, boxes, classes)

    def prepare(self, example: Example) -> DetectionExample:
        """Find the objects of an example."""
        if isinstance(example, DetectionExample):
            return example
        return DetectionExample(
            example.image, example.labels, example.reviewed, example.object_classes, detection_target(example)
        )

    def losses(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The five losses of Mask R-CNN; what is not reviewed is no example of anything."""
        images = torch.stack([example.image for example in examples]).to(self.device)
        targets = [
            {name: tensor.to(self.device) for name, tensor in self.prepare(example).target.items()}
            for example in examples
        ]
        some = [index for index, example in enumerate(examples) if bool(example.reviewed.any())]
        if not some:
            return {"loss_objectness": sum(p.sum() * 0 for p in self.module.parameters() if p.requires_grad)}  # type: ignore[dict-item]
        images = images[some].contiguous(memory_format=torch.channels_last)
        return self.module.losses(images, [targets[index] for index in some])

    def losses_of(self, example: Example, seed: int) -> dict[str, MeanLoss]:
        """The losses of one example, with boxes to learn from that ``seed`` draws; a mean over none if unreviewed."""
        proposals, boxes = self.module.rpn.fg_bg_sampler, self.module.roi_heads.fg_bg_sampler
        with drawn_by(torch.Generator(self.device).manual_seed(seed)) as drawn:
            losses = self.losses([example])
        counts = {
            "loss_objectness": drawn.examples(proposals),
            "loss_rpn_box_reg": drawn.examples(proposals),
            "loss_classifier": drawn.examples(boxes),
            "loss_box_reg": drawn.examples(boxes),
            "loss_mask": drawn.positives(boxes),
        }
        return {name: MeanLoss(loss, counts[name]) for name, loss in losses.items()}

    def with_classes(self, classes: Sequence[str]) -> MaskRCNNModel:
        """Return a copy for other classes: only the last layers of the box and mask heads are new."""
        other = MaskRCNNModel(self.spec.with_classes(classes))
        state = self.module.state_dict()
        if tuple(classes) != self.spec.classes:
            last = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
            state = {name: tensor for name, tensor in state.items() if not name.startswith(last)}
        copy_matching(other.module, state)
        return other.to(self.device)

    def load_torchvision(self, state: Mapping[str, Tensor]) -> list[str]:
        """Take weights of torchvision: of ``maskrcnn_resnet50_fpn`` (trained on COCO) or ``resnet50`` (on ImageNet).

        Parameters
        ----------
        state : mapping
            The state dict, as ``torch.load(file, weights_only=True)`` reads it.

        Returns
        -------
        list of str
            Names of the weights that stay fresh: those the state dict lacks (all but the backbone's body for
            ImageNet's), and those whose shape differs (the last layers when the number of classes is not COCO's,
            the first when the number of channels is not 3).

        Raises
        ------
        ModelError
            If the state dict has names this network does not have, or none that fits: it is of another model.
        """
        given = torchvision_names(state)
        if unknown := sorted(set(given) - set(self.module.state_dict())):
            raise ModelError(
                f"the state dict has {unknown[0]!r}, which this model lacks; expected the weights of torchvision's "
                "maskrcnn_resnet50_fpn or resnet50, and a model of size resnet50"
            )
        fresh = copy_matching(self.module, given)
        if len(fresh) == len(self.module.state_dict()):
            raise ModelError(
                "none of the state dict's weights fits; expected those of maskrcnn_resnet50_fpn or resnet50"
            )
        return fresh


def torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the names of torchvision's released weights up to those of its present modules.

    The file of ``maskrcnn_resnet50_fpn`` dates from before 2022, when the layers of FPN, proposal network and mask
    head had other names. ``resnet50``'s own names get the backbone's prefix; its classifier is left out, as are
    counters of trainable batch norms, which frozen ones do not have.
    """
    prefix = "backbone.body." if "fc.weight" in state else ""
    named = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked") or (prefix and name.startswith("fc.")):
            continue
        new = re.sub(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", prefix + name)
        new = re.sub(r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2", new)
        if layer := re.fullmatch(r"roi_heads\.mask_head\.mask_fcn(\d)\.(weight|bias)", new):
            new = f"roi_heads.mask_head.{int(layer[1]) - 1}.0.{layer[2]}"
        named[new] = tensor
    return named


class MaskRCNNFamily:
    """Builds Mask R-CNNs."""

    name = "maskrcnn"
    task = Task.INSTANCE
    _configs: ClassVar = {"small": SMALL, "resnet50": RESNET50}

    def sizes(self) -> tuple[str, ...]:
        """``small`` (for a CPU) and ``resnet50`` (the classic, which takes torchvision's weights)."""
        return tuple(self._configs)

    def new_spec(self, name: str, classes: Sequence[str], channels: int, ndim: int, size: str) -> ModelSpec:
        """Return the spec of an untrained Mask R-CNN."""
        if size not in self._configs:
            raise ModelError(f"Mask R-CNN has no size {size!r}; the sizes are {', '.join(self.sizes())}")
        config = self._configs[size]
        if config.mean and channels != len(config.mean):
            config = replace(config, mean=(), std=())
        return ModelSpec(
            name=name,
            family=self.name,
            task=self.task,
            classes=tuple(classes),
            ndim=ndim,
            channels=channels,
            architecture=asdict(config),
            tile=TILE,
            halo=64,
            score_threshold=0.5,
        )

    def build(self, spec: ModelSpec) -> MaskRCNNModel:
        """Build the model that ``spec`` describes, with fresh weights."""
        return MaskRCNNModel(spec)


FAMILY = MaskRCNNFamily()
