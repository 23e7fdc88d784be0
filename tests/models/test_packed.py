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
    for size in (*range(17, 17 + 2 * packed.SHAPES), 17):
        x = maps(24, size, 2 * size)
        torch.testing.assert_close(twin(x), net(x), rtol=1e-4, atol=1e-4)
        assert twin(x).is_contiguous(memory_format=torch.channels_last)
    assert len(twin[0]._packed) == packed.SHAPES


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
