"""RoIAlign against torchvision's, and by hand."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import roi_align as torchvisions
from torchvision.ops.poolers import LevelMapper

from segloop.models.roi_align import PyramidRoIAlign, roi_align

STRIDES = {"0": 4, "1": 8, "2": 16, "3": 32}


def both(feature: Tensor, boxes: Tensor, cells: int, scale: float, aligned: bool) -> tuple[Tensor, ...]:
    """Outputs and gradients of the features, ours and torchvision's, of a loss that weights each cell differently."""
    results = []
    for ours in (True, False):
        leaf = feature.clone().requires_grad_()
        if ours:
            out = roi_align(leaf, boxes, cells, scale, 2, aligned)
        else:
            out = torchvisions(leaf[None], [boxes], cells, scale, 2, aligned)
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        (out * weights).sum().backward()
        results += [out.detach(), leaf.grad]
    return tuple(results)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    aligned=st.booleans(),
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    cells=st.sampled_from([1, 2, 7]),
    scale=st.sampled_from([1.0, 0.5, 0.25]),
    spread=st.sampled_from([0.01, 0.5, 1.0, 3.0]),
)
def test_random_boxes_as_in_torchvision(
    seed: int, aligned: bool, sides: tuple[int, int], cells: int, scale: float, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    height, width = sides
    feature = torch.from_numpy(rng.normal(size=(3, height, width)).astype(np.float32))
    # in the map, partly outside of it, wholly outside; from a hundredth of a pixel to thrice the map
    centers = rng.uniform(-0.5, 1.5, (5, 2)) * (width, height) / scale
    halves = rng.uniform(0, spread, (5, 2)) * (width, height) / scale / 2
    boxes = torch.from_numpy(np.concatenate([centers - halves, centers + halves], axis=1).astype(np.float32))
    ours, our_gradient, theirs, their_gradient = both(feature, boxes, cells, scale, aligned)
    assert ours.shape == (5, 3, cells, cells)
    # torchvision's rule at the edge, -1 and the map's length, is a jump: a sample exactly on it may fall on either side
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-4)


@pytest.mark.parametrize("aligned", [True, False])
def test_large_maps_as_in_torchvision(aligned: bool) -> None:
    feature = torch.rand(2, 128, 200)
    corners = torch.rand(40, 2) * torch.tensor([800.0, 512.0])
    boxes = torch.cat([corners, corners + torch.rand(40, 2) * 120], dim=1)
    ours, our_gradient, theirs, their_gradient = both(feature, boxes, 14, 0.25, aligned)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-4)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(
    "box",
    [
        (3.0, 3.0, 3.0, 3.0),
        (5.0, 5.0, 2.0, 2.0),
        (0.0, 0.0, 8.0, 8.0),
        (-50.0, -50.0, -40.0, -40.0),
        (7.9, 7.9, 8.0, 8.0),
    ],
    ids=["a point", "inside out", "everything", "far away", "a corner"],
)
def test_odd_boxes_as_in_torchvision(aligned: bool, box: tuple[float, ...]) -> None:
    ours, our_gradient, theirs, their_gradient = both(torch.rand(2, 8, 8), torch.tensor([box]), 3, 1.0, aligned)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-5)


def test_no_boxes() -> None:
    assert roi_align(torch.rand(3, 8, 8), torch.zeros(0, 4), 7, 0.5).shape == (0, 3, 7, 7)


def test_two_by_two_points_by_hand() -> None:
    """A ramp, so that every bilinear sample is known: the feature's value is 10·row + column of the cell's centre."""
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    feature = (10 * rows + columns)[None]
    # stride 2: the box x 1…5, y 2…6 in image pixels is x 0.5…2.5, y 1…3 in feature pixels; minus one half, since
    # feature cell j's centre is at j + 0.5: x 0…2, y 0.5…2.5. Two cells per axis, each 1 long; two points per
    # cell at one quarter and three quarters: x 0.25, 0.75 | 1.25, 1.75 and y 0.75, 1.25 | 1.75, 2.25.
    box = torch.tensor([[1.0, 2.0, 5.0, 6.0]])
    # On a ramp the mean of a cell's four samples is the value at its middle:
    #   y 1, x 0.5: 10.5    y 1, x 1.5: 11.5
    #   y 2, x 0.5: 20.5    y 2, x 1.5: 21.5
    expected = torch.tensor([[10.5, 11.5], [20.5, 21.5]])
    torch.testing.assert_close(roi_align(feature, box, 2, 0.5)[0, 0], expected)
    # not aligned, half a cell is not taken away: x 0.5…2.5, y 1…3, so each value is higher by 10/2 + 1/2
    torch.testing.assert_close(roi_align(feature, box, 2, 0.5, aligned=False)[0, 0], expected + 5.5)


