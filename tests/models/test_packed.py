"""Packed layers and inference copies give the numbers of the layers they stand for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops.misc import FrozenBatchNorm2d

from segloop.models import packed
from segloop.models.inference import inference_copy
from segloop.models.maskrcnn import FAMILY
from segloop.models.maskrcnn_network import ResidualBlock
from segloop.models.packed import PackedConvolution, PackedLinear, PackedResidual, can_pack, pack
from segloop.models.unet import FAMILY as UNET

needs_packing = pytest.mark.skipif(not can_pack(torch.float32), reason="this machine has no such operators")


def randomised(module: nn.Module) -> nn.Module:
    """With norms that change something, for inference."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.dtype == torch.float32:
            low = 0.5 if name.endswith("running_var") else -0.5
            tensor.data = low + torch.rand(tensor.shape, generator=generator)
    return module.eval().requires_grad_(False)


def maps(channels: int, height: int = 20, width: int = 28, count: int = 2) -> Tensor:
    x = torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(2))
    return x.contiguous(memory_format=torch.channels_last)


@needs_packing
@pytest.mark.parametrize("stride, kernel, dilation", [(1, 1, 1), (2, 1, 1), (1, 3, 1), (2, 3, 1), (1, 3, 2), (2, 7, 1)])
def test_convolutions(stride: int, kernel: int, dilation: int) -> None:
    layer = nn.Conv2d(24, 40, kernel, stride, kernel // 2 * dilation, dilation)
    net = randomised(nn.Sequential(layer, nn.Identity(), nn.ReLU(inplace=True), nn.Conv2d(40, 8, 1)))
    twin = copy.deepcopy(net)
    pack(twin)
    assert [type(layer) for layer in twin] == [PackedConvolution, nn.Identity, nn.Identity, PackedConvolution]
    # more sizes than are kept
    sizes = (*range(17, 17 + 2 * packed.SHAPES), 17)
    for size in sizes:
        x = maps(24, size, 2 * size)
        torch.testing.assert_close(twin(x), net(x), rtol=1e-4, atol=1e-4)
        assert twin(x).is_contiguous(memory_format=torch.channels_last)
    assert [height for _, height, _ in twin[0]._packed] == list(sizes[-packed.SHAPES :])
    # the one that was needed last goes last
    twin(maps(24, sizes[-2], 2 * sizes[-2]))
    twin(maps(24, 50, 50))
    assert [height for _, height, _ in twin[0]._packed][-2:] == [sizes[-2], 50]


@needs_packing
def test_a_relu_that_does_not_follow_at_once_stays() -> None:
    net = randomised(nn.Sequential(nn.Conv2d(8, 8, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Linear(10, 4), nn.ReLU()))
    twin = copy.deepcopy(net)
    pack(twin)
    assert [type(layer) for layer in twin] == [PackedConvolution, nn.MaxPool2d, nn.ReLU, PackedLinear, nn.Identity]


@needs_packing
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["own", "torchvision's"])
def test_residual_blocks(kind: str, stride: int) -> None:
    if kind == "own":
        block: nn.Module = ResidualBlock(32, 32 * stride, stride)
    else:
        last = nn.Sequential(nn.Conv2d(32, 64, 1, stride, bias=False), FrozenBatchNorm2d(64)) if stride == 2 else None
        block = Bottleneck(32, 8 * stride, stride, last, norm_layer=FrozenBatchNorm2d)
    net = randomised(nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), block))
    twin = inference_copy(net, torch.float32)
    assert isinstance(twin[2], PackedResidual)
    x = maps(3)
    before = x.clone()
    torch.testing.assert_close(twin(x), net(x), rtol=1e-4, atol=1e-3)
    assert torch.equal(x, before)


def other_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


class OtherBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class OtherBlock(ResidualBlock):
    """With a norm that cannot be folded."""

    def __init__(self) -> None:
        super().__init__(32, 32, 1)
        self.body[4] = other_norm(32)


