"""The U-Net's numbers: sizes, skip connections, heads, and that tiles do not show."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from segloop.errors import ModelError
from segloop.models.protocol import Example, ModelSpec, Task
from segloop.models.unet import FAMILY, UNet, UNetConfig, UNetModel, transposed_size
from segloop.tiling import plan_tiles, split, stitch


def small(
    ndim: int = 2,
    channels: int = 1,
    classes: tuple[str, ...] = ("background", "cell"),
    levels: int = 2,
    base_channels: int = 2,
) -> UNetModel:
    spec = ModelSpec(
        "small",
        "unet",
        Task.SEMANTIC,
        classes,
        ndim,
        channels,
        architecture={"levels": levels, "base_channels": base_channels},
    )
    return FAMILY.build(spec)


def settle(module: nn.Module) -> None:
    """Give batch norm statistics as after training."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)


@pytest.mark.parametrize(("layer", "ndim"), [(nn.ConvTranspose2d, 2), (nn.ConvTranspose3d, 3)])
def test_size_of_a_transposed_convolution_is_torchs(layer: type[nn.Module], ndim: int) -> None:
    checked = 0
    for size, kernel, stride, padding in itertools.product((1, 2, 5), (1, 2, 3, 4), (1, 2, 3), (0, 1)):
        expected = transposed_size(size, kernel, stride, padding)
        if expected > 0:
            out = layer(1, 1, kernel, stride, padding)(torch.zeros(1, 1, *(size,) * ndim))
            assert out.shape[2:] == (expected,) * ndim
            checked += 1
    assert checked > 50


def test_size_by_hand() -> None:
    # (8 - 1)·2 + 2 - 2·0 = 16: exactly twice as long
    assert transposed_size(8, kernel=2, stride=2, padding=0) == 16
    # (8 - 1)·2 + 4 - 2·1 = 16: twice as long as well, but each output is the sum of four overlapping footprints
    assert transposed_size(8, kernel=4, stride=2, padding=1) == 16
    # (8 - 1)·2 + 3 - 2·0 = 17: does not fit beside the encoder's 16
    assert transposed_size(8, kernel=3, stride=2, padding=0) == 17


@pytest.mark.parametrize("numbers", [{"up_kernel": 3}, {"up_stride": 1}, {"up_kernel": 4}, {"up_padding": 1}])
def test_upsampling_that_does_not_double_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ModelError, match=r"does not double the sides.*stride 2"):
        UNetConfig(**numbers)


def test_upsampling_with_overlapping_footprints_fits_too() -> None:
    network = UNet(UNetConfig(2, 2, up_kernel=4, up_stride=2, up_padding=1), 2, 1, 2).eval()
    assert network(torch.zeros(1, 1, 8, 12)).shape == (1, 2, 8, 12)


@pytest.mark.parametrize(
    "architecture",
    [
        {"levels": 0},
        {"levels": 8},
        {"base_channels": 0},
        {"base_channels": 100_000},
        {"levels": "four"},
        {"depth": 4},
        {"up_kernel": 5},
    ],
)
def test_bad_architecture_numbers(architecture: dict[str, object]) -> None:
    spec = replace(small().spec, architecture=architecture)
    with pytest.raises(ModelError):
        FAMILY.build(spec)


def test_other_tasks_and_sizes_are_refused() -> None:
    with pytest.raises(ModelError, match="U-Net is semantic"):
        FAMILY.build(replace(small().spec, task=Task.INSTANCE))
    with pytest.raises(ModelError, match="no size 'huge'; the sizes are small, classic"):
        FAMILY.new_spec("x", ("a", "b"), 1, 2, "huge")


def test_the_classic_size_is_the_papers() -> None:
    spec = FAMILY.new_spec("x", ("background", "cell"), 1, 2, "classic")
    widths = [spec.architecture["base_channels"] * 2**level for level in range(spec.architecture["levels"] + 1)]
    assert widths == [64, 128, 256, 512, 1024]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 3), (5, 7)])