def test_four_samples_of_one_cell_by_hand() -> None:
    # one lit feature cell (1, 1); the box covers feature x 0.5…2.5, y 0.5…2.5, so x and y 0…2 after the half: points
    # at 0.5 and 1.5. Each is half-way between (1, 1) and a dark neighbour on both axes: 1/2 · 1/2 · 8 = 2 at all four
    feature = torch.zeros(1, 3, 3)
    feature[0, 1, 1] = 8
    assert roi_align(feature, torch.tensor([[0.5, 0.5, 2.5, 2.5]]), 1, 1.0).item() == pytest.approx(2)
    # a point off by a quarter pixel only: (3/4)² · 8 = 4.5, with the box x and y 1…2 around the lit cell
    assert roi_align(feature, torch.tensor([[1.0, 1.0, 2.0, 2.0]]), 1, 1.0).item() == pytest.approx(4.5)


def test_one_point_misses_what_two_see() -> None:
    feature = torch.zeros(1, 1, 8)
    feature[0, 0, 1] = 1
    box = torch.tensor([[0.0, 0.0, 8.0, 1.0]])
    # two cells of 4 feature cells: one point at 2 - 0.5 = 1.5; two points at 0.5 and 2.5
    assert roi_align(feature, box, 2, 1.0, points=1)[0, 0, 0].tolist() == pytest.approx([0.5, 0.0], abs=1e-5)
    assert roi_align(feature, box, 2, 1.0, points=2)[0, 0, 0].tolist() == pytest.approx([0.25, 0.0], abs=1e-5)


@pytest.mark.parametrize("canonical", [224.0, 112.0])
def test_levels_are_those_of_torchvision(canonical: float) -> None:
    sides = torch.cat([torch.logspace(-2, 4, 200), canonical * 2.0 ** torch.arange(-6, 6)])
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides * 2, sides / 2], dim=1)
    mapper = LevelMapper(k_min=2, k_max=5, canonical_scale=int(canonical), canonical_level=4)
    ours = PyramidRoIAlign(STRIDES, 7, 2, True, canonical).levels(boxes)
    assert torch.equal(ours, mapper([boxes]))
    assert set(ours.tolist()) == {0, 1, 2, 3}


def test_level_by_hand() -> None:
    levels = PyramidRoIAlign(STRIDES, 7, 2, True, 112.0).levels

    def level(side: float) -> int:
        return int(levels(torch.tensor([[0.0, 0.0, side, side]]))[0])

    # 4 + log2(112 / 112) = 4, which is stride 16, the third level; half the side one level finer, double one coarser
    assert [level(112), level(111), level(56), level(55), level(1), level(224), level(5000)] == [2, 1, 1, 0, 0, 3, 3]


def test_pyramid_as_in_torchvision() -> None:
    """Two images, boxes of every level, one image without any."""
    features = OrderedDict((name, torch.rand(3, 4, 256 // stride, 256 // stride)) for name, stride in STRIDES.items())
    sides = torch.tensor([6.0, 20.0, 70.0, 130.0, 240.0, 250.0])
    corners = torch.rand(6, 2) * (256 - sides[:, None])
    boxes = torch.cat([corners, corners + sides[:, None]], dim=1)
    per_image = [boxes[:4], torch.zeros(0, 4), boxes[4:]]
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2, canonical_scale=112, canonical_level=4)
    expected = theirs(features, per_image, [(256, 256)] * 3)
    ours = PyramidRoIAlign(STRIDES, 7, 2, aligned=False, canonical_size=112.0)
    got = ours(features, per_image, [(256, 256)] * 3)
    assert got.shape == (6, 4, 7, 7)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert set(ours.levels(boxes).tolist()) == {0, 1, 2, 3}


def test_pyramid_without_boxes() -> None:
    features = {name: torch.rand(1, 4, 64 // stride, 64 // stride) for name, stride in STRIDES.items()}
    assert PyramidRoIAlign(STRIDES, 7, 2, True, 112.0)(features, [torch.zeros(0, 4)], [(64, 64)]).shape == (0, 4, 7, 7)
