"""What all torch models share: a module, a spec, a device."""

from __future__ import annotations

import itertools
import math
import threading
from typing import Any, Self

import torch
from torch import Tensor, nn

from segloop.errors import ModelError
from segloop.models.inference import inference_copy
from segloop.models.packed import can_pack
from segloop.models.protocol import Example, ModelSpec

_RENEWING = threading.Lock()


class TorchModel:
    """A module and its spec. Families add ``divisor``, ``predict``, ``losses`` and ``with_classes``."""

    divisor: int

    def __init__(self, spec: ModelSpec, module: nn.Module) -> None:
        self.spec = spec
        self.module = module.eval()
        self.precision = torch.float32
        self._twin: tuple[tuple[Any, ...], nn.Module] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # made again when needed; what is packed in it has no form that could be copied or sent
        return {**self.__dict__, "_twin": None}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    def to(self, device: torch.device, precision: torch.dtype | None = None) -> Self:
        """Move the weights to ``device`` in place and return the model.

        ``precision`` is that of predictions from now on, float32 or bfloat16; the weights stay float32.
        """
        self.module.to(device)
        self.precision = self.precision if precision is None else precision
        return self

    @property
    def network(self) -> nn.Module:
        """The network that predicts: a copy of ``module`` made for inference, renewed when its weights have changed."""
        tensors = list(itertools.chain(self.module.parameters(), self.module.buffers()))
        # in-place changes raise a tensor's version; a tensor in another's place has another address
        # (those made in inference mode have none, and cannot be trained)
        versions = ((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
        state = (self.precision, *versions)
        with _RENEWING:
            if self._twin is None or self._twin[0] != state:
                self._twin = (state, inference_copy(self.module, self.precision))
            return self._twin[1]

    def working_memory(self, shape: tuple[int, ...]) -> int:
        """Bytes that predicting one tile of ``shape`` ([Z], Y, X) takes at most, beside weights and result; roughly.

        A guess for networks that do not know better: 256 float32 numbers per pixel.
        """
        return 1024 * math.prod(shape) + self.layout_memory

    @property
    def layout_memory(self) -> int:
        """Bytes that the weights of convolutions take in the layout for one more size of tiles."""
        if self.device.type != "cpu" or not can_pack(self.precision):
            return 0
        layers = (layer for layer in self.module.modules() if isinstance(layer, nn.Conv2d))
        return self.precision.itemsize * sum(layer.weight.numel() for layer in layers)

    def prepare(self, example: Example) -> Example:
        """Nothing has to be worked out ahead."""
        return example

    def check_tiles(self, tiles: Tensor) -> None:
        """Raise ModelError unless ``tiles`` is (N, C, [Z], Y, X) with the model's channels and divisible sides."""
        if tiles.ndim != self.spec.ndim + 2 or tiles.shape[1] != self.spec.channels:
            letters = "N, C, Z, Y, X" if self.spec.ndim == 3 else "N, C, Y, X"
            raise ModelError(
                f"tiles of shape {tuple(tiles.shape)}; expected ({letters}) with C = {self.spec.channels} "
                f"for model {self.spec.name!r}"
            )
        for side in tiles.shape[2:]:
            if side % self.divisor:
                padded = -(-side // self.divisor) * self.divisor
                raise ModelError(f"side {side} is not divisible by {self.divisor}; pad to {padded}")


def copy_matching(module: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Copy each tensor of ``state`` whose name and shape ``module`` has; return the names that were left out."""
    own = module.state_dict()
    fits = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    module.load_state_dict(fits, strict=False)
    return sorted(set(own) - set(fits))