def test_any_channels_and_classes(ndim: int, channels: int, classes: int) -> None:
    model = small(ndim, channels, tuple(f"class {n}" for n in range(classes)))
    sides = (4, 8, 12)[-ndim:]
    first, second = model.predict(torch.rand(2, channels, *sides))
    assert first.scores.shape == second.scores.shape == (classes, *sides)
    assert np.allclose(first.scores.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_level_by_level(ndim: int) -> None:
    model = small(ndim, levels=3)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, part in model.module.named_modules():
        if name.split(".")[0] in ("encoder", "up", "decoder") and name.count(".") == 1:
            part.register_forward_hook(
                lambda _, x, out, name=name: shapes.update({name: (x[0].shape[1], *out.shape[1:])})
            )
    model.predict(torch.zeros(1, 1, *(16,) * ndim))

    def side(n: int) -> tuple[int, ...]:
        return (n,) * ndim

    # in, out, sides: channels double and sides halve on the way down; a decoder level gets the skip connection's
    # channels and as many from below
    assert shapes == {
        "encoder.0": (1, 2, *side(16)),
        "encoder.1": (2, 4, *side(8)),
        "encoder.2": (4, 8, *side(4)),
        "encoder.3": (8, 16, *side(2)),
        "up.0": (16, 8, *side(4)),
        "decoder.0": (8 + 8, 8, *side(4)),
        "up.1": (8, 4, *side(8)),
        "decoder.1": (4 + 4, 4, *side(8)),
        "up.2": (4, 2, *side(16)),
        "decoder.2": (2 + 2, 2, *side(16)),
    }


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("level", [0, 1])
def test_each_skip_connection_is_used(ndim: int, level: int) -> None:
    model = small(ndim, base_channels=4)
    image = torch.rand(1, 1, *(8,) * ndim)
    decoder = model.module.decoder[-1 - level]
    width = 4 * 2**level
    seen = []

    def without_skip(_: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        seen.append(inputs[0].shape[1])
        x = inputs[0].clone()
        x[:, :width] = 0
        return x

    with torch.inference_mode():
        whole = model.module(image)
        handle = decoder.register_forward_pre_hook(without_skip)
        cut = model.module(image)
        handle.remove()
        assert seen == [2 * width]
        assert not torch.equal(whole, cut)
        assert torch.equal(model.module(image), whole)


def test_the_skip_connection_is_the_encoders_map() -> None:
    model = small(levels=1)
    given: dict[str, torch.Tensor] = {}
    model.module.encoder[0].register_forward_hook(lambda _, x, out: given.update(skip=out))
    model.module.up[0].register_forward_hook(lambda _, x, out: given.update(up=out))
    model.module.decoder[0].register_forward_pre_hook(lambda _, x: given.update(joined=x[0]))
    model.predict(torch.rand(1, 1, 6, 4))
    assert torch.equal(given["joined"], torch.cat([given["skip"], given["up"]], dim=1))


def test_a_tiny_network_by_hand() -> None:
    """One level, one channel, every convolution the identity: x → concatenate(x, up(pool(x))) → head."""
    network = UNet(UNetConfig(levels=1, base_channels=1), 2, 1, 2)
    with torch.no_grad():
        for pair in [*network.encoder, *network.decoder]:
            for layer in pair:
                if isinstance(layer, nn.Conv2d):
                    layer.weight.zero_()
                    layer.weight[:, 0, 1, 1] = 1  # the centre of the first input channel
                elif isinstance(layer, nn.BatchNorm2d):
                    layer.eps = 0
        # of decoder's two inputs, skip and up, the sum
        network.decoder[0][0].weight[:, 1, 1, 1] = 1
        network.up[0].weight.zero_()
        network.up[0].weight[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        network.up[0].bias.zero_()
        network.head.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        network.head.bias[:] = torch.tensor([0.0, 10.0])
    image = torch.tensor([[[[1.0, 2.0, 0.0, 0.0], [0.0, 5.0, 0.0, 1.0]]]])
    # pooled: 5 and 1; up: each times the kernel [[1, 2], [3, 4]]; plus the image
    #   1+5   2+10  0+1  0+2        6  12  1  2
    #   0+15  5+20  0+3  1+4   =   15  25  3  5
    expected = torch.tensor([[6.0, 12, 1, 2], [15, 25, 3, 5]])
    out = network.eval()(image)[0]
    assert torch.equal(out[0], expected)
    assert torch.equal(out[1], 10 - expected)


def test_side_that_is_not_divisible() -> None:
    model = small(levels=4)
    with pytest.raises(ModelError, match="side 250 is not divisible by 16; pad to 256"):
        model.predict(torch.zeros(1, 1, 256, 250))
    with pytest.raises(ModelError, match=r"tiles of shape \(1, 2, 16, 16\); expected \(N, C, Y, X\) with C = 1"):
        model.predict(torch.zeros(1, 2, 16, 16))
    with pytest.raises(ModelError, match=r"expected \(N, C, Z, Y, X\)"):
        small(3).predict(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("ndim", [2, 3])
def test_other_classes_keep_encoder_and_decoder_bit_by_bit(ndim: int) -> None:
    model = small(ndim)
    settle(model.module)
    other = model.with_classes(("background", "nucleus", "border"))
    assert other.spec == replace(model.spec, classes=("background", "nucleus", "border"))
    old, new = model.module.state_dict(), other.module.state_dict()
    assert [name for name in old if not torch.equal(old[name], new[name])] == ["head.weight", "head.bias"]
    assert new["head.weight"].shape[0] == 3
    image = torch.rand(1, 1, *(8,) * ndim)
    with torch.inference_mode():
        assert torch.equal(model.module.features(image), other.module.features(image))


def test_as_many_classes_of_other_names_get_a_new_head() -> None:
    model = small()
    other = model.with_classes(("background", "vessel"))
    assert not torch.equal(model.module.head.weight, other.module.head.weight)
    same = model.with_classes(model.spec.classes)
    assert torch.equal(model.module.head.weight, same.module.head.weight)
    assert same.module.head.weight.data_ptr() != model.module.head.weight.data_ptr()


def test_a_batch_of_one_trains_with_frozen_norm() -> None:
    """Even where the lowest level is a single pixel, of which batch statistics would have no variance."""
    model = small(levels=2)
    settle(model.module)
    before = {name: buffer.clone() for name, buffer in model.module.named_buffers()}
    model.module.train()
    for layer in model.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    example = Example(torch.rand(1, 4, 4), torch.ones(4, 4, dtype=torch.int64), torch.ones(4, 4, dtype=torch.bool))
    losses = model.losses([example])
    assert set(losses) == {"cross_entropy", "dice"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.module.parameters())
    assert all(torch.equal(before[name], buffer) for name, buffer in model.module.named_buffers())


def receptive_radius(levels: int) -> int:
    """How far a pixel of the output sees: two pairs of 3×3 convolutions per level, and the blocks of the poolings."""
    low = high = 0
    # the widest path: the decoder's pair at each level on the way down, the pair at the bottom, and the encoder's
    for _ in range(levels):
        low, high = (low - 2) // 2, (high + 2) // 2
    low, high = low - 2, high + 2
    for _ in range(levels):
        low, high = 2 * low - 2, 2 * high + 1 + 2
    return max(-low, high)


@pytest.mark.parametrize(("ndim", "levels"), [(2, 1), (2, 2), (3, 1)])
def test_a_halo_of_the_receptive_radius_makes_tiles_invisible(ndim: int, levels: int) -> None:
    model = small(ndim, levels=levels)
    settle(model.module)
    # a pixel may lie anywhere in its block of 2 ** levels, hence a little more than seen from the block's first
    radius = receptive_radius(levels) + 2**levels
    divisor = model.divisor
    sides = (2 * radius + 4 * divisor, 4 * divisor, 3 * divisor)[:ndim]
    shape = tuple(-(-n // divisor) * divisor for n in (sides[0] + 7 * divisor, *sides[1:]))
    image = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    whole = model.predict(torch.from_numpy(image[None]))[0].scores
    tiles = plan_tiles(shape, (sides[0], *shape[1:]), (radius, 0, 0)[:ndim], (divisor,) * ndim)
    assert len(tiles) > 2
    parts = [model.predict(torch.from_numpy(part[None]))[0].scores for part in split(image, tiles)]
    np.testing.assert_allclose(stitch(tiles, parts, np.empty_like(whole)), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("levels", [1, 2])
def test_receptive_radius_by_gradient(levels: int) -> None:
    model = small(levels=levels, base_channels=4)
    reach = receptive_radius(levels) + 2**levels
    side = -(-2 * (reach + 4) // 2**levels) * 2**levels
    image = torch.rand(1, 1, side, side, requires_grad=True)
    middle = side // 2
    model.module(image)[0, :, middle, middle].sum().backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(1))[:, 0]
    seen = max(middle - int(rows.min()), int(rows.max()) - middle)
    assert 2 * 2**levels < seen <= reach
