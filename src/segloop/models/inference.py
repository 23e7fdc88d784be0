"""Inference: a copy of a network that computes the same numbers faster."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops.misc import FrozenBatchNorm2d

from segloop.models.packed import can_pack, pack

Module = TypeVar("Module", bound=nn.Module)

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, FrozenBatchNorm2d)


class Inferring(nn.Module, ABC):
    """A network some of whose layers have a faster form that only infers."""

    @abstractmethod
    def for_inference(self) -> None:
        """Take those forms, in place."""


def inference_copy(module: Module, dtype: torch.dtype) -> Module:
    """Return a copy of ``module`` for inference, in ``dtype``.

    Batch norms with running statistics are folded into the convolutions before them (the same affine map, one pass
    over memory less), weights lie with channels last, as the fast convolutions want them, and on a CPU as oneDNN
    wants them (:mod:`segloop.models.packed`). The first convolution stays in float32: it sees the image, whose faint
    differences bfloat16 would round away, and costs little.
    """
    twin = copy.deepcopy(module).eval().requires_grad_(False)
    fold_norms(twin)
    if isinstance(twin, Inferring):
        twin.for_inference()
    if dtype != torch.float32:
        name, first = next((name, child) for name, child in twin.named_modules() if isinstance(child, CONVOLUTIONS))
        exact = copy.deepcopy(first)
        for parameter in twin.parameters():
            parameter.data = parameter.data.to(dtype)
        holder, _, last = name.rpartition(".")
        setattr(twin.get_submodule(holder), last, _InFloat32(exact, dtype))
    for parameter in twin.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if next(twin.parameters()).device.type == "cpu" and can_pack(dtype):
        pack(twin)
    return twin


class _InFloat32(nn.Module):
    """A layer that computes in float32 and returns another dtype."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer, dtype

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        out: Tensor = self.layer(x.float()).to(self.dtype)
        return out


def fold_norms(module: nn.Module) -> None:
    """Fold each batch norm that follows a convolution, among the children of one module, into it; in place."""
    before: nn.Module | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, NORMS) and isinstance(before, CONVOLUTIONS):
            weight, bias = fuse_conv_bn_weights(
                before.weight,
                before.bias,
                child.running_mean,  # type: ignore[arg-type]
                child.running_var,  # type: ignore[arg-type]
                child.eps,
                child.weight,
                child.bias,
            )
            before.weight, before.bias = nn.Parameter(weight.detach(), False), nn.Parameter(bias.detach(), False)
            setattr(module, name, nn.Identity())
        else:
            fold_norms(child)
        before = child
