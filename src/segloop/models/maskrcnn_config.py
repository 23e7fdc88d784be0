"""The numbers of a Mask R-CNN: everything about network and inference that changes results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segloop.errors import ModelError


@dataclass(frozen=True, slots=True)
class MaskRCNNConfig:
    """Everything about the network and its inference that changes results; lengths are in network pixels.

    torchvision's defaults are made for photographs: 100 objects per image, images resized to 800–1333 pixels, anchors
    from 32 pixels. They would drop and rescale cells without a word, so none is left to it.

    Parameters
    ----------
    widths, blocks : tuple of int (4,)
        Channels and residual blocks of the ``small`` backbone's stages at strides 4, 8, 16, 32. Empty: ResNet-50.
    pyramid, box_hidden : int
        Channels of the feature pyramid; hidden units of the box head.
    mask_layers : tuple of int
        Channels of the mask head's convolutions.
    rpn_kernel : int
        Side of the proposal network's first convolution.
    anchors : tuple of tuple of float
        Anchor sides per pyramid level. A fifth level, pooled from the fourth, is added if there are five.
    aspect_ratios : tuple of float
    proposals_train, proposals : int
        Proposals kept for the heads: per image in training, per 512 × 512 pixels at inference. There, a tile with
        many objects gets more, up to ``detections``.
    proposal_score : float
        Least score of a proposal at inference.
    proposal_nms, box_nms : float
        IoU above which the lesser of two proposals, or of two boxes of a class, is dropped.
    box_score : float
        Least score of a detection; low, because all candidates are kept.
    detections : int
        Most detections per tile of 512 × 512 pixels, in proportion for larger ones.
    rpn_foreground, rpn_background, box_foreground : float
        IoU from which, or below which, anchors and proposals are positive, or negative, examples.
    rpn_samples, box_samples : int
        Examples per image in a training step.
    rpn_positive, box_positive : float
        Most of them that may be positive, as a share.
    sampling_points : int
        RoIAlign's bilinear samples per cell and axis.
    aligned : bool
        See :func:`segloop.models.roi_align.roi_align`.
    canonical_size : float
        See :class:`segloop.models.roi_align.PyramidRoIAlign`.
    norm_eps : float
        Added to the variances of ResNet-50's frozen batch norms. torchvision's COCO weights were trained with 0, its
        ImageNet weights with 1e-5.
    mean, std : tuple of float (C,)
        Subtracted from and divided out of the normalised image.
    """

    widths: tuple[int, ...] = (48, 96, 160, 256)
    blocks: tuple[int, ...] = (2, 2, 2, 1)
    pyramid: int = 64
    box_hidden: int = 256
    mask_layers: tuple[int, ...] = (64, 64)
    rpn_kernel: int = 3
    anchors: tuple[tuple[float, ...], ...] = ((8.0, 11.3), (16.0, 22.6), (32.0, 45.2), (64.0, 90.5))
    aspect_ratios: tuple[float, ...] = (1.0,)
    proposals_train: int = 500
    proposals: int = 400
    proposal_score: float = 0.01
    proposal_nms: float = 0.7
    box_nms: float = 0.5
    box_score: float = 0.05
    detections: int = 1000
    rpn_foreground: float = 0.6
    rpn_background: float = 0.3
    rpn_samples: int = 256
    rpn_positive: float = 0.5
    box_foreground: float = 0.5
    box_samples: int = 96
    box_positive: float = 0.33
    sampling_points: int = 2
    aligned: bool = True
    canonical_size: float = 112.0
    norm_eps: float = 1e-5
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("widths", "blocks", "mask_layers", "aspect_ratios", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "anchors", tuple(tuple(sides) for sides in self.anchors))
        if len(self.anchors) not in (4, 5) or len({len(sides) for sides in self.anchors}) != 1:
            raise ModelError("anchors need 4 or 5 levels with equally many sides each")
        if len(self.widths) != len(self.blocks) or len(self.widths) not in (0, 4):
            raise ModelError("widths and blocks need 4 numbers each, or none for ResNet-50")
        if len(self.mean) != len(self.std):
            raise ModelError(
                f"mean and std have {len(self.mean)} and {len(self.std)} numbers; expected one per channel"
            )
        counts = [*self.widths, *self.blocks, *self.mask_layers, *(getattr(self, name) for name in _COUNTS)]
        lengths = [*self.std, *self.aspect_ratios, *(side for sides in self.anchors for side in sides)]
        if bad := [number for number in counts if not isinstance(number, int) or number < 1]:
            raise ModelError(
                f"Mask R-CNN with {bad[0]!r} as a number of channels, boxes or samples; expected 1 or more"
            )
        if bad := [number for number in [*lengths, self.canonical_size] if not number > 0]:
            raise ModelError(f"Mask R-CNN with {bad[0]!r} as a length, ratio or deviation; expected a number above 0")
        if bad := [name for name in _SHARES if not 0 <= getattr(self, name) <= 1]:
            raise ModelError(f"Mask R-CNN with {bad[0]} = {getattr(self, bad[0])!r}; expected a number from 0 to 1")


_COUNTS = (
    "pyramid",
    "rpn_kernel",
    "box_hidden",
    "proposals_train",
    "proposals",
    "detections",
    "rpn_samples",
    "box_samples",
    "sampling_points",
)
_SHARES = (
    "proposal_score",
    "proposal_nms",
    "box_nms",
    "box_score",
    "rpn_foreground",
    "rpn_background",
    "rpn_positive",
    "box_foreground",
    "box_positive",
    "norm_eps",
)


SMALL = MaskRCNNConfig(rpn_kernel=1)

RESNET50 = MaskRCNNConfig(
    widths=(),
    blocks=(),
    pyramid=256,
    box_hidden=1024,
    mask_layers=(256, 256, 256, 256),
    anchors=((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)),
    aspect_ratios=(0.5, 1.0, 2.0),
    proposals_train=1000,
    proposals=1000,
    proposal_score=0.0,
    rpn_foreground=0.7,
    box_samples=256,
    box_positive=0.25,
    aligned=False,
    canonical_size=224.0,
    norm_eps=0.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def config_from(numbers: Mapping[str, Any], model: str) -> MaskRCNNConfig:
    """Read a spec's architecture, or raise ModelError."""
    try:
        return MaskRCNNConfig(**numbers)
    except TypeError as error:
        raise ModelError(f"model {model!r} has an architecture that Mask R-CNN does not know: {error}") from error
