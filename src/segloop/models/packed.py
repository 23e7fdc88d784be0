"""Packed: layers for inference on a CPU, their weights laid out ahead as oneDNN's kernels want them.

A plain convolution of torch lays its weights out anew at every call, writes its result, and reads and writes it again
to add a shortcut or to cut off what is below 0; in float32 on one core, 1 × 1 convolutions go to a slower library.
oneDNN does all of that in one pass. torch compiles its own networks to the same operators (``torch._inductor``).
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

SHAPES = 8
"""Sizes of maps for which a convolution keeps its weights; one in another size is laid out anew when it is called."""

ROWS = 512
"""Rows for which a linear layer's weights are laid out; they serve other numbers as well."""


@runtime_checkable
class Residual(Protocol):
    """A residual block that says of what it consists."""

    def parts(self) -> tuple[Sequence[nn.Conv2d], nn.Module]:
        """Convolutions, each followed by a ReLU, and what is added before the last of those."""
        ...


class PackedConvolution(nn.Module):
    """A convolution, and a ReLU after it if wanted.

    Parameters
    ----------
    layer : Conv2d
        On the CPU, with zeros as padding.
    relu : bool
    """

    def __init__(self, layer: nn.Conv2d, relu: bool) -> None:
        super().__init__()
        assert not isinstance(layer.padding, str)
        self.padding, self.stride, self.dilation = list(layer.padding), list(layer.stride), list(layer.dilation)
        self.groups, self.unary = layer.groups, "relu" if relu else "none"
        self.weight, self.bias = layer.weight, layer.bias
        self._packed: dict[tuple[int, ...], Tensor] = {}

    def _weight(self, x: Tensor) -> Tensor:
        """The weights for maps of the size of ``x``: in a layout for another size they might be moved at each call."""
        size = tuple(x.shape[1:])
        packed = self._packed.get(size)
        if packed is None:
            places = (self.padding, self.stride, self.dilation, self.groups)
            packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *places, [1, *size])
            if len(self._packed) < SHAPES:
                self._packed[size] = packed
        return packed

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to (N, C, Y, X)."""
        places = (self.padding, self.stride, self.dilation, self.groups)
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight(x), self.bias, *places, self.unary, [], ""
        )
        return out

    def beside(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Apply the layer to ``x``, add ``shortcut``, then cut off what is below 0."""
        places = (self.padding, self.stride, self.dilation, self.groups)
        out: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, shortcut, self._weight(x), self.bias, *places, "add", 1.0, "relu", [], ""
        )
        return out


class PackedResidual(nn.Module):
    """A residual block; see :class:`Residual`."""

    def __init__(self, layers: Sequence[nn.Conv2d], shortcut: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PackedConvolution(layer, relu=True) for layer in layers[:-1])
        self.last = PackedConvolution(layers[-1], relu=False)
        self.shortcut = shortcut
        pack(self)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out = x
        for layer in self.layers:
            out = layer(out)
        return self.last.beside(out, self.shortcut(x))


class PackedLinear(nn.Module):
    """A linear layer, and a ReLU after it if wanted."""

    def __init__(self, layer: nn.Linear, relu: bool) -> None:
        super().__init__()
        self.unary = "relu" if relu else "none"
        self.bias = layer.bias
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to (N, C)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.unary, [], "")
        return out


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this machine and this version of torch have oneDNN's operators for ``dtype``; tried out, not guessed."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    layer = nn.Conv2d(16, 16, 3, padding=1).to(dtype).requires_grad_(False)
    linear = nn.Linear(16, 16).to(dtype).requires_grad_(False)
    x = torch.rand(2, 16, 1, 1, dtype=dtype)
    try:
        with torch.no_grad():
            packed = PackedConvolution(layer, relu=True)
            tried = (packed.beside(x, packed(x)), torch.relu(layer(x).relu() + layer(x)))
            row = x[:, :, 0, 0]
            tried_linear = (PackedLinear(linear, relu=True)(row), linear(row).relu())
    # other versions of torch may lack the operators or take other arguments
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(bool(torch.allclose(own, plain, rtol=0.05, atol=0.05)) for own, plain in (tried, tried_linear))


def pack(module: nn.Module) -> None:
    """Put packed layers into the place of those within ``module``, whose batch norms are folded; in place."""
    for name, child in list(module.named_children()):
        if isinstance(child, Bottleneck):
            shortcut = child.downsample or nn.Identity()
            setattr(module, name, PackedResidual([child.conv1, child.conv2, child.conv3], shortcut))
        elif isinstance(child, Residual):
            setattr(module, name, PackedResidual(*child.parts()))
        elif isinstance(child, nn.Linear) or _is_plain(child):
            after = _followers(module, name)
            packed = PackedLinear if isinstance(child, nn.Linear) else PackedConvolution
            setattr(module, name, packed(child, relu=bool(after)))  # type: ignore[arg-type]
            for other in after:
                setattr(module, other, nn.Identity())
        else:
            pack(child)


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _followers(module: nn.Module, name: str) -> list[str]:
    """The name of the ReLU that follows a layer with nothing between, if the module applies one child after another."""
    if not isinstance(module, nn.Sequential):
        return []
    children = list(module.named_children())
    after = next(number for number, (own, _) in enumerate(children) if own == name) + 1
    while after < len(children) and isinstance(children[after][1], nn.Identity):
        after += 1
    return [children[after][0]] if after < len(children) and isinstance(children[after][1], nn.ReLU) else []
