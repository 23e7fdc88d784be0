"""A model family of your own, in one file: a pixel classifier on Gaussian filters, in the manner of ilastik.

SegLoop finds it once your package says so:

    [project.entry-points."segloop.families"]
    pixels = "custom_family:FAMILY"

From then on it can be trained, fine-tuned, stored and used like the built-in ones, in the window and on the
command line. `segloop.testing.FamilyContract` tests that it keeps what the others rely on.

Run it to train one on a part of a sample image and use it on the whole:

    python examples/custom_family.py
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import segloop
from segloop.errors import ModelError
from segloop.models.losses import segmentation_losses
from segloop.models.protocol import Example, ModelSpec, ScoreMap, Task
from segloop.models.torch_model import TorchModel, copy_matching

SCALES = (1.0, 2.0, 4.0)
"""Standard deviations of the Gaussians, in pixels."""


class GaussianFilters(nn.Module):
    """Each channel, blurred at each scale, and the differences: (N, C, Y, X) to (N, 7 C, Y, X)."""

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for scale in SCALES:
            radius = round(3 * scale)
            profile = torch.exp(-(torch.arange(-radius, radius + 1, device=x.device) ** 2) / (2 * scale**2))
            profile = (profile / profile.sum()).to(x.dtype)
            flat = F.pad(x, (radius, radius, radius, radius), mode="replicate").flatten(0, 1)[:, None]
            flat = F.conv2d(F.conv2d(flat, profile.view(1, 1, -1, 1)), profile.view(1, 1, 1, -1))
            blurred = flat.view_as(x)
            maps += [blurred, x - blurred]
        return torch.cat(maps, dim=1)


class PixelClassifier(nn.Module):
    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.filters = GaussianFilters()
        inputs = channels * (1 + 2 * len(SCALES))
        self.body = nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU())
        self.head = nn.Conv2d(hidden, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.filters(x)))


class PixelModel(TorchModel):
    """The network with its spec: all that SegLoop asks of a model."""

    divisor = 1

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec, PixelClassifier(spec.channels, spec.architecture["hidden"], len(spec.classes)))

    @torch.inference_mode()
    def predict(self, tiles: Tensor) -> list[ScoreMap]:
        self.check_tiles(tiles)
        return [ScoreMap(scores.numpy()) for scores in F.softmax(self.module(tiles.to(self.device)), dim=1).cpu()]

    def losses(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        images, labels, reviewed = (
            torch.stack([getattr(example, name) for example in examples]).to(self.device)
            for name in ("image", "labels", "reviewed")
        )
        return segmentation_losses(self.module(images), labels, reviewed)

    def with_classes(self, classes: Sequence[str]) -> "PixelModel":
        other = PixelModel(replace(self.spec, classes=tuple(classes)))
        state = self.module.state_dict()
        if other.spec.classes != self.spec.classes:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
        copy_matching(other.module, state)
        return other.to(self.device)


class PixelFamily:
    name = "pixels"
    task = Task.SEMANTIC

    def sizes(self) -> tuple[str, ...]:
        return ("small",)

    def new_spec(self, name: str, classes: Sequence[str], channels: int, ndim: int, size: str) -> ModelSpec:
        if size not in self.sizes() or ndim != 2:
            raise ModelError(f"the pixel classifier has one size, 'small', in 2D; got {size!r} in {ndim}D")
        return ModelSpec(
            name=name,
            family=self.name,
            task=self.task,
            classes=tuple(classes),
            channels=channels,
            architecture={"hidden": 32},
            tile=512,
            halo=16,  # the widest filter reaches 12 pixels
        )

    def build(self, spec: ModelSpec) -> PixelModel:
        return PixelModel(spec)


FAMILY = PixelFamily()


def main() -> None:
    from segloop.labels import border_classes
    from segloop.samples import load_correction, load_reference, load_sample

    image = load_sample("fluorescence")
    instances, reviewed = load_correction("fluorescence")
    spec = FAMILY.new_spec("pixels", ("background", "inside", "border"), channels=1, ndim=2, size="small")
    model = FAMILY.build(spec)

    # SegLoop's trainer would do; a loop of one's own shows what a family offers
    pixels = spec.normalization.apply(image.read(), spec.normalization.fit(image))
    classes = torch.from_numpy(border_classes(instances)).long()
    example = Example(torch.from_numpy(pixels), classes, torch.from_numpy(reviewed))
    optimizer = torch.optim.Adam(model.module.parameters(), lr=1e-2)
    model.module.train()
    for _ in range(30):
        loss = sum(model.losses([example]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.module.eval()

    result = segloop.segment(model, image)
    unseen = load_reference("fluorescence").data[~reviewed] > 0
    found = result.labels.data[~reviewed] > 0
    dice = 2 * (unseen & found).sum() / (unseen.sum() + found.sum())
    print(f"foreground Dice where it was not trained: {dice:.3f}")


if __name__ == "__main__":
    main()