class Parted(nn.Module):
    """A layer whose parts are something else."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(32, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def parts(self) -> tuple[int, int]:
        return 2, 2

    def for_inference(self, speed: int) -> None:
        raise AssertionError("not asked for")


class Skipping(nn.Sequential):
    """A convolution whose ReLU is not always applied."""

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x)) - self[0](x)


@needs_packing
@pytest.mark.parametrize(
    "block",
    [
        Bottleneck(32, 8, norm_layer=other_norm),
        OtherBottleneck(32, 8),
        OtherBlock(),
        Parted(),
        Skipping(nn.Conv2d(32, 32, 3), nn.ReLU()),
        nn.Sequential(pool := nn.AvgPool2d(3, 1), nn.Conv2d(32, 32, 3), pool, nn.ReLU()),
    ],
    ids=["norms", "subclass", "norms in parts", "parts", "own forward", "twice"],
)
def test_blocks_of_other_kinds_keep_their_numbers(block: nn.Module) -> None:
    net = randomised(nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), block))
    twin = inference_copy(net, torch.float32)
    assert any(isinstance(layer, PackedConvolution) for layer in twin[2].modules())
    assert not any(isinstance(layer, PackedResidual) for layer in twin.modules())
    torch.testing.assert_close(twin(maps(3)), net(maps(3)), rtol=1e-4, atol=1e-3)
    bare = inference_copy(block, torch.float32)
    torch.testing.assert_close(bare(maps(32)), block(maps(32)), rtol=1e-4, atol=1e-3)


@needs_packing
@pytest.mark.parametrize("grown", [False, True])
def test_attention_keeps_its_numbers(grown: bool) -> None:
    """torch's own kernels take the weights of layers within; whole rows of vectors go through a packed layer."""
    attention = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True) if grown else nn.MultiheadAttention(16, 4)

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.last = attention, nn.Linear(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.attention(x) if grown else self.attention(x, x, x)[0])

    net = randomised(Attending())
    twin = inference_copy(net, torch.float32)
    assert isinstance(twin.last, PackedLinear)
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        torch.testing.assert_close(twin(x), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_asking_whether_layers_can_be_packed_draws_no_numbers(dtype: torch.dtype) -> None:
    can_pack.cache_clear()
    before = torch.get_rng_state()
    can_pack(dtype)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_that_compute_something_else_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator would do that sees maps turned over."""
    own = PackedConvolution.beside
    can_pack.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(PackedConvolution, "beside", lambda layer, x, other: own(layer, x, other).flip(2))
            assert not can_pack(torch.float32)
    finally:
        can_pack.cache_clear()


@needs_packing
def test_memory_of_one_more_layout_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in (UNET, FAMILY):
        classes = ("background", "cell") if family is UNET else ("cell",)
        model = family.build(family.new_spec("x", classes, 3, 2, "small"))
        with monkeypatch.context() as patch:
            patch.setattr("segloop.models.torch_model.can_pack", lambda dtype: False)
            without = model.working_memory((256, 256))
        model.predict(torch.zeros(1, 3, 64, 96))
        layers = [layer for layer in model.network.modules() if isinstance(layer, PackedConvolution)]
        packed_bytes = sum(4 * layer.weight.numel() for layer in layers)
        assert 0.9 * packed_bytes <= model.working_memory((256, 256)) - without <= 1.1 * packed_bytes


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("size", ["small", "resnet50"])
def test_a_whole_network(size: str, packing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine has the operators or not; two images, which later layers see in other sizes."""
    if not packing:
        monkeypatch.setattr("segloop.models.inference.can_pack", lambda dtype: False)
    elif not can_pack(torch.float32):
        pytest.skip("this machine has no such operators")
    torch.manual_seed(0)
    module = FAMILY.build(FAMILY.new_spec("x", ("cell", "other"), 3, 2, size)).module.eval()
    twin = inference_copy(module, torch.float32)
    x = maps(3, 64, 96)
    boxes = torch.tensor([[4.0, 4, 30, 30], [20, 10, 90, 60], [50, 20, 60, 40]])
    with torch.inference_mode():
        plain, own = module.features(x), twin.features(x)
        for name, feature in plain.items():
            torch.testing.assert_close(own[name], feature, rtol=1e-3, atol=1e-3 * float(feature.abs().max()))
        heads, others = module.roi_heads, twin.roi_heads
        pooled = heads.box_roi_pool(plain, [boxes], [(64, 96)])
        torch.testing.assert_close(others.box_head(pooled), heads.box_head(pooled), rtol=1e-3, atol=1e-3)
        x = heads.mask_head(heads.mask_roi_pool(plain, [boxes], [(64, 96)]))
        classes = torch.tensor([1, 2, 1])
        expected = heads.mask_predictor(x).sigmoid()[torch.arange(3), classes]
        torch.testing.assert_close(others.mask_predictor(x, classes), expected, rtol=1e-3, atol=1e-4)
        (filled,) = module.masks(plain, [boxes], [classes])
        torch.testing.assert_close(filled, expected, rtol=1e-3, atol=1e-4)


def test_without_the_operators_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processors, and versions of torch whose operators are named otherwise or take other arguments."""
    can_pack.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(packed.platform, "machine", lambda: "arm64")
            assert not can_pack(torch.float32)
        can_pack.cache_clear()

        def other(*arguments: object) -> None:
            raise TypeError("takes 3 arguments")

        with monkeypatch.context() as patch:
            patch.setattr(packed.platform, "machine", lambda: "x86_64")
            patch.setattr(packed.PackedLinear, "forward", other)
            assert not can_pack(torch.float32)
    finally:
        can_pack.cache_clear()
