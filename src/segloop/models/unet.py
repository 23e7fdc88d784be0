"""U-Net (Ronneberger, Fischer, Brox 2015, https://arxiv.org/abs/1505.04597; 3D: Çiçek et al. 2016), 2D and 3D.

Encoder: pairs of 3×3 convolutions, each pair followed by 2×2 max pooling, channels doubling. Decoder: a transposed
convolution doubles the sides and halves the channels, the encoder's map of the same level is concatenated, a pair
of convolutions reduces the channels. A 1×1 convolution gives one output channel per class.

Unlike the paper, convolutions are padded, so that the output is as large as the input, and batch normalisation
follows each convolution. Batch norm uses running statistics at inference: the result of a pixel does not depend on
what else is in its tile, as it would with group or instance norm; fine-tuning freezes those statistics and so survives
batches of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segloop.errors import ModelError
from segloop.models.losses import segmentation_losses
from segloop.models.protocol import Example, ModelSpec, ScoreMap, Task
from segloop.models.torch_model import TorchModel, copy_matching
from segloop.normalize import Normalization


def transposed_size(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Length of a transposed convolution's output: O = (N - 1)·S + K - 2·P."""
    return (size - 1) * stride + kernel - 2 * padding


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """The architecture's numbers.

    Parameters
    ----------
    levels : int
        Number of poolings; sides must be multiples of 2 to this power.
    base_channels : int
        Channels of the first level; each further level has twice as many.
    up_kernel, up_stride, up_padding : int
        Of the transposed convolution. (N-1)·2 + 2 - 0 = 2N: exactly undoes a pooling, with no overlap between the
        kernel's footprints and so no checkerboard.
    """

    levels: int = 4
    base_channels: int = 16
    up_kernel: int = 2
    up_stride: int = 2
    up_padding: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.levels <= 7 and 1 <= self.base_channels <= 512):
            raise ModelError(
                f"U-Net of {self.levels} levels and {self.base_channels} base channels; expected 1–7 and 1–512"
            )
        if any(transposed_size(n, self.up_kernel, self.up_stride, self.up_padding) != 2 * n for n in (1, 2, 3)):
            raise ModelError(
                f"up-sampling by kernel {self.up_kernel}, stride {self.up_stride}, padding {self.up_padding} does not "
                "double the sides, so skip connections do not fit; use stride 2 and kernel = 2 + 2·padding"
            )


