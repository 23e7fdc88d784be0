"""Packed: layers for inference on a CPU, their weights laid out ahead as oneDNN's kernels want them.

A plain convolution of torch lays its weights out anew at every call, writes its result, and reads and writes it again
to add a shortcut or to cut off what is below 0; in float32 on one core, 1 × 1 convolutions go to a slower library.
oneDNN does all of that in one pass. torch compiles its own networks to the same operators (``torch._inductor``).
"""

from __future__ import annotations

import platform
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

SHAPES = 3
"""Sizes of maps for which a convolution keeps its weights, the last ones: each takes as much memory as the weights."""

ROWS = 512
"""Rows for which a linear layer's weights are laid out; they serve other numbers as well."""


class Residual(nn.Module, ABC):
    """A residual block that says of what it consists."""

    @abstractmethod
    def parts(self) -> tuple[Iterable[nn.Module], nn.Module]:
        """Layers one after another, and what is added to what they give before a ReLU ends the block."""


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
        # the size that was asked for last is the last one
        self._packed: dict[tuple[int, ...], Tensor] = {}
        # tiles are predicted in several threads
        self._lock = threading.Lock()

    def _weight(self, x: Tensor) -> Tensor:
        """The weights for maps of the size of ``x``: in a layout for another size they might be moved at each call."""
        size = tuple(x.shape[1:])
        with self._lock:
            packed = self._packed.pop(size, None)
            if packed is None:
                places = (self.padding, self.stride, self.dilation, self.groups)
                packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *places, [1, *size])
            self._packed[size] = packed
            if len(self._packed) > SHAPES:
                del self._packed[next(iter(self._packed))]
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
        """Apply the layer to (..., C)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.unary, [], "")
        return out


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this machine and this version of torch have oneDNN's operators for ``dtype``; tried out, not guessed."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    # what others draw at random is not to depend on whether this was asked
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    layer = nn.Conv2d(16, 16, 3, padding=1, device="meta").requires_grad_(False)
    linear = nn.Linear(16, 16, device="meta").requires_grad_(False)
    for own in (layer, linear):
        own.weight, own.bias = nn.Parameter(drawn(*own.weight.shape), False), nn.Parameter(drawn(16), False)
    x = drawn(2, 16, 5, 5).contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            packed = PackedConvolution(layer, relu=True)
            tried = (packed.beside(x, packed(x)), torch.relu(layer(x).relu() + layer(x)))
            row = x[:, :, 0, 0]
            tried_linear = (PackedLinear(linear, relu=True)(row), linear(row).relu())
    # other versions of torch may lack the operators or take other arguments
    except (AttributeError, RuntimeError, TypeError):
        return False
    tolerance = max(1e-4, 4 * torch.finfo(dtype).eps)
    return all(bool((a - b).abs().max() <= tolerance * b.abs().max()) for a, b in (tried, tried_linear))


def pack(module: nn.Module) -> None:
    """Put packed layers into the place of those within ``module``, whose batch norms are folded; in place."""
    for name, child in list(module.named_children()):
        if residual := _residual(child):
            setattr(module, name, PackedResidual(*residual))
        elif type(child) is nn.Linear or _is_plain(child):
            after = _followers(module, name)
            packed = PackedLinear if isinstance(child, nn.Linear) else PackedConvolution
            setattr(module, name, packed(child, relu=bool(after)))  # type: ignore[arg-type]
            for other in after:
                setattr(module, other, nn.Identity())
        elif not _reaches_inside(child):
            pack(child)


def _residual(module: nn.Module) -> tuple[list[nn.Conv2d], nn.Module] | None:
    """Convolutions, each followed by a ReLU, and what is added before the last of those; None of other modules."""
    # a subclass may do something else with its parts
    if type(module) is Bottleneck:
        names = ("conv1", "bn1", "relu", "conv2", "bn2", "relu", "conv3", "bn3")
        body = [module.get_submodule(name) for name in names]
        shortcut = module.downsample if isinstance(module.downsample, nn.Module) else nn.Identity()
    elif isinstance(module, Residual):
        layers, shortcut = module.parts()
        body = list(layers)
    else:
        return None
    body = [layer for layer in body if type(layer) is not nn.Identity]
    convolutions = [layer for layer in body[::2] if isinstance(layer, nn.Conv2d) and _is_plain(layer)]
    between = [layer for layer in body[1::2] if type(layer) is nn.ReLU]
    # norms, for instance, that could not be folded
    if len(body) % 2 == 0 or len(convolutions) + len(between) != len(body):
        return None
    return convolutions, shortcut


def _reaches_inside(module: nn.Module) -> bool:
    """Whether a module, such as torch's attention, takes the weights of its layers instead of calling them."""
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    return type(module).__module__.startswith("torch.nn.modules.") and type(module) not in containers


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _followers(module: nn.Module, name: str) -> list[str]:
    """The name of the ReLU that follows a layer with nothing between, if the module applies one child after another."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        return []
    # named_children leaves out what is there twice
    children = list(module._modules.items())
    after = next(number for number, (own, _) in enumerate(children) if own == name) + 1
    while after < len(children) and type(children[after][1]) is nn.Identity:
        after += 1
    return [children[after][0]] if after < len(children) and type(children[after][1]) is nn.ReLU else []