class ConvPair(nn.Sequential):
    """Two 3×3 convolutions, each followed by batch norm and ReLU."""

    def __init__(self, ndim: int, inputs: int, outputs: int) -> None:
        convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if ndim == 2 else (nn.Conv3d, nn.BatchNorm3d)
        super().__init__(
            convolution(inputs, outputs, 3, padding=1, bias=False),
            norm(outputs),
            nn.ReLU(inplace=True),
            convolution(outputs, outputs, 3, padding=1, bias=False),
            norm(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """The network: float32 (N, C, [Z], Y, X) to logits (N, K, [Z], Y, X). Sides are multiples of 2 ** levels."""

    def __init__(self, config: UNetConfig, ndim: int, channels: int, classes: int) -> None:
        super().__init__()
        transposed, convolution = (nn.ConvTranspose2d, nn.Conv2d) if ndim == 2 else (nn.ConvTranspose3d, nn.Conv3d)
        self.pool = nn.MaxPool2d(2) if ndim == 2 else nn.MaxPool3d(2)
        widths = [config.base_channels * 2**level for level in range(config.levels + 1)]
        self.encoder = nn.ModuleList(
            ConvPair(ndim, inputs, outputs) for inputs, outputs in zip([channels, *widths], widths)
        )
        self.up = nn.ModuleList(
            transposed(2 * width, width, config.up_kernel, config.up_stride, config.up_padding)
            for width in reversed(widths[:-1])
        )
        self.decoder = nn.ModuleList(ConvPair(ndim, 2 * width, width) for width in reversed(widths[:-1]))
        self.head = convolution(widths[0], classes, 1)

    def decoded(self, x: Tensor) -> list[Tensor]:
        """Return the decoder's maps, the coarsest first: (N, C, [Z], Y, X), sides doubling, channels halving."""
        skips = []
        for level, pair in enumerate(self.encoder):
            x = pair(self.pool(x) if level else x)
            skips.append(x)
        maps = []
        for up, pair, skip in zip(self.up, self.decoder, reversed(skips[:-1])):
            x = pair(torch.cat([skip, up(x)], dim=1))
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> Tensor:
        """Return the last decoder map, (N, base_channels, [Z], Y, X): what the head sees."""
        return self.decoded(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


class UNetModel(TorchModel):
    """A U-Net with its spec."""

    module: UNet

    def __init__(self, spec: ModelSpec) -> None:
        if spec.task is not Task.SEMANTIC:
            raise ModelError(f"U-Net is semantic, but model {spec.name!r} says {spec.task.value}")
        self.config = _config(spec)
        super().__init__(spec, UNet(self.config, spec.ndim, spec.channels, len(spec.classes)))

    @property
    def divisor(self) -> int:  # type: ignore[override]
        """Tile sides must be multiples of it."""
        return 2**self.config.levels

    def working_memory(self, shape: tuple[int, ...]) -> int:
        """Bytes that predicting one tile of ``shape`` ([Z], Y, X) takes at most."""
        # of the finest level: its skip map, the concatenation, and a convolution's input and output
        width = 6 * self.config.base_channels + 4 * len(self.spec.classes) + self.spec.channels
        return 4 * width * math.prod(shape) + self.layout_memory

    @torch.inference_mode()
    def predict(self, tiles: Tensor) -> list[ScoreMap]:
        """Predict tiles, float32 (N, C, [Z], Y, X); one ScoreMap per tile."""
        self.check_tiles(tiles)
        layout = torch.channels_last if self.spec.ndim == 2 else torch.channels_last_3d
        logits = self.network(tiles.to(self.device).contiguous(memory_format=layout))
        # one class after another in memory, which is faster here and for all who read the scores
        return [ScoreMap(scores) for scores in F.softmax(logits.contiguous().float(), dim=1).cpu().numpy()]

    @torch.inference_mode()
    def describe(self, tiles: Tensor) -> list[Tensor]:
        """Return the decoder's maps of normalised tiles, the finest first; see :class:`Describing`."""
        self.check_tiles(tiles)
        layout = torch.channels_last if self.spec.ndim == 2 else torch.channels_last_3d
        network: UNet = self.network  # type: ignore[assignment]
        return network.decoded(tiles.to(self.device).contiguous(memory_format=layout))[::-1]

    def losses(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Cross-entropy and soft Dice over reviewed pixels."""
        images = torch.stack([example.image for example in examples]).to(self.device)
        if self.spec.ndim == 2:
            images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.stack([example.labels for example in examples]).to(self.device)
        reviewed = torch.stack([example.reviewed for example in examples]).to(self.device)
        return segmentation_losses(self.module(images), labels, reviewed)

    def with_classes(self, classes: Sequence[str]) -> UNetModel:
        """Return a copy for other classes: encoder and decoder keep their weights, the head is new."""
        other = UNetModel(self.spec.with_classes(classes))
        state = self.module.state_dict()
        if tuple(classes) != self.spec.classes:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
        copy_matching(other.module, state)
        return other.to(self.device)


class UNetFamily:
    """Builds U-Nets."""

    name = "unet"
    task = Task.SEMANTIC
    _base_channels: ClassVar = {"small": 16, "classic": 64}

    def sizes(self) -> tuple[str, ...]:
        """``small`` (16 base channels, for a CPU) and ``classic`` (64, as in the paper)."""
        return tuple(self._base_channels)

    def new_spec(self, name: str, classes: Sequence[str], channels: int, ndim: int, size: str) -> ModelSpec:
        """Return the spec of an untrained U-Net."""
        if size not in self._base_channels:
            raise ModelError(f"U-Net has no size {size!r}; the sizes are {', '.join(self.sizes())}")
        levels, tile, halo = (4, 512, 64) if ndim == 2 else (3, 96, 16)
        return ModelSpec(
            name=name,
            family=self.name,
            task=self.task,
            classes=tuple(classes),
            ndim=ndim,
            channels=channels,
            architecture=asdict(UNetConfig(levels, self._base_channels[size])),
            normalization=Normalization(joint=False),
            tile=tile,
            halo=halo,
        )

    def build(self, spec: ModelSpec) -> UNetModel:
        """Build the model that ``spec`` describes, with fresh weights."""
        return UNetModel(spec)


FAMILY = UNetFamily()


def _config(spec: ModelSpec) -> UNetConfig:
    numbers: dict[str, Any] = dict(spec.architecture)
    try:
        return UNetConfig(**numbers)
    except TypeError as error:
        raise ModelError(f"model {spec.name!r} has an architecture that U-Net does not know: {error}") from error
